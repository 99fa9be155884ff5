#pragma once
#include <stroma/backend/cuda/scan.cuh>
#include <stroma/backend/cuda/sort.cuh>
#include <stroma/survival/detail/product_limit.hpp>
#include <stroma/survival/risk_order.cuh>

namespace stroma::detail {

/// The stratum of a group.
[[nodiscard]] __device__ inline index_t stratum_at(const device_risk_plan& plan, index_t g) {
  return plan.stratum_of == nullptr ? 0 : plan.stratum_of[g];
}
[[nodiscard]] __device__ inline index_t group_count(const device_risk_plan& plan) { return plan.counts->groups; }
/// Position at which the stratum of a group begins.
[[nodiscard]] __device__ inline index_t first_of_stratum(const device_risk_plan& plan, index_t g) {
  return plan.first[plan.stratum[stratum_at(plan, g)]];
}

/// Positions by the group from which on they are not at risk, strata one after another.
struct entry_order {
  const std::uint64_t* until;
  const index_t* position;
  index_t size;
};
struct place_entries {
  device_risk_plan plan;
  std::uint64_t* until;
  index_t* position;
  __device__ void operator()(index_t k) const {
    until[k] = static_cast<std::uint64_t>(plan.until[k]);
    position[k] = k;
  }
};
/// Nobody where nobody enters late.
template <class Frame>
[[nodiscard]] entry_order sort_entries(cuda_context& ctx, Frame& scratch, const device_risk_plan& plan) {
  if (plan.until == nullptr || plan.rows == 0) return {nullptr, nullptr, 0};
  auto* const until = scratch.template take<std::uint64_t>(plan.rows);
  auto* const position = scratch.template take<index_t>(plan.rows);
  each(ctx, plan.rows, place_entries{plan, until, position});
  sort_by_key(ctx, plan.rows, until, position);
  return {until, position, plan.rows};
}

/// What `of(position)` gives, summed over a stratum's positions and, in the order of their entries, over those that
/// are not at risk yet.
template <class V>
struct sums_at_risk {
  device_risk_plan plan;
  entry_order entries;
  const segment_sum<V>*followed, *late;

  /// Over the positions of a stratum before `end`, at which group g or a later one begins, without those that are not
  /// at risk from g on. Both sums are rounded, and so is their difference.
  __device__ V before(index_t end, index_t g) const {
    if (end == first_of_stratum(plan, g)) return V{};
    const V sum = followed[end - 1].sum;
    index_t low = 0, high = entries.size;
    while (low < high) {
      const index_t middle = low + (high - low) / 2;
      if (entries.until[middle] <= static_cast<std::uint64_t>(g)) low = middle + 1;
      else high = middle;
    }
    if (low == 0 || stratum_at(plan, plan.group[entries.position[low - 1]]) != stratum_at(plan, g)) return sum;
    return sum - late[low - 1].sum;
  }
};
template <class V, class Of>
struct write_followed {
  device_risk_plan plan;
  Of of;
  segment_sum<V>* to;
  __device__ void operator()(index_t k) const { to[k] = {of(k), k == first_of_stratum(plan, plan.group[k])}; }
};
template <class V, class Of>
struct write_late {
  device_risk_plan plan;
  entry_order entries;
  Of of;
  segment_sum<V>* to;
  __device__ index_t stratum(index_t i) const { return stratum_at(plan, plan.group[entries.position[i]]); }
  __device__ void operator()(index_t i) const {
    to[i] = {of(entries.position[i]), i == 0 || stratum(i) != stratum(i - 1)};
  }
};
template <class V, class Frame, class Of>
[[nodiscard]] sums_at_risk<V> sum_at_risk(cuda_context& ctx, Frame& scratch, const device_risk_plan& plan,
                                          const entry_order& entries, const Of& of) {
  auto* const followed = scratch.template take<segment_sum<V>>(plan.rows);
  auto* const late = scratch.template take<segment_sum<V>>(entries.size);
  each(ctx, plan.rows, write_followed<V, Of>{plan, of, followed});
  inclusive_scan(ctx, plan.rows, followed, join_segment_sums{});
  each(ctx, entries.size, write_late<V, Of>{plan, entries, of, late});
  inclusive_scan(ctx, entries.size, late, join_segment_sums{});
  return {plan, entries, followed, late};
}

struct counted_weight {
  double weight;
  index_t rows;
  friend __device__ counted_weight operator+(const counted_weight& a, const counted_weight& b) {
    return {a.weight + b.weight, a.rows + b.rows};
  }
  friend __device__ counted_weight operator-(const counted_weight& a, const counted_weight& b) {
    return {a.weight - b.weight, a.rows - b.rows};
  }
};
struct counted_weight_at {
  device_risk_plan plan;
  __device__ counted_weight operator()(index_t k) const {
    const double w = weight_at(plan, k);
    return {w, w > 0 ? 1 : 0};
  }
};
/// Weights anew for the censored and for the deaths of each time.
struct weights_of_time {
  device_risk_plan plan;
  segment_sum<counted_weight>* to;
  __device__ void operator()(index_t k) const {
    const index_t g = plan.group[k];
    to[k] = {counted_weight_at{plan}(k), k == plan.first[g] || k == plan.deaths[g]};
  }
};
struct write_risk_counts {
  sums_at_risk<counted_weight> sums;
  const segment_sum<counted_weight>* of_time;
  risk_count* to;
  __device__ void operator()(index_t g) const {
    const device_risk_plan& plan = sums.plan;
    if (g >= group_count(plan)) return;
    const index_t first = plan.first[g], deaths = plan.deaths[g], last = plan.first[g + 1];
    const counted_weight none{0, 0};
    const counted_weight censored = deaths > first ? of_time[deaths - 1].sum : none;
    const counted_weight died = last > deaths ? of_time[last - 1].sum : none;
    counted_weight n = sums.before(last, g);
    if (n.rows == died.rows + censored.rows) n.weight = died.weight + censored.weight;  // what rounding left
    to[g] = {n.weight, died.weight, censored.weight, n.rows, died.rows, censored.rows};
  }
};
/// Counts for every group: `to` has room for as many groups as rows. O(N log N) with late entry, else O(N).
inline void count_at_risk(cuda_context& ctx, const device_risk_plan& plan, const entry_order& entries, risk_count* to) {
  auto scratch = ctx.workspace().open();
  auto* const of_time = scratch.template take<segment_sum<counted_weight>>(plan.rows);
  const auto sums = sum_at_risk<counted_weight>(ctx, scratch, plan, entries, counted_weight_at{plan});
  each(ctx, plan.rows, weights_of_time{plan, of_time});
  inclusive_scan(ctx, plan.rows, of_time, join_segment_sums{});
  each(ctx, plan.rows, write_risk_counts{sums, of_time, to});
}

}  // namespace stroma::detail
