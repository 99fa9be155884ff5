#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/nn/mean_squared_error.hpp>

#include "nn/loss_cases.hpp"
#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"

using namespace stroma;

TEST_CASE_TEMPLATE("mean_squared_error: the definition", T, double, float) {
  cpu_context ctx;
  for (const std::size_t n : {1u, 31u, 32u, 33u, 1025u}) {
    const auto p = random_values<T>(n, 1), y = random_values<T>(n, 2);
    long double sum = 0;
    for (std::size_t i = 0; i < n; ++i)
      sum += std::pow(static_cast<long double>(p[i]) - static_cast<long double>(y[i]), 2);
    CHECK(std::abs(static_cast<double>(mean_squared_error(ctx, p, y, {.reduce = reduction::sum}) - sum)) <=
          sum_error<T>(n) * static_cast<double>(sum));
    CHECK(std::abs(static_cast<double>(mean_squared_error(ctx, p, y) - sum / static_cast<long double>(n))) <=
          sum_error<T>(n) * static_cast<double>(sum));
  }
}

TEST_CASE("mean_squared_error: gradient by central differences, recorded, columns, nothing") {
  cpu_context ctx;
  const auto p = random_values<double>(12, 1), y = random_values<double>(12, 2), columns = transposed(p, 3, 4);
  for (const reduction reduce : {reduction::sum, reduction::mean}) {
    const mean_squared_error_options options{.reduce = reduce};
    std::vector<double> gradient(12), recorded(12);
    const double seed = 1;
    CHECK(allocations_in([&] { mean_squared_error_backward(ctx, p, y, &seed, gradient, options); }) == 0);
    const auto f = [&](const std::vector<double>& x) { return mean_squared_error(ctx, x, y, options); };
    CHECK(gradient_error(f, p, gradient) < gradient_tolerance);
    CHECK(mean_squared_error(ctx, matrix_view<const double>(columns.data(), 3, 4, 1, 3), as_matrix(y, 3, 4), options) ==
          f(p));
    graph<double> g(ctx);
    const node loss =
        mean_squared_error(g, g.variable(as_matrix(p, 3, 4), as_matrix(recorded, 3, 4)), as_matrix(y, 3, 4), options);
    CHECK(g.scalar_value(loss) == f(p));
    g.backward(loss);
    CHECK(recorded == gradient);
  }
  CHECK(mean_squared_error(ctx, std::vector<float>{}, std::vector<float>{}) == 0.0f);
}

TEST_CASE("mean_squared_error: refuses what does not fit") {
  cpu_context ctx;
  const std::vector<double> p{1, 2}, bad{1, std::numeric_limits<double>::quiet_NaN()}, three(3);
  CHECK(message_of<shape_error>([&] { (void)mean_squared_error(ctx, p, three); }) ==
        "mean_squared_error: target: shape 3 x 1, expected 2 x 1");
  CHECK(message_of<value_error>([&] { (void)mean_squared_error(ctx, bad, p); }) ==
        "mean_squared_error: prediction: nan at row 1, column 0, expected finite values");
  CHECK(message_of<value_error>([&] { (void)mean_squared_error(ctx, p, bad); }) ==
        "mean_squared_error: target: nan at row 1, column 0, expected finite values");
  CHECK(std::isnan(mean_squared_error(ctx, p, bad, {.check_values = false})));
}
