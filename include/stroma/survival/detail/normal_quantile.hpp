#pragma once
#include <cmath>
#include <numbers>

namespace stroma::detail {

/// z for which a normal variable lies in -z .. z with this probability, 0 < probability < 1: 1.96 for 0.95. To the last
/// few bits, by halving, for it is asked once for a whole curve.
[[nodiscard]] inline double two_sided_normal_quantile(double probability) {
  const double outside = 1 - probability;
  double low = 0, high = 40;
  for (double middle = 20; low < middle && middle < high; middle = low + (high - low) / 2)
    (std::erfc(middle / std::numbers::sqrt2) > outside ? low : high) = middle;
  return low;
}

}  // namespace stroma::detail
