#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "kernels.hpp"

namespace {

struct where {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};

__global__ void __launch_bounds__(1024) note_indices(where* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * (blockDim.x * blockDim.y * blockDim.z) + thread] = {threadIdx, blockIdx, blockDim, gridDim};
}
__global__ void count_calls(unsigned* calls) { atomicAdd(calls, 1u); }
__global__ void nothing() {}
__global__ void take(int a, double b, const char* c, float* out) { *out = static_cast<float>(a + b) + *c; }
__global__ void fail_at(unsigned block, unsigned thread) {
  __syncthreads();
  if (blockIdx.x == block && threadIdx.x == thread) throw std::out_of_range("here");
  __syncthreads();
}
__global__ void launch_inside() { cuda_emulator::launch(&nothing, 1, 1, 0, nullptr); }

int alive = 0;
struct counted {
  counted() { ++alive; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { --alive; }
};
__global__ void fail_with_objects() {
  const counted here;
  const std::vector<int> memory(100, 1);
  __syncthreads();
  if (threadIdx.x == 5) throw std::out_of_range("five");
  __syncthreads();
}

void check_indices(dim3 grid, dim3 block) {
  const unsigned blocks = grid.x * grid.y * grid.z, threads = block.x * block.y * block.z;
  std::vector<where> seen(std::size_t{blocks} * threads);
  cuda_emulator::launch(&note_indices, grid, block, 0, nullptr, seen.data());
  bool right = true;
  for (unsigned i = 0; i < seen.size(); ++i) {
    const where& w = seen[i];
    const unsigned b = i / threads, t = i % threads;
    right = right && w.thread.x == t % block.x && w.thread.y == t / block.x % block.y &&
            w.thread.z == t / block.x / block.y && w.block.x == b % grid.x && w.block.y == b / grid.x % grid.y &&
            w.block.z == b / grid.x / grid.y && w.block_dim.y == block.y && w.grid_dim.z == grid.z;
  }
  CHECK(right);
}

}  // namespace

TEST_CASE("every thread of a grid runs once and knows its place, in any order and on any number of workers") {
  for (const int workers : {1, 3})
    for (const std::uint64_t seed : {0u, 1u, 99u}) {
      cuda_emulator::options how = cuda_emulator::settings();
      how.workers = workers, how.order_seed = seed;
      const cuda_emulator::settings_scope scope(how);
      check_indices(1, 1);
      check_indices(7, 33);
      check_indices(dim3(3, 2), dim3(16, 16));
      check_indices(dim3(2, 3, 4), dim3(5, 3, 2));
      check_indices(dim3(1, 1, 5), dim3(2, 1, 64));
      check_indices(2, 1024);
      unsigned calls = 0;
      cuda_emulator::launch(&count_calls, dim3(10, 10), 50, 0, nullptr, &calls);
      CHECK(calls == 5000);
    }
}

TEST_CASE("arguments become the kernel's parameters") {
  float out = 0;
  const char c = 3;
  const short a = 1;
  cuda_emulator::launch(&take, 1, 1, 0, nullptr, a, 2.5f, &c, &out);
  CHECK(out == 6.5f);
}

TEST_CASE("what no device takes is not launched") {
  const auto refused = [](dim3 grid, dim3 block, std::size_t shared) {
    CHECK_THROWS_WITH_AS(cuda_emulator::launch(&nothing, grid, block, shared, nullptr),
                         doctest::Contains("invalid configuration"), cuda_emulator::error);
  };
  refused(0, 1, 0);
  refused(1, 0, 0);
  refused(1, 1025, 0);
  refused(1, dim3(32, 33), 0);
  refused(1, dim3(1, 1, 65), 0);
  refused(1, dim3(65536, 65536), 0);
  refused(dim3(1, 65536), 1, 0);
  refused(dim3(1, 1, 65536), 1, 0);
  refused(0x80000000u, 1, 0);
  refused(1, 1, 227 * 1024 + 1);
  cuda_emulator::launch(&nothing, dim3(1, 65535), 1, 227 * 1024 / 64, nullptr);
}

TEST_CASE("a kernel's exception reaches the caller, nothing leaks, and the next launch is as if nothing had been") {
  for (const int workers : {1, 2}) {
    cuda_emulator::options how = cuda_emulator::settings();
    how.workers = workers;
    const cuda_emulator::settings_scope scope(how);
    for (int i = 0; i < 3; ++i) {
      CHECK_THROWS_WITH_AS(cuda_emulator::launch(&fail_at, 4, 64, 0, nullptr, 2u, 40u), "here", std::out_of_range);
      check_indices(3, 100);
    }
  }
  CHECK_THROWS_AS(cuda_emulator::launch(&fail_with_objects, 1, 64, 0, nullptr), std::out_of_range);
  CHECK(alive == 0);
}

TEST_CASE("device functions belong into kernels, launches do not") {
  CHECK_THROWS_WITH_AS(__syncthreads(), doctest::Contains("outside of a kernel"), cuda_emulator::error);
  CHECK_THROWS_WITH_AS(static_cast<void>(__ballot_sync(1u, 1)), doctest::Contains("outside of a kernel"),
                       cuda_emulator::error);
  CHECK_THROWS_WITH_AS(cuda_emulator::launch(&launch_inside, 1, 1, 0, nullptr),
                       doctest::Contains("a kernel launched a kernel"), cuda_emulator::error);
}
