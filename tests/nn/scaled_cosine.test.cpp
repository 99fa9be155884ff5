#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/nn/scaled_cosine.hpp>

#include "nn/loss_cases.hpp"
#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"

using namespace stroma;

namespace {
template <class T>
long double oracle(const std::vector<T>& p, const std::vector<T>& t, std::size_t cols, double exponent) {
  long double sum = 0;
  for (std::size_t first = 0; first < p.size(); first += cols) {
    long double pp = 0, tt = 0, pt = 0;
    for (std::size_t c = first; c < first + cols; ++c) {
      const auto a = static_cast<long double>(p[c]), b = static_cast<long double>(t[c]);
      pp += a * a;
      tt += b * b;
      pt += a * b;
    }
    sum += std::pow(1 - pt / (std::sqrt(pp) * std::sqrt(tt)), static_cast<long double>(exponent));
  }
  return sum;
}
}  // namespace

TEST_CASE_TEMPLATE("scaled_cosine: the definition", T, double, float) {
  cpu_context ctx;
  for (const std::size_t rows : {1u, 31u, 32u, 33u, 1025u})
    for (const std::size_t cols : {2u, 17u})
      for (const double exponent : {1.0, 2.5, 3.0}) {
        const auto p = random_values<T>(rows * cols, 1), t = random_values<T>(rows * cols, 2);
        const long double expected = oracle(p, t, cols, exponent);
        const auto a = as_matrix(p, static_cast<index_t>(rows), static_cast<index_t>(cols));
        const auto b = as_matrix(t, static_cast<index_t>(rows), static_cast<index_t>(cols));
        const double bound = sum_error<T>(rows) * std::max(1.0, static_cast<double>(expected)) * 4;
        CHECK(std::abs(static_cast<double>(scaled_cosine(ctx, a, b, {.exponent = exponent, .reduce = reduction::sum}) -
                                           expected)) <= bound);
        CHECK(std::abs(static_cast<double>(scaled_cosine(ctx, a, b, {.exponent = exponent}) -
                                           expected / static_cast<long double>(rows))) <= bound);
      }
}

TEST_CASE("scaled_cosine: gradient by central differences, recorded, columns, a vector of targets") {
  cpu_context ctx;
  const auto p = random_values<double>(9 * 5, 1), t = random_values<double>(9 * 5, 2), columns = transposed(p, 9, 5);
  for (const double exponent : {1.0, 3.0})
    for (const reduction reduce : {reduction::sum, reduction::mean}) {
      const scaled_cosine_options options{.exponent = exponent, .reduce = reduce};
      std::vector<double> gradient(45), recorded(45);
      const double seed = 1;
      CHECK(allocations_in([&] {
              scaled_cosine_backward(ctx, as_matrix(p, 9, 5), as_matrix(t, 9, 5), &seed, as_matrix(gradient, 9, 5),
                                     options);
            }) == 0);
      const auto f = [&](const std::vector<double>& x) {
        return scaled_cosine(ctx, as_matrix(x, 9, 5), as_matrix(t, 9, 5), options);
      };
      CHECK(gradient_error(f, p, gradient) < gradient_tolerance);
      CHECK(scaled_cosine(ctx, matrix_view<const double>(columns.data(), 9, 5, 1, 9), as_matrix(t, 9, 5), options) ==
            f(p));
      graph<double> g(ctx);
      const node loss =
          scaled_cosine(g, g.variable(as_matrix(p, 9, 5), as_matrix(recorded, 9, 5)), as_matrix(t, 9, 5), options);
      CHECK(g.scalar_value(loss) == f(p));
      g.backward(loss);
      CHECK(recorded == gradient);
    }
  graph<double> g(ctx);
  CHECK(g.scalar_value(scaled_cosine(g, g.input(p), t)) ==
        scaled_cosine(ctx, as_matrix(p, 1, 45), as_matrix(t, 1, 45)));
}

TEST_CASE_TEMPLATE("scaled_cosine: along, against, across, zero, nearly along", T, double, float) {
  cpu_context ctx;
  const std::vector<T> x{3, 4}, twice{6, 8}, against{-3, -4}, across{4, -3}, zero{0, 0};
  const auto of = [&](const std::vector<T>& a, const std::vector<T>& b) {
    return scaled_cosine(ctx, as_matrix(a, 1, 2), as_matrix(b, 1, 2));
  };
  CHECK(of(x, twice) == T(0));
  CHECK(of(x, against) == doctest::Approx(8.0));
  CHECK(of(x, across) == doctest::Approx(1.0));
  CHECK(of(zero, x) == T(1));
  CHECK(of(x, zero) == T(1));
  // The floor is a constant: the gradient at zero is -exponent t / (|t| floor).
  std::vector<T> gradient(2);
  const T seed = 1;
  scaled_cosine_backward(ctx, as_matrix(zero, 1, 2), as_matrix(x, 1, 2), &seed, as_matrix(gradient, 1, 2),
                         {.norm_floor = 0.5});
  CHECK(gradient[0] == doctest::Approx(-3 * 0.6 / 0.5));
  CHECK(gradient[1] == doctest::Approx(-3 * 0.8 / 0.5));
  // A tangent t of 1e-6: 1 - cos = t^2 / 2 - 3 t^4 / 8 + .., of which a subtraction would leave three digits in double.
  const std::vector<double> a{1, 0}, b{1, 1e-6};
  CHECK(scaled_cosine(ctx, as_matrix(a, 1, 2), as_matrix(b, 1, 2), {.exponent = 1}) ==
        doctest::Approx(5e-13 - 3.75e-25).epsilon(16 * std::numeric_limits<double>::epsilon()));  // norms, squares
  CHECK(scaled_cosine(ctx, as_matrix(a, 0, 2), as_matrix(b, 0, 2)) == 0);
}

TEST_CASE("scaled_cosine: refuses what does not fit") {
  cpu_context ctx;
  std::vector<double> p(6, 1), t(6, 1);
  CHECK(message_of<shape_error>([&] { (void)scaled_cosine(ctx, as_matrix(p, 2, 3), as_matrix(t, 3, 2)); }) ==
        "scaled_cosine: target: shape 3 x 2, expected 2 x 3");
  CHECK(message_of<value_error>([&] {
          (void)scaled_cosine(ctx, as_matrix(p, 2, 3), as_matrix(t, 2, 3), {.exponent = 0.5});
        }) == "scaled_cosine: exponent: 0.5, expected a finite number of 1 or more");
  CHECK(message_of<value_error>([&] {
          (void)scaled_cosine(ctx, as_matrix(p, 2, 3), as_matrix(t, 2, 3), {.norm_floor = 0});
        }) == "scaled_cosine: norm_floor: 0, expected a number above 0");
  p[1] = std::numeric_limits<double>::quiet_NaN();
  CHECK(message_of<value_error>([&] { (void)scaled_cosine(ctx, as_matrix(p, 2, 3), as_matrix(t, 2, 3)); }) ==
        "scaled_cosine: prediction: nan at row 0, column 1, expected finite values");
}
