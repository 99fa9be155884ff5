#pragma once
#include <algorithm>

#include <stroma/survival/concordance.hpp>
#include <stroma/survival/detail/sorted_runs.cuh>

namespace stroma::detail {

template <class T>
struct concordance_keys {
  vector_view<const T, device_space> score;
  device_risk_plan plan;
  std::uint64_t *key, *sorted;
  index_t* position;
  double *below, *equal;
  __device__ void operator()(index_t k) const {
    sorted[k] = key[k] = ordered_key(widen<double>(score[plan.row[k]]));
    position[k] = k;
    below[k] = equal[k] = 0;
  }
};
/// Weights as they stand in runs, each run with a sum of its own.
struct weights_in_runs {
  device_risk_plan plan;
  sorted_runs runs;
  segment_sum<double>* to;
  __device__ void operator()(index_t i) const { to[i] = {plan.weight[runs.position[i]], i % runs.width == 0}; }
};
/// For an event: the weights with lower and with equal scores in one run of those who are compared with it.
struct count_in_run {
  device_risk_plan plan;
  sorted_runs runs;
  const segment_sum<double>* sums;  // null: all weights are 1
  const std::uint64_t* key;         // by position
  double *below, *equal;

  __device__ double before(const run_range& run, index_t i) const {
    if (i == run.first) return 0;
    return sums == nullptr ? static_cast<double>(i - run.first) : sums[i - 1].sum;
  }
  __device__ void operator()(index_t k) const {
    const index_t deaths = plan.deaths[plan.group[k]];
    if (k < deaths) return;
    const run_range run = run_before(runs, deaths);
    const index_t low = first_not_below(runs, run, key[k]), high = first_above(runs, {low, run.last}, key[k]);
    below[k] += before(run, low);
    if (high != low) equal[k] += before(run, high) - before(run, low);
  }
};

/// Sums over the weights of positions: of all, and anew for the deaths of each time.
struct concordance_weights {
  device_risk_plan plan;
  double* all;
  segment_sum<double>* of_time;
  __device__ void operator()(index_t k) const {
    all[k] = weight_at(plan, k);
    of_time[k] = {all[k], k <= plan.deaths[plan.group[k]]};
  }
};
/// Sums over deaths of one time with equal scores, which are neighbours once all are sorted.
struct equal_deaths {
  device_risk_plan plan;
  sorted_runs sorted;
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

struct concordance_sums {
  enum number { comparable, concordant, tied_score, tied_times, tied_both, numbers };
  double of[numbers];
};
/// What a position adds to one of the numbers: the weights of pairs in which it is the later element.
struct concordance_terms {
  using sums = concordance_sums;
  concordance_sums::number number;
  device_risk_plan plan;
  const double *all, *below, *equal;
  const segment_sum<double>*of_time, *of_equals;
  equal_deaths deaths;

  __device__ double operator()(index_t k) const {
    if (number == sums::tied_both)
      return deaths.follows(k) ? of_equals[k - 1].sum * weight_at(plan, deaths.sorted.position[k]) : 0;
    const index_t first = plan.deaths[plan.group[k]];
    if (k < first) return 0;
    const double w = weight_at(plan, k);
    if (number == sums::comparable) return first > 0 ? w * all[first - 1] : 0;
    if (number == sums::tied_times) return k > first ? w * of_time[k - 1].sum : 0;
    return w * (number == sums::concordant ? below[k] : equal[k]);
  }
};
struct write_concordance_sum {
  concordance_sums::number number;
  concordance_sums* sums;
  __device__ void operator()(double sum) const { sums->of[number] = sum; }
};

/// O(N log^2 N): one search an event and level. Counts are kept in double, where whole numbers are exact below 2^53.
template <>
struct concordance_kernel<backend::cuda> {
  /// Waits for the device.
  template <class T>
  static concordance_result run(cuda_context& ctx, vector_view<const T, device_space> score,
                                const device_risk_plan& plan, const concordance_options& options,
                                const concordance_output<device_space>& out) {
    const bool plain = options.weighting == pair_weighting::equal && options.tolerance == 0 &&
                       !options.standard_error && std::isinf(options.horizon) && out.influence.size == 0 &&
                       out.by_stratum.rows == 0 && plan.until == nullptr && plan.stratum_of == nullptr;
    check::require(plain, "concordance", "options", "one that changes what pairs count",
                   "none: a device counts all pairs of one stratum, without late entry");
    const index_t n = plan.rows;
    auto scratch = ctx.workspace().open();
    auto* const key = scratch.template take<std::uint64_t>(n);
    auto* const sorted_key = scratch.template take<std::uint64_t>(2 * n);
    auto* const position = scratch.template take<index_t>(2 * n);
    auto* const below = scratch.template take<double>(n);
    auto* const equal = scratch.template take<double>(n);
    auto* const all = scratch.template take<double>(n);
    auto* const of_time = scratch.template take<segment_sum<double>>(n);
    auto* const in_runs = scratch.template take<segment_sum<double>>(n);
    auto* const sums = scratch.template take<concordance_sums>(1);

    each(ctx, n, concordance_keys<T>{score, plan, key, sorted_key, position, below, equal});
    const sorted_runs sorted = sort_by_levels(ctx, n, sorted_key, position, [&](const sorted_runs& runs) {
      const bool weighted = plan.weight != nullptr;
      if (weighted) each(ctx, n, weights_in_runs{plan, runs, in_runs});
      if (weighted) inclusive_scan(ctx, n, in_runs, join_segment_sums{});
      each(ctx, n, count_in_run{plan, runs, weighted ? in_runs : nullptr, key, below, equal});
    });
    const equal_deaths deaths{plan, sorted};
    each(ctx, n, concordance_weights{plan, all, of_time});
    inclusive_scan(ctx, n, all, add_values{});
    inclusive_scan(ctx, n, of_time, join_segment_sums{});
    each(ctx, n, write_equal_deaths{deaths, in_runs});
    inclusive_scan(ctx, n, in_runs, join_segment_sums{});
    for (int number = 0; number < concordance_sums::numbers; ++number) {
      const auto which = static_cast<concordance_sums::number>(number);
      sum_each(ctx, n, concordance_terms{which, plan, all, below, equal, of_time, in_runs, deaths},
               write_concordance_sum{which, sums});
    }
    return result(primitives<backend::cuda>::read(ctx, static_cast<const concordance_sums*>(sums)));
  }

 private:
  static concordance_result result(const concordance_sums& found) {
    const double pairs = found.of[concordance_sums::comparable], higher = found.of[concordance_sums::concordant],
                 tied = found.of[concordance_sums::tied_score];
    const double value = pairs > 0 ? (higher + tied / 2) / pairs : std::numeric_limits<double>::quiet_NaN();
    return {value,
            higher,
            std::max<double>(pairs - higher - tied, 0),
            tied,
            found.of[concordance_sums::tied_times] - found.of[concordance_sums::tied_both],
            found.of[concordance_sums::tied_both]};
  }
};

}  // namespace stroma::detail
