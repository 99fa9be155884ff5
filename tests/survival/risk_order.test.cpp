#include <algorithm>

#include <doctest/doctest.h>

#include <stroma/survival/risk_order.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"

using namespace stroma;

TEST_CASE("risk_order: latest first, censored before deaths, row order within") {
  cpu_context ctx;
  const std::vector<double> time{5, 5, 8, 8, 10, 3, 5};
  const std::vector<int> event{1, 0, 1, 1, 0, 0, 1};
  const risk_order order(ctx, time, event);
  CHECK(order.size() == 7);
  CHECK(order.events() == 4);
  CHECK(order.groups() == 4);
  CHECK_FALSE(order.weighted());
  const std::vector<index_t> expected{4, 2, 3, 1, 0, 6, 5};
  for (index_t k = 0; k < 7; ++k) CHECK(order.rows()[k] == expected[static_cast<std::size_t>(k)]);
  const auto plan = order.plan();
  CHECK(plan.first[0] == 0);
  CHECK(plan.deaths[0] == 1);  // a group without deaths: at its end
  CHECK(plan.first[1] == 1);
  CHECK(plan.deaths[1] == 1);
  CHECK(plan.first[2] == 3);
  CHECK(plan.deaths[2] == 4);
  CHECK(plan.deaths[3] == 7);
  CHECK(plan.first[4] == 7);
}

TEST_CASE("risk_order: groups and order hold for many sizes") {
  cpu_context ctx;
  for (const std::size_t n : {0u, 1u, 31u, 32u, 33u, 1025u}) {
    const auto c = random_cohort<float>(n, 40, 1);
    const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
    const auto plan = order.plan();
    REQUIRE(order.size() == static_cast<index_t>(n));
    CHECK(order.weighted() == (n > 0));
    std::vector<int> seen(n, 0);
    index_t events = 0;
    for (index_t g = 0; g < plan.groups; ++g)
      for (index_t k = plan.first[g]; k < plan.first[g + 1]; ++k) {
        const auto row = static_cast<std::size_t>(plan.row[k]);
        ++seen[row];
        events += c.event[row];
        CHECK(c.time[row] == c.time[static_cast<std::size_t>(plan.row[plan.first[g]])]);
        if (g > 0) CHECK(c.time[row] < c.time[static_cast<std::size_t>(plan.row[plan.first[g] - 1])]);
        CHECK((c.event[row] != 0) == (k >= plan.deaths[g]));
        CHECK(plan.weight[k] == c.weight[row]);
      }
    CHECK(plan.first[plan.groups] == static_cast<index_t>(n));
    CHECK(events == order.events());
    for (const int count : seen) CHECK(count == 1);
  }
}

TEST_CASE("risk_order: strata stand apart, and late entry says who is at risk") {
  cpu_context ctx;
  for (const std::size_t n : {1u, 32u, 400u, 1025u}) {
    const auto c = random_cohort<float>(n, 30, 4);
    const risk_order order(ctx, c.time, c.event, {.weight = c.weight, .entry = c.entry, .stratum = c.stratum});
    const auto plan = order.plan();
    CHECK(order.late_entry());
    CHECK(order.stratified());
    REQUIRE(order.strata() == plan.strata);
    CHECK(plan.stratum[0] == 0);
    CHECK(plan.stratum[plan.strata] == plan.groups);
    const auto row_at = [&](index_t k) { return static_cast<std::size_t>(plan.row[k]); };
    int previous = -100;
    for (index_t s = 0; s < plan.strata; ++s) {
      const int label = c.stratum[row_at(plan.first[plan.stratum[s]])];
      CHECK(label > previous);
      previous = label;
      for (index_t g = plan.stratum[s]; g < plan.stratum[s + 1]; ++g) {
        std::size_t at_risk = 0, expected = 0, of_group = 0;
        for (index_t k = 0; k < plan.rows; ++k) {
          const auto i = row_at(k);
          if (plan.group[k] == g) {
            ++of_group;
            CHECK(c.stratum[i] == label);
            CHECK(plan.time[g] == static_cast<double>(c.time[i]));
            CHECK((k >= plan.first[g] && k < plan.first[g + 1]));
          }
          at_risk += plan.group[k] <= g && g < plan.until[k] ? 1 : 0;
          const auto t = static_cast<double>(c.time[i]);
          expected += c.stratum[i] == label && static_cast<double>(c.entry[i]) < plan.time[g] && plan.time[g] <= t;
        }
        CHECK(of_group > 0);
        CHECK(at_risk == expected);
      }
    }
  }
}

TEST_CASE("risk_order: every patient of one stratum and early entry give the plain order") {
  cpu_context ctx;
  const auto c = random_cohort(200, 30, 4);
  const std::vector<std::int16_t> one(200, 7);
  const std::vector<float> early(200, -1);
  const risk_order plain(ctx, c.time, c.event), order(ctx, c.time, c.event, {.entry = early, .stratum = one});
  CHECK(order.groups() == plain.groups());
  CHECK(order.strata() == 1);
  for (index_t k = 0; k < 200; ++k) {
    CHECK(order.rows()[k] == plain.rows()[k]);
    CHECK(order.plan().until[k] == order.groups());
  }
}

TEST_CASE("risk_order: zero and minus zero are one time; whole-number times and strides are taken") {
  cpu_context ctx;
  std::vector<double> time{0.0, 9, -0.0, 9, 1, 9};
  std::vector<unsigned> event{1, 7, 0, 7, 1, 7};
  const risk_order order(ctx, strided(time, 2), strided(event, 2));
  CHECK(order.groups() == 2);
  CHECK(order.rows()[0] == 2);
  CHECK(order.rows()[1] == 1);
  CHECK(order.rows()[2] == 0);
  const std::vector<std::int64_t> days{4, 100000000000, 4};
  const std::vector<float> died{1, 0, 1};
  CHECK(risk_order(ctx, days, died).groups() == 2);
  const std::vector<unsigned> years{4, 9, 4};
  CHECK(risk_order(ctx, years, died).rows()[0] == 1);
}

TEST_CASE("risk_order: remade in place it takes no memory") {
  cpu_context ctx;
  const auto c = random_cohort(500, 40, 2), d = random_cohort(400, 40, 3);
  risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  CHECK(allocations_in([&] { order.remake(ctx, d.time, d.event, {.weight = d.weight}); }) == 0);
  CHECK(order.size() == 400);
  CHECK(allocations_in([&] { order.remake(ctx, c.time, c.event); }) == 0);
  CHECK(order.size() == 500);
  CHECK_FALSE(order.weighted());
}

TEST_CASE("risk_order: refuses what does not fit and keeps the old order") {
  cpu_context ctx;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> time{1, 2, 3}, bad{1, nan, 3}, early{1, 2, -3};
  const std::vector<int> event{1, 0, 1}, twos{1, 2, 1}, pair{1, 0};
  risk_order order(ctx, time, event);
  CHECK(message_of<shape_error>([&] { order.remake(ctx, time, pair); }) ==
        "risk_order: event: length 2, expected 3 (the length of time)");
  CHECK(message_of<shape_error>([&] { order.remake(ctx, time, event, {.weight = pair}); }) ==
        "risk_order: weight: length 2, expected 3 (the length of time)");
  CHECK(message_of<value_error>([&] { order.remake(ctx, bad, event); }) ==
        "risk_order: time: nan at 1, expected finite times of 0 or later");
  CHECK(message_of<value_error>([&] { order.remake(ctx, early, event); }) ==
        "risk_order: time: -3 at 2, expected finite times of 0 or later");
  CHECK(message_of<value_error>([&] { order.remake(ctx, time, twos); }) ==
        "risk_order: event: 2 at 1, expected 0 (censored) or 1 (observed)");
  CHECK(message_of<value_error>([&] { order.remake(ctx, time, event, {.weight = early}); }) ==
        "risk_order: weight: -3 at 2, expected finite weights of 0 or more");
  const std::vector<double> since{0, 2, 1};
  CHECK(message_of<value_error>([&] { order.remake(ctx, time, event, {.entry = since}); }) ==
        "risk_order: entry: 2 at 1, expected finite numbers below their times");
  CHECK(message_of<value_error>([&] { order.remake(ctx, time, event, {.stratum = bad}); }) ==
        "risk_order: stratum: nan at 1, expected finite values");
  CHECK(message_of<shape_error>([&] { order.remake(ctx, time, event, {.entry = pair}); }) ==
        "risk_order: entry: length 2, expected 3 (the length of time)");
  CHECK(order.size() == 3);
  CHECK(order.rows()[0] == 2);
  CHECK(risk_order<>().rows().size == 0);
  CHECK(risk_order<>().plan().groups == 0);
  order.remake(ctx, bad, event, {.check_values = false});  // any order, but every row once
  CHECK(order.rows()[0] + order.rows()[1] + order.rows()[2] == 3);
}

TEST_CASE("risk_order: other weights for the same patients") {
  cpu_context ctx;
  const auto c = random_cohort(50, 9, 3);
  const risk_order expected(ctx, c.time, c.event, {.weight = c.weight, .entry = c.entry});
  risk_order order(ctx, c.time, c.event, {.entry = c.entry});
  CHECK_FALSE(order.weighted());
  order.reweigh(ctx, c.weight);
  CHECK(order.weighted());
  const auto a = order.plan(), b = expected.plan();
  CHECK(std::equal(a.weight, a.weight + 50, b.weight));
  CHECK(std::equal(a.time, a.time + a.groups, b.time));
  CHECK(std::equal(a.until, a.until + 50, b.until));
  std::vector<double> ones(50, 1.0), bad(50, -1.0), few(3);
  order.reweigh(ctx, ones);
  CHECK(order.plan().weight[7] == 1);
  CHECK(allocations_in([&] { order.reweigh(ctx, c.weight); }) == 0);
  CHECK_THROWS_AS(order.reweigh(ctx, bad), value_error);
  CHECK_THROWS_AS(order.reweigh(ctx, few), shape_error);
  CHECK(order.plan().weight[7] == b.weight[7]);
}

TEST_CASE("risk_order: by several threads it is the stable sort") {
  constexpr std::size_t n = 150001;
  for (const int times : {1, 7, 1 << 30}) {  // digits that all share, few, many
    auto c = random_cohort(n, times, 5);
    for (double& t : c.time) t += 1.0 / 3;
    std::vector<std::size_t> expected(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = i;
    std::stable_sort(expected.begin(), expected.end(), [&](std::size_t a, std::size_t b) {
      if (c.stratum[a] != c.stratum[b]) return c.stratum[a] < c.stratum[b];
      return c.time[a] != c.time[b] ? c.time[a] > c.time[b] : c.event[a] < c.event[b];
    });
    for (const int threads : {1, 2, 3}) {
      cpu_context ctx(threads);
      const risk_order order(ctx, c.time, c.event, {.stratum = c.stratum});
      bool same = true;
      for (std::size_t k = 0; k < n; ++k)
        same = same && static_cast<std::size_t>(order.rows()[static_cast<index_t>(k)]) == expected[k];
      CAPTURE(times);
      CAPTURE(threads);
      CHECK(same);
    }
  }
}
