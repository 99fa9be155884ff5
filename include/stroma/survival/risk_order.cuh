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
  index_t* row;
  __device__ void operator()(index_t i) const {
    const index_t censored = time.size - deaths_before[time.size], before = deaths_before[i];
    const index_t to = event[i] != Events(0) ? censored + before : i - before;
    key[to] = ~ordered_key(widen<double>(time[i]));
    row[to] = i;
  }
};
struct flag_group_starts {
  const std::uint64_t* key;
  index_t* group;
  __device__ void operator()(index_t k) const { group[k] = k > 0 && key[k] != key[k - 1] ? 1 : 0; }
};
template <class Events>
struct bound_groups {
  vector_view<const Events, device_space> event;
  const index_t* deaths_before;
  risk_plan_memory to;

  __device__ bool died(index_t k) const { return event[to.row[k]] != Events(0); }
  __device__ void operator()(index_t k) const {
    const index_t g = to.group[k], rows = event.size;
    const bool begins = k == 0 || to.group[k - 1] != g, ends = k + 1 == rows || to.group[k + 1] != g;
    if (begins) to.first[g] = k;
    if (died(k) && (begins || !died(k - 1))) to.deaths[g] = k;
    if (ends && !died(k)) to.deaths[g] = k + 1;
    if (k + 1 == rows) {
      to.first[g + 1] = rows;
      *to.counts = {g + 1, deaths_before[rows]};
    }
  }
};
struct write_no_groups {
  risk_plan_memory to;
  __device__ void operator()(index_t) const {
    to.first[0] = 0;
    *to.counts = {0, 0};
  }
};
template <class Weights>
struct gather_weights {
  vector_view<const Weights, device_space> weight;
  risk_plan_memory to;
  __device__ void operator()(index_t k) const { to.weight[k] = widen<double>(weight[to.row[k]]); }
};

template <>
struct risk_order_kernel<backend::cuda> {
  template <class Times, class Events, class Weights>
  static device_risk_plan run(cuda_context& ctx, vector_view<const Times, device_space> time,
                              vector_view<const Events, device_space> event,
                              vector_view<const Weights, device_space> weight, const risk_plan_memory& to) {
    const index_t n = time.size;
    auto scratch = ctx.workspace().open();
    auto* const key = scratch.template take<std::uint64_t>(n);
    auto* const deaths_before = scratch.template take<index_t>(n + 1);
    if (n == 0) each(ctx, 1, write_no_groups{to});
    exclusive_sum(ctx, n, count_event<Events>{event}, deaths_before);
    each(ctx, n, place_patients<Times, Events>{time, event, deaths_before, key, to.row});
    sort_by_key(ctx, n, key, to.row);
    each(ctx, n, flag_group_starts{key, to.group});
    inclusive_scan(ctx, n, to.group, add_values{});
    each(ctx, n, bound_groups<Events>{event, deaths_before, to});
    each(ctx, weight.size, gather_weights<Weights>{weight, to});
    return {n, to.row, to.first, to.deaths, weight.size != 0 ? to.weight : nullptr, to.group, to.counts};
  }
  /// Waits for the device.
  static risk_counts read(cuda_context& ctx, const risk_counts* counts) {
    return primitives<backend::cuda>::read(ctx, counts);
  }
};

}  // namespace stroma::detail
