#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/backend/cuda/platform.cuh>
#include <stroma/backend/primitives.hpp>
#include <stroma/core/error.hpp>
#include <stroma/core/workspace.hpp>

#if defined(__CUDACC__)
#include <cublas_v2.h>
#endif

namespace stroma {

/// Device memory from the pool of a stream: given back memory is reused in the stream's order, without waiting.
struct device_resource {
  cudaStream_t stream{};

  [[nodiscard]] void* allocate(std::size_t bytes) const {
    void* p = nullptr;
    detail::cuda_check(cudaMallocAsync(&p, bytes, stream), "device_resource::allocate",
                       "cudaMallocAsync of " + std::to_string(bytes) + " bytes");
    return p;
  }
  bool deallocate(void* p, std::size_t) const noexcept { return cudaFreeAsync(p, stream) == cudaSuccess; }
};

namespace detail {

/// The first element that a check found wrong. All bits set: none, and no check is under way.
struct device_fault {
  unsigned long long at;
  double value;
  unsigned unrecorded;  // becomes 0 with the value
  unsigned ended;       // blocks of the check that runs, less one
};
inline constexpr unsigned long long no_fault = ~0ULL;
inline constexpr unsigned no_block = ~0U;

/// What a device's checks have found and nobody was told yet. A check is a kernel that notes the first wrong element
/// in a slot of its own; slots are read where the host waits anyway.
class fault_log {
 public:
  struct entry {
    std::string_view function, argument;  ///< literals: they outlive the log
    void (*raise)(const entry&, index_t at, double value);
    index_t extent;  ///< of what was checked, for the message
    friend bool operator==(const entry&, const entry&) = default;
  };

  fault_log() = default;
  fault_log(const fault_log&) = delete;
  fault_log& operator=(const fault_log&) = delete;

  /// The slot of a check; the same for the same check. The 257th waits for the device and empties the log.
  device_fault* slot(const device_resource& memory, const entry& e) {
    if (device_ == nullptr) {
      device_ = static_cast<device_fault*>(memory.allocate(capacity * sizeof(device_fault)));
      clear(memory.stream);
    }
    for (std::size_t i = 0; i < entries_.size(); ++i)
      if (entries_[i] == e) return device_ + i;
    if (entries_.size() == capacity) report(memory.stream);
    entries_.push_back(e);
    return device_ + (entries_.size() - 1);
  }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  /// Waits for the stream and throws the first fault, in the order of the checks' first calls.
  void report(cudaStream_t stream) {
    if (entries_.empty()) return;
    std::vector<device_fault> found(entries_.size());
    cuda_check(
        cudaMemcpyAsync(found.data(), device_, found.size() * sizeof(device_fault), cudaMemcpyDeviceToHost, stream),
        "cuda_context::synchronize", "cudaMemcpyAsync");
    cuda_check(cudaStreamSynchronize(stream), "cuda_context::synchronize", "cudaStreamSynchronize");
    const auto first = std::find_if(found.begin(), found.end(), [](const device_fault& f) { return f.at != no_fault; });
    const auto entries = entries_;
    if (entries_.size() == capacity) entries_.clear();
    if (first == found.end()) return;
    clear(stream);
    const entry& e = entries[static_cast<std::size_t>(first - found.begin())];
    e.raise(e, static_cast<index_t>(first->at), first->value);
  }
  void release(const device_resource& memory) noexcept {
    if (device_ != nullptr) memory.deallocate(device_, capacity * sizeof(device_fault));
    device_ = nullptr;
  }

 private:
  static constexpr std::size_t capacity = 256;
  void clear(cudaStream_t stream) {
    cuda_check(cudaMemsetAsync(device_, 0xff, capacity * sizeof(device_fault), stream), "cuda_context",
               "cudaMemsetAsync");
  }
  std::vector<entry> entries_;
  device_fault* device_ = nullptr;
};

}  // namespace detail

/// How products of matrices are computed. full: in the scalar of the result; half is widened before, and beside
/// bfloat16 a float is split into three parts of 8 bits, whose products are exact and are summed in float. tf32:
/// products of float may round their factors to 10 bits. storage: where one factor is stored in 16 bits the other is
/// rounded to that type and tensor cores multiply; sums are kept in float.
enum class matrix_precision { full, tf32, storage };

struct cuda_options {
  matrix_precision precision = matrix_precision::full;
};

/// Runs on a device, in the order of the caller's stream, which it does not own and which must outlive it. Nothing
/// waits for the device but synchronize() and what returns a value to the host.
///
/// Checks of values (a NaN feature, an offset out of range) are made on the device and reported, as the exceptions that
/// the host's functions throw at once, by the next call that waits. Until then what was computed from such values is
/// without meaning; no memory is touched out of bounds.
///
/// Not thread-safe: one for each calling thread. Several contexts may work on several streams at once. A step that has
/// run twice may be captured in a CUDA graph (docs/backends.md): it allocates nothing and waits for nothing.
class cuda_context {
 public:
  using backend = stroma::backend::cuda;
  using space = device_space;
  using resource = device_resource;

  explicit cuda_context(cudaStream_t stream = nullptr, const cuda_options& options = {})
      : memory_{stream}, options_(options), workspace_(memory_) {
    int device = 0;
    detail::cuda_check(cudaGetDevice(&device), "cuda_context", "cudaGetDevice");
    detail::cuda_check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device),
                       "cuda_context", "cudaDeviceGetAttribute");
  }
  cuda_context(const cuda_context&) = delete;
  cuda_context& operator=(const cuda_context&) = delete;
  ~cuda_context() {
    faults_.release(memory_);
#if defined(__CUDACC__)
    if (blas_ != nullptr) static_cast<void>(cublasDestroy(blas_));
    if (blas_memory_ != nullptr) memory_.deallocate(blas_memory_, blas_bytes);
#endif
  }

  [[nodiscard]] cudaStream_t stream() const noexcept { return memory_.stream; }
  [[nodiscard]] const cuda_options& options() const noexcept { return options_; }
  [[nodiscard]] int multiprocessors() const noexcept { return multiprocessors_; }
  [[nodiscard]] basic_workspace<device_resource>& workspace() noexcept { return workspace_; }
  /// Scratch of the host, for what it needs to start kernels.
  [[nodiscard]] stroma::workspace& host_workspace() noexcept { return host_workspace_; }
  [[nodiscard]] device_resource memory() const noexcept { return memory_; }
  [[nodiscard]] detail::fault_log& faults() noexcept { return faults_; }

  /// Waits for all that was asked of the stream.
  /// @throws shape_error, value_error  what checks have found since the last time   @throws backend_error
  void synchronize() {
    if (!faults_.empty()) return faults_.report(stream());
    detail::cuda_check(cudaStreamSynchronize(stream()), "cuda_context::synchronize", "cudaStreamSynchronize");
  }

#if defined(__CUDACC__)
  /// Made at the first product.
  [[nodiscard]] cublasHandle_t blas() {
    if (blas_ != nullptr) return blas_;
    if (cublasCreate(&blas_) != CUBLAS_STATUS_SUCCESS)
      throw backend_error(error_message("cuda_context::blas", "cublasCreate", "failure", "success"));
    // Memory of its own: what cuBLAS takes by itself is not allowed while a stream is captured.
    blas_memory_ = memory_.allocate(blas_bytes);
    if (cublasSetStream(blas_, stream()) != CUBLAS_STATUS_SUCCESS ||
        cublasSetWorkspace(blas_, blas_memory_, blas_bytes) != CUBLAS_STATUS_SUCCESS)
      throw backend_error(error_message("cuda_context::blas", "cublasSetWorkspace", "failure", "success"));
    return blas_;
  }
#endif

 private:
  device_resource memory_;
  cuda_options options_;
  int multiprocessors_ = 1;
  basic_workspace<device_resource> workspace_;
  stroma::workspace host_workspace_;
  detail::fault_log faults_;
#if defined(__CUDACC__)
  static constexpr std::size_t blas_bytes = std::size_t{32} << 20;
  cublasHandle_t blas_ = nullptr;
  void* blas_memory_ = nullptr;
#endif
};

template <>
struct context_for<backend::cuda> {
  using type = cuda_context;
};

}  // namespace stroma
