#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include "kernels.hpp"

namespace {

constexpr unsigned sizes[] = {1, 31, 32, 33, 250, 256, 1024};

/// f() under several orders and numbers of workers.
template <class F>
void in_every_order(const F& f) {
  for (const int workers : {1, 2})
    for (const std::uint64_t seed : {0u, 1u, 2u, 3u}) {
      cuda_emulator::options how = cuda_emulator::settings();
      how.workers = workers, how.order_seed = seed;
      const cuda_emulator::settings_scope scope(how);
      f();
    }
}

__global__ void votes(int* any, int* all, int* count, unsigned limit) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const int below = threadIdx.x < limit ? 7 : 0;
  any[i] = __syncthreads_or(below);
  all[i] = __syncthreads_and(below);
  count[i] = __syncthreads_count(below);
}
__global__ void read_fresh_shared(float* as_float, int* as_int) {
  STROMA_DYNAMIC_SHARED(float, room);
  as_float[blockIdx.x] = room[3];
  std::memcpy(&as_int[blockIdx.x], &room[4], sizeof(int));
  room[3] = 1;
}
__global__ void shared_address(std::uintptr_t* at) {
  STROMA_DYNAMIC_SHARED(unsigned char, room);
  *at = reinterpret_cast<std::uintptr_t>(room);
}
/// Each thread passes many barriers, so that one who runs ahead meets who is behind.
__global__ void relay(unsigned* out, unsigned rounds) {
  STROMA_DYNAMIC_SHARED(unsigned, room);
  unsigned mine = threadIdx.x;
  for (unsigned i = 0; i < rounds; ++i) {
    room[threadIdx.x] = mine;
    __syncthreads();
    mine = room[(threadIdx.x + 1) % blockDim.x] + 1;
    __syncthreads();
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = mine;
}

}  // namespace

TEST_CASE("sums over shared memory and over shuffles, for every size of block") {
  in_every_order([] {
    for (const unsigned size : sizes) {
      const unsigned blocks = 3;
      std::vector<double> x(std::size_t{blocks} * size);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i));
      std::vector<double> tree(blocks), warps(blocks);
      cuda_emulator::launch(&emulated::tree_sum<double>, blocks, size, size * sizeof(double), nullptr, x.data(),
                            tree.data());
      cuda_emulator::launch(&emulated::warp_sum<double>, blocks, size, 0, nullptr, x.data(), warps.data());
      for (unsigned b = 0; b < blocks; ++b) {
        const auto first = x.begin() + b * size;
        const double expected = std::accumulate(first, first + size, 0.0);
        CAPTURE(size);
        // Terms and partial sums of sines of whole numbers stay below 2; each order rounds `size` times.
        const double allowed = 2 * size * std::numeric_limits<double>::epsilon();
        CHECK(std::abs(tree[b] - expected) <= allowed);
        CHECK(std::abs(warps[b] - expected) <= allowed);
      }
    }
  });
}

TEST_CASE("the same bits in every order") {
  std::vector<float> x(4 * 250), first(4);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<float>(i));
  cuda_emulator::launch(&emulated::tree_sum<float>, 4, 250, 1000, nullptr, x.data(), first.data());
  in_every_order([&] {
    std::vector<float> again(4);
    cuda_emulator::launch(&emulated::tree_sum<float>, 4, 250, 1000, nullptr, x.data(), again.data());
    CHECK(again == first);
  });
}

TEST_CASE("many barriers in a row") {
  in_every_order([] {
    for (const unsigned size : {1u, 33u, 256u}) {
      std::vector<unsigned> out(2 * size);
      cuda_emulator::launch(&relay, 2, size, size * sizeof(unsigned), nullptr, out.data(), 20u);
      bool right = true;
      for (unsigned i = 0; i < out.size(); ++i) right = right && out[i] == (i % size + 20) % size + 20;
      CHECK(right);
    }
  });
}

TEST_CASE("votes of a block") {
  in_every_order([] {
    for (const unsigned size : sizes)
      for (const unsigned limit : {0u, 1u, size / 2, size}) {
        std::vector<int> any(2 * size), all(2 * size), count(2 * size);
        cuda_emulator::launch(&votes, 2, size, 0, nullptr, any.data(), all.data(), count.data(), limit);
        CHECK(any == std::vector<int>(2 * size, limit > 0 ? 1 : 0));
        CHECK(all == std::vector<int>(2 * size, limit >= size ? 1 : 0));
        CHECK(count == std::vector<int>(2 * size, static_cast<int>(limit)));
      }
  });
}

TEST_CASE("dynamic shared memory is aligned, and undefined anew in every block") {
  std::vector<float> as_float(3);
  std::vector<int> as_int(3);
  cuda_emulator::launch(&read_fresh_shared, 3, 1, 5 * sizeof(float), nullptr, as_float.data(), as_int.data());
  for (const float x : as_float) CHECK(std::isnan(x));
  for (const int x : as_int) CHECK((x != 0 && x != -1));
  for (const std::size_t bytes : {1u, 1000u, 100000u, 3u, 232448u}) {
    std::uintptr_t at = 1;
    cuda_emulator::launch(&shared_address, 1, 1, bytes, nullptr, &at);
    CHECK(at % 128 == 0);
  }
}

TEST_CASE("blocks of two dimensions") {
  in_every_order([] {
    constexpr unsigned n = 50;
    std::vector<float> in(n * n), out(n * n);
    std::iota(in.begin(), in.end(), 0.0f);
    cuda_emulator::launch(&emulated::transpose<16>, dim3(4, 4), dim3(16, 16), 0, nullptr, in.data(), out.data(), n);
    bool right = true;
    for (unsigned i = 0; i < n; ++i)
      for (unsigned j = 0; j < n; ++j) right = right && out[i * n + j] == in[j * n + i];
    CHECK(right);
  });
}
