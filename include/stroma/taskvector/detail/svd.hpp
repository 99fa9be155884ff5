#pragma once
#include <algorithm>
#include <cstddef>

#include <Eigen/SVD>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/scope.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma::detail {

using dense_matrix = Eigen::MatrixXd;
using thin_svd = Eigen::BDCSVD<dense_matrix>;

[[nodiscard]] inline thin_svd svd_of(const dense_matrix& m) {
  return thin_svd(m, Eigen::ComputeThinU | Eigen::ComputeThinV);
}

/// The nearest matrix whose columns (or rows, whichever are fewer) are orthonormal: U V^T of the singular value
/// decomposition. Of a matrix without full rank it is one of several.
[[nodiscard]] inline dense_matrix polar_factor(const dense_matrix& m) {
  if (m.size() == 0) return m;
  const thin_svd svd = svd_of(m);
  return svd.matrixU() * svd.matrixV().transpose();
}

/// theta_t - base of a matrix in double; theta_t where the base is null.
template <class T>
[[nodiscard]] dense_matrix task_matrix(const tensor_slices<T>& s, std::size_t task) {
  dense_matrix m(s.rows, s.cols);
  const T* const from = s.models[task];
  for (index_t r = 0; r < s.rows; ++r)
    for (index_t c = 0; c < s.cols; ++c) {
      const index_t i = r * s.cols + c;
      m(r, c) = static_cast<double>(from[i]) - (s.base != nullptr ? static_cast<double>(s.base[i]) : 0);
    }
  return m;
}

/// out = base + scale * merged
template <class T>
void store_moved(const tensor_slices<T>& s, double scale, const dense_matrix& merged, T* out) {
  for (index_t r = 0; r < s.rows; ++r)
    for (index_t c = 0; c < s.cols; ++c) {
      const index_t i = r * s.cols + c;
      out[i] = static_cast<T>((s.base != nullptr ? static_cast<double>(s.base[i]) : 0) + scale * merged(r, c));
    }
}

/// What the rules on singular values do with a vector: base + scale * mean of the task vectors.
template <class T>
void move_by_mean(cpu_context& ctx, const tensor_slices<T>& s, double scale, T* out) {
  auto scratch = ctx.workspace().open();
  double* const weights = scratch.template take<double>(static_cast<index_t>(s.models.size()));
  std::fill_n(weights, s.models.size(), scale / static_cast<double>(s.models.size()));
  sum_vectors<T>(ctx, s, {weights, s.models.size()}, out);
}

}  // namespace stroma::detail
