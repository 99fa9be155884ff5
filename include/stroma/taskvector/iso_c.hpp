#pragma once
#include <cmath>
#include <string_view>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/svd.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

struct iso_c_options {
  double scale = 1;  ///< of the merged task vector
};

/// Isotropic merging in the common subspace: of the sum of the task matrices, M = U S V^T, all singular values become
/// their mean: theta = base + scale * mean(S) U V^T. Vectors, which have no spectrum, move by the mean of their task
/// vectors; a convolution's weight is the matrix [out, in * height * width]. Where M has not full rank, the directions
/// that it lacks are those of the decomposition, deterministic and arbitrary; a zero M is no change.
/// Cost: a singular value decomposition a tensor, in double, on one thread.
/// @throws value_error  a scale that is not finite
/// Reference: Marczak et al., "No task left behind: isotropic model merging with common and task-specific subspaces",
/// ICML 2025.
class iso_c : public tensorwise_rule {
 public:
  explicit iso_c(const iso_c_options& options = {}) : options_(options) {}

  [[nodiscard]] static std::string_view name() { return "iso_c"; }
  void begin(index_t) const {
    check::require(std::isfinite(options_.scale), name(), "options.scale", number_text(options_.scale),
                   "a finite number");
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    if (s.is_matrix && s.size() > 0) {
      detail::dense_matrix sum = detail::task_matrix(s, 0);
      for (std::size_t t = 1; t < s.models.size(); ++t) sum += detail::task_matrix(s, t);
      const auto svd = detail::svd_of(sum);
      detail::store_moved<T>(s, options_.scale * svd.singularValues().mean(), svd.matrixU() * svd.matrixV().transpose(),
                             out);
    } else {
      detail::move_by_mean(ctx, s, options_.scale, out);
    }
    return s.size() * static_cast<index_t>(s.models.size());
  }

 private:
  iso_c_options options_;
};

}  // namespace stroma
