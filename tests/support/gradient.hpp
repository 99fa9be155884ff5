#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

/// Step of a central difference at `x`: its truncation error h^2 and its rounding error eps/h are of one size.
inline double gradient_step(double x) {
  return std::cbrt(std::numeric_limits<double>::epsilon()) * std::max(1.0, std::abs(x));
}

/// Ten to twenty times the error eps^(2/3) of a central difference with that step.
inline const double gradient_tolerance = 20 * std::pow(std::numeric_limits<double>::epsilon(), 2.0 / 3);

/// Largest difference between the analytic gradient of `f` at `x` and central differences, relative to the gradient's
/// own size (never less than 1). NaN anywhere gives infinity.
/// @param f a function of `const std::vector<double>&` that returns a double
template <class F>
double gradient_error(F&& f, std::vector<double> x, const std::vector<double>& analytic) {
  if (analytic.size() != x.size()) return std::numeric_limits<double>::infinity();
  double worst = 0, size = 1;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double at = x[i], step = gradient_step(at);
    x[i] = at + step;
    const double above = f(x);
    x[i] = at - step;
    const double below = f(x);
    x[i] = at;
    const double difference = std::abs((above - below) / (2 * step) - analytic[i]);
    if (!(difference < std::numeric_limits<double>::infinity())) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, difference);
    size = std::max(size, std::abs(analytic[i]));
  }
  return worst / size;
}
