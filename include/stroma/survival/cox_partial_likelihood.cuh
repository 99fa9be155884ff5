#pragma once
#include <cmath>

#include <stroma/survival/cox_partial_likelihood.hpp>
#include <stroma/survival/risk_order.cuh>

namespace stroma::detail {

/// A sum in units of exp(peak). No exponent of a join is above 0.
struct scaled_sum {
  double peak, sum;
};
/// Of terms w exp(score): the peak is the largest score, -infinity where there is no weight.
struct join_at_risk {
  __device__ scaled_sum operator()(const scaled_sum& a, const scaled_sum& b) const {
    if (a.peak == -infinity<double>) return b;
    if (b.peak == -infinity<double>) return a;
    if (a.peak >= b.peak) return {a.peak, a.sum + b.sum * std::exp(b.peak - a.peak)};
    return {b.peak, b.sum + a.sum * std::exp(a.peak - b.peak)};
  }
};
/// Of hazards from the earliest time on, in units of exp(-peak), where peaks never rise.
struct join_hazards {
  __device__ scaled_sum operator()(const scaled_sum& earlier, const scaled_sum& later) const {
    if (earlier.sum == 0) return later;
    return {later.peak, later.sum + earlier.sum * std::exp(later.peak - earlier.peak)};
  }
};

template <class T>
struct scores_at_risk {
  vector_view<const T, device_space> score;
  device_risk_plan plan;
  scaled_sum* at_risk;
  __device__ void operator()(index_t k) const {
    const double w = weight_at(plan, k);
    at_risk[k] = {w > 0 ? static_cast<double>(score[plan.row[k]]) : -infinity<double>, w > 0 ? w : 0};
  }
};

/// The sums at a death time in units of exp(peak), as the host's risk_set; every lane of a warp has all.
struct device_risk_set {
  double peak, others, tied, tied_weight, tied_score;
  index_t deaths;

  /// The part of the tied deaths that is still at risk at the k-th of them.
  [[nodiscard]] __device__ double remaining(index_t k) const {
    return static_cast<double>(deaths - k) / static_cast<double>(deaths);
  }
};
struct cox_time {
  double loss, events;
  double of_deaths;  // Efron: what the deaths of this time have of its own hazard
};

/// One warp for each time: its sums, its share of the loss, and its step of the hazard.
template <class T>
struct cox_times {
  vector_view<const T, device_space> score;
  device_risk_plan plan;
  ties method;
  const scaled_sum* at_risk;  // [rows] of the positions up to this one
  cox_time* time;             // [rows] by group
  scaled_sum* hazard;         // [rows] by group

  __device__ void operator()(index_t g, index_t lane) const {
    if (g >= plan.counts->groups) {
      if (lane != 0) return;
      time[g] = {0, 0, 0};
      hazard[g] = {0, 0};
      return;
    }
    const device_risk_set s = sums(g, lane);
    double logs = 0, step = 0, of_deaths = 0;
    if (s.deaths > 0 && (method == ties::breslow || s.deaths == 1)) {
      logs = std::log(s.others + s.tied);
      step = of_deaths = s.tied_weight / (s.others + s.tied);
    } else if (s.deaths > 0) {
      const double share = s.tied_weight / static_cast<double>(s.deaths);
      for (index_t k = lane; k < s.deaths; k += warp_threads) {
        const double remaining = s.remaining(k), at_k = s.others + remaining * s.tied;
        logs += std::log(at_k);
        step += share / at_k;
        of_deaths += remaining * (share / at_k);
      }
      logs = warp_join(logs, add_values{}) / static_cast<double>(s.deaths);
      step = warp_join(step, add_values{});
      of_deaths = warp_join(of_deaths, add_values{});
    }
    if (lane != 0) return;
    time[g] = {s.deaths > 0 ? s.tied_weight * logs - s.tied_score : 0, s.tied_weight, of_deaths};
    hazard[g] = {s.peak, step};
  }

 private:
  __device__ device_risk_set sums(index_t g, index_t lane) const {
    const index_t deaths = plan.deaths[g], last = plan.first[g + 1];
    const double peak = at_risk[last - 1].peak;
    const scaled_sum before = deaths > 0 ? at_risk[deaths - 1] : scaled_sum{-infinity<double>, 0};
    device_risk_set s{peak, before.peak == -infinity<double> ? 0 : before.sum * std::exp(before.peak - peak), 0, 0, 0,
                      0};
    const bool alone = last - deaths == 1;  // every lane looks at it, and nothing is joined
    for (index_t k = deaths + (alone ? 0 : lane); k < last; k += warp_threads) {
      const double w = weight_at(plan, k), below = static_cast<double>(score[plan.row[k]]) - peak;
      if (!(w > 0)) continue;
      s.tied += w * std::exp(below);
      s.tied_weight += w;
      s.tied_score += w * below;
      ++s.deaths;
    }
    if (alone || deaths == last) return s;
    s.tied = warp_join(s.tied, add_values{});
    s.tied_weight = warp_join(s.tied_weight, add_values{});
    s.tied_score = warp_join(s.tied_score, add_values{});
    s.deaths = warp_join(s.deaths, add_values{});
    return s;
  }
};

/// d loss / d score = w exp(score) hazard(time) - w event
template <class T>
struct cox_gradient {
  vector_view<const T, device_space> score;
  device_risk_plan plan;
  const cox_time* time;
  const scaled_sum* hazard;  // of all times up to a group's
  const double* scale;       // null: 1
  vector_view<T, device_space> gradient;

  __device__ void operator()(index_t k) const {
    const index_t g = plan.group[k], row = plan.row[k];
    const double w = weight_at(plan, k), peak = hazard[g].peak;
    const double risk = w > 0 ? w * std::exp(static_cast<double>(score[row]) - peak) : 0;
    double d = risk * hazard[g].sum;
    if (died_at(plan, k)) {
      double of_deaths = time[g].of_deaths;
      if (g + 1 < plan.counts->groups && hazard[g + 1].sum != 0)
        of_deaths += hazard[g + 1].sum * std::exp(peak - hazard[g + 1].peak);
      d = risk * of_deaths - w;
    }
    gradient[row] = static_cast<T>(scale == nullptr ? d : *scale * d);
  }
};

struct cox_losses {
  const cox_time* time;
  __device__ double operator()(index_t g) const { return time[g].loss; }
};
struct cox_events {
  const cox_time* time;
  __device__ double operator()(index_t g) const { return time[g].events; }
};
struct write_mean_scale {
  double* scale;
  __device__ void operator()(double events) const { *scale = events == 0 ? 1 : 1 / events; }
};
template <class T>
struct write_cox_value {
  const double* scale;
  T* value;
  __device__ void operator()(double loss) const { *value = static_cast<T>(scale == nullptr ? loss : *scale * loss); }
};
template <class T>
struct add_scaled_gradient {
  const T* seed;
  vector_view<const T, device_space> gradient;
  vector_view<T, device_space> target;
  __device__ void operator()(index_t i) const { target[i] += *seed * gradient[i]; }
};

/// Two scans over the patients, and one warp for each time: with d deaths at one time it takes d / 32 steps.
template <>
struct cox_kernel<backend::cuda> {
  template <class T>
  static void run(cuda_context& ctx, vector_view<const T, device_space> score, const device_risk_plan& plan,
                  const cox_options& options, cox_output<T, device_space> out) {
    auto scratch = ctx.workspace().open();
    auto* const at_risk = scratch.template take<scaled_sum>(plan.rows);
    auto* const time = scratch.template take<cox_time>(plan.rows);
    auto* const hazard = scratch.template take<scaled_sum>(plan.rows);
    double* const scale = options.reduce == reduction::mean ? scratch.template take<double>(1) : nullptr;
    each(ctx, plan.rows, scores_at_risk<T>{score, plan, at_risk});
    inclusive_scan(ctx, plan.rows, at_risk, join_at_risk{});
    each_row(ctx, plan.rows, cox_times<T>{score, plan, options.tie_method, at_risk, time, hazard});
    if (scale != nullptr) sum_each(ctx, plan.rows, cox_events{time}, write_mean_scale{scale});
    sum_each(ctx, plan.rows, cox_losses{time}, write_cox_value<T>{scale, out.value});
    if (out.gradient.size == 0) return;
    reversed_inclusive_scan(ctx, plan.rows, hazard, join_hazards{});
    each(ctx, plan.rows, cox_gradient<T>{score, plan, time, hazard, scale, out.gradient});
  }

  /// target += seed gradient
  template <class T>
  static void add_scaled(cuda_context& ctx, const T* seed, vector_view<const T, device_space> gradient,
                         vector_view<T, device_space> target) {
    each(ctx, target.size, add_scaled_gradient<T>{seed, gradient, target});
  }
};

}  // namespace stroma::detail
