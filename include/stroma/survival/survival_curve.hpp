#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/core/check.hpp>
#include <stroma/core/view.hpp>

namespace stroma {

/// A survival curve as Kaplan and Meier's table: one row for each distinct time of follow-up, from the earliest to the
/// latest. Between two times everything is as at the earlier one; before the first S is 1. A view of what a
/// kaplan_meier_curves owns.
template <class Space = host_space>
struct survival_curve {
  using column = vector_view<const double, Space>;
  column time{};          ///< [times]
  column at_risk{};       ///< [times] sum of weights just before
  column events{};        ///< [times] sum of the weights of those who died
  column censored{};      ///< [times] sum of the weights of those who were followed no longer
  column survival{};      ///< [times] S(time)
  column log_error{};     ///< [times] standard error of log S; infinite where S is 0. Times S: the error of S
  column hazard{};        ///< [times] cumulative hazard H(time)
  column hazard_error{};  ///< [times] standard error of H
  column lower{};         ///< [times] confidence limits of S; NaN where the interval is not defined; or absent
  column upper{};         ///< [times]

  [[nodiscard]] index_t size() const { return time.size; }
};

/// A quantile of the time of death with its confidence limits. NaN: the curve, or its limit, does not fall so far.
struct quantile_result {
  double time, lower, upper;
};
struct restricted_mean_result {
  double value;
  double standard_error;
};

namespace detail {

/// Rows of the curve with a time before t, or up to t.
[[nodiscard]] inline index_t rows_before(const survival_curve<>& curve, double t) {
  return std::lower_bound(curve.time.data, curve.time.data + curve.size(), t) - curve.time.data;
}
[[nodiscard]] inline index_t rows_until(const survival_curve<>& curve, double t) {
  return std::upper_bound(curve.time.data, curve.time.data + curve.size(), t) - curve.time.data;
}

/// Where a falling step function reaches q: the middle of the stretch on which it equals q, or where it falls below.
/// S is a product, which seldom meets q to the last bit: as in R, what differs by less than sqrt(epsilon) is equal.
[[nodiscard]] inline double first_time_at(vector_view<const double> time, vector_view<const double> value, double q) {
  constexpr double same = 0x1p-26;
  for (index_t i = 0; i < value.size; ++i) {
    if (!(value[i] < q + same)) continue;
    for (index_t j = i + 1; value[i] > q - same && j < value.size; ++j)
      if (value[j] <= q - same) return time[i] + (time[j] - time[i]) / 2;
    return time[i];
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace detail

/// S(t), the chance to live beyond t. O(log times). 1 before the first time, and from the last one on as there.
[[nodiscard]] inline double survival_at(const survival_curve<>& curve, double t) {
  const index_t rows = detail::rows_until(curve, t);
  return rows == 0 ? 1 : curve.survival[rows - 1];
}
/// S(t-), just before t.
[[nodiscard]] inline double survival_before(const survival_curve<>& curve, double t) {
  const index_t rows = detail::rows_before(curve, t);
  return rows == 0 ? 1 : curve.survival[rows - 1];
}
/// Sum of the weights of those at risk at t: who die, or are followed, at t or later. With late entry the number is
/// that of the next time of the curve, for which some may enter after t.
[[nodiscard]] inline double at_risk_at(const survival_curve<>& curve, double t) {
  const index_t rows = detail::rows_before(curve, t);
  return rows == curve.size() ? 0 : curve.at_risk[rows];
}

/// The time at which a share p has died: where S falls to 1 - p or below. On a stretch where S is 1 - p and falls
/// thereafter it is the middle. The limits are where the limits of S do the same, so they need an interval.
///
/// @param p above 0, up to 1; 0.5 is the median
/// Cost: O(times).   @throws value_error   Reference: Brookmeyer and Crowley 1982; the middle as in R's survival.
[[nodiscard]] inline quantile_result quantile(const survival_curve<>& curve, double p) {
  if (!(p > 0 && p <= 1))
    throw value_error(error_message("quantile", "p", number_text(p), "a number above 0, up to 1"));
  const auto of = [&](vector_view<const double> value) { return detail::first_time_at(curve.time, value, 1 - p); };
  return {of(curve.survival), of(curve.lower), of(curve.upper)};
}
[[nodiscard]] inline quantile_result median(const survival_curve<>& curve) { return quantile(curve, 0.5); }

/// Mean time lived up to tau: the area below S from 0 to tau. After the last time S goes on as there.
///
/// variance = sum over event times t < tau of (area below S from t to tau)^2 d / (n (n - d))
///
/// with d events among n at risk; where all of them die the term is 0.
/// @param tau 0 or more, the unit of the times
/// Cost: O(times).   @throws value_error   Reference: Irwin 1949; Klein and Moeschberger 2003, section 4.5.
[[nodiscard]] inline restricted_mean_result restricted_mean(const survival_curve<>& curve, double tau) {
  if (!(tau >= 0 && std::isfinite(tau)))
    throw value_error(error_message("restricted_mean", "tau", number_text(tau), "a number of 0 or more"));
  double area = 0, variance = 0, until = tau;
  for (index_t i = detail::rows_before(curve, tau); i-- > 0;) {
    area += curve.survival[i] * (until - curve.time[i]);
    until = curve.time[i];
    const double n = curve.at_risk[i], d = curve.events[i];
    if (d > 0 && d < n) variance += area * area * (d / (n * (n - d)));
  }
  return {area + until, std::sqrt(variance)};
}

}  // namespace stroma
