#pragma once
#include <stroma/survival/censoring_curve.cuh>
#include <stroma/survival/detail/inverse_censoring.hpp>

namespace stroma::detail {

/// A patient at the evaluation times on a device; `unknown`: it died, but with a chance to be uncensored of 0.
struct device_followed_row {
  followed_row row;
  bool unknown;
};
struct follow_patients {
  device_risk_plan plan;
  const double* times;
  index_t count;
  step_curve<device_space> censoring;
  follow_up_rules rules;
  device_followed_row* to;

  __device__ index_t times_before(double t, bool inclusive) const {
    return step_curve<device_space>{{times, count}, {}}.steps_until(t, inclusive);
  }
  __device__ void operator()(index_t k) const {
    const double t = plan.time[plan.group[k]], w = weight_at(plan, k);
    const bool died = died_at(plan, k);
    double chance = 1;
    if (rules.divisor == censoring_value::before) chance = censoring.before(t);
    if (rules.divisor == censoring_value::at) chance = censoring.at(t);
    const index_t alive = times_before(t, rules.alive_when_censored && !died);
    to[plan.row[k]] = {{alive, w, died && chance > 0 ? w / chance : 0}, died && !(chance > 0) && w > 0};
  }
};

template <class Times>
struct copy_times {
  vector_view<const Times, device_space> from;
  double* to;
  __device__ void operator()(index_t k) const { to[k] = static_cast<double>(from[k]); }
};
/// Evaluation times as double, in scratch memory.
template <class Frame, class Times>
[[nodiscard]] const double* copied_times(cuda_context& ctx, Frame& scratch, vector_view<const Times, device_space> at) {
  auto* const copy = scratch.template take<double>(at.size);
  each(ctx, at.size, copy_times<Times>{at, copy});
  return copy;
}

}  // namespace stroma::detail
