#pragma once
#include <algorithm>
#include <cmath>
#include <string_view>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/svd.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

struct tsv_options {
  double scale = 1;  ///< of the merged task vector
};

/// Task singular vectors (TSV-M): of each task matrix the floor(r / T) first singular triplets, r = min(rows, columns),
/// are kept; all left and all right directions side by side are made orthonormal by their polar factors, U and V:
/// theta = base + scale * U diag(all singular values) V^T. Tasks in orthogonal subspaces add up unchanged. Vectors, and
/// matrices with more tasks than r (of which the published code makes no change at all), move by the mean of their task
/// vectors. Tasks that are alike leave directions that are the decomposition's choice, deterministic and arbitrary.
/// Cost: T + 2 singular value decompositions a tensor, in double, on one thread.
/// @throws value_error  a scale that is not finite
/// Reference: Gargiulo et al., "Task singular vectors: reducing task interference in model merging", CVPR 2025.
class tsv : public tensorwise_rule {
 public:
  explicit tsv(const tsv_options& options = {}) : options_(options) {}

  [[nodiscard]] static std::string_view name() { return "tsv"; }
  void begin(index_t) const {
    check::require(std::isfinite(options_.scale), name(), "options.scale", number_text(options_.scale),
                   "a finite number");
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    const auto tasks = static_cast<index_t>(s.models.size());
    const index_t own = s.is_matrix ? std::min(s.rows, s.cols) / tasks : 0;
    if (own > 0) merge_matrix(s, tasks, own, out);
    else detail::move_by_mean(ctx, s, options_.scale, out);
    return s.size() * tasks;
  }

 private:
  template <class T>
  void merge_matrix(const tensor_slices<T>& s, index_t tasks, index_t own, T* out) const {
    detail::dense_matrix left(s.rows, own * tasks), right(s.cols, own * tasks);
    Eigen::VectorXd values(own * tasks);
    for (index_t t = 0; t < tasks; ++t) {
      const auto svd = detail::svd_of(detail::task_matrix(s, static_cast<std::size_t>(t)));
      left.middleCols(t * own, own) = svd.matrixU().leftCols(own);
      right.middleCols(t * own, own) = svd.matrixV().leftCols(own);
      values.segment(t * own, own) = svd.singularValues().head(own);
    }
    detail::store_moved<T>(s, options_.scale,
                           detail::polar_factor(left) * values.asDiagonal() * detail::polar_factor(right).transpose(),
                           out);
  }

  tsv_options options_;
};

}  // namespace stroma
