#pragma once
#include <stroma/backend/cuda/array.cuh>
#include <stroma/backend/cuda/scan.cuh>
#include <stroma/backend/cuda/sort.cuh>
#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

using device_risk_plan = risk_plan<device_space>;

/// The weight of the patient at a position.
[[nodiscard]] __device__ inline double weight_at(const device_risk_plan& plan, index_t k) {
  return plan.weight == nullptr ? 1 : plan.weight[k];
}
[[nodiscard]] __device__ inline bool died_at(const device_risk_plan& plan, index_t k) {
  return k >= plan.deaths[plan.group[k]];
}

template <class Events>
struct count_event {
  vector_view<const Events, device_space> event;
  __device__ index_t operator()(index_t i) const { return event[i] != Events(0) ? 1 : 0; }
};
/// The censored first, then the deaths, each by row: equal times keep this order.
template <class Times, class Events>
struct place_patients {
  vector_view<const Times, device_space> time;
  vector_view<const Events, device_space> event;
  const index_t* deaths_before;  // [rows + 1]
  std::uint64_t* key;
  row_number* row;
  __device__ void operator()(index_t i) const {
    const index_t censored = time.size - deaths_before[time.size], before = deaths_before[i];
    const index_t to = event[i] != Events(0) ? censored + before : i - before;
    key[to] = ~sort_key(widen<double>(time[i]));
    row[to] = static_cast<row_number>(i);
  }
};
/// The stratum of the patients in the order of their times.
struct place_strata {
  number_view<device_space> stratum;
  const row_number* row;
  std::uint64_t* key;
  __device__ void operator()(index_t k) const { key[k] = sort_key(stratum[row[k]]); }
};
/// Patients as they stand after sorting.
template <class Times, class Events>
struct placed_patients {
  vector_view<const Times, device_space> time;
  vector_view<const Events, device_space> event;
  number_view<device_space> stratum;
  const row_number* row;

  [[nodiscard]] __device__ bool died(index_t k) const { return event[row[k]] != Events(0); }
  [[nodiscard]] __device__ std::uint64_t time_key(index_t k) const { return sort_key(widen<double>(time[row[k]])); }
  [[nodiscard]] __device__ bool starts_stratum(index_t k) const {
    return k == 0 || (stratum.size != 0 && sort_key(stratum[row[k]]) != sort_key(stratum[row[k - 1]]));
  }
  [[nodiscard]] __device__ bool starts_group(index_t k) const {
    return starts_stratum(k) || time_key(k) != time_key(k - 1);
  }
};
template <class Times, class Events>
struct flag_group_starts {
  placed_patients<Times, Events> placed;
  index_t *group, *stratum;  // the latter null: one stratum
  __device__ void operator()(index_t k) const {
    group[k] = k > 0 && placed.starts_group(k) ? 1 : 0;
    if (stratum != nullptr) stratum[k] = k > 0 && placed.starts_stratum(k) ? 1 : 0;
  }
};
template <class Times, class Events>
struct bound_groups {
  placed_patients<Times, Events> placed;
  const index_t *deaths_before, *stratum;  // the latter by position, null: one
  risk_plan_memory to;

  __device__ void operator()(index_t k) const {
    const index_t g = to.group[k], rows = placed.time.size, s = stratum == nullptr ? 0 : stratum[k];
    const bool begins = k == 0 || to.group[k - 1] != g, ends = k + 1 == rows || to.group[k + 1] != g;
    const bool died = placed.died(k);
    if (begins) {
      to.first[g] = k;
      to.time[g] = widen<double>(placed.time[to.row[k]]) + 0.0;
      if (to.stratum_of != nullptr) to.stratum_of[g] = s;
      if (placed.starts_stratum(k)) to.stratum[s] = g;
    }
    if (died && (begins || !placed.died(k - 1))) to.deaths[g] = k;
    if (ends && !died) to.deaths[g] = k + 1;
    if (k + 1 == rows) {
      to.first[g + 1] = rows;
      to.stratum[s + 1] = g + 1;
      *to.counts = {g + 1, s + 1, deaths_before[rows]};
    }
  }
};
struct write_no_groups {
  risk_plan_memory to;
  __device__ void operator()(index_t) const {
    to.first[0] = to.stratum[0] = 0;
    *to.counts = {0, 0, 0};
  }
};
struct gather_weights {
  number_view<device_space> weight;
  risk_plan_memory to;
  __device__ void operator()(index_t k) const { to.weight[k] = weight[to.row[k]]; }
};
/// Times fall from group to group of a stratum: a binary search for the first that is not after the entry.
struct find_entries {
  number_view<device_space> entry;
  risk_plan_memory to;
  __device__ void operator()(index_t k) const {
    const double since = entry[to.row[k]];
    const index_t s = to.stratum_of == nullptr ? 0 : to.stratum_of[to.group[k]];
    index_t low = to.group[k] + 1, high = to.stratum[s + 1];
    while (low < high) {
      const index_t middle = low + (high - low) / 2;
      if (to.time[middle] > since) low = middle + 1;
      else high = middle;
    }
    to.until[k] = low;
  }
};

template <>
struct risk_order_kernel<backend::cuda> {
  template <class Times, class Events>
  static device_risk_plan run(cuda_context& ctx, vector_view<const Times, device_space> time,
                              vector_view<const Events, device_space> event,
                              const risk_order_options<device_space>& columns, const risk_plan_memory& to) {
    const index_t n = time.size;
    auto scratch = ctx.workspace().open();
    auto* const key = scratch.template take<std::uint64_t>(n);
    auto* const deaths_before = scratch.template take<index_t>(n + 1);
    index_t* const stratum = columns.stratum.size != 0 ? scratch.template take<index_t>(n) : nullptr;
    if (n == 0) each(ctx, 1, write_no_groups{to});
    exclusive_sum(ctx, n, count_event<Events>{event}, deaths_before);
    each(ctx, n, place_patients<Times, Events>{time, event, deaths_before, key, to.row});
    sort_by_key(ctx, n, key, to.row);
    if (stratum != nullptr) {
      each(ctx, n, place_strata{columns.stratum, to.row, key});
      sort_by_key(ctx, n, key, to.row);
    }
    const placed_patients<Times, Events> placed{time, event, columns.stratum, to.row};
    each(ctx, n, flag_group_starts<Times, Events>{placed, to.group, stratum});
    inclusive_scan(ctx, n, to.group, add_values{});
    if (stratum != nullptr) inclusive_scan(ctx, n, stratum, add_values{});
    each(ctx, n, bound_groups<Times, Events>{placed, deaths_before, stratum, to});
    each(ctx, columns.weight.size, gather_weights{columns.weight, to});
    each(ctx, columns.entry.size, find_entries{columns.entry, to});
    return {n,         to.row,   to.first, to.deaths,     to.time,  to.stratum,
            to.weight, to.group, to.until, to.stratum_of, to.counts};
  }
  /// Waits for the device.
  static risk_counts read(cuda_context& ctx, const risk_counts* counts) {
    return primitives<backend::cuda>::read(ctx, counts);
  }
};

}  // namespace stroma::detail
