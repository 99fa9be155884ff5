#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/survival_curve.hpp>

#include "survival/cohort.hpp"

using namespace stroma;

namespace {

/// A curve with these columns; the others are absent.
struct made_curve {
  std::vector<double> time, at_risk, events, survival, lower{}, upper{};
  [[nodiscard]] survival_curve<> view() const {
    survival_curve<> curve;
    curve.time = as_const_view(time);
    curve.at_risk = as_const_view(at_risk);
    curve.events = as_const_view(events);
    curve.survival = as_const_view(survival);
    curve.lower = as_const_view(lower);
    curve.upper = as_const_view(upper);
    return curve;
  }
};

const made_curve four{{1, 2, 4, 7},        {4, 3, 2, 1},       {1, 1, 0, 1},
                      {0.75, 0.5, 0.5, 0}, {0.4, 0.3, 0.3, 0}, {1, 1, 1, 0.5}};

}  // namespace

TEST_CASE("survival_curve: at a time and just before it") {
  const auto curve = four.view();
  CHECK(survival_at(curve, 0) == 1);
  CHECK(survival_at(curve, 1) == 0.75);
  CHECK(survival_before(curve, 1) == 1);
  CHECK(survival_at(curve, 3.9) == 0.5);
  CHECK(survival_before(curve, 7) == 0.5);
  CHECK(survival_at(curve, 7) == 0);
  CHECK(survival_before(curve, 7.1) == 0);
  CHECK(survival_at(curve, 1e300) == 0);
  CHECK(at_risk_at(curve, 0) == 4);
  CHECK(at_risk_at(curve, 2) == 3);
  CHECK(at_risk_at(curve, 2.5) == 2);
  CHECK(at_risk_at(curve, 8) == 0);
  CHECK(survival_at(survival_curve<>(), 3) == 1);
}

TEST_CASE("survival_curve: quantiles") {
  const auto curve = four.view();
  CHECK(quantile(curve, 0.25).time == 1.5);  // S is 0.75 from 1 to 2
  CHECK(median(curve).time == 4.5);          // and 0.5 from 2, through 4, to 7
  CHECK(quantile(curve, 0.3).time == 2);
  CHECK(quantile(curve, 1).time == 7);
  CHECK(median(curve).lower == 1);
  CHECK(median(curve).upper == 7);  // on the last stretch, which never ends
  CHECK(std::isnan(quantile(curve, 0.6).upper));
  auto rounded = four;
  rounded.survival[1] = 0.5 + 1e-15;  // a product that should have been one half
  rounded.survival[2] = 0.5 + 1e-15;
  CHECK(median(rounded.view()).time == 4.5);
  auto undefined = four;
  undefined.upper[3] = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(median(undefined.view()).upper));
  CHECK(std::isnan(median(survival_curve<>()).time));
  for (const double p : {0.0, -0.1, 1.1, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(static_cast<void>(quantile(curve, p)), value_error);
}

TEST_CASE("survival_curve: restricted mean") {
  const auto curve = four.view();
  CHECK(restricted_mean(curve, 0).value == 0);
  CHECK(restricted_mean(curve, 0.5).value == 0.5);
  CHECK(restricted_mean(curve, 0.5).standard_error == 0);
  CHECK(restricted_mean(curve, 5).value == 1 + 0.75 + 0.5 * 3);
  // Areas to 5 from 1 and from 2, with 1 of 4 and 1 of 3 dying.
  CHECK(restricted_mean(curve, 5).standard_error == doctest::Approx(std::sqrt(2.25 * 2.25 / 12 + 1.5 * 1.5 / 6)));
  CHECK(restricted_mean(curve, 100).value == 1 + 0.75 + 0.5 * 5);
  CHECK(restricted_mean(survival_curve<>(), 3).value == 3);
  CHECK(message_of<value_error>([&] { static_cast<void>(restricted_mean(curve, -1)); }) ==
        "restricted_mean: tau: -1, expected a number of 0 or more");
  CHECK_THROWS_AS(static_cast<void>(restricted_mean(curve, std::numeric_limits<double>::infinity())), value_error);
}
