#include <cmath>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "kernels.hpp"

namespace {

struct shuffled {
  int direct, exclusive, up, down;
};

__global__ void shuffle_all(shuffled* out, unsigned by, int width) {
  const int mine = static_cast<int>(threadIdx.x) * 10;
  const unsigned mask = emulated::present_lanes();
  shuffled& s = out[threadIdx.x];
  s.direct = __shfl_sync(mask, mine, static_cast<int>(by), width);
  s.exclusive = __shfl_xor_sync(mask, mine, static_cast<int>(by), width);
  s.up = __shfl_up_sync(mask, mine, by, width);
  s.down = __shfl_down_sync(mask, mine, by, width);
}
template <class T>
__global__ void shuffle_type(T* out) {
  out[threadIdx.x] = __shfl_xor_sync(emulated::all_lanes, static_cast<T>(threadIdx.x + 0.5), 1);
}
__global__ void ballots(unsigned* ballot, int* any, int* all, unsigned limit) {
  const unsigned mask = emulated::present_lanes();
  const int below = threadIdx.x % 32 < limit ? 5 : 0;
  ballot[threadIdx.x] = __ballot_sync(mask, below);
  any[threadIdx.x] = __any_sync(mask, below);
  all[threadIdx.x] = __all_sync(mask, below);
}
/// The lower half of a warp calls more often than the upper, then both together.
__global__ void uneven_halves(int* out) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;
  int mine = static_cast<int>(lane);
  for (int i = 0; i < (lane < 16 ? 5 : 2); ++i) mine += __shfl_xor_sync(half, mine, 1);
  mine += __shfl_xor_sync(emulated::all_lanes, mine, 16);
  out[threadIdx.x] = mine;
}
__global__ void read_absent(float* out) { out[threadIdx.x] = __shfl_down_sync(emulated::all_lanes, 1.0f, 16); }
__global__ void read_unnamed(float* out) {
  if (threadIdx.x < 8) out[threadIdx.x] = __shfl_down_sync(0xffu, 1.0f, 4);
}

/// What the manual says of lane `lane`, when all 32 take part.
shuffled expected(int lane, int by, int width) {
  const int first = lane / width * width;
  const int other = lane ^ by;
  return {(first + by % width) * 10, (other / width <= lane / width ? other : lane) * 10,
          (lane - by >= first ? lane - by : lane) * 10, (lane + by < first + width ? lane + by : lane) * 10};
}

}  // namespace

TEST_CASE("shuffles of all widths") {
  for (const std::uint64_t seed : {0u, 5u})
    for (int width = 1; width <= 32; width *= 2)
      for (unsigned by = 0; by < 32; ++by) {
        cuda_emulator::options how = cuda_emulator::settings();
        how.order_seed = seed;
        const cuda_emulator::settings_scope scope(how);
        std::vector<shuffled> out(32);
        cuda_emulator::launch(&shuffle_all, 1, 32, 0, nullptr, out.data(), by, width);
        bool right = true;
        for (int lane = 0; lane < 32; ++lane) {
          const shuffled e = expected(lane, static_cast<int>(by), width), &s = out[static_cast<std::size_t>(lane)];
          right = right && s.direct == e.direct && s.exclusive == e.exclusive && s.up == e.up && s.down == e.down;
        }
        CAPTURE(width);
        CAPTURE(by);
        CHECK(right);
      }
}

TEST_CASE("shuffles of all types") {
  const auto check = [](auto zero) {
    using T = decltype(zero);
    std::vector<T> out(32);
    cuda_emulator::launch(&shuffle_type<T>, 1, 32, 0, nullptr, out.data());
    for (unsigned i = 0; i < 32; ++i) CHECK(out[i] == static_cast<T>((i ^ 1) + 0.5));
  };
  check(int{});
  check(unsigned{});
  check(float{});
  check(double{});
  check(0LL);
  check(std::uint8_t{});
}

TEST_CASE("votes of whole and partial warps") {
  for (const unsigned size : {1u, 31u, 32u, 33u, 250u, 1024u})
    for (const unsigned limit : {0u, 1u, 7u, 32u}) {
      std::vector<unsigned> ballot(size);
      std::vector<int> any(size), all(size);
      cuda_emulator::launch(&ballots, 1, size, 0, nullptr, ballot.data(), any.data(), all.data(), limit);
      bool right = true;
      for (unsigned i = 0; i < size; ++i) {
        const unsigned lanes = std::min(32u, size - i / 32 * 32), voting = std::min(lanes, limit);
        const unsigned expected_bits = voting == 32 ? ~0u : (1u << voting) - 1;
        right = right && ballot[i] == expected_bits && any[i] == (voting > 0) && all[i] == (voting == lanes);
      }
      CHECK(right);
    }
}

TEST_CASE("parts of a warp go their own ways") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    cuda_emulator::options how = cuda_emulator::settings();
    how.order_seed = seed;
    const cuda_emulator::settings_scope scope(how);
    std::vector<int> out(64);
    cuda_emulator::launch(&uneven_halves, 1, 64, 0, nullptr, out.data());
    bool right = true;
    for (int i = 0; i < 64; ++i) {
      // A pair's sum doubles with every round.
      const int low = i % 16 / 2 * 2;
      right = right && out[static_cast<std::size_t>(i)] == (2 * low + 1) * 16 + (2 * (low + 16) + 1) * 2;
    }
    CHECK(right);
  }
}

TEST_CASE("what a lane reads that takes no part is undefined") {
  std::vector<float> out(16);
  cuda_emulator::launch(&read_absent, 1, 16, 0, nullptr, out.data());
  for (const float x : out) CHECK(std::isnan(x));
  cuda_emulator::launch(&read_unnamed, 1, 32, 0, nullptr, out.data());
  for (std::size_t i = 0; i < 8; ++i) CHECK(std::isnan(out[i]) == (i >= 4));
}

TEST_CASE("__syncwarp orders shared memory within a warp") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    cuda_emulator::options how = cuda_emulator::settings();
    how.order_seed = seed;
    const cuda_emulator::settings_scope scope(how);
    std::vector<unsigned> out(128);
    cuda_emulator::launch(&emulated::warp_ring<0>, 2, 64, 0, nullptr, out.data(), 5);
    bool right = true;
    for (unsigned i = 0; i < 128; ++i) right = right && out[i] == i % 64 / 32 * 32 + (i + 5) % 32;
    CHECK(right);
  }
}
