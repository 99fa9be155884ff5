#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "kernels.hpp"

// Kernels with a mistake planted in each, which the emulator must find.
namespace {

__global__ void forgotten_barrier(int* out) {
  __shared__ int room[64];
  room[threadIdx.x] = 0;
  __syncthreads();
  room[threadIdx.x] = static_cast<int>(threadIdx.x);
  // here
  out[threadIdx.x] = room[63 - threadIdx.x];
}
__global__ void half_at_barrier(int* out) {
  if (threadIdx.x < 16) __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void early_exit(unsigned count) {
  if (threadIdx.x >= count) return;
  __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void two_kinds() {
  if (threadIdx.x == 7) __syncthreads();
  else __syncthreads_or(1);  // same barrier for the hardware, other meaning
}
__global__ void caller_left_out(int* out) { out[threadIdx.x] = __shfl_sync(0xfffeu, 1, 2); }
__global__ void exited_lane(int* out) {
  if (threadIdx.x == 40) return;
  out[threadIdx.x] = __shfl_xor_sync(emulated::all_lanes, 1, 1);
}
__global__ void lane_elsewhere(int* out) {
  if (threadIdx.x != 3) out[threadIdx.x] = __shfl_xor_sync(emulated::all_lanes, 1, 1);
  __syncthreads();
}
__global__ void masks_differ() { __syncwarp(threadIdx.x == 0 ? 0xffffffffu : 0xffffu | 1u << threadIdx.x); }
__global__ void operations_differ() {
  if (threadIdx.x < 8) __syncwarp();
  else __ballot_sync(emulated::all_lanes, 1);
}
__global__ void write_behind(unsigned at) {
  STROMA_DYNAMIC_SHARED(int, room);
  room[at] = 1;
}

/// Uses `bytes` of stack, in small steps.
__attribute__((noinline)) unsigned dig(std::uintptr_t from, std::size_t bytes) {
  volatile unsigned char here[256];
  for (volatile unsigned char& x : here) x = 1;
  const auto at = reinterpret_cast<std::uintptr_t>(&here[0]);
  return from - at > bytes ? here[7] : dig(from, bytes) + here[9];
}
__global__ void dig_deep(std::size_t bytes, unsigned* out) {
  const char top = 0;
  *out = dig(reinterpret_cast<std::uintptr_t>(&top), bytes);
}

/// What a launch throws. Under every order: the same mistake, if not the same thread.
template <class... P, class... A>
void check_found(const char* kind, const char* also, void (*kernel)(P...), unsigned threads, A... args) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    cuda_emulator::options how = cuda_emulator::settings();
    how.order_seed = seed;
    const cuda_emulator::settings_scope scope(how);
    std::string message;
    try {
      cuda_emulator::launch(kernel, dim3(1, 2), threads, 64, nullptr, args...);
    } catch (const cuda_emulator::error& e) {
      message = e.what();
    }
    CHECK_MESSAGE(message.find(kind) != std::string::npos, message);
    CHECK_MESSAGE(message.find(also) != std::string::npos, message);
    CHECK_MESSAGE(message.find("block (0, ") != std::string::npos, message);
  }
}

}  // namespace

TEST_CASE("a forgotten barrier shows in another order") {
  std::set<std::vector<int>> results;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    cuda_emulator::options how = cuda_emulator::settings();
    how.order_seed = seed;
    const cuda_emulator::settings_scope scope(how);
    std::vector<int> out(64);
    cuda_emulator::launch(&forgotten_barrier, 1, 64, 0, nullptr, out.data());
    results.insert(out);
  }
  CHECK(results.size() > 1);
}

TEST_CASE("divergent barriers") {
  std::vector<int> out(1024);
  check_found("divergent barrier", "has exited", &half_at_barrier, 64, out.data());
  check_found("divergent barrier", "mistakes.test.cpp:", &early_exit, 64, 40u);
  check_found("divergent barrier", "has exited", &early_exit, 250, 1u);
  check_found("divergent barrier", "waits in that of", &two_barriers, 32);
  check_found("divergent barrier", "waits in that of", &two_kinds, 32);
  check_found("divergent barrier", "thread (3, 0, 0)", &lane_elsewhere, 32, out.data());
  cuda_emulator::launch(&early_exit, 1, 64, 0, nullptr, 64u);
}

TEST_CASE("wrong masks") {
  std::vector<int> out(1024);
  check_found("lane outside mask", "thread (0, 0, 0)", &caller_left_out, 1, out.data());
  check_found("lane outside mask", "thread (", &caller_left_out, 32, out.data());
  check_found("exited lane in mask", "thread (40, 0, 0) has exited", &exited_lane, 64, out.data());
  check_found("deadlock", "another mask or operation", &masks_differ, 32);
  check_found("deadlock", "another mask or operation", &operations_differ, 32);
}

TEST_CASE("stacks that overflow") {
  unsigned depth = 0;
  const std::size_t room = cuda_emulator::settings().stack_bytes;
  cuda_emulator::launch(&dig_deep, 1, 2, 0, nullptr, room / 2, &depth);
  CHECK(depth > 0);
  check_found("stack overflow", "settings().stack_bytes", &dig_deep, 2, room + 512, &depth);
  cuda_emulator::options how = cuda_emulator::settings();
  how.stack_bytes = room * 2;
  const cuda_emulator::settings_scope scope(how);
  cuda_emulator::launch(&dig_deep, 1, 2, 0, nullptr, room + 512, &depth);
}

TEST_CASE("writing behind dynamic shared memory") {
  if (cuda_emulator::detail::has_asan) return;  // which ends the program: see planted/
  check_found("shared memory overrun", "wrote behind", &write_behind, 1, 16u);
  cuda_emulator::launch(&write_behind, 1, 1, 64, nullptr, 15u);
}

TEST_CASE("after every mistake kernels run as before") {
  std::vector<int> out(64);
  std::vector<double> x(64, 1.0), sum(1);
  for (int i = 0; i < 5; ++i) {
    CHECK_THROWS_AS(cuda_emulator::launch(&half_at_barrier, 1, 64, 0, nullptr, out.data()), cuda_emulator::error);
    CHECK_THROWS_AS(cuda_emulator::launch(&exited_lane, 1, 64, 0, nullptr, out.data()), cuda_emulator::error);
    cuda_emulator::launch(&emulated::tree_sum<double>, 1, 64, 512, nullptr, x.data(), sum.data());
    CHECK(sum[0] == 64);
  }
}
