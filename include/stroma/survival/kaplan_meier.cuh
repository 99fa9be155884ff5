#pragma once
#include <stroma/backend/cuda/array.cuh>
#include <stroma/survival/detail/product_limit.cuh>
#include <stroma/survival/kaplan_meier.hpp>

namespace stroma::detail {

/// Where the row of a group stands, for curves go on from the earliest time; and which group a row is of.
[[nodiscard]] __device__ inline index_t turned(const device_risk_plan& plan, index_t g) {
  const index_t s = stratum_at(plan, g);
  return plan.stratum[s] + plan.stratum[s + 1] - 1 - g;
}

/// A curve as far as it has come.
struct curve_state {
  double survival, hazard, log_variance, hazard_variance;
  bool begins;
};
struct join_curve_states {
  __device__ curve_state operator()(const curve_state& a, const curve_state& b) const {
    if (b.begins) return b;
    return {a.survival * b.survival, a.hazard + b.hazard, a.log_variance + b.log_variance,
            a.hazard_variance + b.hazard_variance, a.begins};
  }
};
struct write_curve_counts {
  device_risk_plan plan;
  curve_estimate estimate;
  const risk_count* counts;
  curve_memory to;
  curve_state* state;
  __device__ void operator()(index_t g) const {
    const risk_count& c = counts[g];
    const index_t i = turned(plan, g);
    to.time[i] = plan.time[g];
    to.at_risk[i] = c.at_risk;
    to.events[i] = c.died;
    to.censored[i] = c.censored;
    curve_state now{1, 0, 0, 0, i == plan.stratum[stratum_at(plan, g)]};
    if (c.died > 0 && estimate == curve_estimate::kaplan_meier) {
      const auto step = curve_step_of<curve_estimate::kaplan_meier>(c.at_risk, c.died, 0);
      // From a time on at which all die S is 0 and its error infinite: the sum is not needed, and stays a number.
      now = {step.survival, step.hazard, c.died < c.at_risk ? step.log_variance : 0, step.hazard_variance, now.begins};
    } else if (c.died > 0) {
      const auto step = curve_step_of<curve_estimate::fleming_harrington>(c.at_risk, c.died, c.rows_died);
      now = {1, step.hazard, step.hazard_variance, step.hazard_variance, now.begins};
    }
    state[i] = now;
  }
};
struct write_estimate {
  curve_estimate estimate;
  const curve_state* state;
  curve_memory to;
  __device__ void operator()(index_t i) const {
    const curve_state& s = state[i];
    to.survival[i] = estimate == curve_estimate::kaplan_meier ? s.survival : std::exp(-s.hazard);
    to.log_error[i] = s.survival > 0 ? std::sqrt(s.log_variance) : infinity<double>;
    to.hazard[i] = s.hazard;
    to.hazard_error[i] = std::sqrt(s.hazard_variance);
  }
};
struct write_curve_limits {
  double z;
  curve_interval interval;
  curve_memory to;
  __device__ void operator()(index_t i) const {
    const auto limits = limits_of(to.survival[i], to.log_error[i], z, interval);
    to.lower[i] = limits.lower;
    to.upper[i] = limits.upper;
  }
};

/// Influences of those who are at risk add up as the variances do: by d / (n (n - d)) on log S, by -d / n^2 on H.
struct passed_influences {
  device_risk_plan plan;
  const curve_state* state;
  const curve_influences* own;  // of the deaths of a time, by group

  /// After the last time at which a patient was not at risk yet.
  [[nodiscard]] __device__ influence at_entry(index_t k) const {
    const index_t s = stratum_at(plan, plan.group[k]);
    if (plan.until == nullptr || plan.until[k] == plan.stratum[s + 1]) return {0, 0};
    return after(turned(plan, plan.until[k]));
  }
  /// On log S, and on H.
  [[nodiscard]] __device__ influence after(index_t i) const {
    return {state[i].log_variance, -state[i].hazard_variance};
  }
};
struct write_death_influences {
  curve_estimate estimate;
  const risk_count* counts;
  curve_influences* to;
  __device__ void operator()(index_t g) const {
    to[g] = influences_of(estimate, counts[g].at_risk, counts[g].died, counts[g].rows_died);
  }
};
struct squares {
  double log_survival, hazard;
  friend __device__ squares operator+(const squares& a, const squares& b) {
    return {a.log_survival + b.log_survival, a.hazard + b.hazard};
  }
};
/// (weight x influence)^2 of those who have left, from the earliest time on.
struct write_settled {
  passed_influences passed;
  segment_sum<squares>* to;
  __device__ void operator()(index_t k) const {
    const device_risk_plan& plan = passed.plan;
    const index_t g = plan.group[k], s = stratum_at(plan, g), i = turned(plan, g);
    const influence entry = passed.at_entry(k);
    influence u{0, 0};
    if (!died_at(plan, k)) u = passed.after(i);
    else if (i > plan.stratum[s]) u = passed.after(i - 1);
    const double w = weight_at(plan, k);
    const bool died = died_at(plan, k);
    const double on_log = w * (u.at_risk - entry.at_risk + (died ? passed.own[g].log_survival.death : 0));
    const double on_hazard = w * (u.death - entry.death + (died ? passed.own[g].hazard.death : 0));
    to[k] = {{on_log * on_log, on_hazard * on_hazard}, k + 1 == plan.first[plan.stratum[s + 1]]};
  }
};
/// Sums of w^2, w^2 e, w^2 e^2 for the influences e at entry.
struct entry_moments {
  double weight, log_linear, log_square, hazard_linear, hazard_square;
  friend __device__ entry_moments operator+(const entry_moments& a, const entry_moments& b) {
    return {a.weight + b.weight, a.log_linear + b.log_linear, a.log_square + b.log_square,
            a.hazard_linear + b.hazard_linear, a.hazard_square + b.hazard_square};
  }
  friend __device__ entry_moments operator-(const entry_moments& a, const entry_moments& b) {
    return {a.weight - b.weight, a.log_linear - b.log_linear, a.log_square - b.log_square,
            a.hazard_linear - b.hazard_linear, a.hazard_square - b.hazard_square};
  }
};
struct entry_moments_at {
  passed_influences passed;
  __device__ entry_moments operator()(index_t k) const {
    const double w = weight_at(passed.plan, k), w2 = w * w;
    const influence e = passed.at_entry(k);
    return {w2, w2 * e.at_risk, w2 * e.at_risk * e.at_risk, w2 * e.death, w2 * e.death * e.death};
  }
};
struct write_robust_errors {
  passed_influences passed;
  sums_at_risk<entry_moments> at_risk;
  const segment_sum<squares>* settled;
  const risk_count* counts;
  curve_memory to;
  __device__ void operator()(index_t g) const {
    const device_risk_plan& plan = passed.plan;
    const index_t i = turned(plan, g);
    const squares left = settled[plan.first[g]].sum;
    double on_log = 0, on_hazard = 0;
    if (counts[g].rows_at_risk > counts[g].rows_died + counts[g].rows_censored) {  // those who stay
      const entry_moments m = at_risk.before(plan.first[g], g);
      const influence u = passed.after(i);
      on_log = u.at_risk * (u.at_risk * m.weight - 2 * m.log_linear) + m.log_square;
      on_hazard = u.death * (u.death * m.weight - 2 * m.hazard_linear) + m.hazard_square;
    }
    const auto error = [](double settled_part, double part) { return std::sqrt(settled_part + (part > 0 ? part : 0)); };
    to.log_error[i] = to.survival[i] > 0 ? error(left.log_survival, on_log) : infinity<double>;
    to.hazard_error[i] = error(left.hazard, on_hazard);
  }
};
struct write_curve_starts {
  device_risk_plan plan;
  index_t strata;
  index_t* to;
  __device__ void operator()(index_t s) const {
    to[s] = plan.stratum[s];
    if (s < strata) to[strata + 1 + s] = plan.row[plan.first[plan.stratum[s]]];
  }
};

/// Everything by scans, in an order that depends on the sizes alone. With late entry robust errors are differences of
/// sums over all and over those not at risk yet: to about N epsilon of the largest (weight x influence)^2.
template <>
struct kaplan_meier_kernel<backend::cuda> {
  /// Waits for the device.
  static void read_strata(cuda_context& ctx, const device_risk_plan& plan, index_t strata, index_t* to) {
    to[0] = 0;
    if (strata == 0) return;
    auto scratch = ctx.workspace().open();
    auto* const made = scratch.template take<index_t>(2 * strata + 1);
    each(ctx, strata + 1, write_curve_starts{plan, strata, made});
    transfer(ctx, vector_view<const index_t, device_space>(made, 2 * strata + 1),
             vector_view<index_t>(to, 2 * strata + 1));
  }

  static void run(cuda_context& ctx, const device_risk_plan& plan, index_t groups, const kaplan_meier_options& options,
                  double z, const curve_memory& to) {
    if (groups == 0) return;
    auto scratch = ctx.workspace().open();
    auto* const counts = scratch.template take<risk_count>(plan.rows);
    auto* const state = scratch.template take<curve_state>(groups);
    const auto entries = sort_entries(ctx, scratch, plan);
    count_at_risk(ctx, plan, entries, counts);
    each(ctx, groups, write_curve_counts{plan, options.estimate, counts, to, state});
    inclusive_scan(ctx, groups, state, join_curve_states{});
    each(ctx, groups, write_estimate{options.estimate, state, to});
    if (options.error == curve_error::robust) {
      auto* const own = scratch.template take<curve_influences>(groups);
      auto* const settled = scratch.template take<segment_sum<squares>>(plan.rows);
      each(ctx, groups, write_death_influences{options.estimate, counts, own});
      const passed_influences passed{plan, state, own};
      each(ctx, plan.rows, write_settled{passed, settled});
      reversed_inclusive_scan(ctx, plan.rows, settled, join_segment_sums{});
      const auto at_risk = sum_at_risk<entry_moments>(ctx, scratch, plan, entries, entry_moments_at{passed});
      each(ctx, groups, write_robust_errors{passed, at_risk, settled, counts, to});
    }
    if (options.interval != curve_interval::none) each(ctx, groups, write_curve_limits{z, options.interval, to});
  }
};

}  // namespace stroma::detail
