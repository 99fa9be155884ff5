#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/survival/detail/chi_square.hpp>

using stroma::detail::chi_square_tail;

namespace {

/// The density integrated over [x, infinity) by Simpson's rule in s = sqrt(u): smooth at 0 for every degree of freedom.
long double integral(long double x, int f) {
  const auto integrand = [f](long double s) {
    if (s == 0 && f > 1) return 0.0L;
    const long double log_power = f == 1 ? 0 : (f - 1) * std::log(s);
    return 2 * std::exp(log_power - s * s / 2 - std::lgamma(f / 2.0L) - f / 2.0L * std::log(2.0L));
  };
  const long double low = std::sqrt(x), rate = low - (f - 1) / low;  // with which it falls, from low on
  const long double high = rate > 5 ? low + 50 / rate : std::max(low, std::sqrt(static_cast<long double>(f))) + 14;
  const int steps = 40000;
  const long double step = (high - low) / steps;
  long double sum = integrand(low) + integrand(high);
  for (int i = 1; i < steps; ++i) sum += (i % 2 == 0 ? 2 : 4) * integrand(low + step * i);
  return sum * step / 3;
}

}  // namespace

TEST_CASE("chi_square_tail: the density integrated") {
  const double eps = std::numeric_limits<double>::epsilon();
  for (const int f : {1, 2, 3, 4, 5, 9, 10, 31, 100, 999, 1000})
    for (const double x : {1e-3, 0.5, 1.0, 3.84, 10.0, 60.0, 900.0, 1100.0, 1399.0}) {
      const auto expected = static_cast<double>(integral(x, f));
      if (expected < 1e-290) continue;
      CAPTURE(f);
      CAPTURE(x);
      CHECK(std::abs(chi_square_tail(x, f) - expected) <= 4 * (8 + x + f) * eps * expected);
    }
}

TEST_CASE("chi_square_tail: quantiles, closed forms and limits") {
  // R's qchisq(0.95, f); a quantile is rounded to a double, the tail moves by half of that, relatively
  CHECK(chi_square_tail(3.8414588206941254, 1) == doctest::Approx(0.05).epsilon(1e-14));
  CHECK(chi_square_tail(5.9914645471079799, 2) == doctest::Approx(0.05).epsilon(1e-14));
  CHECK(chi_square_tail(18.307038053275147, 10) == doctest::Approx(0.05).epsilon(1e-14));
  for (const double x : {0.1, 2.0, 50.0, 1400.0}) {
    CHECK(chi_square_tail(x, 1) == doctest::Approx(std::erfc(std::sqrt(x / 2))).epsilon(1e-15));
    CHECK(chi_square_tail(x, 2) == doctest::Approx(std::exp(-x / 2)).epsilon(1e-15));
    CHECK(chi_square_tail(x, 4) == doctest::Approx(std::exp(-x / 2) * (1 + x / 2)).epsilon(1e-15));
  }
  const double infinity = std::numeric_limits<double>::infinity();
  for (const int f : {1, 2, 7, 5000}) {
    CHECK(chi_square_tail(0, f) == 1);
    CHECK(chi_square_tail(-1e-17, f) == 1);  // a statistic of 0, rounded
    CHECK(chi_square_tail(infinity, f) == 0);
    CHECK(chi_square_tail(1e300, f) == 0);
    CHECK(std::isnan(chi_square_tail(std::nan(""), f)));
  }
  CHECK(chi_square_tail(1, 5000) == doctest::Approx(1).epsilon(1e-13));
  CHECK(chi_square_tail(5000, 5000) == doctest::Approx(0.4973).epsilon(1e-3));
  CHECK(chi_square_tail(0, 0) == 1);
  CHECK(chi_square_tail(1, 0) == 0);
}
