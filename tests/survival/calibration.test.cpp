#include <cmath>
#include <numeric>

#include <doctest/doctest.h>

#include <stroma/survival/calibration.hpp>

#include "support/counting_allocator.hpp"
#include "survival/censored.hpp"
#include "survival/golden.hpp"

using namespace stroma;

namespace {

struct groups {
  std::vector<double> predicted, observed, standard_error;
  std::vector<index_t> patients;
};
template <class Survival>
groups in_groups(cpu_context& ctx, const Survival& survival, double time, const risk_order<>& order,
                 std::size_t count) {
  groups g{std::vector<double>(count), std::vector<double>(count), std::vector<double>(count),
           std::vector<index_t>(count)};
  calibration_groups(ctx, survival, time, order,
                     calibration_groups_output<double>{as_view(g.predicted), as_view(g.observed),
                                                       as_view(g.standard_error), as_view(g.patients)});
  return g;
}

std::vector<double> predictions(std::size_t n, unsigned seed) {
  std::mt19937 draw(seed);
  std::vector<double> s;
  for (std::size_t i = 0; i < n; ++i) s.push_back(static_cast<double>(draw() % 201) / 200);
  return s;
}

}  // namespace

TEST_CASE("d_calibration: the golden definition") {
  cpu_context ctx;
  for (const auto& name : golden::sets()) {
    const auto expected = golden::cases(name, "curves").at("prediction");
    if (expected.is_null()) continue;
    CAPTURE(name);
    const auto table = golden::table(name);
    const auto& of = expected["d_calibration"];
    std::vector<double> bins(10);
    const auto test = d_calibration(ctx, golden::numbers(of["surv_at_own_time"]),
                                    risk_order(ctx, table["time"], table["status"]), bins);
    CHECK(golden::close(bins, of["bins"], 1e-9));
    CHECK(golden::close(test.statistic, of["chisq"], 1e-9));
    CHECK(test.degrees_of_freedom == of["df"].get<index_t>());
    CHECK(golden::close(test.p_value, of["p"], 1e-9));
  }
}

TEST_CASE("calibration_groups: the golden definition") {
  cpu_context ctx;
  for (const auto& name : golden::sets()) {
    const auto expected = golden::cases(name, "curves").at("prediction");
    if (expected.is_null()) continue;
    CAPTURE(name);
    const auto table = golden::table(name);
    const auto& of = expected["calibration_groups"];
    const auto times = golden::numbers(expected["times"]);
    const double time = golden::number(of["time"]);
    const auto column = std::find(times.begin(), times.end(), time) - times.begin();
    REQUIRE(column < static_cast<std::ptrdiff_t>(times.size()));
    const auto all = golden::numbers(expected["surv_pred"]);
    std::vector<double> survival(table.rows());
    for (std::size_t i = 0; i < survival.size(); ++i)
      survival[i] = all[i * times.size() + static_cast<std::size_t>(column)];
    const auto found = in_groups(ctx, survival, time, risk_order(ctx, table["time"], table["status"]), 5);
    CHECK(golden::close(found.predicted, of["mean_pred"], 1e-9));
    CHECK(golden::close(found.observed, of["km"], 1e-9));
    CHECK(golden::close(found.patients, of["n"], 0));
  }
}

TEST_CASE_TEMPLATE("d_calibration: the definition", T, double, float) {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 33u, 1025u})
    for (const std::size_t count : {2u, 7u, 10u, 20u}) {
      const auto c = random_cohort<T>(n, 30, static_cast<unsigned>(n));
      std::vector<T> s;
      for (const double x : predictions(n, 3)) s.push_back(static_cast<T>(x));
      std::vector<double> bins(count);
      const auto test = d_calibration(ctx, s, risk_order(ctx, c.time, c.event, {.weight = c.weight}), bins);
      std::vector<long double> expected(count, 0);
      long double all = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const auto w = static_cast<long double>(c.weight[i]), at = static_cast<long double>(s[i]);
        all += w;
        // A censored patient is spread over 0 .. s; a death is all in its bin.
        for (std::size_t b = 0; b < count; ++b) {
          const long double low = static_cast<long double>(static_cast<double>(b) / static_cast<double>(count)),
                            high = static_cast<long double>(static_cast<double>(b + 1) / static_cast<double>(count));
          const bool inside = at >= low && (at < high || b + 1 == count);
          if (c.event[i] != 0 || at == 0) expected[b] += inside ? w : 0;
          else if (inside || at >= high) expected[b] += w * ((inside ? at : high) - low) / at;
        }
      }
      const double eps = 8 * static_cast<double>(n + 1) * 2.3e-16;
      long double statistic = 0;
      for (std::size_t b = 0; b < count; ++b) {
        CHECK(golden::close(bins[b], static_cast<double>(expected[b]), eps, 1));
        const long double mean = all / static_cast<long double>(count);
        statistic += (expected[b] - mean) * (expected[b] - mean) / mean;
      }
      CHECK(golden::close(test.statistic, static_cast<double>(statistic), 4 * eps * static_cast<double>(count),
                          static_cast<double>(all)));
      CHECK(test.degrees_of_freedom == static_cast<index_t>(count) - 1);
      CHECK(golden::close(std::accumulate(bins.begin(), bins.end(), 0.0), static_cast<double>(all), eps));
    }
}

TEST_CASE("d_calibration: edges of bins, chances 0 and 1, all censored, nobody") {
  cpu_context ctx;
  std::vector<double> bins(10);
  std::vector<double> edges, time;
  for (int k = 0; k <= 10; ++k) {
    edges.push_back(k / 10.0);
    time.push_back(k);
  }
  (void)d_calibration(ctx, edges, risk_order(ctx, time, std::vector<int>(11, 1)), bins);
  CHECK(bins == std::vector<double>{1, 1, 1, 1, 1, 1, 1, 1, 1, 2});
  const std::vector<double> one{1}, zero{0}, at{5}, none;
  const std::vector<int> censored{0};
  const auto even = d_calibration(ctx, one, risk_order(ctx, at, censored), bins);
  CHECK(golden::close(bins, std::vector<double>(10, 0.1), 4 * 2.3e-16));
  CHECK(even.statistic < 1e-30);
  CHECK(even.p_value == 1);
  (void)d_calibration(ctx, zero, risk_order(ctx, at, censored), bins);
  CHECK(bins[0] == 1);
  CHECK(std::isnan(d_calibration(ctx, none, risk_order(ctx, none, none), bins).p_value));
}

TEST_CASE("calibration_groups: groups by rank, and Kaplan-Meier with Greenwood's error in each") {
  cpu_context ctx;
  for (const std::size_t n : {5u, 31u, 32u, 33u, 300u})
    for (const std::size_t count : {1u, 3u, 5u}) {
      const auto c = random_cohort(n, 25, static_cast<unsigned>(n) + 3);
      const auto s = predictions(n, 9);
      const double time = 11;
      const auto found = in_groups(ctx, s, time, risk_order(ctx, c.time, c.event, {.weight = c.weight}), count);
      std::vector<std::size_t> by_risk(n);
      std::iota(by_risk.begin(), by_risk.end(), 0);
      std::stable_sort(by_risk.begin(), by_risk.end(), [&](std::size_t a, std::size_t b) { return s[a] > s[b]; });
      for (std::size_t q = 0; q < count; ++q) {
        cohort<> group;
        long double sum = 0, weight = 0, variance = 0;
        for (std::size_t r = 0; r < n; ++r) {
          if ((r + 1) * count > n * (q + 1) || (r + 1) * count <= n * q) continue;
          const std::size_t i = by_risk[r];
          group.time.push_back(c.time[i]);
          group.event.push_back(c.event[i]);
          group.weight.push_back(c.weight[i]);
          sum += static_cast<long double>(c.weight[i]) * static_cast<long double>(s[i]);
          weight += static_cast<long double>(c.weight[i]);
        }
        for (int t = 0; t <= 11; ++t) {
          long double at_risk = 0, died = 0;
          for (std::size_t i = 0; i < group.time.size(); ++i) {
            if (group.time[i] >= t) at_risk += static_cast<long double>(group.weight[i]);
            if (group.time[i] == t && group.event[i] != 0) died += static_cast<long double>(group.weight[i]);
          }
          if (died > 0) variance += died / (at_risk * (at_risk - died));
        }
        const auto observed = oracle::product_limit(group, oracle::who::died, time, true);
        const double eps = 8 * static_cast<double>(n) * 2.3e-16;
        CHECK(found.patients[q] == static_cast<index_t>(group.time.size()));
        CHECK(golden::close(found.predicted[q], static_cast<double>(sum / weight), eps));
        CHECK(golden::close(found.observed[q], static_cast<double>(observed), eps, 1));
        if (found.observed[q] > 0)
          CHECK(golden::close(found.standard_error[q], static_cast<double>(observed * std::sqrt(variance)), eps, 1));
        else CHECK(std::isnan(found.standard_error[q]));
      }
    }
}

TEST_CASE("calibration: order of rows, whole weights, memory taken once") {
  cpu_context ctx;
  auto c = random_cohort(60, 12, 8);
  auto s = predictions(60, 2);
  for (std::size_t i = 0; i < 60; ++i) c.weight[i] = static_cast<double>(i % 3);
  std::vector<double> of_copies;
  for (std::size_t i = 0; i < 60; ++i)
    for (std::size_t k = 0; k < i % 3; ++k) of_copies.push_back(s[i]);
  const auto copies = repeated(c);
  std::vector<double> bins(10), expected(10), out(5);
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  const auto test = d_calibration(ctx, s, order, bins);
  const auto repeated_test = d_calibration(ctx, of_copies, risk_order(ctx, copies.time, copies.event), expected);
  CHECK(golden::close(bins, expected, 100 * 2.3e-16));
  CHECK(golden::close(test.p_value, repeated_test.p_value, 1e-13));
  CHECK(allocations_in([&] { (void)d_calibration(ctx, s, order, bins); }) == 0);
  const calibration_groups_output<double> to{as_view(bins), as_view(expected), {}, {}};
  calibration_groups(ctx, s, 5, order, to);
  CHECK(allocations_in([&] { calibration_groups(ctx, s, 5, order, to); }) == 0);
  auto apart = spread_out(s, 2, 7.0);
  const auto same = in_groups(ctx, strided(apart, 2), 5, order, 10);
  CHECK(same.observed == expected);
  // Without ties of the predictions the order of rows does not count.
  for (std::size_t i = 0; i < 60; ++i) s[i] = static_cast<double>(i * 7 % 60) / 60;
  const auto p = random_permutation(60, 4);
  const auto a = in_groups(ctx, s, 5, order, 5),
             b = in_groups(
                 ctx, permuted(s, p), 5,
                 risk_order(ctx, permuted(c.time, p), permuted(c.event, p), {.weight = permuted(c.weight, p)}), 5);
  CHECK(golden::close(b.predicted, a.predicted, 60 * 2.3e-16));
  CHECK(golden::close(b.observed, a.observed, 60 * 2.3e-16));
}

TEST_CASE("calibration: refuses what does not fit") {
  cpu_context ctx;
  const std::vector<double> time{1, 2}, s{0.5, 0.25}, three(3), bad{0.5, std::nan("")}, early{-1, -1};
  const std::vector<int> event{1, 0}, stratum{1, 2};
  const risk_order order(ctx, time, event);
  std::vector<double> bins(10), one(1), two(2);
  const auto text = [](auto&& f) {
    try {
      f();
    } catch (const std::logic_error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(text([&] { (void)d_calibration(ctx, three, order, bins); }) ==
        "d_calibration: survival: length 3, expected 2 (the length of order)");
  CHECK(text([&] { (void)d_calibration(ctx, s, order, one); }) == "d_calibration: bins: 1, expected 2 or more");
  CHECK(text([&] { (void)d_calibration(ctx, bad, order, bins); }) ==
        "d_calibration: survival: nan at 1, expected 0 to 1");
  const calibration_groups_output<double> fits{as_view(two), as_view(one), {}, {}},
      many{as_view(bins), as_view(bins), {}, {}}, good{as_view(two), as_view(two), {}, {}};
  CHECK(text([&] { calibration_groups(ctx, s, 1, order, fits); }) ==
        "calibration_groups: observed: length 1, expected 2 (the length of predicted)");
  CHECK(text([&] { calibration_groups(ctx, s, 1, order, many); }) == "calibration_groups: groups: 10, expected 1 to 2");
  CHECK(text([&] { calibration_groups(ctx, bad, 1, order, good); }) ==
        "calibration_groups: survival: nan at 1, expected 0 to 1");
  CHECK(text([&] { calibration_groups(ctx, s, std::nan(""), order, good); }) ==
        "calibration_groups: time: nan, expected a finite number");
  CHECK(text([&] { calibration_groups(ctx, s, 1, risk_order(ctx, time, event, {.stratum = stratum}), good); }) ==
        "calibration_groups: order: strata, expected a cohort without strata");
  CHECK(text([&] { calibration_groups(ctx, s, 1, risk_order(ctx, time, event, {.entry = early}), good); }) ==
        "calibration_groups: order: late entry, expected a cohort that is followed from time 0 on");
}
