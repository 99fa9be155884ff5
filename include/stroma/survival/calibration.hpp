#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include <stroma/survival/detail/chi_square.hpp>
#include <stroma/survival/detail/cohort_checks.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma {

struct calibration_options {
  bool check_values = true;  ///< predictions from 0 to 1
};

/// Patients in groups of equal size, by the risk they were predicted: the lowest first. Each column [groups].
template <class T>
struct calibration_groups_output {
  vector_view<T> predicted{};       ///< mean predicted survival at the time
  vector_view<T> observed{};        ///< Kaplan-Meier there
  vector_view<T> standard_error{};  ///< of observed, by Greenwood's formula; NaN where observed is 0; empty: not told
  vector_view<index_t> patients{};  ///< how many; empty: not told
};

namespace detail {

[[nodiscard]] inline double case_weight(const risk_plan<host_space>& plan, index_t k) {
  return plan.weight == nullptr ? 1 : plan.weight[k];
}
[[nodiscard]] inline double bin_edge(index_t k, index_t bins) {
  return static_cast<double>(k) / static_cast<double>(bins);
}

/// The bin of 1 / bins width that s lies in; its lower edge belongs to it, and 1 to the last.
[[nodiscard]] inline index_t bin_of(double s, index_t bins) {
  auto k = std::clamp<index_t>(static_cast<index_t>(s * static_cast<double>(bins)), 0, bins - 1);
  while (k > 0 && s < bin_edge(k, bins)) --k;  // the product is rounded
  while (k + 1 < bins && s >= bin_edge(k + 1, bins)) ++k;
  return k;
}

/// Adds what a patient of weight w counts in each bin.
template <class T>
void add_to_bins(double s, bool died, double w, vector_view<T> bins, double* sums) {
  const index_t k = bin_of(s, bins.size);
  if (died || k == 0) {
    sums[k] += w;
    return;
  }
  // Censored: it dies with any survival chance below s, one as likely as the other.
  sums[k] += w * (s - bin_edge(k, bins.size)) / s;
  for (index_t below = 0; below < k; ++below) sums[below] += w / (s * static_cast<double>(bins.size));
}

/// Which group each patient is in, by falling prediction, and how many each group has.
template <class S>
void group_by_prediction(cpu_context& ctx, vector_view<const S> survival, index_t groups, index_t* group_of,
                         index_t* patients) {
  const index_t n = survival.size;
  auto scratch = ctx.workspace().open();
  auto* const keys = scratch.template take<keyed_row>(n);
  auto* const spare = scratch.template take<keyed_row>(n);
  for (index_t i = 0; i < n; ++i) keys[i] = {~sort_key(static_cast<double>(survival[i])), i};
  const keyed_row* const sorted =
      sort_by_key(ctx, keys, spare, n, scratch.template take<index_t>(sort_counts * ctx.threads()));
  std::fill_n(patients, groups, index_t{0});
  for (index_t r = 0; r < n; ++r) ++patients[group_of[sorted[r].row] = ((r + 1) * groups + n - 1) / n - 1];
}

/// Kaplan-Meier at one time, of several groups at once.
struct group_at_risk {
  double weight, died, survival, variance;  ///< the latter of log S
  index_t rows, rows_died;
};
inline void estimate_groups(const risk_plan<host_space>& plan, const index_t* group_of, double time, index_t groups,
                            group_at_risk* to) {
  std::fill_n(to, groups, group_at_risk{0, 0, 1, 0, 0, 0});
  for (index_t g = 0; g < plan.groups; ++g) {
    const index_t last = plan.first[g + 1];
    for (index_t k = plan.first[g]; k < last; ++k) {
      if (!(case_weight(plan, k) > 0)) continue;
      group_at_risk& q = to[group_of[plan.row[k]]];
      q.weight += case_weight(plan, k);
      ++q.rows;
      if (k < plan.deaths[g]) continue;
      q.died += case_weight(plan, k);
      ++q.rows_died;
    }
    for (index_t k = plan.deaths[g]; k < last; ++k) {
      group_at_risk& q = to[group_of[plan.row[k]]];
      if (q.rows_died > 0 && plan.time[g] <= time) {  // once a group: then its deaths are cleared
        q.survival *= q.rows_died == q.rows ? 0 : 1 - q.died / q.weight;
        q.variance += q.died / (q.weight * (q.weight - q.died));
      }
      q.died = 0;
      q.rows_died = 0;
    }
  }
}

}  // namespace detail

/// D-calibration: whether the chances of survival that patients were given for the time at which they died are spread
/// evenly over 0 .. 1, as they are when the predictions hold.
///
/// A death with s = S_i(T_i) counts in the bin of s; one censored counts (s - lower edge) / s in it and
/// 1 / (bins s) in each below.   statistic = sum over bins of (count - n / bins)^2 / (n / bins), bins - 1 degrees
///
/// The order's weights count as copies of patients; the p-value takes them for so many. Without a patient it is NaN.
/// @param survival [N] predicted chance of each patient to live beyond its own time   @param order [N] follow-up
/// @param bins [bins] 2 or more, overwritten: what counts in each, from the lowest chance on
/// Cost: O(N bins). Same bits from run to run.   @throws shape_error, value_error   Reference: Haider et al. 2020.
template <execution_context Context, vector_like Predictions, vector_like Counts>
  requires same_space<Context, Predictions, Counts> && std::same_as<typename Context::space, host_space>
chi_square_test d_calibration(Context& ctx, const Predictions& survival,
                              const risk_order<typename Context::backend>& order, Counts&& bins,
                              const calibration_options& options = {}) {
  constexpr auto name = "d_calibration";
  const auto s = as_const_view(survival);
  const vector_view<scalar_of<Counts>> out = as_view(bins);
  check::length(name, "survival", s.size, order.size(), "the length of order");
  check::require(out.size >= 2, name, "bins", number_text(static_cast<double>(out.size)), "2 or more");
  if (options.check_values) value_checks<typename Context::backend>::probabilities(ctx, name, "survival", s);
  const auto plan = order.plan();
  auto scratch = ctx.workspace().open();
  auto* const sums = scratch.template take<double>(out.size);
  std::fill_n(sums, out.size, 0.0);
  double all = 0;
  for (index_t k = 0; k < plan.rows; ++k) {
    const double w = detail::case_weight(plan, k);
    all += w;
    if (w > 0) detail::add_to_bins(static_cast<double>(s[plan.row[k]]), k >= plan.deaths[plan.group[k]], w, out, sums);
  }
  const double expected = all / static_cast<double>(out.size);
  double statistic = 0;
  for (index_t b = 0; b < out.size; ++b) {
    out[b] = static_cast<scalar_of<Counts>>(sums[b]);
    statistic += (sums[b] - expected) * (sums[b] - expected) / expected;
  }
  return detail::chi_square(statistic, out.size - 1);
}

/// Predicted and observed survival at one time, in groups of equal size by predicted risk: what a calibration plot
/// shows. Patients stand from the highest predicted survival to the lowest, equal ones by row; the r-th of N is in
/// group ceil(r groups / N). With weights, means and curves are weighted; groups count rows.
///
/// @param survival [N] predicted chance of each patient to live beyond the time   @param time a time of the order's
/// @param order [N] follow-up, without strata and late entry   @param out its columns [groups], at most N, overwritten
/// Cost: O(N log N) time, O(N) scratch. Same bits from run to run.   @throws shape_error, value_error
template <execution_context Context, vector_like Predictions, class T>
  requires same_space<Context, Predictions> && std::same_as<typename Context::space, host_space>
void calibration_groups(Context& ctx, const Predictions& survival, double time,
                        const risk_order<typename Context::backend>& order, const calibration_groups_output<T>& out,
                        const calibration_options& options = {}) {
  constexpr auto name = "calibration_groups";
  const auto s = as_const_view(survival);
  const index_t groups = out.predicted.size, n = order.size();
  check::length(name, "survival", s.size, n, "the length of order");
  check::length(name, "observed", out.observed.size, groups, "the length of predicted");
  if (out.standard_error.size != 0)
    check::length(name, "standard_error", out.standard_error.size, groups, "the length of predicted");
  if (out.patients.size != 0) check::length(name, "patients", out.patients.size, groups, "the length of predicted");
  check::in_range<index_t>(name, "groups", groups, 1, std::max<index_t>(n, 1));
  check::require(std::isfinite(time), name, "time", number_text(time), "a finite number");
  detail::check_followed_from_start(name, order);
  if (options.check_values) value_checks<typename Context::backend>::probabilities(ctx, name, "survival", s);

  const auto plan = order.plan();
  auto scratch = ctx.workspace().open();
  auto* const group_of = scratch.template take<index_t>(n);
  auto* const patients = scratch.template take<index_t>(groups);
  auto* const predicted = scratch.template take<double>(groups);
  auto* const weight = scratch.template take<double>(groups);
  auto* const at_risk = scratch.template take<detail::group_at_risk>(groups);
  detail::group_by_prediction(ctx, s, groups, group_of, patients);
  std::fill_n(predicted, groups, 0.0);
  std::fill_n(weight, groups, 0.0);
  for (index_t k = 0; k < n; ++k) {
    const index_t q = group_of[plan.row[k]];
    weight[q] += detail::case_weight(plan, k);
    predicted[q] += detail::case_weight(plan, k) * static_cast<double>(s[plan.row[k]]);
  }
  detail::estimate_groups(plan, group_of, time, groups, at_risk);
  for (index_t q = 0; q < groups; ++q) {
    const bool nobody = !(weight[q] > 0);
    const double observed = nobody ? std::numeric_limits<double>::quiet_NaN() : at_risk[q].survival;
    out.predicted[q] = static_cast<T>(predicted[q] / weight[q]);
    out.observed[q] = static_cast<T>(observed);
    if (out.standard_error.size != 0)
      out.standard_error[q] = static_cast<T>(observed > 0 ? observed * std::sqrt(at_risk[q].variance)
                                                          : std::numeric_limits<double>::quiet_NaN());
    if (out.patients.size != 0) out.patients[q] = patients[q];
  }
}

}  // namespace stroma
