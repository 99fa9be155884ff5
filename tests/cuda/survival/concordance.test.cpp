#include <cmath>

#include <stroma/survival/concordance.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

namespace {

void check_same(const stroma::concordance_result& found, const stroma::concordance_result& expected, double allowed) {
  const auto near = [&](double a, double b) { return std::abs(a - b) <= allowed; };
  CHECK(near(found.concordant, expected.concordant));
  CHECK(near(found.discordant, expected.discordant));
  CHECK(near(found.tied_score, expected.tied_score));
  CHECK(near(found.tied_time, expected.tied_time));
  CHECK(near(found.tied_both, expected.tied_both));
  const double pairs = expected.concordant + expected.discordant + expected.tied_score;
  if (std::isnan(expected.value)) CHECK(std::isnan(found.value));
  else CHECK(std::abs(found.value - expected.value) <= 2 * allowed / pairs);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: concordance: the host's counts", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const auto& [name, c] : cohorts<T>()) {
    const auto& cohort_name = name;  // clang 14 does not capture a binding
    CAPTURE(cohort_name);
    const cohort_on_device<T> d(ctx, c);
    const auto expected = stroma::concordance(host, c.score, c.time, c.event);
    check_same(stroma::concordance(ctx, d.score, d.time, d.event), expected, 0);
    check_same(stroma::concordance(ctx, d.score, stroma::risk_order(ctx, d.time, d.event)), expected, 0);
    const auto weighted =
        stroma::concordance(host, c.score, stroma::risk_order(host, c.time, c.event, {.weight = c.weight}));
    // Weights are multiples of 1/8: sums of their products are exact, too.
    check_same(stroma::concordance(ctx, d.score, stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight})),
               weighted, 0);
  }
}

TEST_CASE("cuda: concordance: weights whose sums are rounded") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  auto c = random_cohort<double>(2000, 300, 31);
  stroma::random_stream draw(5);
  for (auto& w : c.weight) w = draw.uniform();
  const cohort_on_device<double> d(ctx, c);
  const auto expected =
      stroma::concordance(host, c.score, stroma::risk_order(host, c.time, c.event, {.weight = c.weight}));
  const double pairs = expected.concordant + expected.discordant + expected.tied_score;
  check_same(stroma::concordance(ctx, d.score, stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight})),
             expected, 2000 * std::numeric_limits<double>::epsilon() * pairs);
}

TEST_CASE("cuda: concordance: without ties nothing is tied, whatever the weights") {
  stroma::cuda_context ctx;
  cohort<double> c;
  stroma::random_stream draw(6);
  for (int i = 0; i < 700; ++i) {
    c.score.push_back(draw.normal());
    c.time.push_back(draw.uniform());
    c.weight.push_back(draw.uniform());
    c.event.push_back(draw.uniform() < 0.5 ? 1 : 0);
  }
  const cohort_on_device<double> d(ctx, c);
  const auto r = stroma::concordance(ctx, d.score, stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight}));
  CHECK(r.tied_score == 0);
  CHECK(r.tied_time == 0);
  CHECK(r.tied_both == 0);
}

TEST_CASE("cuda: concordance: nobody, and values that were not checked") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const device_vector<double> none;
  CHECK(std::isnan(stroma::concordance(ctx, none, none, none).value));
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> time{1, nan, 2, 2, 0, nan}, score{nan, 1, -0.0, 0.0, nan, 3}, event{1, 1, 1, 1, 0, 1};
  const auto t = on_device(ctx, time), s = on_device(ctx, score), e = on_device(ctx, event);
  check_same(stroma::concordance(ctx, s, t, e, {.check_values = false}),
             stroma::concordance(host, score, time, event, {.check_values = false}), 0);
}

TEST_CASE("cuda: concordance: the second call allocates nothing, and waits only for the result") {
  stroma::cuda_context ctx;
  const auto c = random_cohort<float>(1500, 200, 14);
  const cohort_on_device<float> d(ctx, c);
  const stroma::risk_order order(ctx, d.time, d.event, {.weight = d.weight});
  double sum = 0;
  // The result comes as a copy that waits; the checks' findings as another.
  check_called_again([&] { sum += stroma::concordance(ctx, d.score, order).value; }, 4);
  CHECK(sum > 0);
}

TEST_CASE("cuda: concordance: bad values and lengths") {
  stroma::cuda_context ctx;
  const auto time = on_device(ctx, std::vector<double>{1, 2, 3}), event = on_device(ctx, std::vector<double>{1, 1, 0});
  const auto bad = on_device(ctx, std::vector<double>{1, -std::numeric_limits<double>::infinity(), 0});
  const auto two = on_device(ctx, std::vector<double>{1, 1});
  const stroma::risk_order order(ctx, time, event);
  CHECK_THROWS_AS(static_cast<void>(stroma::concordance(ctx, bad, order)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(stroma::concordance(ctx, time, bad, event)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(stroma::concordance(ctx, time, time, bad)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(stroma::concordance(ctx, two, order)), stroma::shape_error);
  CHECK(stroma::concordance(ctx, time, order).value == 0);
}
