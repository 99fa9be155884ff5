#include <cmath>

#include <doctest/doctest.h>

#include <stroma/survival/brier_score.hpp>

#include "support/counting_allocator.hpp"
#include "survival/censored.hpp"
#include "survival/golden.hpp"

using namespace stroma;

namespace {

constexpr brier_weights all_weights[] = {brier_weights::left_limit, brier_weights::right_limit,
                                         brier_weights::normalised};

struct judged {
  std::vector<double> score;
  std::vector<index_t> undefined;
};
template <class Survival, class Order>
judged brier(cpu_context& ctx, const Survival& survival, const std::vector<double>& times, const Order& order,
             const brier_options<>& options = {}) {
  std::vector<scalar_of<Survival>> score(times.size());
  std::vector<index_t> undefined(times.size());
  brier_score(ctx, survival, times, order, {as_view(score), as_view(undefined)}, options);
  return {{score.begin(), score.end()}, undefined};
}

/// A prediction for each patient and time: falling in time, with ties.
template <class T>
array<T, 2> predictions(std::size_t n, std::size_t times, unsigned seed) {
  std::mt19937 draw(seed);
  array<T, 2> s(static_cast<index_t>(n), static_cast<index_t>(times));
  for (index_t i = 0; i < s.rows(); ++i) {
    double at = 1;
    for (index_t k = 0; k < s.cols(); ++k) s(i, k) = static_cast<T>(at *= 1 - static_cast<double>(draw() % 9) / 24);
  }
  return s;
}

/// The sums of the definition, patient by patient.
template <class T>
long double oracle_score(const cohort<T>& c, const array<T, 2>& survival, const std::vector<double>& times, index_t k,
                         brier_weights how, const cohort<T>& censoring) {
  const auto g = [&](long double t, bool inclusive) {
    return oracle::product_limit(censoring, oracle::who::censored, t, inclusive);
  };
  const bool normalised = how == brier_weights::normalised;
  const long double t = times[static_cast<std::size_t>(k)];
  long double sum = 0, weights = 0, everybody = 0;
  for (std::size_t i = 0; i < c.time.size(); ++i) {
    const auto own = static_cast<long double>(c.time[i]), w = static_cast<long double>(c.weight[i]);
    const auto s = static_cast<long double>(survival(static_cast<index_t>(i), k));
    everybody += w;
    long double weight = 0, distance = 0;
    if (own <= t && c.event[i] != 0) {
      weight = w / g(own, how == brier_weights::right_limit);
      distance = s;
    } else if (own > t || (own == t && normalised)) {
      weight = w / g(t, !normalised);
      distance = 1 - s;
    }
    weights += weight;
    sum += weight * distance * distance;
  }
  return sum / (normalised ? weights : everybody);
}

}  // namespace

TEST_CASE("brier_score: R's survival, and the definitions") {
  cpu_context ctx;
  for (const auto& name : golden::sets()) {
    const auto expected = golden::cases(name, "curves").at("prediction");
    if (expected.is_null()) continue;
    CAPTURE(name);
    const auto table = golden::table(name);
    const risk_order order(ctx, table["time"], table["status"]);
    const auto times = golden::numbers(expected["times"]), survival = golden::numbers(expected["surv_pred"]);
    const matrix_view<const double> s(survival.data(), order.size(), static_cast<index_t>(times.size()));
    const auto& of = expected["brier"];
    const auto left = brier(ctx, s, times, order);
    CHECK(golden::close(left.score, of["left_limit"], 1e-9));
    CHECK(golden::close(brier(ctx, s, times, order, {.weights = brier_weights::right_limit}).score, of["right_limit"],
                        1e-9));
    CHECK(golden::close(brier(ctx, s, times, order, {.weights = brier_weights::normalised}).score, of["normalised"],
                        1e-9));
    CHECK(golden::close(integrated_brier_score(ctx, left.score, times), of["ibs_left_limit_trapezoid"], 1e-9));
  }
}

TEST_CASE_TEMPLATE("brier_score: the definition, with weights, on the patients' own G and on another cohort's", T,
                   double, float) {
  cpu_context ctx(2);
  for (const std::size_t n : {1u, 2u, 31u, 32u, 33u, 130u})
    for (const int last : {1, 9, 200}) {
      auto c = random_cohort<T>(n, last, static_cast<unsigned>(n));
      if (n == 130) c.weight[3] = c.weight[77] = 0;
      auto train = random_cohort<T>(40, last, 77);
      train.time[0] = T(last + 1);  // somebody outlives all: G stays above 0
      train.event[0] = 1;
      const censoring_curve other(ctx, risk_order(ctx, train.time, train.event, {.weight = train.weight}));
      std::vector<double> times{0, 0.5, last / 3.0, last / 2.0, last - 1.0};
      std::sort(times.begin(), times.end());
      const auto s = predictions<T>(n, times.size(), 3);
      const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
      for (const auto how : all_weights) {
        const auto found = brier(ctx, s, times, order, {.weights = how}),
                   trained = brier(ctx, s, times, order, {.weights = how, .censoring = other.steps()});
        // The value is rounded to T; its sums are kept in double.
        const double eps = 4.0 * std::numeric_limits<T>::epsilon() + 8 * static_cast<double>(n + 40) * 2.3e-16;
        for (std::size_t k = 0; k < times.size(); ++k) {
          const auto at = static_cast<index_t>(k);
          const long double own = oracle_score(c, s, times, at, how, c),
                            by_train = oracle_score(c, s, times, at, how, train);
          if (found.undefined[k] == 0 && !std::isnan(own))
            CHECK(std::abs(static_cast<double>(found.score[k] - own)) <=
                  eps * std::max<double>(1, static_cast<double>(own)));
          else CHECK(std::isnan(found.score[k]));
          CHECK(trained.undefined[k] == 0);
          CHECK(golden::close(trained.score[k], static_cast<double>(by_train), eps, 1));
        }
      }
    }
}

TEST_CASE("brier_score: where G is 0 the times it touches are told, the others are not lost") {
  cpu_context ctx;
  // A training cohort whose last patient is censored at 3: nothing is known of who is judged later.
  const std::vector<double> train{1, 2, 3}, time{1, 2, 3, 4, 5};
  const std::vector<int> train_event{1, 0, 0}, event{1, 1, 1, 1, 0};
  const censoring_curve g(ctx, risk_order(ctx, train, train_event));
  const std::vector<double> times{0.5, 2.5, 3.5, 4.5, 6};
  array<double, 2> s(5, 5);
  s.fill(0.25);
  const risk_order order(ctx, time, event);
  const auto found = brier(ctx, s, times, order, {.censoring = g.steps()});
  CHECK(found.undefined == std::vector<index_t>{0, 0, 2, 2, 1});
  CHECK(found.score[0] == 0.5625);
  CHECK(found.score[1] == doctest::Approx((2 * 0.0625 + 3 * 0.5625 * 2) / 5).epsilon(1e-15));
  for (const std::size_t k : {2u, 3u, 4u}) CHECK(std::isnan(found.score[k]));
  // The patients' own G: the last event's G(T) is 0, its G(T-) is not.
  const std::vector<double> two{1, 1}, late{1.5};
  const std::vector<int> both{1, 0};
  const risk_order tied(ctx, two, both);
  const array<double, 2> one(2, 1);
  CHECK(brier(ctx, one, late, tied).score[0] == 0);
  const auto right = brier(ctx, one, late, tied, {.weights = brier_weights::right_limit});
  CHECK(right.undefined[0] == 1);
  CHECK(std::isnan(right.score[0]));
}

TEST_CASE("brier_score: whole weights are copies, the order of rows does not count") {
  cpu_context ctx;
  auto c = random_cohort(90, 12, 8);
  for (std::size_t i = 0; i < 90; ++i) c.weight[i] = static_cast<double>(i % 4);
  const std::vector<double> times{1, 3, 4.5, 8, 10};
  const auto s = predictions<double>(90, 5, 4);
  array<double, 2> copies(133, 5), permuted_rows(90, 5);
  index_t to = 0;
  for (index_t i = 0; i < 90; ++i)
    for (index_t k = 0; k < i % 4; ++k, ++to)
      for (index_t t = 0; t < 5; ++t) copies(to, t) = s(i, t);
  const auto p = random_permutation(90, 3);
  for (index_t i = 0; i < 90; ++i)
    for (index_t t = 0; t < 5; ++t) permuted_rows(i, t) = s(static_cast<index_t>(p[static_cast<std::size_t>(i)]), t);
  const auto expanded = repeated(c);
  REQUIRE(static_cast<index_t>(expanded.time.size()) == to);
  for (const auto how : all_weights) {
    const auto weighted =
        brier(ctx, s, times, risk_order(ctx, c.time, c.event, {.weight = c.weight}), {.weights = how});
    const auto repeated_score = brier(ctx, matrix_view<const double>(copies.data(), to, 5), times,
                                      risk_order(ctx, expanded.time, expanded.event), {.weights = how});
    const auto shuffled =
        brier(ctx, permuted_rows, times,
              risk_order(ctx, permuted(c.time, p), permuted(c.event, p), {.weight = permuted(c.weight, p)}),
              {.weights = how});
    CHECK(golden::close(weighted.score, repeated_score.score, 200 * 2.3e-16));
    CHECK(golden::close(shuffled.score, weighted.score, 200 * 2.3e-16));
  }
}

TEST_CASE("brier_score: the reference is the score of Kaplan-Meier's curve") {
  cpu_context ctx;
  for (const unsigned seed : {1u, 2u}) {
    const auto c = random_cohort(200, 30, seed);
    const std::vector<double> times{0, 3, 7.5, 20, 29, 40};
    const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
    array<double, 2> s(200, 6);
    for (index_t k = 0; k < 6; ++k)
      for (index_t i = 0; i < 200; ++i)
        s(i, k) =
            static_cast<double>(oracle::product_limit(c, oracle::who::died, times[static_cast<std::size_t>(k)], true));
    for (const auto how : all_weights) {
      std::vector<double> found(6);
      std::vector<index_t> undefined(6);
      reference_brier_score(ctx, times, order, estimate_at_times<double>{as_view(found), as_view(undefined)},
                            {.weights = how});
      const auto expected = brier(ctx, s, times, order, {.weights = how});
      CHECK(golden::close(found, expected.score, 400 * 2.3e-16, 1));
      CHECK(undefined == expected.undefined);
      // One row for all: a matrix whose rows lie on one another.
      CHECK(golden::close(
          brier(ctx, matrix_view<const double>(s.data(), 200, 6, 0, 1), times, order, {.weights = how}).score,
          expected.score, 400 * 2.3e-16, 1));
    }
  }
}

TEST_CASE("brier_score: no event, all censored, one row, nobody, no time") {
  cpu_context ctx;
  const std::vector<double> time{2, 4, 6}, times{1, 3, 5}, none;
  const std::vector<int> died{1, 1, 1}, censored{0, 0, 0};
  array<double, 2> s(3, 3);
  s.fill(0.5);
  for (const auto how : all_weights) {
    for (const auto& event : {died, censored}) {
      const auto found = brier(ctx, s, times, risk_order(ctx, time, event), {.weights = how});
      CHECK(golden::close(found.score, std::vector<double>{0.25, 0.25, 0.25}, 4 * 2.3e-16));
    }
    const auto one = brier(ctx, matrix_view<const double>(s.data(), 1, 3), times,
                           risk_order(ctx, std::vector<double>{2}, std::vector<int>{1}), {.weights = how});
    CHECK(one.score == std::vector<double>{0.25, 0.25, 0.25});
    const auto nobody =
        brier(ctx, matrix_view<const double>(s.data(), 0, 3), times, risk_order(ctx, none, none), {.weights = how});
    for (const double x : nobody.score) CHECK(std::isnan(x));
    CHECK(brier(ctx, matrix_view<const double>(s.data(), 3, 0), none, risk_order(ctx, time, died)).score.empty());
  }
}

TEST_CASE_TEMPLATE("brier_score: any layout, whole times, threads, memory taken once", T, double, float) {
  cpu_context ctx, many(3);
  const auto c = random_cohort<T>(1025, 40, 12);
  const std::vector<double> times{1, 5, 5, 17, 33};
  const std::vector<int> whole{1, 5, 5, 17, 33};
  const auto s = predictions<T>(1025, 5, 6);
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  const auto expected = brier(ctx, s, times, order);
  CHECK(brier(many, s, times, order).score == expected.score);
  array<T, 2> columns(5, 1025);
  for (index_t i = 0; i < 1025; ++i)
    for (index_t k = 0; k < 5; ++k) columns(k, i) = s(i, k);
  CHECK(brier(ctx, as_const_view(columns).transposed(), times, order).score == expected.score);
  std::vector<T> apart(10, T(7));
  const estimate_at_times<T> out{vector_view<T>(apart.data(), 5, 2), {}};
  brier_score(ctx, s, whole, order, out);
  for (std::size_t k = 0; k < 5; ++k) {
    CHECK(static_cast<double>(apart[2 * k]) == expected.score[k]);
    CHECK(apart[2 * k + 1] == T(7));
  }
  CHECK(allocations_in([&] { brier_score(ctx, s, times, order, out); }) == 0);
  reference_brier_score(ctx, times, order, out);
  CHECK(allocations_in([&] { reference_brier_score(ctx, times, order, out); }) == 0);
}

TEST_CASE("brier_score: refuses what does not fit") {
  cpu_context ctx;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> time{1, 2}, times{1, 2, 3}, falling{1, 3, 2}, early{-1, -1}, bad_times{1, nan, 3};
  const std::vector<int> event{1, 0}, stratum{1, 2};
  const risk_order order(ctx, time, event);
  array<double, 2> s(2, 3), wide(2, 4);
  std::vector<double> score(3), two(2);
  std::vector<index_t> undefined(2);
  const estimate_at_times<double> out{as_view(score), {}};
  const auto refusal = [&](const auto& survival, const auto& at, const auto& of, const auto& to,
                           const brier_options<>& options = {}) {
    auto text = message_of<shape_error>([&] {
      try {
        brier_score(ctx, survival, at, of, to, options);
      } catch (const value_error& e) {
        throw shape_error(std::string("value: ") + e.what());
      }
    });
    return text;
  };
  CHECK(refusal(wide, times, order, out) == "brier_score: survival: shape 2 x 4, expected 2 x 3");
  CHECK(refusal(s, times, order, estimate_at_times<double>{as_view(two), {}}) ==
        "brier_score: value: length 2, expected 3 (the length of times)");
  CHECK(refusal(s, times, order, estimate_at_times<double>{as_view(score), as_view(undefined)}) ==
        "brier_score: undefined: length 2, expected 3 (the length of times)");
  CHECK(refusal(s, falling, order, out) == "value: brier_score: times: a fall at 2, expected numbers that never fall");
  CHECK(refusal(s, bad_times, order, out) == "value: brier_score: times: nan at 1, expected finite values");
  CHECK(refusal(s, times, risk_order(ctx, time, event, {.stratum = stratum}), out) ==
        "value: brier_score: order: strata, expected a cohort without strata");
  CHECK(refusal(s, times, risk_order(ctx, time, event, {.entry = early}), out) ==
        "value: brier_score: order: late entry, expected a cohort that is followed from time 0 on");
  CHECK(refusal(s, times, order, out, {.censoring = {as_const_view(times), as_const_view(two)}}) ==
        "brier_score: censoring.value: length 2, expected 3 (the length of censoring.time)");
  s(1, 2) = nan;
  CHECK(refusal(s, times, order, out) == "value: brier_score: survival: nan at row 1, column 2, expected 0 to 1");
  s(1, 2) = 1.5;
  CHECK(refusal(s, times, order, out) == "value: brier_score: survival: 1.5 at row 1, column 2, expected 0 to 1");
  CHECK(refusal(s, times, order, out, {.check_values = false}) == "no error");
  CHECK(message_of<shape_error>([&] { (void)integrated_brier_score(ctx, two, times); }) ==
        "integrated_brier_score: score: length 2, expected 3 (the length of times)");
  CHECK(message_of<shape_error>([&] { (void)integrated_brier_score(ctx, std::vector{1.0}, std::vector{1.0}); }) ==
        "integrated_brier_score: times: length 1, expected 2 or more");
}
