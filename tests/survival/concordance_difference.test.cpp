#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/survival/concordance_difference.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#include "survival/concordance_oracle.hpp"

using namespace stroma;

TEST_CASE("concordance_difference: by the definition") {
  cpu_context ctx;
  for (const std::size_t n : {3u, 33u, 60u}) {
    const auto c = random_cohort(n, 20, static_cast<unsigned>(n)),
               d = random_cohort(n, 20, static_cast<unsigned>(n) + 1);
    const risk_order order(ctx, c.time, c.event, {.weight = c.weight, .entry = c.entry, .stratum = c.stratum});
    for (const auto weighting : {pair_weighting::equal, pair_weighting::survival}) {
      auto o = concordance_oracle::of(c.score, c.time, c.event);
      o.weight = c.weight;
      o.entry = c.entry;
      o.stratum.assign(c.stratum.begin(), c.stratum.end());
      o.options.weighting = weighting;
      const auto first = o.compute();
      o.score = d.score;
      const auto second = o.compute();
      const auto found = concordance_difference(ctx, c.score, d.score, order, {.weighting = weighting});
      long double variance = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const long double x = first.influence[i] - second.influence[i];
        variance += x * x;
      }
      if (std::isnan(first.value)) {
        CHECK(std::isnan(found.difference));
        CHECK(std::isnan(found.variance));
        continue;
      }
      // Influences are sums of n terms of up to 1 and their weights, over all pairs.
      const double allowed = 64 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
      CHECK(std::abs(found.difference - static_cast<double>(first.value - second.value)) <= allowed);
      CHECK(std::abs(found.variance - static_cast<double>(variance)) <= allowed);
      if (n > 3) CHECK(found.first.variance > 0);
    }
  }
}

TEST_CASE("concordance_difference: of a score with itself, with its opposite, and its test") {
  cpu_context ctx;
  const auto c = random_cohort(200, 60, 3);
  const risk_order order(ctx, c.time, c.event);
  const auto same = concordance_difference(ctx, c.score, c.score, order);
  CHECK(same.difference == 0);
  CHECK(same.variance == 0);
  CHECK(same.z() == 0);
  CHECK(same.p_value() == 1);

  auto opposite = c.score;
  for (double& x : opposite) x = -x;
  const auto r = concordance_difference(ctx, c.score, opposite, order);
  const double rounding = 200 * std::numeric_limits<double>::epsilon();
  CHECK(std::abs(r.difference - (2 * r.first.value - 1)) <= rounding);
  CHECK(std::abs(r.standard_error() - 2 * r.first.standard_error()) <= rounding);
  const auto i = r.interval();
  CHECK(std::abs((i.upper - i.lower) / 2 - 1.959963984540054 * r.standard_error()) <= rounding);

  concordance_difference_result known{};
  known.difference = 1.959963984540054;
  known.variance = 1;
  CHECK(std::abs(known.p_value() - 0.05) <= 1e-15);  // the normal quantile of 0.975, of 16 digits
}

TEST_CASE("concordance_difference: takes memory once, and refuses what does not fit") {
  cpu_context ctx;
  const auto c = random_cohort(100, 12, 6);
  const risk_order order(ctx, c.time, c.event);
  const auto compare = [&] { (void)concordance_difference(ctx, c.score, c.weight, order); };
  compare();
  CHECK(allocations_in(compare) == 0);
  const std::vector<double> short_score(3), time{1, 2, 3};
  const std::vector<int> none{0, 0, 0};
  CHECK(message_of<shape_error>([&] { (void)concordance_difference(ctx, c.score, short_score, order); }) ==
        "concordance_difference: second: length 3, expected 100 (the length of order)");
  CHECK(std::isnan(concordance_difference(ctx, time, time, risk_order(ctx, time, none)).difference));
}
