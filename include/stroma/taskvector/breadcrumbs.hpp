#pragma once
#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/consensus.hpp>
#include <stroma/taskvector/detail/magnitude_cut.hpp>
#include <stroma/taskvector/detail/sparse_vectors.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

struct breadcrumbs_options {
  double density = 0.85;                    ///< part of the elements that is kept
  double gamma = 0.01;                      ///< part that is dropped for being largest
  merge_scope scope = merge_scope::tensor;  ///< or row
  sign_vote vote = sign_vote::none;         ///< none: the sum; sum: what mergekit calls breadcrumbs_ties
  zero_vote zero = zero_vote::majority;
  agreeing merge = agreeing::mean;  ///< with a vote
  std::vector<double> weights{};    ///< of the task vectors; empty: all 1
  double scale = 1;                 ///< of the merged task vector
};

/// Model breadcrumbs: drop the outliers of each task vector and its small elements, add up the rest. Of n elements the
/// floor(gamma n) largest are dropped, the floor(density n) largest of the others kept; of equal ones the first is the
/// larger. At least one element is kept, where there is one and the density is above 0: in the published code tensors
/// with short rows (3 x 3 convolutions) vanish as a whole, in mergekit's those of fewer than 1 / gamma elements.
/// With gamma 0 this is trimming as in `ties`, counted exactly. Cost: two selections for each model.
/// @throws value_error, shape_error  options; density + gamma is at most 1
/// Reference: Davari and Belilovsky, "Model breadcrumbs: scaling multi-task model merging with sparse masks", ECCV
/// 2024.
class breadcrumbs : public tensorwise_rule {
 public:
  explicit breadcrumbs(breadcrumbs_options options = {}) : options_(std::move(options)) {}

  [[nodiscard]] static std::string_view name() { return "breadcrumbs"; }
  void begin(index_t models) {
    check::in_range(name(), "options.density", options_.density, 0.0, 1.0);
    check::in_range(name(), "options.gamma", options_.gamma, 0.0, 1 - options_.density);
    check::require(options_.scope != merge_scope::model, name(), "options.scope", "model", "tensor or row");
    consensus_ = {options_.weights, options_.scale, options_.vote, options_.zero, options_.merge};
    consensus_.begin(name(), models);
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    auto scratch = ctx.workspace().open();
    const auto [vectors, kept] = detail::thin_vectors(ctx, scratch, s, [&](index_t, T* vector, T* spare) {
      detail::for_each_scope(options_.scope, s, vector, [&](T* x, index_t n) { thin(n, x, spare); });
    });
    consensus_.merge_tensor(ctx, s, vectors, out);
    return kept;
  }

 private:
  template <class T>
  void thin(index_t n, T* x, T* spare) const {
    const index_t keep = detail::kept_count(options_.density, n);
    const index_t outliers = std::min(static_cast<index_t>(options_.gamma * static_cast<double>(n)), n - keep);
    detail::magnitude_cut outer = detail::cut_at_rank(outliers, n, x, spare);
    detail::magnitude_cut inner = detail::cut_at_rank(outliers + keep, n, x, spare);
    for (index_t i = 0; i < n; ++i) {
      const auto size = static_cast<double>(std::fabs(x[i]));
      const bool outlier = outer.among_largest(size), large = inner.among_largest(size);
      if (outlier || !large) x[i] = T(0);
    }
  }

  breadcrumbs_options options_;
  detail::consensus consensus_;
};

}  // namespace stroma
