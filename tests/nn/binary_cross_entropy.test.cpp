#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/nn/binary_cross_entropy.hpp>

#include "nn/loss_cases.hpp"
#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"

using namespace stroma;

namespace {
template <class T>
std::vector<T> some_targets(std::size_t n) {
  std::vector<T> y;
  for (std::size_t i = 0; i < n; ++i) y.push_back(static_cast<T>(static_cast<double>(i % 5) / 4));
  return y;
}
}  // namespace

TEST_CASE_TEMPLATE("binary_cross_entropy: the definition", T, double, float) {
  cpu_context ctx;
  for (const std::size_t n : {1u, 31u, 32u, 33u, 1025u})
    for (const double positive : {1.0, 0.0, 3.5}) {
      const auto z = random_values<T>(n, 1), y = some_targets<T>(n);
      long double sum = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const long double p = 1 / (1 + std::exp(-static_cast<long double>(z[i]))), t = static_cast<long double>(y[i]);
        sum -= static_cast<long double>(positive) * t * std::log(p) + (1 - t) * std::log1p(-p);
      }
      const auto close = [&](T a, long double b) {
        CHECK(std::abs(static_cast<double>(a - b)) <= sum_error<T>(n) * std::max(1.0, static_cast<double>(b)));
      };
      close(binary_cross_entropy(ctx, z, y, {.positive_weight = positive, .reduce = reduction::sum}), sum);
      close(binary_cross_entropy(ctx, z, y, {.positive_weight = positive}), sum / static_cast<long double>(n));
    }
}

TEST_CASE("binary_cross_entropy: gradient by central differences, recorded") {
  cpu_context ctx;
  const auto z = random_values<double>(33, 2), y = some_targets<double>(33);
  for (const reduction reduce : {reduction::sum, reduction::mean}) {
    const binary_cross_entropy_options options{.positive_weight = 2.5, .reduce = reduce};
    std::vector<double> gradient(33), recorded(33);
    const double seed = 1;
    CHECK(allocations_in([&] { binary_cross_entropy_backward(ctx, z, y, &seed, gradient, options); }) == 0);
    const auto f = [&](const std::vector<double>& x) { return binary_cross_entropy(ctx, x, y, options); };
    CHECK(gradient_error(f, z, gradient) < gradient_tolerance);
    graph<double> g(ctx);
    const node loss = binary_cross_entropy(g, g.variable(as_matrix(z, 33, 1), as_matrix(recorded, 33, 1)), y, options);
    CHECK(g.scalar_value(loss) == f(z));
    g.backward(loss);
    CHECK(recorded == gradient);
  }
}

TEST_CASE_TEMPLATE("binary_cross_entropy: logits of 1e4, whole-number targets, columns, nothing", T, double, float) {
  cpu_context ctx;
  const std::vector<T> z{T(1e4), T(-1e4), T(1e4), T(-1e4)};
  const std::vector<int> y{1, 0, 0, 1};
  std::vector<T> gradient(4);
  const T seed = 1;
  CHECK(binary_cross_entropy(ctx, z, y) == T(5000));
  binary_cross_entropy_backward(ctx, z, y, &seed, gradient, {.reduce = reduction::sum});
  CHECK(gradient == std::vector<T>{0, 0, 1, -1});
  CHECK(binary_cross_entropy(ctx, std::vector<T>{}, std::vector<T>{}) == T(0));
  const auto x = random_values<T>(12, 3), t = some_targets<T>(12), columns = transposed(x, 4, 3);
  CHECK(binary_cross_entropy(ctx, matrix_view<const T>(columns.data(), 4, 3, 1, 4), as_matrix(t, 4, 3)) ==
        binary_cross_entropy(ctx, x, t));
}

TEST_CASE("binary_cross_entropy: refuses what does not fit") {
  cpu_context ctx;
  const std::vector<double> z{1, 2}, bad{1, std::numeric_limits<double>::quiet_NaN()}, y{0, 1}, above{0, 1.5}, three(3);
  CHECK(message_of<shape_error>([&] { (void)binary_cross_entropy(ctx, z, three); }) ==
        "binary_cross_entropy: target: shape 3 x 1, expected 2 x 1");
  CHECK(message_of<value_error>([&] { (void)binary_cross_entropy(ctx, bad, y); }) ==
        "binary_cross_entropy: logit: nan at row 1, column 0, expected finite values");
  CHECK(message_of<value_error>([&] { (void)binary_cross_entropy(ctx, z, above); }) ==
        "binary_cross_entropy: target: 1.5 at row 1, column 0, expected 0 to 1");
  CHECK(message_of<value_error>([&] { (void)binary_cross_entropy(ctx, z, y, {.positive_weight = -1}); }) ==
        "binary_cross_entropy: positive_weight: -1, expected a finite number of 0 or more");
}
