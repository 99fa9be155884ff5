#pragma once
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

struct dare_options {
  double density = 0.1;    ///< probability that an element is kept: 1 - p, 0 to 1
  std::uint64_t seed = 0;  ///< the same one drops the same elements
  rescaling rescale = rescaling::probability;
  sign_vote vote = sign_vote::none;  ///< none: DARE's sum; sum: what mergekit calls dare_ties
  zero_vote zero = zero_vote::majority;
  agreeing merge = agreeing::mean;  ///< with a vote
  std::vector<double> weights{};    ///< of the task vectors; empty: all 1
  double scale = 1;                 ///< of the merged task vector
};

/// DARE: drop elements of each task vector at random, rescale the others, add up:
/// theta = base + scale * sum of w_t mask_t tau_t / density. The mean over seeds is task arithmetic. Density 1 drops
/// nothing and density 0 everything: the base. With a vote, signs are elected among what is left.
/// An element's draw belongs to seed, tensor name, place of the model in the list and index: neither the order of the
/// tensors nor the number of threads changes it. Cost: one pass and a Philox word an element and model.
/// (For DARE followed by TIES with its trimming, merge each task vector alone, each with a seed of its own, then by
/// `ties`.) @throws value_error, shape_error  options
/// Reference: Yu et al., "Language models are super Mario: absorbing abilities from homologous models as a free lunch",
/// ICML 2024.
class dare : public tensorwise_rule {
 public:
  explicit dare(dare_options options = {}) : options_(std::move(options)) {}

  [[nodiscard]] static std::string_view name() { return "dare"; }
  void begin(index_t models) {
    check::in_range(name(), "options.density", options_.density, 0.0, 1.0);
    consensus_ = {options_.weights, options_.scale, options_.vote, options_.zero, options_.merge};
    consensus_.begin(name(), models);
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    auto scratch = ctx.workspace().open();
    const auto [vectors, kept] = detail::thin_vectors(ctx, scratch, s, [&](index_t task, T* x, T*) {
      const double before = detail::total_magnitude(s.size(), x);
      const double factor = options_.rescale == rescaling::probability ? 1 / options_.density : 1;
      detail::element_draws(options_.seed, s.name, task, draws).for_each(s.size(), [&](index_t i, float u) {
        x[i] = static_cast<double>(u) < options_.density ? static_cast<T>(static_cast<double>(x[i]) * factor) : T(0);
      });
      if (options_.rescale == rescaling::magnitude) detail::restore_magnitude(before, s.size(), x);
    });
    consensus_.merge_tensor(ctx, s, vectors, out);
    return kept;
  }

 private:
  static constexpr std::uint32_t draws = 0x44415245;  // "DARE"
  dare_options options_;
  detail::consensus consensus_;
};

}  // namespace stroma
