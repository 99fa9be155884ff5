#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
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

/// How many of d elements a density keeps, with r = floor(density * d).
enum class trim_count {
  published,  ///< the r + 1 largest, and whatever ties with the smallest of them: what the authors' code does
  exact       ///< the r largest, at least one; of ties the first
};

struct ties_options {
  double density = 0.2;  ///< part of each task vector that is kept, 0 to 1
  merge_scope scope = merge_scope::model;
  trim_count count = trim_count::published;
  sign_vote vote = sign_vote::sum;
  zero_vote zero = zero_vote::majority;
  agreeing merge = agreeing::mean;
  std::vector<double> weights{};  ///< of the task vectors in vote and merge; empty: all 1
  double scale = 1;               ///< of the merged task vector
};

/// What mergekit does under the name of TIES: each tensor by itself, exact counts, a zero vote is positive.
[[nodiscard]] inline ties_options ties_by_tensor(double density, std::vector<double> weights = {}) {
  return {density,        merge_scope::tensor, trim_count::exact, sign_vote::sum, zero_vote::positive,
          agreeing::mean, std::move(weights)};
}

/// TIES: trim each task vector to its largest elements, elect a sign for each element, merge the values of that sign:
/// theta = base + scale * merged. The defaults are the authors' code: one threshold for the whole model.
/// Cost: with the scope model two more passes for the threshold (four in double) and one for the sign of zero votes;
/// 1 MB for each model while the threshold is sought. Deterministic; votes and means are in double.
/// @throws value_error, shape_error  options; a mean takes no negative weights
/// Reference: Yadav et al., "TIES-merging: resolving interference when merging models", NeurIPS 2023.
class ties_merging {
 public:
  explicit ties_merging(ties_options options = {}) : options_(std::move(options)) {}

  [[nodiscard]] static std::string_view name() { return "ties_merging"; }
  void begin(index_t models) {
    check::in_range(name(), "options.density", options_.density, 0.0, 1.0);
    check::require(options_.vote != sign_vote::none, name(), "options.vote", "none", "sum or count");
    consensus_ = {options_.weights, options_.scale, options_.vote, options_.zero, options_.merge};
    consensus_.begin(name(), models);
    const auto count = static_cast<std::size_t>(models);
    trims_.assign(count, {});
    cuts_.assign(count, {});
    balance_ = 0;
    const bool global = options_.scope == merge_scope::model;
    next_ = !global ? pass::none : pass::thresholds;
  }
  [[nodiscard]] bool wants_pass() const { return next_ != pass::none; }

  template <class T>
  void observe(cpu_context& ctx, const tensor_slices<T>& s) {
    if (next_ == pass::thresholds) return observe_magnitudes(ctx, s);
    auto scratch = ctx.workspace().open();
    balance_ += consensus_.balance(ctx, s.size(), trimmed(ctx, scratch, s).vectors);
  }
  void conclude() {
    if (next_ == pass::thresholds) {
      bool done = true;
      for (detail::streamed_cut& trim : trims_) {
        if (!trim.done()) trim.conclude(rank(trim.seen()));
        done = done && trim.done();
      }
      if (done) next_ = consensus_.needs_balance() ? pass::signs : pass::none;
    } else {
      next_ = pass::none;
    }
    for (std::size_t t = 0; t < cuts_.size(); ++t) cuts_[t] = cut(trims_[t].result());  // ties are counted anew
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) {
    auto scratch = ctx.workspace().open();
    const auto [vectors, kept] = trimmed(ctx, scratch, s);
    if (options_.scope != merge_scope::model) consensus_.merge_tensor(ctx, s, vectors, out);
    else consensus_.run(ctx, s.size(), s.base, vectors, consensus_.zero_sign(balance_), out);
    return kept;
  }

 private:
  enum class pass { none, thresholds, signs };

  [[nodiscard]] index_t rank(index_t count) const {
    if (options_.count == trim_count::exact) return detail::kept_count(options_.density, count);
    return static_cast<index_t>(options_.density * static_cast<double>(count)) + 1;
  }
  [[nodiscard]] detail::magnitude_cut cut(detail::magnitude_cut found) const {
    if (options_.count == trim_count::published && found.ties > 0) found.ties = detail::magnitude_cut::all_ties;
    return found;
  }

  template <class T>
  void observe_magnitudes(cpu_context& ctx, const tensor_slices<T>& s) {
    const auto models = static_cast<index_t>(s.models.size());
    constexpr index_t tile = 4096;
    auto scratch = ctx.workspace().open();
    T* const differences = scratch.template take<T>(ctx.threads() * tile);
    ctx.parallel(models, [&](index_t t, int worker) {
      detail::streamed_cut& trim = trims_[static_cast<std::size_t>(t)];
      if (trim.done()) return;
      T* const d = differences + worker * tile;
      const T* const from = s.models[static_cast<std::size_t>(t)];
      for (index_t at = 0; at < s.size(); at += tile) {
        const index_t n = std::min(tile, s.size() - at);
        for (index_t i = 0; i < n; ++i) d[i] = s.base != nullptr ? from[at + i] - s.base[at + i] : from[at + i];
        trim.observe(n, d);
      }
    });
  }

  template <class T, class Frame>
  [[nodiscard]] detail::thinned_vectors<T> trimmed(cpu_context& ctx, Frame& scratch, const tensor_slices<T>& s) {
    const auto drop_below = [](detail::magnitude_cut& keep, index_t count, T* x) {
      for (index_t i = 0; i < count; ++i)
        if (!keep.among_largest(std::fabs(static_cast<double>(x[i])))) x[i] = T(0);
    };
    return detail::thin_vectors(ctx, scratch, s, [&](index_t t, T* vector, T* spare) {
      if (options_.scope == merge_scope::model) return drop_below(cuts_[static_cast<std::size_t>(t)], s.size(), vector);
      detail::for_each_scope(options_.scope, s, vector, [&](T* part, index_t count) {
        detail::magnitude_cut keep = cut(detail::cut_at_rank(rank(count), count, part, spare));
        drop_below(keep, count, part);
      });
    });
  }

  ties_options options_;
  detail::consensus consensus_;
  std::vector<detail::streamed_cut> trims_;  // of each task vector, while thresholds are sought
  std::vector<detail::magnitude_cut> cuts_;  // and what they found, for the pass under way
  index_t balance_ = 0;
  pass next_ = pass::none;
};

}  // namespace stroma
