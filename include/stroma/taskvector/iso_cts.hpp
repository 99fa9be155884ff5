#pragma once
#include <algorithm>
#include <cmath>
#include <string_view>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/svd.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

struct iso_cts_options {
  double common = 0.8;  ///< part of the spectrum for what the tasks share, 0 to 1
  double scale = 1;     ///< of the merged task vector
};

/// Isotropic merging in common and task-specific subspaces. For a matrix of r = min(rows, columns) and T tasks:
///   s = round((r - floor(common r)) / T)   directions of each task's own,   k = r - s T   common ones;
///   the k first singular triplets of the sum of the task matrices span the common subspace; of what each task matrix
///   has outside its left directions the s first triplets are the task's own;
///   all left and all right directions side by side are made orthonormal by their polar factors, U and V;
///   theta = base + scale * mean(all singular values taken) U V^T.
/// Rounding is to even at a half. With s = 0 it is `iso_c`. Vectors move by the mean of their task vectors.
/// Cost: T + 3 singular value decompositions a tensor, in double, on one thread. Arbitrary where ranks are missing, as
/// in `iso_c`. @throws value_error  options
/// Reference: as `iso_c`.
class iso_cts : public tensorwise_rule {
 public:
  explicit iso_cts(const iso_cts_options& options = {}) : options_(options) {}

  [[nodiscard]] static std::string_view name() { return "iso_cts"; }
  void begin(index_t) const {
    check::in_range(name(), "options.common", options_.common, 0.0, 1.0);
    check::require(std::isfinite(options_.scale), name(), "options.scale", number_text(options_.scale),
                   "a finite number");
  }
  /// How many directions each task has of its own.
  [[nodiscard]] index_t own_directions(index_t rank, index_t tasks) const {
    const auto common = static_cast<index_t>(options_.common * static_cast<double>(rank));
    const auto own = static_cast<index_t>(
        std::nearbyint(static_cast<double>(rank - common) / static_cast<double>(tasks)));  // to even at a half
    return std::min(own, rank / tasks);
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    if (s.is_matrix && s.size() > 0) merge_matrix(s, out);
    else detail::move_by_mean(ctx, s, options_.scale, out);
    return s.size() * static_cast<index_t>(s.models.size());
  }

 private:
  template <class T>
  void merge_matrix(const tensor_slices<T>& s, T* out) const {
    const auto tasks = static_cast<index_t>(s.models.size());
    const index_t rank = std::min(s.rows, s.cols), own = own_directions(rank, tasks), common = rank - own * tasks;
    detail::dense_matrix sum = detail::task_matrix(s, 0);
    for (std::size_t t = 1; t < s.models.size(); ++t) sum += detail::task_matrix(s, t);
    const auto shared = detail::svd_of(sum);
    detail::dense_matrix left(s.rows, rank), right(s.cols, rank);
    double total = shared.singularValues().head(common).sum();
    left.rightCols(common) = shared.matrixU().leftCols(common);
    right.rightCols(common) = shared.matrixV().leftCols(common);
    for (index_t t = 0; t < tasks && own > 0; ++t) {
      detail::dense_matrix rest = detail::task_matrix(s, static_cast<std::size_t>(t));
      const auto basis = left.rightCols(common);
      rest -= basis * (basis.transpose() * rest).eval();
      const auto alone = detail::svd_of(rest);
      left.middleCols(t * own, own) = alone.matrixU().leftCols(own);
      right.middleCols(t * own, own) = alone.matrixV().leftCols(own);
      total += alone.singularValues().head(own).sum();
    }
    const detail::dense_matrix merged = detail::polar_factor(left) * detail::polar_factor(right).transpose();
    detail::store_moved<T>(s, options_.scale * total / static_cast<double>(rank), merged, out);
  }

  iso_cts_options options_;
};

}  // namespace stroma
