#pragma once
#include <cmath>

#include <stroma/backend/checks.hpp>
#include <stroma/core/view.hpp>

namespace stroma {

/// How a survival curve is estimated.
enum class curve_estimate {
  kaplan_meier,       ///< the product-limit S, and Nelson-Aalen's H
  fleming_harrington  ///< S = exp(-H), deaths of one time taken one after another
};
/// How the errors of a survival curve are estimated.
enum class curve_error {
  greenwood,  ///< of independent patients; weights are taken for numbers of patients
  robust      ///< infinitesimal jackknife: right for weights of any meaning (sampling, inverse probability)
};

namespace detail {

/// What the events of one time do: S is multiplied, everything else is added.
struct curve_step {
  double survival, hazard, log_variance, hazard_variance;
};
/// d events, weights of `rows` patients, among n at risk.
template <curve_estimate Estimate>
[[nodiscard]] STROMA_HOST_DEVICE inline curve_step curve_step_of(double n, double d, index_t rows) {
  if constexpr (Estimate == curve_estimate::kaplan_meier) {
    const double left = n - d, hazard = d / n;
    return {left / n, hazard, hazard / left, hazard / n};
  } else {
    const double one = d / static_cast<double>(rows);
    curve_step step{1, 0, 0, 0};
    for (index_t k = 0; k < rows; ++k) {
      const double left = n - static_cast<double>(k) * one;
      step.hazard += one / left;
      step.hazard_variance += one / left / left;
    }
    return step;
  }
}

/// What a unit of weight changes, at one time: of somebody who stays alive, and of one of the deaths.
struct influence {
  double at_risk, death;
};
struct curve_influences {
  influence log_survival, hazard;
};
[[nodiscard]] STROMA_HOST_DEVICE inline curve_influences influences_of(curve_estimate estimate, double n, double d,
                                                                       index_t rows) {
  if (!(d > 0)) return {{0, 0}, {0, 0}};
  if (estimate == curve_estimate::kaplan_meier)
    return {{n > d ? d / n / (n - d) : 0, -1 / n}, {-d / n / n, (n - d) / n / n}};
  const auto m = static_cast<double>(rows);
  influence hazard{0, 0};
  for (index_t k = 0; k < rows; ++k) {
    const double taken = static_cast<double>(k) / m, left = n - taken * d;
    hazard.at_risk -= d / m / left / left;
    hazard.death += 1 / m / left + d / m * taken / left / left;
  }
  hazard.death += hazard.at_risk;
  return {{-hazard.at_risk, -hazard.death}, hazard};
}

/// Sum over patients of (weight x influence)^2, followed through time. A patient's influence grows by the same amount
/// as everybody's who is at risk: three moments of those at risk are enough, and the squares of those who have left.
struct squared_influences {
  double passed = 0;                          ///< influence of somebody at risk from the start
  double weight = 0, linear = 0, square = 0;  ///< sums of w^2, w^2 u, w^2 u^2 over those at risk, u their influence
  double settled = 0;

  void enter(double w2) { weight += w2; }
  /// Everybody at risk is influenced.
  void pass(double by) {
    passed += by;
    square += by * (2 * linear + by * weight);
    linear += by * weight;
  }
  /// One who came when `passed` was `before` leaves, with a last influence of its own.
  void leave(double w2, double before, double last) {
    const double u = passed - before;
    weight -= w2;
    linear -= w2 * u;
    square -= w2 * u * u;
    settled += w2 * (u + last) * (u + last);
  }
  void nobody_left() { weight = linear = square = 0; }
  [[nodiscard]] double sum() const { return settled + (square > 0 ? square : 0); }
};

}  // namespace detail
}  // namespace stroma
