#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

#include "kernels.hpp"

namespace {

__global__ void store(float value, float* to) { *to = value; }
__global__ void add_to(const float* from, float* to) { *to += *from; }
__global__ void copy_to(const float* from, float* to) { *to = *from; }
__global__ void fail() { throw std::out_of_range("late"); }

cuda_emulator::options deferred(std::uint64_t seed) {
  cuda_emulator::options how;
  how.deferred = true;
  how.order_seed = seed;
  return how;
}
constexpr std::array<std::uint64_t, 8> seeds{0, 1, 2, 3, 4, 5, 6, 7};

/// Two streams, an event and some numbers on the device, 0 at first.
struct device {
  cudaStream_t a = nullptr, b = nullptr;
  cudaEvent_t event = nullptr;
  float* x = nullptr;
  explicit device(unsigned flags = cudaStreamNonBlocking) {
    REQUIRE(cudaStreamCreateWithFlags(&a, flags) == cudaSuccess);
    REQUIRE(cudaStreamCreateWithFlags(&b, flags) == cudaSuccess);
    REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
    REQUIRE(cudaMalloc(&x, 8 * sizeof(float)) == cudaSuccess);
    REQUIRE(cudaMemset(x, 0, 8 * sizeof(float)) == cudaSuccess);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  }
  device(const device&) = delete;
  device& operator=(const device&) = delete;
  ~device() {
    static_cast<void>(cudaFree(x));
    static_cast<void>(cudaEventDestroy(event));
    static_cast<void>(cudaStreamDestroy(a));
    static_cast<void>(cudaStreamDestroy(b));
  }
};
template <class... P, class... A>
void run(cudaStream_t stream, void (*kernel)(P...), A... arguments) {
  cuda_emulator::launch(kernel, 1, 1, 0, stream, arguments...);
}

/// One stream's number reaches another one, through an event or, as planted, not.
float handed_over(std::uint64_t seed, bool through_event) {
  const cuda_emulator::settings_scope scope(deferred(seed));
  const device d;
  run(d.a, &store, 3.0f, d.x);
  run(d.a, &add_to, d.x, d.x);
  if (through_event) {
    CHECK(cudaEventRecord(d.event, d.a) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(d.b, d.event) == cudaSuccess);
  }
  run(d.b, &copy_to, static_cast<const float*>(d.x), d.x + 1);
  CHECK(cudaStreamSynchronize(d.b) == cudaSuccess);
  float found = -1;
  CHECK(cudaMemcpyAsync(&found, d.x + 1, sizeof found, cudaMemcpyDeviceToHost, d.b) == cudaSuccess);
  return found;
}

}  // namespace

TEST_CASE("what is asked of a stream is done, in its order, when the host waits") {
  for (const std::uint64_t seed : seeds) {
    const cuda_emulator::settings_scope scope(deferred(seed));
    const device d;
    run(d.a, &store, 2.0f, d.x);
    run(d.a, &add_to, d.x, d.x);
    CHECK(cudaMemsetAsync(d.x + 1, 0xff, 4, d.a) == cudaSuccess);
    CHECK(cudaMemcpyAsync(d.x + 2, d.x, 4, cudaMemcpyDeviceToDevice, d.a) == cudaSuccess);
    run(d.a, &add_to, d.x, d.x);
    CHECK(d.x[0] == 0);
    CHECK(d.x[2] == 0);
    CHECK(cudaStreamSynchronize(d.a) == cudaSuccess);
    CHECK(d.x[0] == 8);
    CHECK(std::isnan(d.x[1]));
    CHECK(d.x[2] == 4);
  }
}

TEST_CASE("a copy takes its bytes from the host at once, and is there when it brings some back") {
  const cuda_emulator::settings_scope scope(deferred(0));
  const device d;
  float number = 5, found = 0;
  CHECK(cudaMemcpyAsync(d.x, &number, 4, cudaMemcpyHostToDevice, d.a) == cudaSuccess);
  number = 6;
  CHECK(d.x[0] == 0);
  CHECK(cudaMemcpyAsync(&found, d.x, 4, cudaMemcpyDeviceToHost, d.a) == cudaSuccess);
  CHECK(found == 5);
}

TEST_CASE("planted: reading another stream's result without an event is found, with one it is right in every order") {
  int wrong = 0;
  for (const std::uint64_t seed : seeds) {
    CHECK(handed_over(seed, true) == 6);
    wrong += handed_over(seed, false) != 6 ? 1 : 0;
  }
  CHECK(handed_over(0, false) == 0);  // of two streams, the one that is not waited for does nothing
  CHECK(wrong > 1);
}

TEST_CASE("events: what is not recorded is not waited for; the host may wait for one") {
  const cuda_emulator::settings_scope scope(deferred(0));
  const device d;
  CHECK(cudaEventQuery(d.event) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(d.b, d.event) == cudaSuccess);
  CHECK(cudaEventSynchronize(d.event) == cudaSuccess);
  run(d.a, &store, 1.0f, d.x);
  CHECK(cudaEventRecord(d.event, d.a) == cudaSuccess);
  run(d.a, &store, 2.0f, d.x);
  CHECK(cudaEventQuery(d.event) == cudaErrorNotReady);
  CHECK(cudaEventSynchronize(d.event) == cudaSuccess);
  CHECK(d.x[0] == 1);
  CHECK(cudaEventQuery(d.event) == cudaSuccess);
}

TEST_CASE("the default stream waits for blocking streams and they for it, others do not") {
  for (const std::uint64_t seed : seeds) {
    const cuda_emulator::settings_scope scope(deferred(seed));
    const device blocking(cudaStreamDefault);
    run(blocking.a, &store, 1.0f, blocking.x);
    run(nullptr, &add_to, blocking.x, blocking.x);
    run(blocking.b, &add_to, blocking.x, blocking.x);
    CHECK(cudaStreamSynchronize(blocking.b) == cudaSuccess);
    CHECK(blocking.x[0] == 4);
  }
  const cuda_emulator::settings_scope scope(deferred(0));
  const device free;
  run(free.a, &store, 1.0f, free.x);
  run(nullptr, &add_to, free.x, free.x);
  CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess);
  CHECK(free.x[0] == 0);
}

TEST_CASE("memory given back in a stream's order; a mistake is told to who waits") {
  const cuda_emulator::settings_scope scope(deferred(0));
  const device d;
  float* p = nullptr;
  REQUIRE(cudaMallocAsync(&p, 4, d.a) == cudaSuccess);
  run(d.a, &store, 1.0f, p);
  run(d.a, &copy_to, static_cast<const float*>(p), d.x);
  const auto before = cuda_emulator::count().live_allocations;
  CHECK(cudaFreeAsync(p, d.a) == cudaSuccess);
  CHECK(cuda_emulator::count().live_allocations == before);
  CHECK(cudaStreamSynchronize(d.a) == cudaSuccess);
  CHECK(cuda_emulator::count().live_allocations == before - 1);
  CHECK(d.x[0] == 1);
  CHECK(cudaFreeAsync(p, d.a) == cudaErrorInvalidValue);
  run(d.a, &fail);
  run(d.a, &store, 2.0f, d.x);
  CHECK_THROWS_WITH_AS(static_cast<void>(cudaStreamSynchronize(d.a)), "late", std::out_of_range);
  CHECK(cudaStreamSynchronize(d.a) == cudaSuccess);
  CHECK(d.x[0] == 2);
  static_cast<void>(cudaGetLastError());
}

TEST_CASE("a captured stream records; every launch runs what was recorded, with the arguments of then") {
  for (const bool defers : {false, true}) {
    cuda_emulator::options how;
    how.deferred = defers;
    const cuda_emulator::settings_scope scope(how);
    const device d;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t step = nullptr;
    float number = 1;
    REQUIRE(cudaStreamBeginCapture(d.a, cudaStreamCaptureModeGlobal) == cudaSuccess);
    run(d.a, &store, number, d.x + 1);
    number = 100;
    run(d.a, &add_to, d.x + 1, d.x);
    CHECK(cudaMemcpyAsync(d.x + 2, d.x, 4, cudaMemcpyDeviceToDevice, d.a) == cudaSuccess);
    run(d.b, &store, 7.0f, d.x + 3);  // another stream is not captured
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    CHECK(cudaStreamIsCapturing(d.a, &status) == cudaSuccess);
    CHECK(status == cudaStreamCaptureStatusActive);
    REQUIRE(cudaStreamEndCapture(d.a, &graph) == cudaSuccess);
    std::size_t nodes = 0;
    CHECK(cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess);
    CHECK(nodes == 3);
    REQUIRE(cudaGraphInstantiate(&step, graph) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(d.x[0] == 0);
    CHECK(d.x[3] == 7);
    for (int i = 0; i < 3; ++i) CHECK(cudaGraphLaunch(step, d.b) == cudaSuccess);
    CHECK(d.x[0] == (defers ? 0 : 3));
    CHECK(cudaStreamSynchronize(d.b) == cudaSuccess);
    CHECK(d.x[0] == 3);
    CHECK(d.x[2] == 3);
    CHECK(cudaGraphExecDestroy(step) == cudaSuccess);
  }
}

TEST_CASE("what a capture may not hold breaks it") {
  const device d;
  float *p = nullptr, *none = nullptr;
  float found = 0;
  const auto broken = [&](cudaError_t expected, const auto& call) {
    REQUIRE(cudaStreamBeginCapture(d.a, cudaStreamCaptureModeGlobal) == cudaSuccess);
    run(d.a, &store, 1.0f, d.x);
    CHECK(call() == expected);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    CHECK(cudaStreamIsCapturing(d.a, &status) == cudaSuccess);
    CHECK(status == cudaStreamCaptureStatusInvalidated);
    CHECK(cudaMemsetAsync(d.x, 0, sizeof(float), d.a) == cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(d.a, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
  };
  REQUIRE(cudaMalloc(&p, 4) == cudaSuccess);
  broken(cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamSynchronize(d.a); });
  broken(cudaErrorStreamCaptureUnsupported, [&] { return cudaDeviceSynchronize(); });
  broken(cudaErrorStreamCaptureUnsupported, [&] { return cudaMallocAsync(&none, 4, d.a); });
  broken(cudaErrorStreamCaptureUnsupported, [&] { return cudaMalloc(&none, 4); });
  broken(cudaErrorStreamCaptureUnsupported, [&] { return cudaFreeAsync(p, d.a); });
  broken(cudaErrorStreamCaptureUnsupported, [&] { return cudaFree(p); });
  broken(cudaErrorStreamCaptureUnsupported, [&] { return cudaEventRecord(d.event, d.a); });
  broken(cudaErrorStreamCaptureImplicit, [&] { return cudaMemcpy(&found, d.x, sizeof found, cudaMemcpyDeviceToHost); });
  broken(cudaErrorStreamCaptureImplicit, [&] { return cudaStreamSynchronize(nullptr); });
  CHECK(cudaFree(p) == cudaSuccess);

  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(d.a, &graph) == cudaErrorIllegalState);
  REQUIRE(cudaStreamBeginCapture(d.a, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(d.a, cudaStreamCaptureModeRelaxed) == cudaErrorIllegalState);
  CHECK(cudaMalloc(&p, 4) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaStreamEndCapture(d.a, &graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  static_cast<void>(cudaGetLastError());
}
