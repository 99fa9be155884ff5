#include <cmath>

#include <doctest/doctest.h>

#include <stroma/survival/concordance.hpp>

#include "support/counting_allocator.hpp"
#include "support/shared.hpp"
#include "survival/cohort.hpp"

using namespace stroma;

namespace {

/// Every pair, in long double.
template <class T>
concordance_result oracle(const cohort<T>& c, bool weighted) {
  long double concordant = 0, discordant = 0, tied_score = 0, tied_time = 0, tied_both = 0;
  const std::size_t n = c.time.size();
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      if (i == j || c.event[i] == 0) continue;
      const long double w =
          weighted ? static_cast<long double>(c.weight[i]) * static_cast<long double>(c.weight[j]) : 1;
      if (c.time[j] == c.time[i] && c.event[j] != 0) (c.score[i] == c.score[j] ? tied_both : tied_time) += w / 2;
      else if (c.time[j] >= c.time[i])
        (c.score[i] > c.score[j] ? concordant : c.score[i] < c.score[j] ? discordant : tied_score) += w;
    }
  const long double all = concordant + discordant + tied_score;
  const auto number = [](long double x) { return static_cast<double>(x); };
  return {number((concordant + tied_score / 2) / all),
          number(concordant),
          number(discordant),
          number(tied_score),
          number(tied_time),
          number(tied_both)};
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
      check_equal(concordance(ctx, c.score, c.time, c.event), oracle(c, false));
      check_equal(concordance(ctx, c.score, risk_order(ctx, c.time, c.event, {.weight = c.weight})), oracle(c, n > 0),
                  1e-15);
    }
}

TEST_CASE("concordance: weights that are no binary fractions") {
  cpu_context ctx;
  auto c = random_cohort(300, 20, 3);
  for (std::size_t i = 0; i < 300; ++i) c.weight[i] = 0.1 + 0.37 * static_cast<double>(i % 11);
  check_equal(concordance(ctx, c.score, risk_order(ctx, c.time, c.event, {.weight = c.weight})), oracle(c, true),
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

TEST_CASE("concordance: takes memory once") {
  cpu_context ctx;
  const auto c = random_cohort(300, 12, 6);
  const risk_order order(ctx, c.time, c.event);
  const auto direct = [&] { (void)concordance(ctx, c.score, c.time, c.event); };
  direct();
  CHECK(allocations_in(direct) == 0);
  CHECK(allocations_in([&] { (void)concordance(ctx, c.score, order); }) == 0);
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
}
