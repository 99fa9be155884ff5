#pragma once
#include <algorithm>

#include <stroma/survival/concordance.hpp>
#include <stroma/survival/detail/concordant_pairs.cuh>

namespace stroma::detail {

template <class T>
struct concordance_keys {
  vector_view<const T, device_space> score;
  device_risk_plan plan;
  std::uint64_t* key;
  index_t* position;
  __device__ void operator()(index_t k) const {
    key[k] = sort_key(widen<double>(score[plan.row[k]]));
    position[k] = k;
  }
};
struct plan_weight_at {
  device_risk_plan plan;
  __device__ double operator()(index_t k) const { return weight_at(plan, k); }
};
/// Weights of the deaths of each time, summed anew for every time.
struct weights_of_deaths {
  device_risk_plan plan;
  segment_sum<double>* to;
  __device__ void operator()(index_t k) const { to[k] = {weight_at(plan, k), k <= plan.deaths[plan.group[k]]}; }
};
/// Sums over deaths of one time with equal scores, which are neighbours once all are sorted.
struct equal_deaths {
  device_risk_plan plan;
  score_order sorted;
  /// Whether i and the element before it are two such.
  [[nodiscard]] __device__ bool follows(index_t i) const {
    if (i == 0 || sorted.key[i - 1] != sorted.key[i]) return false;
    const index_t a = sorted.position[i - 1], b = sorted.position[i];
    return plan.group[a] == plan.group[b] && died_at(plan, a) && died_at(plan, b);
  }
};
struct write_equal_deaths {
  equal_deaths deaths;
  segment_sum<double>* to;
  __device__ void operator()(index_t i) const {
    to[i] = {weight_at(deaths.plan, deaths.sorted.position[i]), !deaths.follows(i)};
  }
};

/// concordant, discordant, tied_score, tied_time and tied_both, this one among tied_time too until the end.
struct pair_numbers {
  double of[5];
  friend __device__ pair_numbers operator+(const pair_numbers& a, const pair_numbers& b) {
    pair_numbers sum{};
    for (int i = 0; i < 5; ++i) sum.of[i] = a.of[i] + b.of[i];
    return sum;
  }
};
/// Pairs in which a position is the event, or the later of two deaths of one time.
struct pairs_of_position {
  device_risk_plan plan;
  const double* pair_weight;
  below_and_equal counts;
  sums_at_risk<double> at_risk;
  const segment_sum<double>* of_time;

  __device__ double everybody(index_t k) const {
    const index_t g = plan.group[k];
    return at_risk.before(plan.deaths[g], g);
  }
  __device__ double higher(index_t k) const {
    const double rest = everybody(k) - counts.below[k] - counts.equal[k];
    return rest > 0 ? rest : 0;
  }
  __device__ pair_numbers operator()(index_t k) const {
    const double scale = event_weight_at{plan, pair_weight}(k);
    if (!(scale > 0)) return {};
    const double beside = k > plan.deaths[plan.group[k]] ? of_time[k - 1].sum : 0;
    return {{scale * counts.below[k], scale * higher(k), scale * counts.equal[k], scale * beside, 0}};
  }
};
/// The same with those whose scores are equal too, which come in the order of scores.
struct write_pair_numbers {
  pairs_of_position pairs;
  segment_sum<pair_numbers>* to;
  __device__ void operator()(index_t k) const {
    to[k] = {pairs(k), k == first_of_stratum(pairs.plan, pairs.plan.group[k])};
  }
};
struct add_equal_deaths {
  equal_deaths deaths;
  const segment_sum<double>* of_equals;
  const double* pair_weight;
  segment_sum<pair_numbers>* to;
  __device__ void operator()(index_t i) const {
    if (!deaths.follows(i)) return;
    const index_t k = deaths.sorted.position[i];
    to[k].sum.of[4] = of_equals[i - 1].sum * event_weight_at{deaths.plan, pair_weight}(k);
  }
};
struct take_number {
  const segment_sum<pair_numbers>* from;
  int number;
  __device__ double operator()(index_t k) const { return from[k].sum.of[number]; }
};
struct concordance_sums {
  enum number { undefined = 5, variance, numbers };
  double of[numbers];
};
struct write_concordance_sum {
  int number;
  concordance_sums* sums;
  __device__ void operator()(double sum) const { sums->of[number] = sum; }
};
struct undefined_events {
  const double* of_group;
  __device__ double operator()(index_t g) const { return of_group[g]; }
};
struct write_stratum_pairs {
  device_risk_plan plan;
  const segment_sum<pair_numbers>* running;
  matrix_view<double, device_space> to;
  __device__ void operator()(index_t s) const {
    if (s >= plan.counts->strata) return;
    const pair_numbers& sum = running[plan.first[plan.stratum[s + 1]] - 1].sum;
    for (int i = 0; i < 5; ++i) to(s, i) = i == 3 ? sum.of[3] - sum.of[4] : sum.of[i];
  }
};

/// A patient's pairs as event and as other, and what they make of the concordance.
struct influence_at {
  pairs_of_position pairs;
  below_and_equal seen;               // events
  const segment_sum<double>* events;  // their weights, summed over a stratum
  const concordance_sums* sums;

  __device__ double operator()(index_t k) const {
    const device_risk_plan& plan = pairs.plan;
    pair_influence of{};
    if (const double v = died_at(plan, k) ? pairs.pair_weight[plan.group[k]] : 0; v > 0)
      of = {v * (pairs.counts.below[k] - pairs.higher(k)), v * pairs.everybody(k)};
    const position_range range = seen_positions(plan, k);
    const index_t start = first_of_stratum(plan, plan.group[k]);
    const double all =
        (range.last > start ? events[range.last - 1].sum : 0) - (range.first > start ? events[range.first - 1].sum : 0);
    of.net += all - seen.equal[k] - 2 * seen.below[k];
    of.all += all;
    const double* const n = sums->of;
    const double total = n[0] + n[1] + n[2];
    return concordance_influence(weight_at(plan, k), of, (n[0] - n[1]) / total, total);
  }
};
struct squared_influence {
  influence_at of;
  __device__ double operator()(index_t k) const {
    const double x = of(k);
    return x * x;
  }
};
struct write_influence {
  influence_at of;
  vector_view<double, device_space> to;
  __device__ void operator()(index_t k) const { to[of.pairs.plan.row[k]] = of(k); }
};

/// O(N log N): sums for every bit of a score's rank. Counts are kept in double, where whole numbers are exact below
/// 2^53. No tolerance, and no null variances.
template <>
struct concordance_kernel<backend::cuda> {
  /// Waits for the device.
  template <class T>
  static concordance_result run(cuda_context& ctx, vector_view<const T, device_space> score,
                                const device_risk_plan& plan, const concordance_options& options,
                                const concordance_output<device_space>& out) {
    check::require(options.tolerance == 0, "concordance", "tolerance", number_text(options.tolerance),
                   "0 on a device, where scores are tied when they are equal");
    const bool error = options.standard_error || out.influence.size != 0;
    const index_t n = plan.rows;
    auto scratch = ctx.workspace().open();
    const entry_order entries = sort_entries(ctx, scratch, plan);
    auto* const pair_weight = scratch.template take<double>(n);
    auto* const undefined = scratch.template take<double>(n);
    auto* const key = scratch.template take<std::uint64_t>(n);
    auto* const position = scratch.template take<index_t>(n);
    auto* const symbol = scratch.template take<index_t>(n);
    auto* const of_time = scratch.template take<segment_sum<double>>(n);
    auto* const of_equals = scratch.template take<segment_sum<double>>(n);
    auto* const numbers = scratch.template take<segment_sum<pair_numbers>>(n);
    auto* const sums = scratch.template take<concordance_sums>(1);
    const below_and_equal counts = take_counts(ctx, scratch, n), seen = take_counts(ctx, scratch, error ? n : 0);
    const auto at_risk = sum_at_risk<double>(ctx, scratch, plan, entries, plan_weight_at{plan});

    weigh_pairs(ctx, plan, entries, {options.weighting, options.censoring, options.horizon}, pair_weight, undefined);
    each(ctx, n, concordance_keys<T>{score, plan, key, position});
    sort_by_key(ctx, n, key, position);
    const score_order sorted{key, position, n};
    each(ctx, n, write_score_symbols{sorted, symbol});
    const followed_longer followed{plan, pair_weight, symbol};
    count_scores(ctx, n, followed, 1, counts);
    count_scores(ctx, entries.size, not_entered{followed, entries}, -1, counts);
    if (error) count_scores(ctx, n, seen_events{{plan, pair_weight}, symbol}, 1, seen);

    each(ctx, n, weights_of_deaths{plan, of_time});
    inclusive_scan(ctx, n, of_time, join_segment_sums{});
    const pairs_of_position pairs{plan, pair_weight, counts, at_risk, of_time};
    const equal_deaths deaths{plan, sorted};
    each(ctx, n, write_pair_numbers{pairs, numbers});
    each(ctx, n, write_equal_deaths{deaths, of_equals});
    inclusive_scan(ctx, n, of_equals, join_segment_sums{});
    each(ctx, n, add_equal_deaths{deaths, of_equals, pair_weight, numbers});
    for (int i = 0; i < 5; ++i) sum_each(ctx, n, take_number{numbers, i}, write_concordance_sum{i, sums});
    sum_each(ctx, n, undefined_events{undefined}, write_concordance_sum{concordance_sums::undefined, sums});
    if (error) {
      auto* const events = of_equals;  // no longer needed
      each(ctx, n, write_followed<double, event_weight_at>{plan, {plan, pair_weight}, events});
      inclusive_scan(ctx, n, events, join_segment_sums{});
      const influence_at of{pairs, seen, events, sums};
      sum_each(ctx, n, squared_influence{of}, write_concordance_sum{concordance_sums::variance, sums});
      if (out.influence.size != 0) each(ctx, n, write_influence{of, out.influence});
    }
    if (out.by_stratum.rows != 0) {
      inclusive_scan(ctx, n, numbers, join_segment_sums{});
      each(ctx, out.by_stratum.rows, write_stratum_pairs{plan, numbers, out.by_stratum});
    }
    return result(primitives<backend::cuda>::read(ctx, static_cast<const concordance_sums*>(sums)), error);
  }

 private:
  static concordance_result result(const concordance_sums& found, bool error) {
    const double* const n = found.of;
    const pair_sums sums{n[0], n[1], n[2], std::max(n[3] - n[4], 0.0), n[4]};
    auto result = concordance_of(sums, static_cast<index_t>(n[concordance_sums::undefined]));
    if (error && result.comparable() > 0) result.variance = n[concordance_sums::variance];
    return result;
  }
};

}  // namespace stroma::detail
