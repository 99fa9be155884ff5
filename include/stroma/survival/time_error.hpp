#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include <stroma/survival/censoring_curve.hpp>

namespace stroma {

/// What a predicted time of death is compared with where a patient was censored.
enum class censored_error {
  left_out,  ///< nothing: the mean is over the deaths
  hinge,     ///< the time of censoring, when the prediction is earlier; else no error
  margin     ///< the time expected after it by Kaplan-Meier, which counts 1 - S(time of censoring)
};

struct time_error_options {
  censored_error censored = censored_error::margin;
  step_curve<> survival{};   ///< of margin, say of the patients a model was trained on; absent: of the order's patients
  bool check_values = true;  ///< finite predictions
};

struct time_error_result {
  double mean_absolute;     ///< NaN where nobody counts
  double root_mean_square;  ///< NaN where nobody counts
};

namespace detail {

/// The time of death expected of those who live at a time, by a curve that goes on from its last step along the line
/// from (0, 1) through that step until it meets 0.
class expected_death {
 public:
  /// `area`: room for the curve's steps.
  expected_death(const step_curve<>& curve, double* area) : curve_(curve), area_(area) {
    const index_t steps = curve.time.size;
    if (steps == 0) return;
    last_ = curve.time[steps - 1];
    const double left = curve.value[steps - 1];
    end_ = left < 1 ? last_ / (1 - left) : infinite;
    double beyond = left > 0 ? left * (end_ - last_) / 2 : 0;
    for (index_t k = steps; k-- > 0;) {  // below the curve, from each step on
      area[k] = beyond;
      if (k > 0) beyond += curve.value[k - 1] * (curve.time[k] - curve.time[k - 1]);
    }
  }

  [[nodiscard]] double survival(double t) const {
    if (t <= last_) return curve_.at(t);
    return t < end_ && curve_.value[curve_.time.size - 1] > 0 ? 1 - t / end_ : 0;
  }
  [[nodiscard]] double after(double t) const {
    const double s = survival(t);
    if (!(s > 0)) return t;  // nobody lives on
    if (t >= last_) return t + (end_ - t) / 2;
    const index_t next = curve_.steps_until(t, true);
    return t + (area_[next] + s * (curve_.time[next] - t)) / s;
  }

 private:
  static constexpr double infinite = std::numeric_limits<double>::infinity();
  step_curve<> curve_;
  const double* area_;
  double last_ = -infinite, end_ = infinite;  ///< the last step, and where the line meets 0
};

}  // namespace detail

/// How far predicted times of death are from those observed.
///
/// mean_absolute = sum of w |predicted - time| / sum of w over deaths and, as censored_error says, over the censored.
/// In margin one censored at c is compared with c + (area below S after c) / S(c) and counts w (1 - S(c)); S goes on
/// from its last time along the line from (0, 1) through that point until it is 0. A curve that never falls, for nobody
/// died, says nothing of anybody. Of a training cohort it is {km[0].time, km[0].survival}, km its kaplan_meier_curves.
///
/// @param predicted [N] times of death, the unit of the order's   @param order [N] follow-up, without strata and late
/// entry; its weights are w
/// Cost: O(N log N) for margin, else O(N); O(N) scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Haider et al. 2020; Qi et al. 2023.
template <execution_context Context, vector_like Predictions>
  requires same_space<Context, Predictions> && std::same_as<typename Context::space, host_space>
[[nodiscard]] time_error_result time_error(Context& ctx, const Predictions& predicted,
                                           const risk_order<typename Context::backend>& order,
                                           const time_error_options& options = {}) {
  constexpr auto name = "time_error";
  const auto p = as_const_view(predicted);
  check::length(name, "predicted", p.size, order.size(), "the length of order");
  detail::check_followed_from_start(name, order);
  detail::check_step_curve(name, "survival", options.survival);
  if (options.check_values) value_checks<typename Context::backend>::finite(ctx, name, "predicted", p);

  const auto plan = order.plan();
  const bool margin = options.censored == censored_error::margin;
  auto scratch = ctx.workspace().open();
  const step_curve<> curve = !margin ? step_curve<>{}
                             : options.survival.absent()
                                 ? detail::scratch_curve(ctx, scratch, plan, detail::curve_of::survival)
                                 : options.survival;
  const detail::expected_death expected(curve, scratch.template take<double>(curve.time.size));
  double absolute = 0, square = 0, all = 0;
  for (index_t g = 0; g < plan.groups; ++g) {
    const double time = plan.time[g];
    const bool someone_censored = plan.first[g] < plan.deaths[g];
    const double best = margin && someone_censored ? expected.after(time) : time;
    const double trust = options.censored == censored_error::left_out ? 0
                         : margin && someone_censored                 ? 1 - expected.survival(time)
                                                                      : 1;
    for (index_t k = plan.first[g]; k < plan.first[g + 1]; ++k) {
      const bool died = k >= plan.deaths[g];
      const double w = (plan.weight == nullptr ? 1 : plan.weight[k]) * (died ? 1 : trust);
      if (!(w > 0)) continue;
      double error = static_cast<double>(p[plan.row[k]]) - (died ? time : best);
      if (!died && options.censored == censored_error::hinge) error = std::min(error, 0.0);
      absolute += w * std::abs(error);
      square += w * error * error;
      all += w;
    }
  }
  return {absolute / all, std::sqrt(square / all)};
}

}  // namespace stroma
