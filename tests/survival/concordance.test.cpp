#include <cmath>

#include <doctest/doctest.h>

#include <stroma/survival/concordance.hpp>

#include "support/counting_allocator.hpp"
#include "support/shared.hpp"
#include "survival/cohort.hpp"
#include "survival/concordance_oracle.hpp"

using namespace stroma;

namespace {

concordance_oracle oracle_of(const cohort<>& c, const risk_order_options<>& columns,
                             const concordance_options& options) {
  auto o = concordance_oracle::of(c.score, c.time, c.event);
  for (std::size_t i = 0; i < o.size(); ++i) {
    const auto at = static_cast<index_t>(i);
    if (columns.weight.size != 0) o.weight[i] = columns.weight[at];
    if (columns.entry.size != 0) o.entry[i] = columns.entry[at];
    if (columns.stratum.size != 0) o.stratum[i] = columns.stratum[at];
  }
  o.options = options;
  return o;
}

/// Of counts by their definition.
template <class T>
concordance_result counted(const cohort<T>& c, bool weighted) {
  auto o = concordance_oracle::of(c.score, c.time, c.event);
  if (weighted) o.weight.assign(c.weight.begin(), c.weight.end());
  const auto r = o.compute();
  const auto number = [&](std::size_t k) { return static_cast<double>(r.counts[k]); };
  return {static_cast<double>(r.value), number(0), number(1), number(2), number(3), number(4)};
}

/// Everything against its definition. Sums of rounded terms are allowed N epsilon for each of the few sums that a
/// number is made of, of what they would be were every pair of the largest weight; `exact`: counts are whole multiples
/// of a power of 2, and allowed nothing.
void check_all(const cohort<>& c, const risk_order_options<>& columns, concordance_options options, bool exact,
               int threads = 1) {
  options.standard_error = true;
  cpu_context ctx(threads);
  const risk_order order(ctx, c.time, c.event, columns);
  const auto o = oracle_of(c, columns, options);
  const auto r = o.compute();
  std::vector<double> influence(c.time.size(), std::nan(""));
  array<double, 2> by_stratum(order.strata(), 5);
  const auto found =
      concordance(ctx, c.score, order, {.influence = as_view(influence), .by_stratum = as_view(by_stratum)}, options);

  double everybody = 0, heaviest = 0, largest = 1;
  for (const double w : o.weight) {
    everybody += w;
    heaviest = std::max(heaviest, w);
  }
  concordance_oracle::result ignored;
  for (std::size_t i = 0; i < o.size(); ++i)
    if (o.event[i] != 0)
      largest = std::max(largest, static_cast<double>(o.pair_weight(o.time[i], o.stratum[i], ignored)));
  const double rounding = 16 * static_cast<double>(o.size()) * std::numeric_limits<double>::epsilon();
  const double of_counts = exact ? 0 : rounding * everybody * everybody * largest;
  const auto near = [](double a, long double b, double allowed) {
    return std::isnan(b) ? std::isnan(a)
                         : std::abs(static_cast<long double>(a) - b) <= static_cast<long double>(allowed);
  };
  const double counts[] = {found.concordant, found.discordant, found.tied_score, found.tied_time, found.tied_both};
  for (std::size_t k = 0; k < 5; ++k) {
    CHECK(near(counts[k], r.counts[k], of_counts));
    for (std::size_t s = 0; s < r.by_stratum.size(); ++s)
      CHECK(near(by_stratum(static_cast<index_t>(s), static_cast<index_t>(k)), r.by_stratum[s][k], of_counts));
  }
  CHECK(found.undefined == r.undefined);
  const double pairs = found.comparable(), of_value = rounding * everybody * everybody * largest / pairs;
  CHECK(near(found.value, r.value, of_value));
  const double of_influence = of_value * heaviest;
  double of_variance = 0;
  for (std::size_t i = 0; i < influence.size(); ++i) {
    CHECK(near(influence[i], r.influence[i], of_influence));
    of_variance += 2 * std::abs(influence[i]) * of_influence + of_influence * of_influence;
  }
  CHECK(near(found.variance, r.variance, of_variance));
  const double of_null = rounding * std::pow(everybody, 3) * largest * largest / (pairs * pairs);
  if (options.tolerance > 0 || !(pairs > 0)) {
    CHECK(std::isnan(found.null_variance));
  } else {
    CHECK(near(found.null_variance, r.null_variance, of_null));
    CHECK(near(found.null_variance_once, r.null_variance_once, of_null));
  }
  options.standard_error = false;  // the same counts without it
  const auto plain = concordance(ctx, c.score, order, options);
  CHECK(near(plain.value, found.value, of_value));
  CHECK(near(plain.concordant, found.concordant, of_counts));
  CHECK(near(plain.tied_score, found.tied_score, of_counts));
}

void check_equal(const concordance_result& a, const concordance_result& b, double tolerance = 0) {
  const auto same = [&](double x, double y) { return std::abs(x - y) <= tolerance * std::abs(y); };
  CHECK((std::isnan(b.value) ? std::isnan(a.value) : std::abs(a.value - b.value) <= 1e-15));
  CHECK(same(a.concordant, b.concordant));
  CHECK(same(a.discordant, b.discordant));
  CHECK(same(a.tied_score, b.tied_score));
  CHECK(same(a.tied_time, b.tied_time));
  CHECK(same(a.tied_both, b.tied_both));
}

}  // namespace

TEST_CASE("concordance: STEPH's golden") {
  cpu_context ctx;
  const std::vector<double> time{5, 5, 8, 8, 10, 3}, risk{-2, -3, -3, -1, -3, -9};
  const std::vector<int> event{1, 0, 1, 1, 0, 0};
  const auto c = concordance(ctx, risk, time, event);
  CHECK(c.value == 0.75);
  CHECK(c.concordant == 4);
  CHECK(c.discordant == 1);
  CHECK(c.tied_score == 1);
  CHECK(c.tied_time == 1);
  CHECK(c.tied_both == 0);
}

TEST_CASE("concordance: R's survival") {
  const auto cases = read_columns(test_data("survival/concordance.csv"));
  cpu_context ctx;
  for (std::size_t k = 0; k < cases.at("dataset").size(); ++k) {
    const auto table = read_columns(test_data("survival/" + cases.at("dataset")[k] + ".csv"));
    const auto score = numbers(table.at(cases.at("score")[k])), time = numbers(table.at("time")),
               event = numbers(table.at("status")), weight = numbers(table.at("w"));
    const auto of = [&](const char* column) { return std::stod(cases.at(column)[k]); };
    const auto found = cases.at("weighted")[k] == "1"
                           ? concordance(ctx, score, risk_order(ctx, time, event, {.weight = weight}))
                           : concordance(ctx, score, time, event);
    check_equal(found,
                {of("concordance"), of("concordant"), of("discordant"), of("tied_x"), of("tied_y"), of("tied_xy")});
  }
}

TEST_CASE_TEMPLATE("concordance: every pair", T, double, float) {
  cpu_context ctx;
  for (const std::size_t n : {0u, 1u, 2u, 3u, 31u, 32u, 33u, 600u, 1025u})
    for (const int times : {1, 5, 400}) {
      const auto c = random_cohort<T>(n, times, static_cast<unsigned>(n) + 7);
      check_equal(concordance(ctx, c.score, c.time, c.event), counted(c, false));
      check_equal(concordance(ctx, c.score, risk_order(ctx, c.time, c.event, {.weight = c.weight})), counted(c, n > 0),
                  1e-15);
    }
}

TEST_CASE("concordance: every option, by the definition") {
  using enum pair_weighting;
  constexpr double never = std::numeric_limits<double>::infinity();
  for (const std::size_t n : {2u, 33u, 70u})
    for (const int times : {1, 6, 500}) {
      const auto c = random_cohort(n, times, static_cast<unsigned>(n) + 17);
      const risk_order_options<> columns[] = {{},
                                              {.weight = c.weight},
                                              {.entry = c.entry},
                                              {.stratum = c.stratum},
                                              {.weight = c.weight, .entry = c.entry, .stratum = c.stratum}};
      for (const auto& column : columns)
        for (const auto weighting : {equal, survival, survival_over_censoring, inverse_censoring, inverse_risk}) {
          CAPTURE(n);
          CAPTURE(times);
          CAPTURE(static_cast<int>(weighting));
          const bool exact = weighting == equal;
          check_all(c, column, {.weighting = weighting}, exact);
          check_all(c, column, {.weighting = weighting, .horizon = times / 2.0}, exact);
          check_all(c, column, {.weighting = weighting, .tolerance = 0.25}, exact);
          if (detail::needs_censoring(weighting))
            check_all(c, column, {.weighting = weighting, .censoring = censoring_limit::at, .horizon = never}, exact);
        }
    }
}

TEST_CASE("concordance: rounded weights, and those of 0, with late entry") {
  auto c = random_cohort(90, 40, 5);
  for (std::size_t i = 0; i < 90; ++i) c.weight[i] = i % 7 == 0 ? 0 : 0.1 + 0.37 * static_cast<double>(i % 11);
  const auto survival = pair_weighting::survival;
  check_all(c, {.weight = c.weight}, {}, false);
  check_all(c, {.weight = c.weight, .entry = c.entry}, {}, false);
  check_all(c, {.weight = c.weight, .entry = c.entry, .stratum = c.stratum}, {.weighting = survival}, false);
  check_all(c, {.weight = c.weight, .entry = c.entry}, {.tolerance = 0.6}, false);
}

TEST_CASE("concordance: weights that are no binary fractions") {
  cpu_context ctx;
  auto c = random_cohort(300, 20, 3);
  for (std::size_t i = 0; i < 300; ++i) c.weight[i] = 0.1 + 0.37 * static_cast<double>(i % 11);
  check_equal(concordance(ctx, c.score, risk_order(ctx, c.time, c.event, {.weight = c.weight})), counted(c, true),
              1e-12);
}

TEST_CASE("concordance: C(x) + C(-x) = 1, row order, monotone scores") {
  cpu_context ctx;
  const auto c = random_cohort(500, 50, 1);
  auto reversed = c.score, monotone = c.score;
  for (double& x : reversed) x = -x;
  for (double& x : monotone) x = std::exp(x) - 1e4;
  const auto a = concordance(ctx, c.score, c.time, c.event), b = concordance(ctx, reversed, c.time, c.event);
  CHECK(std::abs(a.value + b.value - 1) < 1e-15);
  CHECK(a.concordant == b.discordant);
  CHECK(a.tied_score == b.tied_score);
  CHECK(a.tied_both == b.tied_both);
  check_equal(concordance(ctx, monotone, c.time, c.event), a);
  const auto p = random_permutation(500, 2);
  check_equal(concordance(ctx, permuted(c.score, p), permuted(c.time, p), permuted(c.event, p)), a);
}

TEST_CASE("concordance: whole weights are repeated rows, but for pairs of a row with itself") {
  cpu_context ctx;
  auto c = random_cohort(80, 12, 4);
  cohort<> repeated;
  for (std::size_t i = 0; i < 80; ++i) {
    c.weight[i] = static_cast<double>(i % 3);
    for (std::size_t k = 0; k < i % 3; ++k) {
      repeated.score.push_back(c.score[i]);
      repeated.time.push_back(c.time[i]);
      repeated.event.push_back(c.event[i]);
    }
  }
  auto expected = concordance(ctx, repeated.score, repeated.time, repeated.event);
  for (std::size_t i = 0; i < 80; ++i) expected.tied_both -= c.event[i] != 0 && i % 3 == 2 ? 1 : 0;
  check_equal(concordance(ctx, c.score, risk_order(ctx, c.time, c.event, {.weight = c.weight})), expected);
}

TEST_CASE("concordance: without a comparable pair it is not a number") {
  cpu_context ctx;
  const std::vector<double> score{1, 2, 3}, time{4, 5, 6}, one_time{4, 4, 4}, empty;
  const std::vector<int> none{0, 0, 0}, all{1, 1, 1}, last{0, 0, 1};
  CHECK(std::isnan(concordance(ctx, score, time, none).value));
  CHECK(std::isnan(concordance(ctx, score, time, last).value));
  CHECK(std::isnan(concordance(ctx, empty, empty, empty).value));
  const auto tied = concordance(ctx, score, one_time, all);
  CHECK(std::isnan(tied.value));
  CHECK(tied.tied_time == 3);
  CHECK(concordance(ctx, one_time, time, all).value == 0.5);
  CHECK(concordance(ctx, one_time, one_time, all).tied_both == 3);
}

TEST_CASE("concordance: minus zero equals zero; scores of 1e4, strides") {
  cpu_context ctx;
  CHECK(concordance(ctx, std::vector<double>{0.0, -0.0}, std::vector<int>{1, 2}, std::vector<int>{1, 1}).tied_score ==
        1);
  CHECK(concordance(ctx, std::vector<float>{1e4f, -1e4f}, std::vector<int>{1, 2}, std::vector<int>{1, 1}).value == 1);
  const auto c = random_cohort<float>(64, 9, 5);
  auto score = spread_out(c.score, 3, std::nanf(""));
  auto time = spread_out(c.time, 2, -1.0f);
  auto event = spread_out(c.event, 2, std::uint8_t{7});
  check_equal(concordance(ctx, strided(score, 3), strided(time, 2), strided(event, 2)),
              concordance(ctx, c.score, c.time, c.event));
}

TEST_CASE("concordance: the same bits with two threads") {
  const auto c = random_cohort(9000, 300, 8);
  cpu_context one, two(2);
  const risk_order order(one, c.time, c.event,
                         {.weight = c.weight, .entry = c.entry, .stratum = std::vector<int>(9000, 1)});
  const concordance_options options{.weighting = pair_weighting::survival, .standard_error = true};
  std::vector<double> a(9000), b(9000);
  const auto x = concordance(one, c.score, order, {.influence = as_view(a)}, options);
  const auto y = concordance(two, c.score, order, {.influence = as_view(b)}, options);
  CHECK(a == b);
  CHECK(x.value == y.value);
  CHECK(x.variance == y.variance);
  CHECK(x.null_variance == y.null_variance);
}

TEST_CASE("concordance: a tolerance ties pairs, not classes") {
  cpu_context ctx;
  const std::vector<double> score{0.25, 0.125, 0}, time{1, 2, 3};
  const std::vector<int> event{1, 1, 1};
  const auto c = concordance(ctx, score, time, event, {.tolerance = 0.125});
  CHECK(c.tied_score == 2);
  CHECK(c.concordant == 1);
  CHECK(c.value == 2.0 / 3);
  CHECK(concordance(ctx, score, time, event, {.tolerance = 0.25}).tied_score == 3);
}

TEST_CASE("concordance: where G is 0 events are left out and counted") {
  cpu_context ctx;
  // At 3 the last two die and are censored: G(3) = 0, G(3-) = 1.
  const std::vector<double> score{3, 2, 1, 0}, time{1, 2, 3, 3};
  const std::vector<int> event{1, 1, 1, 0};
  const auto weighting = pair_weighting::inverse_censoring;
  const auto before = concordance(ctx, score, time, event, {.weighting = weighting});
  CHECK(before.undefined == 0);
  CHECK(before.comparable() == 6);
  const auto at = concordance(ctx, score, time, event, {.weighting = weighting, .censoring = censoring_limit::at});
  CHECK(at.undefined == 1);
  CHECK(at.comparable() == 5);
  CHECK(at.value == 1);
}

TEST_CASE("concordance: its interval") {
  concordance_result r{0.75, 0, 0, 0, 0, 0};
  CHECK(std::isnan(r.interval().lower));
  r.variance = 0.01;
  CHECK(r.standard_error() == 0.1);
  // 1.959963984540054 is the normal quantile of 0.975, to the last digit given
  CHECK(std::abs(r.interval().lower - (0.75 - 0.1959963984540054)) < 1e-15);
  CHECK(r.interval().upper <= 1);
  CHECK(std::abs(r.interval(0.5).upper - (0.75 + 0.06744897501960817)) < 1e-15);
  CHECK(r.interval(0.999).upper == 1);
  CHECK_THROWS_AS(static_cast<void>(r.interval(1)), value_error);
}

TEST_CASE("concordance: entries before all times change nothing; strata are the sum of their parts") {
  cpu_context ctx;
  const auto c = random_cohort(300, 40, 12);
  const std::vector<double> early(300, -1.0);
  const concordance_options options{.weighting = pair_weighting::survival_over_censoring, .standard_error = true};
  const auto a = concordance(ctx, c.score, risk_order(ctx, c.time, c.event, {.weight = c.weight}), options);
  const auto b =
      concordance(ctx, c.score, risk_order(ctx, c.time, c.event, {.weight = c.weight, .entry = early}), options);
  check_equal(a, b);
  CHECK(a.variance == b.variance);

  const auto whole = concordance(ctx, c.score, risk_order(ctx, c.time, c.event, {.stratum = c.stratum}));
  concordance_result sum{0, 0, 0, 0, 0, 0};
  for (int label = -1; label <= 3; ++label) {
    cohort<> part;
    for (std::size_t i = 0; i < 300; ++i) {
      if (c.stratum[i] != label) continue;
      part.score.push_back(c.score[i]);
      part.time.push_back(c.time[i]);
      part.event.push_back(c.event[i]);
    }
    const auto p = concordance(ctx, part.score, part.time, part.event);
    sum.concordant += p.concordant;
    sum.discordant += p.discordant;
    sum.tied_score += p.tied_score;
    sum.tied_time += p.tied_time;
    sum.tied_both += p.tied_both;
  }
  sum.value = (sum.concordant + sum.tied_score / 2) / sum.comparable();
  check_equal(whole, sum);
}

TEST_CASE("concordance: takes memory once") {
  cpu_context ctx;
  const auto c = random_cohort(300, 12, 6);
  const risk_order order(ctx, c.time, c.event);
  const auto direct = [&] { (void)concordance(ctx, c.score, c.time, c.event); };
  direct();
  CHECK(allocations_in(direct) == 0);
  CHECK(allocations_in([&] { (void)concordance(ctx, c.score, order); }) == 0);
  const risk_order all(ctx, c.time, c.event, {.weight = c.weight, .entry = c.entry, .stratum = c.stratum});
  const auto with_error = [&] {
    (void)concordance(ctx, c.score, all, {.weighting = pair_weighting::inverse_censoring, .standard_error = true});
  };
  with_error();
  CHECK(allocations_in(with_error) == 0);
}

TEST_CASE("concordance: refuses what does not fit") {
  cpu_context ctx;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> score{1, 2, 3}, bad{nan, 2, 3}, time{1, 2, 3}, four(4), early{1, 2, -1};
  const std::vector<int> event{1, 0, 1}, twos{1, 0, 2};
  CHECK(message_of<shape_error>([&] { (void)concordance(ctx, score, four, event); }) ==
        "concordance: time: length 4, expected 3 (the length of score)");
  CHECK(message_of<shape_error>([&] { (void)concordance(ctx, score, time, four); }) ==
        "concordance: event: length 4, expected 3 (the length of score)");
  CHECK(message_of<shape_error>([&] { (void)concordance(ctx, four, risk_order(ctx, time, event)); }) ==
        "concordance: score: length 4, expected 3 (the length of order)");
  CHECK(message_of<value_error>([&] { (void)concordance(ctx, bad, time, event); }) ==
        "concordance: score: nan at 0, expected finite values");
  CHECK(message_of<value_error>([&] { (void)concordance(ctx, score, early, event); }) ==
        "concordance: time: -1 at 2, expected finite times of 0 or later");
  CHECK(message_of<value_error>([&] { (void)concordance(ctx, score, time, twos); }) ==
        "concordance: event: 2 at 2, expected 0 (censored) or 1 (observed)");
  (void)concordance(ctx, bad, time, event, {.check_values = false});
  CHECK(message_of<value_error>([&] { (void)concordance(ctx, score, time, event, {.tolerance = -1}); }) ==
        "concordance: tolerance: -1, expected a finite number of 0 or more");
  CHECK(message_of<value_error>([&] { (void)concordance(ctx, score, time, event, {.horizon = nan}); }) ==
        "concordance: horizon: nan, expected a time, or infinity");
  array<double, 2> two_columns(1, 2);
  std::vector<double> influence(2);
  CHECK(message_of<shape_error>([&] {
          concordance(ctx, score, risk_order(ctx, time, event), {.by_stratum = as_view(two_columns)});
        }) == "concordance: by_stratum: shape 1 x 2, expected 1 x 5");
  CHECK(message_of<shape_error>([&] {
          concordance(ctx, score, risk_order(ctx, time, event), {.influence = as_view(influence)});
        }) == "concordance: influence: length 2, expected 3 (the length of order)");
}
