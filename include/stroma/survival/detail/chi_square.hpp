#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/core/view.hpp>

namespace stroma {

/// A statistic that follows a chi-square distribution when there is nothing to find.
struct chi_square_test {
  double statistic;
  index_t degrees_of_freedom;
  double p_value;  ///< probability of a statistic at least as large
};

namespace detail {

/// P(X >= statistic) for X of chi-square distribution. With h = statistic / 2 and whole degrees of freedom f a finite
/// sum of positive terms, exp(-h) h^k / Gamma(k + 1) for k = f / 2 - 1, f / 2 - 2, ... 0, and with odd f down to 1 / 2
/// and erfc(sqrt(h)): a relative error of a few (h + f) epsilon however small the probability. O(f).
[[nodiscard]] inline double chi_square_tail(double statistic, index_t degrees_of_freedom) {
  if (std::isnan(statistic) || degrees_of_freedom < 0) return std::numeric_limits<double>::quiet_NaN();
  if (statistic <= 0) return 1;
  if (degrees_of_freedom == 0 || std::isinf(statistic)) return 0;
  const auto f = static_cast<double>(degrees_of_freedom);
  if (statistic > f && (statistic - f - f * std::log(statistic / f)) / 2 > 800) return 0;  // Chernoff's bound
  const double h = statistic / 2;
  const bool odd = degrees_of_freedom % 2 != 0;
  const index_t terms = degrees_of_freedom / 2;
  constexpr double two_over_root_pi = 1.1283791670955126;

  double left = h;  // what is still to be taken off in the exponent: exp(-h) itself may be too small for a double
  double term = odd ? two_over_root_pi * std::sqrt(h) : 1, sum = 0;
  const auto take_off = [&](double part) {
    left -= part;
    term *= std::exp(-part);
    sum *= std::exp(-part);
  };
  for (index_t k = 0; k < terms; ++k) {
    sum += term;
    term *= h / (static_cast<double>(k + 1) + (odd ? 0.5 : 0));
    if (term > 1e150 || sum > 1e150) take_off(std::min(left, 300.0));
  }
  take_off(left);
  return std::min(1.0, sum + (odd ? std::erfc(std::sqrt(h)) : 0));
}

[[nodiscard]] inline chi_square_test chi_square(double statistic, index_t degrees_of_freedom) {
  return {statistic, degrees_of_freedom, chi_square_tail(statistic, degrees_of_freedom)};
}

}  // namespace detail
}  // namespace stroma
