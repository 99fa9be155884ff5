#pragma once
#include <type_traits>

#include <Eigen/Core>

#include <stroma/core/half.hpp>
#include <stroma/core/view.hpp>

#include "streams.hpp"

namespace cuda_emulator {

namespace detail {

template <class T>
using row_matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// One factor in T: as it lies, or a widened copy.
template <class T, class S>
auto factor(const S* data, stroma::index_t rows, stroma::index_t cols, stroma::index_t step, bool by_rows) {
  const Eigen::Index outer = by_rows ? step : 1, inner = by_rows ? 1 : step;
  if constexpr (std::is_same_v<S, T>) {
    using strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    return Eigen::Map<const row_matrix<T>, 0, strides>(data, rows, cols, strides(outer, inner));
  } else {
    row_matrix<T> wide(rows, cols);
    for (stroma::index_t i = 0; i < rows; ++i)
      for (stroma::index_t j = 0; j < cols; ++j) wide(i, j) = stroma::widen<T>(data[i * outer + j * inner]);
    return wide;
  }
}

}  // namespace detail

/// What cuBLAS does on a device: c (= or +=) a b, in T. c is [m x n] by rows, c_step apart; a is [m x k] and b [k x n],
/// by rows or by columns, their steps apart.
template <class S, class T>
void gemm(cudaStream_t stream, stroma::index_t m, stroma::index_t n, stroma::index_t k, const S* a,
          stroma::index_t a_step, bool a_by_rows, const S* b, stroma::index_t b_step, bool b_by_rows, T* c,
          stroma::index_t c_step, bool add) {
  const cudaError status = detail::streams().submit(stream, [=] {
    const auto left = detail::factor<T>(a, m, k, a_step, a_by_rows);
    const auto right = detail::factor<T>(b, k, n, b_step, b_by_rows);
    Eigen::Map<detail::row_matrix<T>, 0, Eigen::OuterStride<>> out(c, m, n, Eigen::OuterStride<>(c_step));
    if (add) out.noalias() += left * right;
    else out.noalias() = left * right;
  });
  if (status != cudaSuccess) throw error("cuda_emulator: gemm in the default stream while another stream is captured");
}

}  // namespace cuda_emulator
