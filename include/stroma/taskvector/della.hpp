#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/consensus.hpp>
#include <stroma/taskvector/detail/sparse_vectors.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

struct della_options {
  double density = 0.5;    ///< mean probability that an element is kept
  double epsilon = 0.1;    ///< the smallest of a row is kept with density - epsilon, the largest with density + epsilon
  std::uint64_t seed = 0;  ///< the same one drops the same elements
  rescaling rescale = rescaling::probability;
  sign_vote vote = sign_vote::sum;
  zero_vote zero = zero_vote::majority;
  agreeing merge = agreeing::mean;
  std::vector<double> weights{};  ///< of the task vectors; empty: all 1
  double scale = 1;               ///< of the merged task vector
};

/// DELLA: drop at random, small elements rather than large ones, rescale, elect signs, merge what agrees.
/// In each row of n elements (a vector is one row) the one of rank k by size, from 0, is kept with probability
/// q = density - epsilon + 2 epsilon k / (n - 1) and divided by it; a row of one element with q = density.
/// Ranks of equal sizes are those of their places. Draws as in `dare`. Cost: a sort of each row.
/// @throws value_error, shape_error  options; density - epsilon and density + epsilon are probabilities
/// Reference: Deep, Bhardwaj, Poria, "DELLA-merging: reducing interference in model merging through magnitude-based
/// sampling", 2024.
class della : public tensorwise_rule {
 public:
  explicit della(della_options options = {}) : options_(std::move(options)) {}

  [[nodiscard]] static std::string_view name() { return "della"; }
  void begin(index_t models) {
    check::in_range(name(), "options.density", options_.density, 0.0, 1.0);
    check::in_range(name(), "options.epsilon", options_.epsilon, 0.0, std::min(options_.density, 1 - options_.density));
    consensus_ = {options_.weights, options_.scale, options_.vote, options_.zero, options_.merge};
    consensus_.begin(name(), models);
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    auto scratch = ctx.workspace().open();
    index_t* const orders = scratch.template take<index_t>(s.cols * static_cast<index_t>(s.models.size()));
    const auto [vectors, kept] = detail::thin_vectors(ctx, scratch, s, [&](index_t task, T* x, T* probability) {
      for (index_t r = 0; r < s.rows; ++r)
        rank_row(s.cols, x + r * s.cols, orders + task * s.cols, probability + r * s.cols);
      const double before = detail::total_magnitude(s.size(), x);
      detail::element_draws(options_.seed, s.name, task, draws).for_each(s.size(), [&](index_t i, float u) {
        const auto q = static_cast<double>(probability[i]);
        const double factor = options_.rescale == rescaling::probability ? 1 / q : 1;
        x[i] = static_cast<double>(u) < q ? static_cast<T>(static_cast<double>(x[i]) * factor) : T(0);
      });
      if (options_.rescale == rescaling::magnitude) detail::restore_magnitude(before, s.size(), x);
    });
    consensus_.merge_tensor(ctx, s, vectors, out);
    return kept;
  }

 private:
  static constexpr std::uint32_t draws = 0x44454c4c;  // "DELL"

  template <class T>
  void rank_row(index_t n, const T* x, index_t* order, T* probability) const {
    for (index_t i = 0; i < n; ++i) order[i] = i;
    std::sort(order, order + n, [&](index_t a, index_t b) {
      const T left = std::fabs(x[a]), right = std::fabs(x[b]);
      return left < right || (left == right && a < b);
    });
    for (index_t k = 0; k < n; ++k) {
      const double rank = n > 1 ? static_cast<double>(k) / static_cast<double>(n - 1) : 0.5;
      probability[order[k]] = static_cast<T>(options_.density + options_.epsilon * (2 * rank - 1));
    }
  }

  della_options options_;
  detail::consensus consensus_;
};

}  // namespace stroma
