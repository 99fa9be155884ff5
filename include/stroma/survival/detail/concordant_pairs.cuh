#pragma once
#include <stroma/survival/detail/concordant_pairs.hpp>
#include <stroma/survival/detail/pair_weights.cuh>
#include <stroma/survival/detail/wavelet_sums.cuh>

/// The pairs of a cohort, counted on a device: for every patient the weights of others, in a range of positions, whose
/// scores are lower, and of those whose scores are equal. A symbol is twice the rank of a score, so that a threshold
/// one above it lies between the equal scores and the higher ones, and the last bit tells equal from lower.
namespace stroma::detail {

/// Positions by score; equal scores by position.
struct score_order {
  const std::uint64_t* key;
  const index_t* position;
  index_t size;
};
struct write_score_symbols {
  score_order sorted;
  index_t* symbol;  // by position
  __device__ void operator()(index_t i) const {
    const std::uint64_t own = sorted.key[i];
    symbol[sorted.position[i]] = 2 * partition_point(0, i, [&](index_t at) { return sorted.key[at] < own; });
  }
};

struct position_range {
  index_t first, last;
};
/// Of an event its weight times that of its pairs, of others 0.
struct event_weight_at {
  device_risk_plan plan;
  const double* pair_weight;
  __device__ double operator()(index_t k) const {
    return died_at(plan, k) ? weight_at(plan, k) * pair_weight[plan.group[k]] : 0;
  }
};

/// Those whom an event is compared with: before the deaths of its time, in its stratum.
struct followed_longer {
  device_risk_plan plan;
  const double* pair_weight;
  const index_t* symbol;  // by position
  [[nodiscard]] __device__ wavelet_item item(index_t k) const {
    return {symbol[k], stratum_at(plan, plan.group[k]), weight_at(plan, k)};
  }
  [[nodiscard]] __device__ wavelet_query query(index_t k) const {
    const index_t g = plan.group[k];
    if (!died_at(plan, k) || !(pair_weight[g] > 0)) return {0, 0, 0};
    return {first_of_stratum(plan, g), plan.deaths[g], symbol[k] + 1};
  }
};
/// Of the order of entries: those who were followed longer but are not at risk yet at the event's time.
struct not_entered {
  followed_longer events;
  entry_order entries;
  [[nodiscard]] __device__ index_t left_until(index_t g) const {
    return partition_point(0, entries.size,
                           [&](index_t i) { return entries.until[i] <= static_cast<std::uint64_t>(g); });
  }
  [[nodiscard]] __device__ wavelet_item item(index_t i) const { return events.item(entries.position[i]); }
  [[nodiscard]] __device__ wavelet_query query(index_t k) const {
    const wavelet_query all = events.query(k);
    if (all.first == all.last) return all;
    const index_t g = events.plan.group[k], stratum = stratum_at(events.plan, g);
    return {left_until(events.plan.stratum[stratum]), left_until(g), all.threshold};
  }
};
/// The events that a patient sees: after the own entry, before the end of the own follow-up.
[[nodiscard]] __device__ inline position_range seen_positions(const device_risk_plan& plan, index_t k) {
  const index_t g = plan.group[k];
  const index_t until = plan.until == nullptr ? plan.stratum[stratum_at(plan, g) + 1] : plan.until[k];
  return {died_at(plan, k) ? plan.first[g + 1] : plan.deaths[g], plan.first[until]};
}
/// From the last position to the first: who has no late entry sees all from some position on, and so a sum that begins
/// with the stratum.
struct seen_events {
  event_weight_at weight;
  const index_t* symbol;  // by position
  [[nodiscard]] __device__ wavelet_item item(index_t i) const {
    const index_t k = weight.plan.rows - 1 - i;
    return {symbol[k], stratum_at(weight.plan, weight.plan.group[k]), weight(k)};
  }
  [[nodiscard]] __device__ wavelet_query query(index_t k) const {
    const position_range seen = seen_positions(weight.plan, k);
    return {weight.plan.rows - seen.last, weight.plan.rows - seen.first, symbol[k] + 1};
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
struct add_to_counts {
  double sign;
  below_and_equal counts;
  __device__ void operator()(index_t k, int bit, index_t, double sum) const {
    (bit == 0 ? counts.equal : counts.below)[k] += sign * sum;
  }
};
/// Adds, times `sign`, what the question finds to the counts of n patients.
template <class Question>
void count_scores(cuda_context& ctx, index_t n, const Question& question, double sign, const below_and_equal& counts) {
  sum_lower(ctx, n, 2 * n - 1, question, add_to_counts{sign, counts});
}

}  // namespace stroma::detail
