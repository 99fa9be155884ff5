#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "counters.hpp"
#include "launch.hpp"
#include "types.hpp"

// The part of CUDA's runtime that the library calls. All is done when a call returns, streams or not: what a program
// would read too early on a device, it reads right here.

enum cudaError {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDevice = 101,
};
using cudaError_t = cudaError;
enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4,
};
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

inline bool fits(const void* p, std::size_t bytes, bool on_device) {
  return memory().side_of(p, bytes) == (on_device ? device_memory::side::device : device_memory::side::host);
}
inline cudaError copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidValue;
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || from == nullptr) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDefault) {
    if (memory().side_of(to, bytes) == device_memory::side::astride ||
        memory().side_of(from, bytes) == device_memory::side::astride)
      return cudaErrorInvalidValue;
  } else {
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (!fits(to, bytes, to_device) || !fits(from, bytes, from_device)) return cudaErrorInvalidValue;
  }
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError set(void* to, int value, std::size_t bytes) {
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || !fits(to, bytes, true)) return cudaErrorInvalidValue;
  std::memset(to, value, bytes);
  return cudaSuccess;
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

inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  if (stream == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  *stream = new CUstream_st;
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return cuda_emulator::detail::report(cudaErrorInvalidValue);
  delete stream;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  ++cuda_emulator::detail::counts().synchronisations;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceSynchronize() {
  ++cuda_emulator::detail::counts().synchronisations;
  return cudaSuccess;
}

template <class T>
cudaError_t cudaMalloc(T** p, std::size_t bytes) {
  void* fresh = nullptr;
  const cudaError status = cuda_emulator::detail::memory().allocate(p != nullptr ? &fresh : nullptr, bytes);
  if (p != nullptr) *p = static_cast<T*>(fresh);
  return cuda_emulator::detail::report(status);
}
inline cudaError_t cudaFree(void* p) {
  return cuda_emulator::detail::report(cuda_emulator::detail::memory().release(p));
}
template <class T>
cudaError_t cudaMallocAsync(T** p, std::size_t bytes, cudaStream_t) {
  return cudaMalloc(p, bytes);
}
inline cudaError_t cudaFreeAsync(void* p, cudaStream_t) { return cudaFree(p); }

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
                                   cudaStream_t = nullptr) {
  return cuda_emulator::detail::report(cuda_emulator::detail::copy(to, from, bytes, kind));
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  ++cuda_emulator::detail::counts().synchronisations;
  return cudaMemcpyAsync(to, from, bytes, kind);
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t = nullptr) {
  return cuda_emulator::detail::report(cuda_emulator::detail::set(to, value, bytes));
}
/// Does not wait, in CUDA neither.
inline cudaError_t cudaMemset(void* to, int value, std::size_t bytes) { return cudaMemsetAsync(to, value, bytes); }
