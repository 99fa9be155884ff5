#include <cmath>

#include <doctest/doctest.h>

#include <stroma/survival/censoring_curve.hpp>

#include "support/counting_allocator.hpp"
#include "survival/censored.hpp"
#include "survival/golden.hpp"

using namespace stroma;

TEST_CASE("censoring_curve: R's survival") {
  cpu_context ctx;
  for (const auto& name : golden::sets()) {
    const auto expected = golden::cases(name, "curves").at("prediction");
    if (expected.is_null()) continue;
    CAPTURE(name);
    const auto table = golden::table(name);
    const censoring_curve curve(ctx, risk_order(ctx, table["time"], table["status"]));
    const auto at = golden::numbers(expected["censoring"]["time"]), g = golden::numbers(expected["censoring"]["G"]);
    REQUIRE(curve.steps().time.size == static_cast<index_t>(at.size()));
    for (std::size_t k = 0; k < at.size(); ++k) {
      CHECK(curve.steps().time[static_cast<index_t>(k)] == at[k]);
      CHECK(golden::close(curve.steps().value[static_cast<index_t>(k)], g[k], 1e-9));
    }
  }
}

TEST_CASE_TEMPLATE("censoring_curve: the definition, before and at every time", T, double, float) {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 31u, 33u, 150u})
    for (const int times : {1, 6, 400}) {
      const auto c = random_cohort<T>(n, times, static_cast<unsigned>(n) + 5);
      const censoring_curve curve(ctx, risk_order(ctx, c.time, c.event, {.weight = c.weight}));
      const double eps = 4 * static_cast<double>(n) * 2.3e-16;
      for (double t = -1; t <= times + 1; t += times > 10 ? 7.5 : 0.5) {
        const auto at = oracle::product_limit(c, oracle::who::censored, t, true),
                   before = oracle::product_limit(c, oracle::who::censored, t, false);
        CHECK(std::abs(static_cast<double>(curve.steps().at(t) - at)) < eps);
        CHECK(std::abs(static_cast<double>(curve.steps().before(t) - before)) < eps);
      }
    }
}

TEST_CASE("censoring_curve: nobody, all died, all censored, copies") {
  cpu_context ctx;
  const std::vector<double> none, time{3, 1, 2};
  const std::vector<int> died{1, 1, 1}, censored{0, 0, 0};
  CHECK(censoring_curve(ctx, risk_order(ctx, none, none)).steps().absent());
  CHECK(step_curve<>{}.at(7) == 1);
  CHECK(censoring_curve(ctx, risk_order(ctx, time, died)).steps().at(9) == 1);
  censoring_curve curve(ctx, risk_order(ctx, time, censored));
  const censoring_curve copy = curve;
  CHECK(curve.steps().at(3) == 0);
  CHECK(curve.steps().before(3) == doctest::Approx(1 / 3.0).epsilon(1e-15));
  curve.remake(ctx, risk_order(ctx, time, died));
  CHECK(curve.steps().at(3) == 1);
  CHECK(copy.steps().at(3) == 0);
}

TEST_CASE("censoring_curve: late entry counts, strata are refused, memory is taken once") {
  cpu_context ctx;
  const std::vector<double> time{1, 2, 3}, since{0, 1.5, 1.5};
  const std::vector<int> event{0, 0, 1}, stratum{1, 1, 2};
  const censoring_curve late(ctx, risk_order(ctx, time, event, {.entry = since}));
  CHECK(late.steps().at(1) == 0);  // nobody else is at risk
  const risk_order order(ctx, time, event);
  censoring_curve curve(ctx, order);
  CHECK(allocations_in([&] { curve.remake(ctx, order); }) == 0);
  CHECK(message_of<value_error>([&] { curve.remake(ctx, risk_order(ctx, time, event, {.stratum = stratum})); }) ==
        "censoring_curve: order: strata, expected a cohort without strata");
  CHECK(curve.steps().time.size == 3);
}
