#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/baseline_hazard.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/cox_cases.hpp"
#endif

using namespace stroma;

namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// The definition: H at every row's time, in its stratum.
std::vector<long double> oracle(const cohort<>& c, ties method, long double shift) {
  const std::size_t n = c.time.size();
  std::vector<long double> hazard(n, 0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t e = 0; e < n; ++e) {  // each event adds its part at its time
      if (c.event[e] == 0 || c.stratum[e] != c.stratum[i] || c.time[e] > c.time[i]) continue;
      long double all = 0, tied = 0, weight = 0;
      int deaths = 0, before = 0;
      for (std::size_t j = 0; j < n; ++j) {
        if (c.stratum[j] != c.stratum[e] || c.time[j] < c.time[e] || c.entry[j] >= c.time[e]) continue;
        const long double risk = static_cast<long double>(c.weight[j]) * std::exp(c.score[j] - shift);
        all += risk;
        if (c.time[j] != c.time[e] || c.event[j] == 0) continue;
        tied += risk;
        weight += static_cast<long double>(c.weight[j]);
        ++deaths;
        before += j < e ? 1 : 0;
      }
      const long double part = method == ties::efron ? static_cast<long double>(before) / deaths : 0;
      hazard[i] += weight / deaths / (all - part * tied);
    }
  return hazard;
}

}  // namespace

TEST_CASE("baseline_hazards: the definition, with weights, strata, late entry and scores of any size") {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 31u, 32u, 33u, 150u})
    for (const double shift : {0.0, 1e4, -1e4})
      for (const ties method : {ties::breslow, ties::efron}) {
        auto c = random_cohort(n, 12, static_cast<unsigned>(n));
        for (double& s : c.score) s += shift;
        const risk_order order(ctx, c.time, c.event, {.weight = c.weight, .entry = c.entry, .stratum = c.stratum});
        const baseline_hazards found(ctx, c.score, order, {.tie_method = method});
        const auto expected = oracle(c, method, static_cast<long double>(shift));
        REQUIRE(found.size() == order.strata());
        CHECK(found.stacked().size() == order.groups());
        for (index_t s = 0; s < found.size(); ++s) {
          const auto curve = found[s];
          const int label = c.stratum[static_cast<std::size_t>(found.patient(s))];
          for (std::size_t i = 0; i < n; ++i) {
            if (c.stratum[i] != label) continue;
            const auto* const at = std::find(curve.time.data, curve.time.data + curve.size(), c.time[i]);
            const index_t row = at - curve.time.data;
            REQUIRE(row < curve.size());
            if (expected[i] == 0) {
              CHECK(curve.log_hazard[row] == -infinity);
              continue;
            }
            const auto log_hazard = static_cast<double>(std::log(expected[i])) - shift;
            // sums of at most n terms of one sign; log H itself is rounded by its size
            CHECK(std::abs(curve.log_hazard[row] - log_hazard) <=
                  eps * (4 * static_cast<double>(n) + 8 + 4 * std::abs(log_hazard)));
            if (shift == 0)
              CHECK(std::abs(curve.hazard[row] - static_cast<double>(expected[i])) <=
                    eps * (4 * static_cast<double>(n) + 8) * static_cast<double>(expected[i]));
          }
        }
      }
}

TEST_CASE("baseline_hazards: who entered late with a large score leaves no trace before") {
  // Nelson-Aalen among those at risk: the last row, of score 700, is at risk at time 3 alone.
  cpu_context ctx;
  const std::vector<double> score{0, 0, 0, 700}, time{1, 2, 3, 3}, entry{0, 0, 0, 2};
  const std::vector<int> event{1, 1, 1, 0};
  const baseline_hazards found(ctx, score, risk_order(ctx, time, event, {.entry = entry}));
  const auto h = found[0].hazard;
  CHECK(h[0] == 1.0 / 3);
  CHECK(h[1] == doctest::Approx(1.0 / 3 + 1.0 / 2).epsilon(4 * std::numeric_limits<double>::epsilon()));
  CHECK(h[2] == h[1]);  // and exp(-700)
}

TEST_CASE("survival_curves: steps, times in any order, scores of any size, storage of any stride") {
  cpu_context ctx;
  const std::vector<double> score{0, 0, 0}, time{1, 2, 4}, at{4, 0.5, 1, 3.9, 100, 2},
      patients{0, std::log(2), 800, -800};
  const std::vector<int> event{1, 0, 1};
  const baseline_hazards baseline(ctx, score, risk_order(ctx, time, event));
  array<double, 2> out(4, 6);
  survival_curves(ctx, baseline[0], patients, at, out);
  const double h1 = 1.0 / 3, h4 = h1 + 1;
  const double expected[6] = {h4, 0, h1, h1, h4, h1};
  for (index_t j = 0; j < 6; ++j) {
    CHECK(out(0, j) == doctest::Approx(std::exp(-expected[j])).epsilon(1e-15));
    CHECK(out(1, j) == doctest::Approx(std::exp(-2 * expected[j])).epsilon(1e-15));
    CHECK(out(2, j) == (expected[j] == 0 ? 1 : 0));
    CHECK(out(3, j) == 1);
  }
  std::vector<float> wide(4 * 6 * 2, -1.0f);
  survival_curves(ctx, baseline[0], patients, at, matrix_view<float>(wide.data(), 4, 6, 12, 2));
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 6; ++j) {
      CHECK(wide[static_cast<std::size_t>(12 * i + 2 * j)] == static_cast<float>(out(i, j)));
      CHECK(wide[static_cast<std::size_t>(12 * i + 2 * j + 1)] == -1.0f);
    }
}

TEST_CASE("baseline_hazards: edges, errors, memory") {
  cpu_context ctx;
  const std::vector<double> none, three{1, 2, 3}, bad{0, std::nan(""), 0};
  CHECK(baseline_hazards(ctx, none, risk_order(ctx, none, none)).size() == 0);
  const risk_order censored(ctx, three, std::vector<int>{0, 0, 0});
  CHECK(baseline_hazards(ctx, three, censored)[0].hazard[2] == 0);
  CHECK(message_of<value_error>([&] { baseline_hazards(ctx, bad, censored); }) ==
        "baseline_hazards: score: nan at 1, expected finite values");
  CHECK(message_of<shape_error>([&] { baseline_hazards(ctx, none, censored); }) ==
        "baseline_hazards: score: length 0, expected 3 (the length of order)");
  const auto c = random_cohort(300, 40, 3);
  const risk_order order(ctx, c.time, c.event, {.entry = c.entry, .stratum = c.stratum});
  baseline_hazards again(ctx, c.score, order);
  array<double, 2> out(300, 300);
  CHECK(message_of<shape_error>([&] { survival_curves(ctx, again[0], c.score, three, out); }) ==
        "survival_curves: out: shape 300 x 300, expected 300 x 3");
  survival_curves(ctx, again[0], c.score, c.time, out);
  CHECK(allocations_in([&] {
          again.remake(ctx, c.score, order);
          survival_curves(ctx, again[0], c.score, c.time, out);
        }) == 0);
}

#ifdef STROMA_TEST_JSON
TEST_CASE("baseline_hazards: R's survival") {
  int curves = 0;
  golden::for_each_cox_case("fixed", [&](const golden::cox_case& c) {
    if (!c.expected.contains("baseline_at_zero_covariates")) return;
    cpu_context ctx;
    const auto beta = golden::numbers(c.expected.at("beta"));
    std::vector<double> score(c.time.size());
    for (std::size_t i = 0; i < score.size(); ++i) {
      score[i] = c.offset.empty() ? 0 : c.offset[i];
      for (std::size_t j = 0; j < beta.size(); ++j)
        score[i] += c.covariates(static_cast<index_t>(i), static_cast<index_t>(j)) * beta[j];
    }
    for (const auto& [method, expected] : c.expected.at("baseline_at_zero_covariates").items()) {
      const baseline_hazards found(ctx, score, c.order(ctx),
                                   {.tie_method = method == "efron" ? ties::efron : ties::breslow});
      const auto column = [](const auto& v) { return std::vector<double>(v.data, v.data + v.size); };
      CHECK(golden::close(column(found.stacked().time), expected.at("time"), eps));
      CHECK(golden::close(column(found.stacked().hazard), expected.at("cumhaz"), 1e-9));
      if (expected.at("curve_lengths").is_null()) CHECK(found.size() == 1);
      else
        for (index_t s = 0; s < found.size(); ++s)
          CHECK(found[s].size() == expected.at("curve_lengths")[static_cast<std::size_t>(s)]);
      ++curves;
    }
  });
  CHECK(curves >= 6);
}
#endif
