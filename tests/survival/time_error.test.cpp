#include <cmath>

#include <doctest/doctest.h>

#include <stroma/survival/kaplan_meier.hpp>
#include <stroma/survival/time_error.hpp>

#include "support/counting_allocator.hpp"
#include "survival/censored.hpp"
#include "survival/golden.hpp"

using namespace stroma;

namespace {

constexpr censored_error all_kinds[] = {censored_error::left_out, censored_error::hinge, censored_error::margin};

/// S with its line to 0, and the area below it from t on by its pieces.
template <class T>
struct extended_curve {
  const cohort<T>& c;
  long double last = 0, left = 1, end = 0;

  explicit extended_curve(const cohort<T>& patients) : c(patients) {
    for (const T t : c.time) last = std::max(last, static_cast<long double>(t));
    left = oracle::product_limit(c, oracle::who::died, last, true);
    end = left < 1 ? last / (1 - left) : 0;
  }
  [[nodiscard]] long double at(long double t) const {
    if (t <= last) return oracle::product_limit(c, oracle::who::died, t, true);
    return left > 0 && t < end ? 1 - t / end : 0;
  }
  [[nodiscard]] long double area_after(long double t) const {
    long double area = left > 0 ? std::max(0.0L, end - std::max(t, last)) * at(std::max(t, last)) / 2 : 0;
    std::vector<long double> steps{t};
    for (const T s : c.time)
      if (static_cast<long double>(s) > t) steps.push_back(static_cast<long double>(s));
    std::sort(steps.begin(), steps.end());
    for (std::size_t k = 1; k < steps.size(); ++k) area += at(steps[k - 1]) * (steps[k] - steps[k - 1]);
    return area;
  }
};

template <class T>
std::pair<long double, long double> oracle_error(const cohort<T>& c, const std::vector<T>& predicted,
                                                 censored_error kind, const cohort<T>& train) {
  const extended_curve<T> curve(train);
  long double absolute = 0, square = 0, all = 0;
  for (std::size_t i = 0; i < c.time.size(); ++i) {
    const auto t = static_cast<long double>(c.time[i]), p = static_cast<long double>(predicted[i]);
    long double w = c.weight[i], error = p - t;
    if (c.event[i] == 0) {
      if (kind == censored_error::left_out) continue;
      if (kind == censored_error::hinge) error = p < t ? p - t : 0;
      if (kind == censored_error::margin) {
        const auto s = curve.at(t);
        if (s >= 1) continue;
        error = p - t - (s > 0 ? curve.area_after(t) / s : 0);
        w *= 1 - s;
      }
    }
    absolute += w * std::abs(error);
    square += w * error * error;
    all += w;
  }
  return {absolute / all, std::sqrt(square / all)};
}

}  // namespace

TEST_CASE("time_error: by hand") {
  cpu_context ctx;
  const std::vector<double> time{1, 2, 3, 4}, predicted{2, 5, 1, 4.5};
  const std::vector<int> event{1, 0, 1, 0};
  const risk_order order(ctx, time, event);
  const auto deaths = time_error(ctx, predicted, order, {.censored = censored_error::left_out});
  CHECK(deaths.mean_absolute == 1.5);
  CHECK(deaths.root_mean_square == doctest::Approx(std::sqrt(2.5)).epsilon(1e-15));
  CHECK(time_error(ctx, predicted, order, {.censored = censored_error::hinge}).mean_absolute == 0.75);
  CHECK(time_error(ctx, time, order, {.censored = censored_error::hinge}).mean_absolute == 0);
  // S: 3/4 from 1 on, 3/8 from 3 on, then the line to 4 / (5/8) = 6.4. Censored at 2: 2 + (3/4 + 3/8 + 0.375 1.2) /
  // 0.75 = 4.1, counts 1/4. Censored at 4: 4 + 1.2 = 5.2, counts 5/8.
  const auto margin = time_error(ctx, predicted, order);
  CHECK(margin.mean_absolute == doctest::Approx((1 + 2 + 0.9 / 4 + 0.7 * 5 / 8) / (2 + 7.0 / 8)).epsilon(1e-14));
}

TEST_CASE_TEMPLATE("time_error: the definition, on the patients' own curve and on another cohort's", T, double, float) {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 31u, 33u, 120u})
    for (const int last : {1, 9, 150})
      for (const bool deadly : {false, true}) {
        auto c = random_cohort<T>(n, last, static_cast<unsigned>(n) + 9);
        auto train = random_cohort<T>(40, last + 3, 5);
        if (deadly)
          for (std::size_t i = 0; i < 40; ++i)
            if (train.time[i] > T(last)) train.event[i] = 1;
        std::vector<T> predicted;
        std::mt19937 draw(2);
        for (std::size_t i = 0; i < n; ++i) predicted.push_back(static_cast<T>(draw() % 1000) / T(4));
        const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
        const risk_order train_order(ctx, train.time, train.event, {.weight = train.weight});
        const kaplan_meier_curves of_train(ctx, train_order);
        const step_curve<> curve{of_train[0].time, of_train[0].survival};
        for (const auto kind : all_kinds)
          for (const bool own : {true, false}) {
            const auto found =
                time_error(ctx, predicted, order, {.censored = kind, .survival = own ? step_curve<>{} : curve});
            const auto expected = oracle_error(c, predicted, kind, own ? c : train);
            const double eps = 64 * static_cast<double>(n + 40) * 2.3e-16;
            CHECK(golden::close(found.mean_absolute, static_cast<double>(expected.first), eps));
            CHECK(golden::close(found.root_mean_square, static_cast<double>(expected.second), eps));
          }
      }
}

TEST_CASE("time_error: no death, all censored, nobody, whole weights, order of rows, memory taken once") {
  cpu_context ctx;
  const std::vector<double> none, time{1, 2, 3}, early{0, 1, 2}, late{4, 5, 6};
  const std::vector<int> censored{0, 0, 0};
  const risk_order lived(ctx, time, censored);
  CHECK(std::isnan(time_error(ctx, time, lived).mean_absolute));
  CHECK(std::isnan(time_error(ctx, time, lived, {.censored = censored_error::left_out}).root_mean_square));
  CHECK(time_error(ctx, early, lived, {.censored = censored_error::hinge}).mean_absolute == 1);
  CHECK(time_error(ctx, late, lived, {.censored = censored_error::hinge}).mean_absolute == 0);
  for (const auto kind : all_kinds)
    CHECK(std::isnan(time_error(ctx, none, risk_order(ctx, none, none), {.censored = kind}).mean_absolute));
  auto c = random_cohort(80, 15, 3);
  for (std::size_t i = 0; i < 80; ++i) c.weight[i] = static_cast<double>(i % 3);
  const auto copies = repeated(c);
  const auto p = random_permutation(80, 1);
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  for (const auto kind : all_kinds) {
    const time_error_options options{.censored = kind};
    const auto found = time_error(ctx, c.score, order, options);
    CHECK(
        golden::close(time_error(ctx, copies.score, risk_order(ctx, copies.time, copies.event), options).mean_absolute,
                      found.mean_absolute, 300 * 2.3e-16));
    CHECK(golden::close(
        time_error(ctx, permuted(c.score, p),
                   risk_order(ctx, permuted(c.time, p), permuted(c.event, p), {.weight = permuted(c.weight, p)}),
                   options)
            .mean_absolute,
        found.mean_absolute, 300 * 2.3e-16));
    auto apart = spread_out(c.score, 3, std::nan(""));
    CHECK(time_error(ctx, strided(apart, 3), order, options).mean_absolute == found.mean_absolute);
    CHECK(allocations_in([&] { (void)time_error(ctx, c.score, order, options); }) == 0);
  }
}

TEST_CASE("time_error: refuses what does not fit") {
  cpu_context ctx;
  const std::vector<double> time{1, 2}, three(3), bad{1, std::nan("")}, early{-1, -1};
  const std::vector<int> event{1, 0}, stratum{1, 2};
  const risk_order order(ctx, time, event);
  CHECK(message_of<shape_error>([&] { (void)time_error(ctx, three, order); }) ==
        "time_error: predicted: length 3, expected 2 (the length of order)");
  CHECK(message_of<value_error>([&] { (void)time_error(ctx, bad, order); }) ==
        "time_error: predicted: nan at 1, expected finite values");
  CHECK(message_of<value_error>([&] {
          (void)time_error(ctx, time, risk_order(ctx, time, event, {.stratum = stratum}));
        }) == "time_error: order: strata, expected a cohort without strata");
  CHECK(message_of<value_error>([&] { (void)time_error(ctx, time, risk_order(ctx, time, event, {.entry = early})); }) ==
        "time_error: order: late entry, expected a cohort that is followed from time 0 on");
  CHECK(message_of<shape_error>([&] {
          (void)time_error(ctx, time, order, {.survival = {as_const_view(three), as_const_view(time)}});
        }) == "time_error: survival.value: length 2, expected 3 (the length of survival.time)");
}
