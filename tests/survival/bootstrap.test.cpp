#include <cmath>
#include <limits>
#include <random>

#include <doctest/doctest.h>

#include <stroma/survival/bootstrap.hpp>
#include <stroma/survival/concordance.hpp>

#include "survival/cohort.hpp"

using namespace stroma;

TEST_CASE("bootstrap: draws are the cohort's rows, repeated") {
  cpu_context ctx;
  const auto c = random_cohort(70, 15, 9);
  for (const bool weighted : {false, true}) {
    const risk_order order =
        weighted ? risk_order(ctx, c.time, c.event, {.weight = c.weight}) : risk_order(ctx, c.time, c.event);
    array<double, 2> values(20, 2);
    std::vector<bootstrap_estimate> e(2);
    bootstrap(ctx, order,
              [&](cpu_context& own, const risk_order<>& drawn, std::span<double> value) {
                const auto r = concordance(own, c.score, drawn);
                value[0] = r.concordant;
                value[1] = r.tied_score;
              },
              e, {.draws = 20, .seed = 5, .values = as_view(values)});
    for (index_t d = 0; d < 20; ++d) {
      random_stream random(random_key{5, static_cast<std::uint32_t>(d), 0});
      cohort<> drawn;
      for (int i = 0; i < 70; ++i) {
        const std::size_t j = random.below(70);
        drawn.score.push_back(c.score[j]);
        drawn.time.push_back(c.time[j]);
        drawn.event.push_back(c.event[j]);
        drawn.weight.push_back(weighted ? c.weight[j] : 1);
      }
      const auto r = concordance(ctx, drawn.score, risk_order(ctx, drawn.time, drawn.event, {.weight = drawn.weight}));
      CHECK(values(d, 0) == r.concordant);  // multiples of 1/64
      CHECK(values(d, 1) == r.tied_score);
    }
  }
}

TEST_CASE("bootstrap: mean, standard error and percentiles, and draws that define nothing") {
  cpu_context ctx;
  const std::vector<double> time{1, 2, 3};
  const std::vector<int> event{1, 1, 1};
  array<double, 2> values(9, 2);
  std::vector<bootstrap_estimate> e(2);
  std::vector<double> seen;
  bootstrap(ctx, risk_order(ctx, time, event),
            [&](cpu_context&, const risk_order<>& drawn, std::span<double> value) {
              double everybody = 0;
              for (int k = 0; k < 3; ++k) everybody += drawn.plan().weight[k];
              CHECK(everybody == 3);
              seen.push_back(0);
              value[0] = static_cast<double>(seen.size() * seen.size());  // one thread: 1, 4, 9 .. 81
              value[1] = seen.size() % 2 == 0 ? std::nan("") : 4.0;
            },
            e, {.draws = 9, .level = 0.5, .values = as_view(values)});
  CHECK(values(8, 0) == 81);
  CHECK(std::isnan(values(1, 1)));
  CHECK(e[0].mean == 285.0 / 9);
  // sum of k^4 = 15333, less 9 mean^2, over 8
  CHECK(std::abs(e[0].standard_error - std::sqrt((15333 - 285.0 * 285.0 / 9) / 8)) <=
        81 * 9 * std::numeric_limits<double>::epsilon());
  CHECK(e[0].lower == 9);  // a quarter of the way from the first to the ninth
  CHECK(e[0].upper == 49);
  CHECK(e[0].undefined == 0);
  CHECK(e[1].undefined == 4);
  CHECK(e[1].mean == 4);
  CHECK(e[1].standard_error == 0);
  CHECK(e[1].lower == 4);
}

TEST_CASE("bootstrap: the same for any number of threads, and near the jackknife") {
  const auto c = random_cohort(250, 80, 4);
  cpu_context one, three(3);
  const risk_order order(one, c.time, c.event, {.stratum = c.stratum});
  std::vector<bootstrap_estimate> a(1), b(1), other(1);
  const auto judge = [&](cpu_context& own, const risk_order<>& drawn, std::span<double> value) {
    value[0] = concordance(own, c.score, drawn).value;
  };
  bootstrap(one, order, judge, a, {.draws = 500, .seed = 8});
  bootstrap(three, order, judge, b, {.draws = 500, .seed = 8});
  bootstrap(one, order, judge, other, {.draws = 500, .seed = 9});
  CHECK(a[0].mean == b[0].mean);
  CHECK(a[0].standard_error == b[0].standard_error);
  CHECK(a[0].lower == b[0].lower);
  CHECK(a[0].mean != other[0].mean);
  const auto whole = concordance(one, c.score, order, {.standard_error = true});
  // A standard deviation of 500 draws has a relative error of 1 / sqrt(1000) = 3 %; five of these, and as much again
  // for what the jackknife leaves out, of the order 1 / sqrt(N) = 6 %.
  CHECK(std::abs(a[0].standard_error / whole.standard_error() - 1) < 0.22);
  CHECK(std::abs(a[0].mean - whole.value) < whole.standard_error());
}

TEST_CASE("bootstrap: nobody; what it refuses; an error of a metric") {
  cpu_context ctx(2);
  const std::vector<double> none, time{1, 2};
  const std::vector<int> event{1, 1};
  std::vector<bootstrap_estimate> e(1);
  const auto nothing = [](cpu_context&, const risk_order<>&, std::span<double> v) { v[0] = std::nan(""); };
  bootstrap(ctx, risk_order(ctx, none, none), nothing, e, {.draws = 3});
  CHECK(std::isnan(e[0].mean));
  CHECK(e[0].undefined == 3);
  const risk_order order(ctx, time, event);
  CHECK(message_of<value_error>([&] { bootstrap(ctx, order, nothing, e, {.draws = 0}); }) ==
        "bootstrap: draws: 0, expected 1 to 2147483648");
  CHECK(message_of<value_error>([&] { bootstrap(ctx, order, nothing, e, {.level = 1}); }) ==
        "bootstrap: level: 1, expected a number between 0 and 1");
  array<double, 2> values(2, 2);
  CHECK(message_of<shape_error>([&] { bootstrap(ctx, order, nothing, e, {.draws = 2, .values = as_view(values)}); }) ==
        "bootstrap: values: shape 2 x 2, expected 2 x 1");
  CHECK_THROWS_AS(
      bootstrap(
          ctx, order, [](cpu_context&, const risk_order<>&, std::span<double>) { throw value_error("no"); }, e),
      value_error);
}
