#include <cmath>
#include <limits>
#include <map>

#include <doctest/doctest.h>

#include <stroma/survival/pseudo_values.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/golden.hpp"
#endif

using namespace stroma;

namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();
constexpr pseudo_quantity quantities[] = {pseudo_quantity::survival, pseudo_quantity::restricted_mean,
                                          pseudo_quantity::hazard};

/// The three estimates at t, of patients with these weights; in long double.
struct plain_estimate {
  const cohort<>& c;
  bool late;
  std::map<double, int> times{};
  plain_estimate(const cohort<>& of, bool enters_late) : c(of), late(enters_late) {
    for (const double t : c.time) times[t] = 1;
  }
  [[nodiscard]] long double operator()(const std::vector<long double>& weight, pseudo_quantity what, double at) const {
    long double survival = 1, hazard = 0, area = 0, before = 0;
    for (const auto& [t, unused] : times) {
      if (t > at) break;
      long double n = 0, d = 0;
      for (std::size_t i = 0; i < c.time.size(); ++i) {
        if (c.time[i] >= t && !(late && c.entry[i] >= t)) n += weight[i];
        if (c.time[i] == t && c.event[i] != 0) d += weight[i];
      }
      area += survival * (static_cast<long double>(t) - before);
      before = static_cast<long double>(t);
      if (d > 0) {
        survival *= d == n ? 0 : (n - d) / n;
        hazard += d / n;
      }
    }
    area += survival * (static_cast<long double>(at) - before);
    return what == pseudo_quantity::survival ? survival : what == pseudo_quantity::hazard ? hazard : area;
  }
};

array<double, 2> values_of(cpu_context& ctx, const std::vector<double>& at, const risk_order<>& order,
                           const pseudo_values_options& options) {
  array<double, 2> out(order.size(), static_cast<index_t>(at.size()));
  pseudo_values(ctx, at, order, out, options);
  return out;
}

}  // namespace

#ifdef STROMA_TEST_JSON
TEST_CASE("pseudo_values: R's, and the definition's") {
  cpu_context ctx;
  int sets = 0;
  for (const auto& name : golden::sets("curves")) {
    const auto file = golden::cases(name, "curves");
    if (file["prediction"].is_null()) continue;
    CAPTURE(name);
    const auto& of = file["prediction"]["pseudo"];
    const auto table = golden::table(name);
    const risk_order<> order(ctx, table["time"], table["status"]);
    const auto at = golden::numbers(of["times"]);
    const auto check = [&](const char* field, pseudo_quantity quantity, pseudo_method method, double scale) {
      CAPTURE(field);
      // Where the definition's value is 0 it holds what rounding left of n F - (n - 1) F: of the size of F.
      const auto found = values_of(ctx, at, order, {quantity, method});
      CHECK(golden::close(std::vector<double>(found.begin(), found.end()), of[field], 1e-9, scale));
    };
    check("jackknife_surv", pseudo_quantity::survival, pseudo_method::jackknife, 1);
    check("jackknife_rmst", pseudo_quantity::restricted_mean, pseudo_method::jackknife, at.back());
    check("R_infinitesimal_surv", pseudo_quantity::survival, pseudo_method::infinitesimal, 1);
    check("R_infinitesimal_rmst", pseudo_quantity::restricted_mean, pseudo_method::infinitesimal, at.back());
    check("R_infinitesimal_cumhaz", pseudo_quantity::hazard, pseudo_method::infinitesimal, 1);
    ++sets;
  }
  CHECK(sets >= 1);
}
#endif

TEST_CASE("pseudo_values: jackknife: every patient left out once") {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 3u, 5u, 12u, 33u, 70u})
    for (const int times : {4, 60})
      for (const bool late : {false, true})
        for (unsigned seed = 0; seed < (n < 33 ? 12 : 2); ++seed) {
          const auto c = random_cohort(n, times, seed);
          risk_order_options<> columns;
          if (late) columns.entry = c.entry;
          const risk_order<> order(ctx, c.time, c.event, columns);
          const std::vector<double> at{0, 1, 2.5, times / 3.0, times - 1.0, times + 7.0};
          const plain_estimate estimate(c, late);
          for (const auto quantity : quantities) {
            const auto found = values_of(ctx, at, order, {.quantity = quantity});
            for (std::size_t t = 0; t < at.size(); ++t) {
              std::vector<long double> weight(n, 1);
              const long double whole = estimate(weight, quantity, at[t]);
              const auto all = static_cast<long double>(n);
              for (std::size_t i = 0; i < n; ++i) {
                weight[i] = 0;
                const long double value = all * whole - (all - 1) * estimate(weight, quantity, at[t]);
                weight[i] = 1;
                const double scale =
                    quantity == pseudo_quantity::restricted_mean ? at[t] + 1 : 1 + static_cast<double>(whole);
                CAPTURE(i);
                CHECK(std::abs(found(static_cast<index_t>(i), static_cast<index_t>(t)) - static_cast<double>(value)) <=
                      16 * static_cast<double>(n) * eps * scale);
              }
            }
          }
        }
}

TEST_CASE("pseudo_values: infinitesimal: a little more of every patient") {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 12u, 33u})
    for (const int times : {4, 60})
      for (int columns = 0; columns < 4; ++columns) {
        const bool weighted = columns & 1, late = columns & 2;
        const auto c = random_cohort(n, times, static_cast<unsigned>(n) + 2);
        risk_order_options<> with;
        if (weighted) with.weight = c.weight;
        if (late) with.entry = c.entry;
        const risk_order<> order(ctx, c.time, c.event, with);
        const std::vector<double> at{0, 1, 2.5, times / 3.0, times + 7.0};
        const plain_estimate estimate(c, late);
        std::vector<long double> weight(n, 1);
        long double sum = 0;
        for (std::size_t i = 0; i < n; ++i) sum += weight[i] = weighted ? static_cast<long double>(c.weight[i]) : 1;
        for (const auto quantity : quantities) {
          const auto found = values_of(ctx, at, order, {quantity, pseudo_method::infinitesimal});
          for (std::size_t t = 0; t < at.size(); ++t)
            for (std::size_t i = 0; i < n; ++i) {
              constexpr long double step = 1e-6L;
              auto more = weight, less = weight;
              more[i] += step;
              less[i] -= step;
              const long double slope =
                  (estimate(more, quantity, at[t]) - estimate(less, quantity, at[t])) / (2 * step);
              const long double value = estimate(weight, quantity, at[t]) + sum * slope;
              CAPTURE(i);
              // The quotient's error is its step squared times a third derivative: of 1 / w^3 at a least weight of 1/8.
              CHECK(std::abs(found(static_cast<index_t>(i), static_cast<index_t>(t)) - static_cast<double>(value)) <=
                    1e-12 * 512 * static_cast<double>(sum) * (at[t] + 1));
            }
        }
      }
}

TEST_CASE("pseudo_values: N differences of 1 / N keep their digits") {
  cpu_context ctx;
  const std::size_t n = 4000;
  const auto c = random_cohort(n, 40, 8);
  const risk_order<> order(ctx, c.time, c.event);
  const std::vector<double> at{17.5};
  const plain_estimate estimate(c, false);
  for (const auto quantity : quantities) {
    const auto found = values_of(ctx, at, order, {.quantity = quantity});
    std::vector<long double> weight(n, 1);
    const long double whole = estimate(weight, quantity, at[0]);
    for (const std::size_t i : {0u, 7u, 1111u, 3999u}) {
      weight[i] = 0;
      const long double change = whole - estimate(weight, quantity, at[0]);
      weight[i] = 1;
      const auto expected = static_cast<double>(whole + static_cast<long double>(n - 1) * change);
      // 40 times of a few roundings each, wherever they are; n F - (n - 1) F' would lose n epsilon F, 50 times as much.
      CHECK(std::abs(found(static_cast<index_t>(i), 0) - expected) <= 2 * 40 * eps * static_cast<double>(whole));
    }
  }
}

TEST_CASE("pseudo_values: without censoring they are the patients' own") {
  cpu_context ctx;
  auto c = random_cohort(50, 20, 3);
  for (auto& e : c.event) e = 1;
  const risk_order<> order(ctx, c.time, c.event);
  const std::vector<double> at{3, 9.5};
  for (const auto method : {pseudo_method::jackknife, pseudo_method::infinitesimal}) {
    const auto lives = values_of(ctx, at, order, {pseudo_quantity::survival, method});
    const auto lived = values_of(ctx, at, order, {pseudo_quantity::restricted_mean, method});
    for (index_t i = 0; i < 50; ++i)
      for (index_t t = 0; t < 2; ++t) {
        const double time = c.time[static_cast<std::size_t>(i)], until = at[static_cast<std::size_t>(t)];
        CHECK(std::abs(lives(i, t) - (time > until ? 1 : 0)) <= 50 * 16 * eps);
        CHECK(std::abs(lived(i, t) - std::min(time, until)) <= 50 * 16 * eps * until);
      }
  }
}

TEST_CASE("pseudo_values: strata one by one, weights of 0, whole weights, strided output in float") {
  cpu_context ctx;
  auto c = random_cohort(90, 20, 5);
  for (std::size_t i = 0; i < 90; ++i) c.weight[i] = static_cast<double>(i % 3);
  const std::vector<double> at{4, 11};
  const pseudo_values_options options{pseudo_quantity::survival, pseudo_method::infinitesimal};
  const auto whole =
      values_of(ctx, at, risk_order<>(ctx, c.time, c.event, {.weight = c.weight, .stratum = c.stratum}), options);
  for (int label = -1; label < 4; ++label) {
    cohort<> part;
    std::vector<index_t> from;
    for (std::size_t i = 0; i < 90; ++i)
      for (std::size_t k = 0; c.stratum[i] == label && k < i % 3; ++k) {
        part.time.push_back(c.time[i]);
        part.event.push_back(c.event[i]);
        from.push_back(static_cast<index_t>(i));
      }
    const auto alone = values_of(ctx, at, risk_order<>(ctx, part.time, part.event), options);
    for (std::size_t i = 0; i < from.size(); ++i)
      for (index_t t = 0; t < 2; ++t)
        CHECK(alone(static_cast<index_t>(i), t) == doctest::Approx(whole(from[i], t)).epsilon(200 * eps));
  }
  for (index_t i = 0; i < 90; i += 3) CHECK(std::isnan(whole(i, 0)));

  std::vector<float> room(90 * 2 * 3, -7);
  const matrix_view<float> spread(room.data(), 90, 2, 3, 3 * 90);
  pseudo_values(ctx, std::vector<float>{4, 11},
                risk_order<>(ctx, c.time, c.event, {.weight = c.weight, .stratum = c.stratum}), spread, options);
  for (index_t i = 0; i < 90; ++i)
    for (index_t t = 0; t < 2; ++t)
      if (i % 3 != 0) CHECK(spread(i, t) == static_cast<float>(whole(i, t)));
  CHECK(room[1] == -7);
}

TEST_CASE("pseudo_values: nobody; no second allocation; bad arguments") {
  cpu_context ctx;
  const std::vector<double> none, at{5, 50};
  const std::vector<int> no_event;
  array<double, 2> empty(0, 2);
  pseudo_values(ctx, at, risk_order<>(ctx, none, no_event), empty);

  const auto c = random_cohort(1025, 300, 6);
  const risk_order<> order(ctx, c.time, c.event, {.entry = c.entry, .stratum = c.stratum}),
      weighted(ctx, c.time, c.event, {.weight = c.weight});
  array<double, 2> out(1025, 2);
  pseudo_values(ctx, at, order, out);
  CHECK(allocations_in([&] { pseudo_values(ctx, at, order, out); }) == 0);

  CHECK(message_of<value_error>([&] { pseudo_values(ctx, at, weighted, out); }) ==
        "pseudo_values: order: weights, expected none for the jackknife, or the infinitesimal method");
  array<double, 2> wide(1025, 3);
  CHECK(message_of<shape_error>([&] { pseudo_values(ctx, at, order, wide); }) ==
        "pseudo_values: out: shape 1025 x 3, expected 1025 x 2");
  CHECK_THROWS_AS(pseudo_values(ctx, std::vector<double>{1, -1}, order, out), value_error);
}
