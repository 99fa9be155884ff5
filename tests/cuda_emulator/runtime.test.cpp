#include <cmath>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "kernels.hpp"
#include "support/counting_allocator.hpp"

namespace {

__global__ void nothing() {}

}  // namespace

TEST_CASE("device memory: fresh memory is undefined, copies and sets arrive, counters count") {
  const auto before = cuda_emulator::count();
  float* p = nullptr;
  REQUIRE(cudaMalloc(&p, 10 * sizeof(float)) == cudaSuccess);
  CHECK(reinterpret_cast<std::uintptr_t>(p) % 256 == 0);
  for (int i = 0; i < 10; ++i) CHECK(std::isnan(p[i]));
  auto now = cuda_emulator::count();
  CHECK(now.allocations == before.allocations + 1);
  CHECK(now.live_allocations == before.live_allocations + 1);
  CHECK(now.live_bytes == before.live_bytes + 40);

  const std::vector<float> in{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  std::vector<float> out(10);
  CHECK(cudaMemcpy(p, in.data(), 40, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemsetAsync(p + 2, 0, 8) == cudaSuccess);
  CHECK(cudaMemcpyAsync(p + 5, p, 12, cudaMemcpyDeviceToDevice, nullptr) == cudaSuccess);
  CHECK(cudaMemcpy(out.data(), p, 40, cudaMemcpyDefault) == cudaSuccess);
  CHECK(out == std::vector<float>{1, 2, 0, 0, 5, 1, 2, 0, 9, 10});
  CHECK(cuda_emulator::count().synchronisations == before.synchronisations + 2);

  CHECK(cudaFree(p) == cudaSuccess);
  now = cuda_emulator::count();
  CHECK(now.live_allocations == before.live_allocations);
  CHECK(now.live_bytes == before.live_bytes);
}

TEST_CASE("what is not the device's memory is refused") {
  std::vector<float> host(10);
  float* p = nullptr;
  REQUIRE(cudaMallocAsync(&p, 40, nullptr) == cudaSuccess);
  CHECK(cudaFree(host.data()) == cudaErrorInvalidValue);
  CHECK(cudaFree(p + 1) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaMemcpy(host.data(), host.data() + 5, 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(p, p + 1, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(p, host.data(), 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(p + 5, host.data(), 24, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(p, nullptr, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemset(host.data(), 0, 4) == cudaErrorInvalidValue);
  CHECK(cudaMemset(p, 0, 41) == cudaErrorInvalidValue);
  CHECK(cudaMemset(p, 0, 40) == cudaSuccess);
  CHECK(cudaFreeAsync(p, nullptr) == cudaSuccess);
  CHECK(cudaFree(p) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  static_cast<void>(cudaGetLastError());
}

TEST_CASE("allocations that fail") {
  void *a = nullptr, *b = nullptr, *c = nullptr;
  cuda_emulator::fail_allocation(2);
  CHECK(cudaMalloc(&a, 8) == cudaSuccess);
  CHECK(cudaMalloc(&b, 8) == cudaErrorMemoryAllocation);
  CHECK(b == nullptr);
  CHECK(cudaMalloc(&c, 8) == cudaSuccess);
  CHECK(cudaFree(a) == cudaSuccess);
  CHECK(cudaFree(c) == cudaSuccess);
  cuda_emulator::fail_allocation(1);
  CHECK(cudaMallocHost(&a, 8) == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&a, std::size_t{1} << 50) == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&a, std::size_t(-1)) == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&a, 0) == cudaSuccess);
  CHECK(a == nullptr);
  CHECK(cudaMallocHost(&a, 8) == cudaSuccess);
  CHECK(cudaFreeHost(a) == cudaSuccess);
  CHECK(std::strcmp(cudaGetErrorString(cudaGetLastError()), "out of memory") == 0);
}

TEST_CASE("streams and the device") {
  const auto before = cuda_emulator::count();
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  CHECK(stream != nullptr);
  cuda_emulator::launch(&nothing, 5, 32, 0, stream);
  cuda_emulator::launch(&nothing, 5, 32, 0, stream);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cuda_emulator::count().kernels == before.kernels + 2);
  CHECK(cuda_emulator::count().synchronisations == before.synchronisations + 2);
  int value = -1;
  CHECK(cudaGetDeviceCount(&value) == cudaSuccess);
  CHECK(value == 1);
  CHECK(cudaGetDevice(&value) == cudaSuccess);
  CHECK(value == 0);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess);
  CHECK(value == 2);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 1) == cudaErrorInvalidDevice);
  CHECK(cudaGetLastError() == cudaErrorInvalidDevice);
}

TEST_CASE("a launch takes no memory once fibers and shared memory are there") {
  const cuda_emulator::settings_scope plain({});
  std::vector<double> x(4 * 256, 1.0), sum(4);
  const auto launch = [&] {
    cuda_emulator::launch(&emulated::tree_sum<double>, 4, 256, 2048, nullptr, x.data(), sum.data());
    cuda_emulator::launch(&nothing, 8, 32, 0, nullptr);
  };
  launch();
  CHECK(allocations_in(launch) == 0);
}
