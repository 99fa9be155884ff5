#pragma once

// The CUDA language and runtime: nvcc's own, or the emulator's that tests bring along to run the same kernels on the
// host (docs/backends.md). The emulator speaks the same names, so nothing below this file asks which one it is, but
// launch() and the matrix product.
#if defined(__CUDACC__)
#include <cuda_runtime.h>
#elif defined(STROMA_CUDA_EMULATOR)
#include STROMA_CUDA_EMULATOR
#else
#error "stroma: a .cuh header needs nvcc"
#endif

#include <cstddef>
#include <string>
#include <string_view>

#include <stroma/core/error.hpp>

namespace stroma::detail {

/// Throws backend_error with the runtime's text and the call, unless it succeeded.
inline void cuda_check(cudaError_t status, std::string_view function, std::string_view call) {
  if (status == cudaSuccess) return;
  throw backend_error(error_message(function, call, cudaGetErrorString(status), "success"));
}

/// kernel<<<grid, block, shared_bytes, stream>>>(args...), checked. The one place where kernels are started.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream, A&&... args) {
#if defined(__CUDACC__)
  // More than this must be asked for.
  if (shared_bytes > 48 * 1024)
    cuda_check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)),
               "launch", "cudaFuncSetAttribute");
  cudaLaunchConfig_t how{};
  how.gridDim = grid;
  how.blockDim = block;
  how.dynamicSmemBytes = shared_bytes;
  how.stream = stream;
  cuda_check(cudaLaunchKernelEx(&how, kernel, P(args)...), "launch", "cudaLaunchKernelEx");
#else
  cuda_check(cuda_emulator::launch(kernel, grid, block, shared_bytes, stream, P(args)...), "launch", "a kernel");
#endif
}

}  // namespace stroma::detail
