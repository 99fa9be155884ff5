#pragma once
#include <stroma/survival/censoring_curve.hpp>
#include <stroma/survival/detail/product_limit.cuh>

namespace stroma::detail {

/// Steps from the earliest time on, as factors. The host does not know how many there are: behind the last come steps
/// at infinite times, which change nothing.
struct write_step_factors {
  device_risk_plan plan;
  const risk_count* counts;
  curve_of what;
  double *time, *value;
  __device__ void operator()(index_t i) const {
    const index_t g = group_count(plan) - 1 - i;
    time[i] = g >= 0 ? plan.time[g] : infinity<double>;
    value[i] = g < 0 ? 1 : what == curve_of::survival ? surviving_deaths(counts[g]) : surviving_censoring(counts[g]);
  }
};
struct multiply_values {
  __device__ double operator()(double a, double b) const { return a * b; }
};

template <>
struct step_curve_kernel<backend::cuda> {
  static step_curve<device_space> run(cuda_context& ctx, const device_risk_plan& plan, curve_of what, double* time,
                                      double* value) {
    auto scratch = ctx.workspace().open();
    auto* const counts = scratch.template take<risk_count>(plan.rows);
    const entry_order entries = sort_entries(ctx, scratch, plan);
    count_at_risk(ctx, plan, entries, counts);
    each(ctx, plan.rows, write_step_factors{plan, counts, what, time, value});
    inclusive_scan(ctx, plan.rows, value, multiply_values{});
    return {{time, plan.rows}, {value, plan.rows}};
  }
};

}  // namespace stroma::detail
