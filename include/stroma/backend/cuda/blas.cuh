#pragma once
#include <algorithm>

#include <stroma/backend/cuda/kernels.cuh>

/// Products of matrices on the device: cuBLAS, or what the emulator has in its place.
namespace stroma::detail {

/// A matrix as the product takes it: rows or columns of neighbouring elements, `step` elements apart.
template <class S>
struct gemm_operand {
  const S* data;
  index_t step;
  bool by_rows;
};
template <class S>
[[nodiscard]] bool is_gemm_operand(const matrix_view<const S, device_space>& m) {
  return (m.col_stride == 1 && (m.rows < 2 || m.row_stride >= m.cols)) ||
         (m.row_stride == 1 && (m.cols < 2 || m.col_stride >= m.rows));
}
template <class S>
[[nodiscard]] gemm_operand<S> as_gemm_operand(const matrix_view<const S, device_space>& m) {
  if (m.col_stride == 1 && (m.rows < 2 || m.row_stride >= m.cols))
    return {m.data, std::max(m.row_stride, m.cols), true};
  return {m.data, std::max(m.col_stride, m.rows), false};
}

#if defined(__CUDACC__)
template <class S>
inline constexpr cudaDataType_t cuda_type = CUDA_R_32F;
template <>
inline constexpr cudaDataType_t cuda_type<double> = CUDA_R_64F;
template <>
inline constexpr cudaDataType_t cuda_type<half> = CUDA_R_16F;
template <>
inline constexpr cudaDataType_t cuda_type<bfloat16> = CUDA_R_16BF;
#endif

/// c (= or +=) a b; a and b are operands, c has unit column stride, none is empty.
template <class S, class T>
void blas_gemm(cuda_context& ctx, const matrix_view<const S, device_space>& a,
               const matrix_view<const S, device_space>& b, const matrix_view<T, device_space>& c, bool add) {
  const auto left = as_gemm_operand(a), right = as_gemm_operand(b);
  const index_t c_step = std::max(c.row_stride, c.cols);
#if defined(__CUDACC__)
  const T one = 1, beta = add ? T(1) : T(0);
  const auto compute = std::is_same_v<T, double> ? CUBLAS_COMPUTE_64F
                       : std::is_same_v<S, float> && ctx.options().precision == matrix_precision::tf32
                           ? CUBLAS_COMPUTE_32F_FAST_TF32
                           : CUBLAS_COMPUTE_32F;
  // cuBLAS thinks in columns: it is given c^T = b^T a^T.
  const cublasStatus_t status =
      cublasGemmEx_64(ctx.blas(), right.by_rows ? CUBLAS_OP_N : CUBLAS_OP_T, left.by_rows ? CUBLAS_OP_N : CUBLAS_OP_T,
                      c.cols, c.rows, a.cols, &one, right.data, cuda_type<S>, right.step, left.data, cuda_type<S>,
                      left.step, &beta, c.data, cuda_type<T>, c_step, compute, CUBLAS_GEMM_DEFAULT);
  if (status != CUBLAS_STATUS_SUCCESS)
    throw backend_error(error_message("gemm", "cublasGemmEx", cublasGetStatusString(status), "success"));
#else
  cuda_emulator::gemm(ctx.stream(), c.rows, c.cols, a.cols, left.data, left.step, left.by_rows, right.data, right.step,
                      right.by_rows, c.data, c_step, add);
#endif
}

}  // namespace stroma::detail
