#include <cmath>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/greedy_soup.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

namespace {

small_model<double> with_bias(double x) {
  small_model<double> m;
  m.bias[0] = x;
  return m;
}
/// Largest at 10.
double near_ten(const small_model<double>& m) { return -std::fabs(m.bias[0] - 10); }

}  // namespace

TEST_CASE("greedy_soup: from the best downwards, as long as the average gains") {
  cpu_context ctx;
  // By score: 11 (-1), 8 (-2), 13 (-3), 2 (-8). 11 and 8: 9.5, taken. With 13: 10.67, refused. With 2: 7, refused.
  const std::vector<small_model<double>> models{with_bias(2), with_bias(13), with_bias(11), with_bias(8)};
  small_model<double> out;
  int calls = 0;
  const auto soup = greedy_soup(
      ctx, models, [&](const small_model<double>& m) { return ++calls, near_ten(m); }, out);
  CHECK(soup.ingredients == std::vector<index_t>{2, 3});
  CHECK(soup.score == -0.5);
  CHECK(out.bias[0] == 9.5);
  CHECK(calls == 7);
}

TEST_CASE("greedy_soup: an average that is as good is taken or not; the first of equals goes first") {
  cpu_context ctx;
  const std::vector<small_model<double>> models{with_bias(9), with_bias(9), with_bias(11)};
  small_model<double> out;
  const auto better = greedy_soup(ctx, models, near_ten, out);
  CHECK(better.ingredients == std::vector<index_t>{0, 2});  // 9 and 9 is no gain; 9 and 11 is 10
  CHECK(out.bias[0] == 10);
  const auto not_worse = greedy_soup(ctx, models, near_ten, out, {.accept = soup_rule::not_worse});
  CHECK(not_worse.ingredients == std::vector<index_t>{0, 1, 2});
  CHECK(out.bias[0] == doctest::Approx(29 / 3.0).epsilon(1e-15));
}

TEST_CASE("greedy_soup: one model is the soup; mistakes") {
  cpu_context ctx;
  const std::vector<small_model<double>> one{random_model<small_model<double>>(1)};
  small_model<double> out;
  CHECK(greedy_soup(ctx, one, near_ten, out).ingredients == std::vector<index_t>{0});
  CHECK(same_bits(out, one[0]));
  CHECK_THROWS_AS(greedy_soup(ctx, std::span<const small_model<double>>(), near_ten, out), value_error);
  CHECK(message_of<value_error>([&] {
          greedy_soup(
              ctx, one, [](const small_model<double>&) { return std::nan(""); }, out);
        }) == "greedy_soup: models[0]: a score of NaN, expected a number");
}
