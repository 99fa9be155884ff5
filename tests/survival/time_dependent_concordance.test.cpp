#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/adapt/eigen.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/survival/time_dependent_concordance.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/golden.hpp"
#endif

using namespace stroma;

namespace {

/// [n, times]: multiples of 1/16, so that some are tied; they need not fall, for nothing asks for that.
array<double, 2> random_predictions(std::size_t n, index_t times, unsigned seed) {
  std::mt19937 draw(seed);
  array<double, 2> s(static_cast<index_t>(n), times);
  for (double& x : s) x = static_cast<double>(draw() % 17) / 16;
  return s;
}

struct pairs {
  long double concordant = 0, discordant = 0, tied = 0, events = 0, credit = 0;
};
/// Every pair. Weights, entries and strata may be empty.
pairs oracle(const array<double, 2>& survival, const std::vector<double>& grid, const cohort<>& c, bool weighted,
             bool late, bool stratified, double horizon = std::numeric_limits<double>::infinity()) {
  pairs p;
  const std::size_t n = c.time.size();
  const auto at = [&](std::size_t i, double t) {
    double s = 1;
    for (std::size_t k = 0; k < grid.size(); ++k)
      if (grid[k] <= t) s = survival(static_cast<index_t>(i), static_cast<index_t>(k));
    return s;
  };
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      const double t = c.time[i];
      if (i == j || c.event[i] == 0 || t > horizon || c.time[j] < t) continue;
      if ((late && !(c.entry[j] < t)) || (stratified && c.stratum[i] != c.stratum[j])) continue;
      const long double w = weighted ? static_cast<long double>(c.weight[i]) * c.weight[j] : 1;
      const double mine = at(i, t), other = at(j, t);
      if (c.time[j] == t && c.event[j] != 0) {
        p.events += w / 2;  // met twice
        p.credit += w / (mine == other ? 2 : 4);
      } else {
        (mine < other ? p.concordant : mine > other ? p.discordant : p.tied) += w;
      }
    }
  return p;
}
/// All numbers are multiples of 1/256, so nothing is rounded but the quotient.
void check_equal(const time_dependent_concordance_result& r, const pairs& p) {
  CHECK(r.concordant == static_cast<double>(p.concordant));
  CHECK(r.discordant == static_cast<double>(p.discordant));
  CHECK(r.tied_prediction == static_cast<double>(p.tied));
  CHECK(r.tied_events == static_cast<double>(p.events));
  CHECK(r.tied_credit == static_cast<double>(p.credit));
  const long double all = p.concordant + p.discordant + p.tied;
  if (all > 0) {
    CHECK(std::abs(r.value - static_cast<double>((p.concordant + p.tied / 2) / all)) <= 1e-15);
  } else {
    CHECK(std::isnan(r.value));
  }
}

}  // namespace

TEST_CASE("time_dependent_concordance: every pair") {
  for (const int threads : {1, 2}) {
    cpu_context ctx(threads);
    for (const std::size_t n : {0u, 1u, 2u, 31u, 33u, 300u})
      for (const int times : {1, 12, 500}) {
        const auto c = random_cohort(n, times, static_cast<unsigned>(n) + 5);
        // Columns with many events are ranked, those with few compared; the first times are before the grid.
        std::vector<double> fine, coarse{times / 3.0, times / 2.0};
        for (int t = 2; t < times; ++t) fine.push_back(t);
        for (const auto& grid : {fine, coarse}) {
          CAPTURE(n);
          CAPTURE(times);
          const auto s = random_predictions(n, static_cast<index_t>(grid.size()), 3);
          check_equal(time_dependent_concordance(ctx, s, grid, c.time, c.event),
                      oracle(s, grid, c, false, false, false));
          const risk_order weighted(ctx, c.time, c.event, {.weight = c.weight});
          check_equal(time_dependent_concordance(ctx, s, grid, weighted), oracle(s, grid, c, true, false, false));
          const risk_order all(ctx, c.time, c.event, {.weight = c.weight, .entry = c.entry, .stratum = c.stratum});
          check_equal(time_dependent_concordance(ctx, s, grid, all), oracle(s, grid, c, true, true, true));
          check_equal(time_dependent_concordance(ctx, s, grid, all, {.horizon = times / 2.0}),
                      oracle(s, grid, c, true, true, true, times / 2.0));
        }
      }
  }
}

TEST_CASE("time_dependent_concordance: its options") {
  cpu_context ctx;
  // At 1 the first two die, with predictions 0.5 and 0.25; the third lives on, with 0.5.
  const std::vector<double> time{1, 1, 2}, grid{1};
  const std::vector<int> event{1, 1, 0};
  array<double, 2> s(3, 1);
  s(0, 0) = s(2, 0) = 0.5;
  s(1, 0) = 0.25;
  const auto judge = [&](const time_dependent_concordance_options& o) {
    return time_dependent_concordance(ctx, s, grid, time, event, o);
  };
  CHECK(judge({}).value == 0.75);
  CHECK(judge({.equal_predictions = prediction_ties::nothing}).value == 0.5);
  CHECK(judge({.equal_times = event_ties::counted}).value == 2.0 / 3);
  s(1, 0) = 0.5;
  CHECK(judge({.equal_times = event_ties::counted}).value == 2.0 / 3);
  CHECK(judge({}).tied_credit == 1);
}

TEST_CASE("time_dependent_concordance: Harrell's where predictions never change their order, weighted alike") {
  cpu_context ctx;
  const auto c = random_cohort(400, 50, 21);
  std::vector<double> grid;
  for (int t = 0; t < 50; ++t) grid.push_back(t);
  array<double, 2> s(400, 50);
  for (index_t i = 0; i < 400; ++i)
    for (index_t k = 0; k < 50; ++k)
      s(i, k) = std::exp(-0.01 * static_cast<double>(k + 1) * std::exp(c.score[static_cast<std::size_t>(i)]));
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  for (const auto weighting : {pair_weighting::equal, pair_weighting::inverse_censoring}) {
    const auto harrell = concordance(ctx, c.score, order, {.weighting = weighting});
    const auto antolini = time_dependent_concordance(ctx, s, grid, order, {.weighting = weighting});
    // Sums of 400 x 400 terms, each within a few epsilon.
    const double allowed = 400 * 400 * std::numeric_limits<double>::epsilon();
    CHECK(std::abs(antolini.value - harrell.value) <= allowed);
    CHECK(std::abs(antolini.tied_events - harrell.tied_time - harrell.tied_both) <= allowed * antolini.tied_events);
  }
}

#ifdef STROMA_TEST_JSON
TEST_CASE("time_dependent_concordance: the golden definition and pycox's extra pairs") {
  cpu_context ctx;
  int found = 0;
  for (const auto& name : golden::sets("curves")) {
    const auto file = golden::cases(name, "curves");
    const auto prediction = golden::field(file, "prediction");
    if (prediction.is_null() || !prediction.contains("antolini")) continue;
    const auto& a = prediction.at("antolini");
    const auto table = golden::table(name);
    const std::size_t n = a.at("rows");
    const std::vector<double> time(table["time"].begin(), table["time"].begin() + static_cast<std::ptrdiff_t>(n));
    const auto all_events = table.event();
    const std::vector<std::uint8_t> event(all_events.begin(), all_events.begin() + static_cast<std::ptrdiff_t>(n));
    std::vector<std::size_t> by_time(n);
    for (std::size_t i = 0; i < n; ++i) by_time[i] = i;
    std::stable_sort(by_time.begin(), by_time.end(), [&](auto i, auto j) { return time[i] < time[j]; });
    const auto at = golden::numbers(a.at("surv_i_at_time_j"));
    array<double, 2> s(static_cast<index_t>(n), static_cast<index_t>(n));
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t k = 0; k < n; ++k) s(static_cast<index_t>(i), static_cast<index_t>(k)) = at[i * n + by_time[k]];
    const auto grid = permuted(time, by_time);
    const auto c = time_dependent_concordance(ctx, s, grid, time, event);
    CAPTURE(name);
    CHECK(golden::close(c.concordant, a.at("concordant"), 1e-9));
    CHECK(golden::close(c.discordant, a.at("discordant"), 1e-9));
    CHECK(golden::close(c.tied_prediction, a.at("tied"), 1e-9));
    CHECK(golden::close(c.value, a.at("c_half_ties"), 1e-9));
    CHECK(golden::close(c.tied_events, a.at("tied_event_pairs"), 1e-9));
    CHECK(golden::close(c.tied_credit, a.at("tied_event_credit"), 1e-9));
    CHECK(golden::close(
        time_dependent_concordance(ctx, s, grid, time, event, {.equal_predictions = prediction_ties::nothing}).value,
        a.at("c_strict"), 1e-9));
    ++found;
  }
  CHECK(found > 0);
}
#endif

TEST_CASE("time_dependent_concordance: the caller's matrices; memory once; what it refuses") {
  cpu_context ctx;
  const auto c = random_cohort(60, 9, 2);
  const std::vector<double> grid{1, 2, 5};
  const auto s = random_predictions(60, 3, 4);
  Eigen::MatrixXf by_column(60, 3);
  for (index_t i = 0; i < 60; ++i)
    for (index_t k = 0; k < 3; ++k) by_column(i, k) = static_cast<float>(s(i, k));
  const risk_order order(ctx, c.time, c.event);
  CHECK(time_dependent_concordance(ctx, by_column, grid, order).concordant ==
        time_dependent_concordance(ctx, s, grid, order).concordant);
  CHECK(allocations_in([&] { (void)time_dependent_concordance(ctx, s, grid, order); }) == 0);

  CHECK(message_of<shape_error>([&] {
          (void)time_dependent_concordance(ctx, s, std::vector<double>{1, 2}, order);
        }) == "time_dependent_concordance: survival: shape 60 x 3, expected 60 x 2");
  CHECK(message_of<value_error>([&] {
          (void)time_dependent_concordance(ctx, s, std::vector<double>{1, 3, 2}, order);
        }) == "time_dependent_concordance: times: a fall at 2, expected numbers that never fall");
  auto bad = random_predictions(60, 3, 4);
  bad(7, 1) = std::nan("");
  CHECK(message_of<value_error>([&] { (void)time_dependent_concordance(ctx, bad, grid, order); }) ==
        "time_dependent_concordance: survival: nan at row 7, column 1, expected finite values");
}
