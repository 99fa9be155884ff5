#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <stroma/survival/detail/rank_sums.hpp>
#include <stroma/survival/risk_order.hpp>

/// The pairs of one stratum, counted on the host.
namespace stroma::detail {

/// Sums over pairs of the weights of both patients and of the pair.
struct pair_sums {
  double concordant = 0, discordant = 0, tied_score = 0, tied_time = 0, tied_both = 0;
  /// Variances of concordant - discordant over death times when scores say nothing, as of a Cox model in the ranks:
  /// with the square of the pair weights, and with the pair weights themselves.
  double null_variance = 0, null_variance_once = 0;

  void add(const pair_sums& other) {
    concordant += other.concordant;
    discordant += other.discordant;
    tied_score += other.tied_score;
    tied_time += other.tied_time;
    tied_both += other.tied_both;
    null_variance += other.null_variance;
    null_variance_once += other.null_variance_once;
  }
};

/// What a patient's pairs sum to, of the partner's weight and that of the pair: concordant - discordant, and all.
struct pair_influence {
  double net, all;
};

/// One stratum of a plan. Arrays with [n] are of its positions, counted from its first.
struct stratum_pairs {
  const risk_plan<host_space>* plan;
  index_t stratum, first, last;  ///< positions
  const score_rank* rank;        ///< [n]
  index_t ranks;
  const double* pair_weight;  ///< by group of the plan
  /// Late entry: positions by the group from which on they are not at risk, and where those of a group begin, both
  /// counted from the stratum's first. Null: none.
  const index_t *leaving, *leaves;

  [[nodiscard]] index_t first_group() const { return plan->stratum[stratum]; }
  [[nodiscard]] index_t last_group() const { return plan->stratum[stratum + 1]; }
  [[nodiscard]] index_t size() const { return last - first; }
  template <class Sum>
  [[nodiscard]] Sum weight(index_t k) const {
    if constexpr (std::is_same_v<Sum, double>) return plan->weight == nullptr ? 1.0 : plan->weight[first + k];
    else return 1;
  }
  /// Who is no longer at risk from group g on, though at risk in the group before.
  template <class F>
  void for_each_leaving(index_t g, const F& f) const {
    if (leaving == nullptr) return;
    const index_t at = g - first_group();
    for (index_t i = leaves[at]; i < leaves[at + 1]; ++i) f(leaving[i]);
  }
};

/// Positions by the group from which on they are not at risk; those who stay are in no group's list.
template <class Frame>
void sort_leaving(Frame& scratch, stratum_pairs& pairs) {
  const index_t groups = pairs.last_group() - pairs.first_group(), n = pairs.size();
  auto* const begin = scratch.template take<index_t>(groups + 2);
  auto* const sorted = scratch.template take<index_t>(n);
  const index_t* const until = pairs.plan->until + pairs.first;
  std::fill(begin, begin + groups + 2, index_t{0});
  for (index_t k = 0; k < n; ++k) ++begin[until[k] - pairs.first_group() + 1];
  for (index_t g = 0; g < groups; ++g) begin[g + 1] += begin[g];
  for (index_t k = 0; k < n; ++k) sorted[begin[until[k] - pairs.first_group()]++] = k;
  for (index_t g = groups + 1; g > 0; --g) begin[g] = begin[g - 1];
  begin[0] = 0;
  pairs.leaving = sorted;
  pairs.leaves = begin;
}

/// Sum of (L - U)^2 a over those at risk, L and U the weights with lower and higher scores, is (W^3 - sum of A^3) / 3
/// where A are the weights of equal scores and W is that of all.
class rank_variance {
 public:
  template <class Frame>
  rank_variance(Frame& scratch, index_t ranks) {
    weight_ = scratch.template take<double>(ranks);
    std::fill(weight_, weight_ + ranks, 0.0);
  }
  void add(const score_rank& r, double w) {
    double& a = weight_[r.first];
    cubes_ += w * (3 * a * (a + w) + w * w);
    a += w;
  }
  /// Over those at risk, who weigh `all`.
  [[nodiscard]] double value(double all) const {
    return all > 0 ? std::max((all * all * all - cubes_) / (3 * all), 0.0) : 0;
  }

 private:
  double* weight_;
  double cubes_ = 0;
};

struct rank_and_weight {
  std::uint32_t own, first;
  double weight;
};
/// Pairs of deaths of one time whose scores are tied.
inline double tied_deaths(const stratum_pairs& pairs, index_t first, index_t last, rank_and_weight* sorted) {
  index_t n = 0;
  for (index_t k = first; k < last; ++k)
    if (pairs.rank[k].alone == 0) sorted[n++] = {pairs.rank[k].own, pairs.rank[k].first, pairs.weight<double>(k)};
  if (n < 2) return 0;
  std::sort(sorted, sorted + n, [](const auto& a, const auto& b) { return a.own < b.own; });
  double sum = 0, beside = 0;
  for (index_t i = 0, low = 0; i < n; ++i) {
    while (sorted[low].own < sorted[i].first) beside -= sorted[low++].weight;
    if (low == i) beside = 0;  // what rounding left
    sum += sorted[i].weight * beside;
    beside += sorted[i].weight;
  }
  return sum;
}

/// From the latest time to the earliest: every event is compared with those at risk then who have not died before or
/// at its time. `influence`, of events, may be null, and `variance` too.
template <class Tree>
pair_sums compare_events(const stratum_pairs& pairs, Tree& at_risk, rank_and_weight* sorted, pair_influence* influence,
                         rank_variance* variance) {
  using sum = typename Tree::value_type;
  const auto number = [](sum x) { return static_cast<double>(x); };
  const risk_plan<host_space>& plan = *pairs.plan;
  pair_sums total;
  sum everybody = 0;
  const auto enter = [&](index_t k) {
    const sum w = pairs.weight<sum>(k);
    at_risk.add(pairs.rank[k], w);
    if (variance != nullptr) variance->add(pairs.rank[k], number(w));
    everybody += w;
  };
  for (index_t g = pairs.first_group(); g < pairs.last_group(); ++g) {
    pairs.for_each_leaving(g, [&](index_t k) {
      const sum w = pairs.weight<sum>(k);
      at_risk.remove(pairs.rank[k], w);
      if (variance != nullptr) variance->add(pairs.rank[k], -number(w));
      everybody -= w;
    });
    const index_t deaths = plan.deaths[g] - pairs.first, last = plan.first[g + 1] - pairs.first;
    for (index_t k = plan.first[g] - pairs.first; k < deaths; ++k) enter(k);
    const double v = pairs.pair_weight[g];
    sum concordant = 0, tied = 0, discordant = 0, died = 0, beside = 0;
    for (index_t k = deaths; k < last && v > 0; ++k) {
      const score_rank& r = pairs.rank[k];
      const sum w = pairs.weight<sum>(k), lower = at_risk.below(r), equal = at_risk.tied(r);
      const sum higher = std::max<sum>(everybody - lower - equal, 0);
      concordant += w * lower;
      tied += w * equal;
      discordant += w * higher;
      beside += w * died;
      died += w;
      if (influence != nullptr) influence[k] = {v * number(lower - higher), v * number(everybody)};
    }
    for (index_t k = deaths; k < last; ++k) enter(k);
    if (!(v > 0)) continue;
    const double both = last - deaths > 1 ? tied_deaths(pairs, deaths, last, sorted) : 0;
    total.concordant += v * number(concordant);
    total.discordant += v * number(discordant);
    total.tied_score += v * number(tied);
    total.tied_both += v * both;
    total.tied_time += v * std::max(number(beside) - both, 0.0);
    if (variance == nullptr || !(died > 0)) continue;
    const double once = v * number(died) * variance->value(number(everybody));
    total.null_variance += v * once;
    total.null_variance_once += once;
  }
  return total;
}

/// From the earliest time to the latest: everybody is compared with the events before the end of the own follow-up and
/// after the own entry.
template <class Tree>
void compare_with_events(const stratum_pairs& pairs, Tree& events, pair_influence* influence) {
  using sum = typename Tree::value_type;
  const risk_plan<host_space>& plan = *pairs.plan;
  sum everybody = 0;
  const auto add_seen = [&](index_t k, double sign) {
    const sum lower = events.below(pairs.rank[k]), tied = events.tied(pairs.rank[k]);
    influence[k].net += sign * static_cast<double>(everybody - tied - 2 * lower);
    influence[k].all += sign * static_cast<double>(everybody);
  };
  std::fill(influence, influence + pairs.size(), pair_influence{});
  for (index_t g = pairs.last_group(); g-- > pairs.first_group();) {
    const index_t deaths = plan.deaths[g] - pairs.first, last = plan.first[g + 1] - pairs.first;
    for (index_t k = deaths; k < last; ++k) add_seen(k, 1);
    if (const double v = pairs.pair_weight[g]; v > 0)
      for (index_t k = deaths; k < last; ++k) {
        const sum w = pairs.weight<sum>(k) * static_cast<sum>(v);  // counts have pair weights of 1
        events.add(pairs.rank[k], w);
        everybody += w;
      }
    for (index_t k = plan.first[g] - pairs.first; k < deaths; ++k) add_seen(k, 1);
    pairs.for_each_leaving(g, [&](index_t k) { add_seen(k, -1); });
  }
}

}  // namespace stroma::detail
