#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "counters.hpp"
#include "launch.hpp"
#include "streams.hpp"
#include "types.hpp"

// The part of CUDA's runtime that the library and its tests call.

enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4,
};
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal = 0,
  cudaStreamCaptureModeThreadLocal = 1,
  cudaStreamCaptureModeRelaxed = 2,
};
enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone = 0,
  cudaStreamCaptureStatusActive = 1,
  cudaStreamCaptureStatusInvalidated = 2,
};
using cudaEvent_t = CUevent_st*;
using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraphExec_st*;
using cudaGraphNode_t = struct CUgraphNode_st*;
inline constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDefault = 0, cudaEventDisableTiming = 2;
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};

namespace cuda_emulator::detail {

inline constinit thread_local cudaError last_error = cudaSuccess;

inline cudaError report(cudaError status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

/// Device memory: every allocation is a malloc of its own, so that AddressSanitizer sees where it ends and whether it
/// is given back.
class device_memory {
 public:
  cudaError allocate(void** p, std::size_t bytes) {
    if (p == nullptr) return cudaErrorInvalidValue;
    *p = nullptr;
    if (bytes == 0) return cudaSuccess;
    const std::scoped_lock lock(mutex_);
    if (must_fail() || bytes > settings().device_bytes - std::min(settings().device_bytes, live_bytes()))
      return cudaErrorMemoryAllocation;
    void* fresh = nullptr;
    if (posix_memalign(&fresh, 256, bytes) != 0) return cudaErrorMemoryAllocation;
    fill_poison(fresh, bytes);
    sizes_.emplace(hidden(fresh), bytes);
    ++counts().allocations;
    ++counts().live_allocations;
    counts().live_bytes += bytes;
    *p = fresh;
    return cudaSuccess;
  }
  cudaError release(void* p) {
    if (p == nullptr) return cudaSuccess;
    const std::scoped_lock lock(mutex_);
    const auto at = sizes_.find(hidden(p));
    if (at == sizes_.end()) return cudaErrorInvalidValue;
    --counts().live_allocations;
    counts().live_bytes -= at->second;
    sizes_.erase(at);
    std::free(p);
    return cudaSuccess;
  }
  enum class side { host, device, astride };
  /// Where a range lies; astride: it reaches out of an allocation.
  [[nodiscard]] side side_of(const void* p, std::size_t bytes) {
    const std::scoped_lock lock(mutex_);
    const auto at = sizes_.lower_bound(hidden(p));  // of the allocations that start at p or before, the last
    if (at == sizes_.end()) return side::host;
    const std::uintptr_t offset = at->first - hidden(p);
    if (offset >= at->second) return side::host;
    return bytes <= at->second - offset ? side::device : side::astride;
  }
  static bool must_fail() {
    auto& failing = counts().failing;
    return failing > 0 && --failing == 0;
  }

 private:
  /// A leak checker that finds the address in the table would believe the memory in use.
  static std::uintptr_t hidden(const void* p) { return ~reinterpret_cast<std::uintptr_t>(p); }
  static std::size_t live_bytes() { return counts().live_bytes; }

  std::mutex mutex_;
  std::map<std::uintptr_t, std::size_t> sizes_;
};
/// Never destroyed: static objects may give memory back late.
inline device_memory& memory() {
  static device_memory& all = *new device_memory;
  return all;
}

/// What a copy is asked for. Pageable memory of the host: the copy from it has taken its bytes when the call returns,
/// the copy into it is done then, and the stream has come so far; a captured one reads and writes when it is launched.
inline cudaError copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidValue;
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || from == nullptr) return cudaErrorInvalidValue;
  using side = device_memory::side;
  const side source = memory().side_of(from, bytes), target = memory().side_of(to, bytes);
  if (source == side::astride || target == side::astride) return cudaErrorInvalidValue;
  if (kind != cudaMemcpyDefault) {
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if ((target == side::device) != to_device || (source == side::device) != from_device) return cudaErrorInvalidValue;
  }
  const auto run = [=] { std::memcpy(to, from, bytes); };
  if (streams().of(stream).recording != nullptr || !settings().deferred || source == target)
    return streams().submit(stream, run);
  if (target == side::host) {
    const cudaError status = streams().wait(stream);
    if (status == cudaSuccess) run();
    return status;
  }
  const auto* const first = static_cast<const unsigned char*>(from);
  return streams().submit(stream, [to, taken = std::vector<unsigned char>(first, first + bytes)] {
    std::memcpy(to, taken.data(), taken.size());
  });
}
inline cudaError set(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || memory().side_of(to, bytes) != device_memory::side::device) return cudaErrorInvalidValue;
  return streams().submit(stream, [=] { std::memset(to, value, bytes); });
}
inline cudaError release_later(void* p, cudaStream_t stream) {
  if (streams().of(stream).recording != nullptr) return streams().refuse(streams().of(stream));
  if (!settings().deferred) return memory().release(p);
  if (p != nullptr && memory().side_of(p, 1) != device_memory::side::device) return cudaErrorInvalidValue;
  return streams().submit(stream, [p] {
    if (memory().release(p) != cudaSuccess) throw error("cuda_emulator: memory given back twice");
  });
}

}  // namespace cuda_emulator::detail

inline const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorIllegalState:
      return "the operation cannot be performed in the present state";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureImplicit:
      return "operation would make the legacy stream depend on a capturing blocking stream";
  }
  return "unrecognized error code";
}
/// The last error of this thread, which is forgotten with that.
inline cudaError_t cudaGetLastError() { return std::exchange(cuda_emulator::detail::last_error, cudaSuccess); }
inline cudaError_t cudaPeekAtLastError() { return cuda_emulator::detail::last_error; }

inline cudaError_t cudaGetDeviceCount(int* count) {
  if (count == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  if (device == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  return cuda_emulator::detail::report(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return cuda_emulator::detail::report(cudaErrorInvalidDevice);
  if (value == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = 1024;
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = 2;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(cuda_emulator::max_shared_bytes);
      return cudaSuccess;
  }
  return cuda_emulator::detail::report(cudaErrorInvalidValue);
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (stream == nullptr || flags > cudaStreamNonBlocking) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  *stream = cuda_emulator::detail::streams().make(flags == cudaStreamDefault);
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  return cuda_emulator::detail::report(cuda_emulator::detail::streams().destroy(stream));
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  ++cuda_emulator::detail::counts().synchronisations;
  return cuda_emulator::detail::report(cuda_emulator::detail::streams().wait(stream));
}
inline cudaError_t cudaDeviceSynchronize() {
  ++cuda_emulator::detail::counts().synchronisations;
  return cuda_emulator::detail::report(cuda_emulator::detail::streams().wait_for_all());
}

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (event == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  *event = new CUevent_st;
  return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
/// Not in a capture, where CUDA would let other streams join.
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr) {
  using namespace cuda_emulator::detail;
  if (event == nullptr) return report(cudaErrorInvalidValue);
  if (streams().of(stream).recording != nullptr) return report(streams().refuse(streams().of(stream)));
  const auto here = event->last = std::make_shared<milestone>();
  return report(streams().submit(stream, [here] { here->reached = true; }));
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned = 0) {
  using namespace cuda_emulator::detail;
  if (event == nullptr) return report(cudaErrorInvalidValue);
  if (event->last == nullptr) return cudaSuccess;
  return report(streams().submit(
      stream, [] {}, event->last));
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  using namespace cuda_emulator::detail;
  if (event == nullptr) return report(cudaErrorInvalidValue);
  ++counts().synchronisations;
  return event->last == nullptr ? cudaSuccess : report(streams().wait(event->last));
}
inline cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  return event->last == nullptr || event->last->reached ? cudaSuccess : cudaErrorNotReady;
}

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return cuda_emulator::detail::report(
      cuda_emulator::detail::streams().begin_capture(stream, mode == cudaStreamCaptureModeRelaxed));
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (graph == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  return cuda_emulator::detail::report(cuda_emulator::detail::streams().end_capture(stream, graph));
}
inline cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (status == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  const CUstream_st& s = cuda_emulator::detail::streams().of(stream);
  *status = s.recording == nullptr ? cudaStreamCaptureStatusNone
            : s.broken             ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
/// The number of nodes; the nodes themselves are not to be had here.
inline cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (graph == nullptr || nodes != nullptr || count == nullptr)
    return cuda_emulator::detail::report(cudaErrorInvalidValue);
  *count = graph->nodes.size();
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long = 0) {
  if (executable == nullptr || graph == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (executable == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  for (const auto& node : executable->nodes)
    if (const cudaError status = cuda_emulator::detail::streams().submit(stream, node); status != cudaSuccess)
      return cuda_emulator::detail::report(status);
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

template <class T>
cudaError_t cudaMalloc(T** p, std::size_t bytes) {
  void* fresh = nullptr;
  cudaError status = cuda_emulator::detail::streams().unsafe_call();
  if (status == cudaSuccess) status = cuda_emulator::detail::memory().allocate(p != nullptr ? &fresh : nullptr, bytes);
  if (p != nullptr) *p = static_cast<T*>(fresh);
  return cuda_emulator::detail::report(status);
}
/// Waits for the device.
inline cudaError_t cudaFree(void* p) {
  if (p == nullptr) return cudaSuccess;
  cudaError status = cuda_emulator::detail::streams().wait_for_all();
  if (status == cudaSuccess) status = cuda_emulator::detail::memory().release(p);
  return cuda_emulator::detail::report(status);
}
/// Refused in a capture, stricter than CUDA: what is captured here is a step that has all its memory.
template <class T>
cudaError_t cudaMallocAsync(T** p, std::size_t bytes, cudaStream_t stream) {
  CUstream_st& s = cuda_emulator::detail::streams().of(stream);
  if (s.recording != nullptr) return cuda_emulator::detail::report(cuda_emulator::detail::streams().refuse(s));
  return cudaMalloc(p, bytes);
}
inline cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  return cuda_emulator::detail::report(cuda_emulator::detail::release_later(p, stream));
}

template <class T>
cudaError_t cudaMallocHost(T** p, std::size_t bytes) {
  if (p == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  *p = nullptr;
  if (bytes == 0) return cudaSuccess;
  void* const fresh = cuda_emulator::detail::device_memory::must_fail() ? nullptr : std::malloc(bytes);
  if (fresh == nullptr) return cuda_emulator::detail::report(cudaErrorMemoryAllocation);
  cuda_emulator::fill_poison(fresh, bytes);
  *p = static_cast<T*>(fresh);
  return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void* p) {
  std::free(p);
  return cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t stream = nullptr) {
  return cuda_emulator::detail::report(cuda_emulator::detail::copy(to, from, bytes, kind, stream));
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  ++cuda_emulator::detail::counts().synchronisations;
  const cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind);
  // Within the device the host does not wait, in CUDA neither.
  if (status != cudaSuccess || kind == cudaMemcpyDeviceToDevice) return status;
  return cuda_emulator::detail::report(cuda_emulator::detail::streams().wait(nullptr));
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream = nullptr) {
  return cuda_emulator::detail::report(cuda_emulator::detail::set(to, value, bytes, stream));
}
/// Does not wait, in CUDA neither.
inline cudaError_t cudaMemset(void* to, int value, std::size_t bytes) { return cudaMemsetAsync(to, value, bytes); }
