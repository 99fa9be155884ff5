#pragma once
#include <stroma/survival/detail/concordant_pairs.hpp>
#include <stroma/survival/detail/pair_weights.cuh>
#include <stroma/survival/detail/sorted_runs.cuh>

/// The pairs of a cohort, counted on a device: every patient searches in sorted runs of others.
namespace stroma::detail {

/// Numbers as they stand in runs, each run with a sum of its own.
struct numbers_in_runs {
  const double* value;         // by position
  const index_t* position_of;  // of an element of the order that was sorted; null: itself
  sorted_runs runs;
  segment_sum<double>* to;
  __device__ void operator()(index_t i) const {
    const index_t at = runs.position[i];
    to[i] = {value[position_of == nullptr ? at : position_of[at]], i % runs.width == 0};
  }
};

/// Those whom an event is compared with: before the deaths of its time, in its stratum.
struct followed_longer {
  device_risk_plan plan;
  const double* pair_weight;
  __device__ run_range operator()(index_t k) const {
    const index_t g = plan.group[k];
    if (!died_at(plan, k) || !(pair_weight[g] > 0)) return {0, 0};
    return {first_of_stratum(plan, g), plan.deaths[g]};
  }
};
/// Of the order of entries: those who were followed longer but are not at risk yet at the event's time.
struct not_entered {
  followed_longer events;
  entry_order entries;
  [[nodiscard]] __device__ index_t left_until(index_t g) const {
    index_t low = 0, high = entries.size;
    while (low < high) {
      const index_t middle = low + (high - low) / 2;
      if (entries.until[middle] <= static_cast<std::uint64_t>(g)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  __device__ run_range operator()(index_t k) const {
    const run_range all = events(k);
    if (all.first == all.last) return {0, 0};
    const index_t g = events.plan.group[k];
    return {left_until(events.plan.stratum[stratum_at(events.plan, g)]), left_until(g)};
  }
};
/// The positions of the events that a patient sees: after the own entry, before the end of the own follow-up.
struct seen_events {
  device_risk_plan plan;
  __device__ run_range operator()(index_t k) const {
    const index_t g = plan.group[k];
    const index_t until = plan.until == nullptr ? plan.stratum[stratum_at(plan, g) + 1] : plan.until[k];
    return {died_at(plan, k) ? plan.first[g + 1] : plan.deaths[g], plan.first[until]};
  }
};

/// Adds, times `sign`, the numbers of those in query(k) whose score is lower, and of those whose score is equal.
template <class Query>
struct count_in_runs {
  Query query;
  sorted_runs runs;
  const segment_sum<double>* sums;  // null: all numbers are 1
  const std::uint64_t* key;         // by position
  double sign;
  double *below, *equal;

  __device__ double before(const run_range& run, index_t i) const {
    if (i == run.first) return 0;
    return sums == nullptr ? static_cast<double>(i - run.first) : sums[i - 1].sum;
  }
  __device__ void take(index_t k, index_t block) const {
    const run_range run{block * runs.width, (block + 1) * runs.width};
    const index_t low = first_not_below(runs, run, key[k]), high = first_above(runs, {low, run.last}, key[k]);
    below[k] += sign * before(run, low);
    if (high != low) equal[k] += sign * (before(run, high) - before(run, low));
  }
  /// A range is the odd ones of the blocks at its ends, level by level.
  __device__ void operator()(index_t k) const {
    const run_range range = query(k);
    index_t block = (range.first + runs.width - 1) / runs.width;
    const index_t end = range.last / runs.width;
    if (block < end && block % 2 == 1) take(k, block++);
    if (block < end && end % 2 == 1) take(k, end - 1);
  }
};

struct score_keys_of_entries {
  const std::uint64_t* key;  // by position
  entry_order entries;
  std::uint64_t* to;
  index_t* element;
  __device__ void operator()(index_t i) const {
    to[i] = key[entries.position[i]];
    element[i] = i;
  }
};

struct below_and_equal {
  double *below, *equal;
};
struct clear_counts {
  below_and_equal counts;
  __device__ void operator()(index_t k) const { counts.below[k] = counts.equal[k] = 0; }
};
template <class Frame>
[[nodiscard]] below_and_equal take_counts(cuda_context& ctx, Frame& scratch, index_t n) {
  const below_and_equal counts{scratch.template take<double>(n), scratch.template take<double>(n)};
  each(ctx, n, clear_counts{counts});
  return counts;
}

/// Takes off those who are not at risk yet.
inline void take_off_late(cuda_context& ctx, const device_risk_plan& plan, const entry_order& entries,
                          const double* pair_weight, const std::uint64_t* key, const below_and_equal& counts) {
  const index_t n = entries.size;
  if (n == 0) return;
  auto scratch = ctx.workspace().open();
  auto* const sorted_key = scratch.template take<std::uint64_t>(2 * n);
  auto* const element = scratch.template take<index_t>(2 * n);
  auto* const in_runs = scratch.template take<segment_sum<double>>(plan.weight == nullptr ? 0 : n);
  each(ctx, n, score_keys_of_entries{key, entries, sorted_key, element});
  static_cast<void>(sort_by_levels(ctx, n, sorted_key, element, [&](const sorted_runs& runs) {
    if (plan.weight != nullptr) {
      each(ctx, n, numbers_in_runs{plan.weight, entries.position, runs, in_runs});
      inclusive_scan(ctx, n, in_runs, join_segment_sums{});
    }
    const not_entered query{{plan, pair_weight}, entries};
    each(ctx, n,
         count_in_runs<not_entered>{query, runs, plan.weight == nullptr ? nullptr : in_runs, key, -1, counts.below,
                                    counts.equal});
  }));
}

}  // namespace stroma::detail
