#pragma once
#include <bit>

#include <stroma/backend/cuda/scan.cuh>
#include <stroma/survival/detail/product_limit.cuh>

/// Sums over risk sets that only add, as in risk_ranges.hpp: for a level of halved blocks after another a scan of the
/// ranges' first groups and one of their last ones.
namespace stroma::detail {

/// The groups at which a position is at risk, but for its own if it dies; their level: 0 for one group, 1 + the highest
/// bit in which first and last differ for more, -1 for none.
struct device_range {
  index_t first, last;
  [[nodiscard]] __device__ int level() const {
    if (last < first) return -1;
    int level = 0;
    for (index_t differing = first ^ last; differing != 0; differing >>= 1) ++level;
    return level;
  }
};
[[nodiscard]] __device__ inline device_range range_at(const device_risk_plan& plan, index_t k) {
  const index_t g = plan.group[k];
  return {g + (k >= plan.deaths[g] ? 1 : 0), plan.until[k] - 1};
}
/// The half block of a group at a level: at level 0 every group is one by itself.
[[nodiscard]] __device__ inline index_t half_of(index_t group, int level) {
  return level < 2 ? group : group >> (level - 1);
}
[[nodiscard]] inline int levels_of(const device_risk_plan& plan) {
  return 1 + static_cast<int>(std::bit_width(static_cast<std::uint64_t>(plan.rows)));
}

template <class E, class Of>
struct write_by_first {
  device_risk_plan plan;
  Of of;
  int level;
  segment_sum<E>* to;
  __device__ void operator()(index_t k) const {
    const device_range r = range_at(plan, k);
    to[k] = {r.level() == level ? of(k) : E{},
             k == 0 || half_of(range_at(plan, k - 1).first, level) != half_of(r.first, level)};
  }
};
template <class E, class Of>
struct write_by_last {
  device_risk_plan plan;
  entry_order entries;
  Of of;
  int level;
  segment_sum<E>* to;
  __device__ void operator()(index_t i) const {
    const index_t k = entries.position[i];
    const device_range r = range_at(plan, k);
    to[i] = {r.level() == level ? of(k) : E{}, i + 1 == entries.size || half_of(plan.until[entries.position[i + 1]] - 1,
                                                                                level) != half_of(r.last, level)};
  }
};
template <class E>
struct add_level {
  device_risk_plan plan;
  entry_order entries;
  int level;
  const segment_sum<E>*by_first, *by_last;
  E* to;
  __device__ void operator()(index_t g) const {
    if (g >= group_count(plan)) return;
    if (level == 0) to[g] = E{};
    const bool right = level > 0 && (half_of(g, level) & 1) != 0;
    if (!right) {
      const index_t before = plan.deaths[g];  // of these positions first is g or earlier
      if (before > 0 && half_of(range_at(plan, before - 1).first, level) == half_of(g, level))
        to[g] = to[g] + by_first[before - 1].sum;
      return;
    }
    index_t low = 0, high = entries.size;
    while (low < high) {
      const index_t middle = low + (high - low) / 2;
      if (entries.until[middle] <= static_cast<std::uint64_t>(g)) low = middle + 1;
      else high = middle;
    }
    if (low < entries.size && half_of(static_cast<index_t>(entries.until[low]) - 1, level) == half_of(g, level))
      to[g] = to[g] + by_last[low].sum;
  }
};
template <class E>
struct read_followed {
  device_risk_plan plan;
  const segment_sum<E>* sums;
  E* to;
  __device__ void operator()(index_t g) const {
    if (g >= group_count(plan)) return;
    const index_t end = plan.deaths[g];
    to[g] = end == first_of_stratum(plan, g) ? E{} : sums[end - 1].sum;
  }
};

/// to[g] = sum of of(k) over the positions k that are at risk at group g and do not die then; `to`: [rows].
template <class E, class Of>
void spread(cuda_context& ctx, const device_risk_plan& plan, const Of& of, E* to) {
  auto scratch = ctx.workspace().open();
  auto* const sums = scratch.template take<segment_sum<E>>(plan.rows);
  if (plan.until == nullptr) {
    each(ctx, plan.rows, write_followed<E, Of>{plan, of, sums});
    inclusive_scan(ctx, plan.rows, sums, join_segment_sums{});
    each(ctx, plan.rows, read_followed<E>{plan, sums, to});
    return;
  }
  auto* const by_last = scratch.template take<segment_sum<E>>(plan.rows);
  const entry_order entries = sort_entries(ctx, scratch, plan);
  for (int level = 0; level < levels_of(plan); ++level) {
    each(ctx, plan.rows, write_by_first<E, Of>{plan, of, level, sums});
    inclusive_scan(ctx, plan.rows, sums, join_segment_sums{});
    if (level > 0) {
      each(ctx, plan.rows, write_by_last<E, Of>{plan, entries, of, level, by_last});
      reversed_inclusive_scan(ctx, plan.rows, by_last, join_segment_sums{});
    }
    each(ctx, plan.rows, add_level<E>{plan, entries, level, sums, by_last, to});
  }
}

/// Sums of h that end, or in the other direction begin, with each group: within its stratum, or within its half block.
template <class E>
struct write_by_group {
  device_risk_plan plan;
  const E* h;
  int level;  // below 0: strata
  bool from_end;
  segment_sum<E>* to;
  [[nodiscard]] __device__ index_t segment(index_t g) const {
    return level >= 0 ? half_of(g, level) : stratum_at(plan, g);
  }
  __device__ void operator()(index_t g) const {
    const index_t groups = group_count(plan), before = from_end ? g + 1 : g - 1;
    if (g >= groups) to[g] = {E{}, true};
    else to[g] = {h[g], before < 0 || before >= groups || segment(before) != segment(g)};
  }
};
template <class E>
struct read_later_groups {
  device_risk_plan plan;
  const segment_sum<E>* later;  // of a group and all that follow in its stratum
  E* to;
  __device__ void operator()(index_t k) const {
    const index_t g = plan.group[k], first = g + (k >= plan.deaths[g] ? 1 : 0);
    const bool none = first != g && (first >= group_count(plan) || stratum_at(plan, first) != stratum_at(plan, g));
    to[k] = none ? E{} : later[first].sum;
  }
};
template <class E>
struct read_level {
  device_risk_plan plan;
  int level;
  const segment_sum<E>*from_first, *to_last;
  E* to;
  __device__ void operator()(index_t k) const {
    const device_range r = range_at(plan, k);
    const int own = r.level();
    if (own < 0 && level == 0) to[k] = E{};
    if (own != level) return;
    to[k] = level == 0 ? to_last[r.last].sum : from_first[r.first].sum + to_last[r.last].sum;
  }
};

/// to[k] = sum of h over the groups at which position k is at risk, but for that of its death; `h`: [rows].
template <class E>
void gather(cuda_context& ctx, const device_risk_plan& plan, const E* h, E* to) {
  auto scratch = ctx.workspace().open();
  auto* const later = scratch.template take<segment_sum<E>>(plan.rows);
  if (plan.until == nullptr) {
    each(ctx, plan.rows, write_by_group<E>{plan, h, -1, true, later});
    reversed_inclusive_scan(ctx, plan.rows, later, join_segment_sums{});
    each(ctx, plan.rows, read_later_groups<E>{plan, later, to});
    return;
  }
  auto* const earlier = scratch.template take<segment_sum<E>>(plan.rows);
  for (int level = 0; level < levels_of(plan); ++level) {
    each(ctx, plan.rows, write_by_group<E>{plan, h, level, false, earlier});
    inclusive_scan(ctx, plan.rows, earlier, join_segment_sums{});
    if (level > 0) {
      each(ctx, plan.rows, write_by_group<E>{plan, h, level, true, later});
      reversed_inclusive_scan(ctx, plan.rows, later, join_segment_sums{});
    }
    each(ctx, plan.rows, read_level<E>{plan, level, later, earlier, to});
  }
}

}  // namespace stroma::detail
