#pragma once
#include <stroma/survival/detail/pair_weights.hpp>
#include <stroma/survival/detail/product_limit.cuh>

namespace stroma::detail {

/// Products from the earliest time of a stratum on.
struct survival_product {
  double survival, censoring;
  bool begins;
};
struct join_products {
  __device__ survival_product operator()(const survival_product& earlier, const survival_product& later) const {
    if (later.begins) return later;
    return {earlier.survival * later.survival, earlier.censoring * later.censoring, earlier.begins};
  }
};
struct write_products {
  device_risk_plan plan;
  const risk_count* counts;
  survival_product* product;
  segment_sum<counted_weight>* whole;  // weights, and events, of a stratum
  __device__ void operator()(index_t g) const {
    product[g] = {1, 1, false};
    whole[g] = {{0, 0}, false};
    if (g >= group_count(plan)) return;
    const risk_count& c = counts[g];
    const index_t s = stratum_at(plan, g);
    product[g] = {surviving_deaths(c), surviving_censoring(c), g + 1 == plan.stratum[s + 1]};
    whole[g] = {{c.died + c.censored, c.rows_died}, g == plan.stratum[s]};
  }
};
struct write_pair_weights {
  device_risk_plan plan;
  pair_weight_options options;
  const risk_count* counts;
  const survival_product* product;
  const segment_sum<counted_weight>* whole;
  double* weight;
  double* undefined;  // events
  __device__ void operator()(index_t g) const {
    undefined[g] = 0;
    if (g >= group_count(plan)) return;
    const bool counted = counts[g].rows_died > 0 && !(plan.time[g] > options.horizon);
    const index_t end = plan.stratum[stratum_at(plan, g) + 1];
    const survival_product before = g + 1 < end ? product[g + 1] : survival_product{1, 1, true};
    const double chance = options.censoring == censoring_limit::before ? before.censoring : product[g].censoring;
    const counted_weight& all = whole[end - 1].sum;
    weight[g] = 0;
    if (!counted) return;
    if (all.rows < 2) weight[g] = 1;
    else if (needs_censoring(options.weighting) && !(chance > 0))
      undefined[g] = static_cast<double>(counts[g].rows_died);
    else weight[g] = pair_weight(options.weighting, all.weight, counts[g].at_risk, before.survival, chance);
  }
};
struct write_equal_pair_weights {
  device_risk_plan plan;
  double horizon;
  double *weight, *undefined;
  __device__ void operator()(index_t g) const {
    undefined[g] = 0;
    if (g < group_count(plan)) weight[g] = plan.time[g] > horizon ? 0 : 1;
  }
};

/// As on the host; `undefined`: by group. Both have room for as many groups as rows.
inline void weigh_pairs(cuda_context& ctx, const device_risk_plan& plan, const entry_order& entries,
                        const pair_weight_options& options, double* weight, double* undefined) {
  const index_t n = plan.rows;
  if (options.weighting == pair_weighting::equal)
    return each(ctx, n, write_equal_pair_weights{plan, options.horizon, weight, undefined});
  auto scratch = ctx.workspace().open();
  auto* const counts = scratch.template take<risk_count>(n);
  auto* const product = scratch.template take<survival_product>(n);
  auto* const whole = scratch.template take<segment_sum<counted_weight>>(n);
  count_at_risk(ctx, plan, entries, counts);
  each(ctx, n, write_products{plan, counts, product, whole});
  reversed_inclusive_scan(ctx, n, product, join_products{});
  inclusive_scan(ctx, n, whole, join_segment_sums{});
  each(ctx, n, write_pair_weights{plan, options, counts, product, whole, weight, undefined});
}

}  // namespace stroma::detail
