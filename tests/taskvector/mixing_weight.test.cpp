#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/taskvector/mixing_weight.hpp>

#include "support/graph_gradient.hpp"

using namespace stroma;

namespace {

long double positive(positive_map f, long double x) {
  if (f == positive_map::relu) return std::max(x, 0.0L);
  if (f == positive_map::softplus) return x > 40 ? x + std::exp(-x) : std::log1p(std::exp(x));
  return 1 / (1 + std::exp(-x));
}
constexpr positive_map maps[] = {positive_map::relu, positive_map::softplus, positive_map::sigmoid};

}  // namespace

TEST_CASE_TEMPLATE("mixing_weight: equals the definition, for numbers of any size", T, float, double) {
  cpu_context ctx;
  const std::vector<T> x{T(-1e4), -100, T(-1.5), T(-1e-3), 0, T(0.25), 3, 100, T(1e4)};
  std::vector<T> weight(9), share(9);
  const matrix_view<const T> from(x.data(), 3, 3);
  for (const positive_map f : maps) {
    mixing_weight(ctx, from, matrix_view<T>(weight.data(), 3, 3), f);
    mixing_share(ctx, from, matrix_view<T>(share.data(), 3, 3), f);
    for (std::size_t i = 0; i < 9; ++i) {
      const long double want = positive(f, static_cast<long double>(x[i])), part = 1 / (1 + want);
      // exp within one rounding, log1p within one, and their sum.
      const long double allowed = 4 * static_cast<long double>(std::numeric_limits<T>::epsilon());
      CHECK(std::abs(static_cast<long double>(weight[i]) - want) <=
            allowed * want + static_cast<long double>(std::numeric_limits<T>::min()));
      CHECK(std::abs(static_cast<long double>(share[i]) - part) <= 2 * allowed * part);
      CHECK(share[i] > 0);
      CHECK(share[i] <= 1);
    }
  }
  CHECK_THROWS_AS(mixing_weight(ctx, from, matrix_view<T>(weight.data(), 1, 9)), shape_error);
  CHECK_THROWS_AS(mixing_share(ctx, from, matrix_view<T>(weight.data(), 1, 9)), shape_error);
}

TEST_CASE("mixing_weight: the derivatives") {
  const auto x = stroma_test::normal_matrix<double>(3, 5, 1);
  for (const positive_map f : maps) {
    CHECK(stroma_test::graph_gradient_error({x}, [&](graph<double>& g, const std::vector<node>& in) {
            return mixing_weight(g, in[0], f);
          }) < gradient_tolerance);
    CHECK(stroma_test::graph_gradient_error({x}, [&](graph<double>& g, const std::vector<node>& in) {
            return mixing_share(g, in[0], f);
          }) < gradient_tolerance);
  }
}

TEST_CASE("mixing_weight: ReLU passes nothing on at 0 and below") {
  cpu_context ctx;
  graph<double> g(ctx);
  const std::vector<double> x{-1, 0, 2};
  std::vector<double> d(3);
  const node in = g.variable({x.data(), 1, 3}, {d.data(), 1, 3}), share = mixing_share(g, in);
  CHECK(g.value(share)(0, 0) == 1);
  CHECK(g.value(share)(0, 1) == 1);
  const std::vector<double> ones(3, 1);
  g.backward(share, matrix_view<const double>(ones.data(), 1, 3));
  CHECK(d[0] == 0);
  CHECK(d[1] == 0);
  CHECK(std::abs(d[2] + 1.0 / 9) <= std::numeric_limits<double>::epsilon());
}

TEST_CASE_TEMPLATE("mixing_softmax: equals the definition, whatever is tied or far away", T, float, double) {
  cpu_context ctx;
  const std::vector<std::vector<T>> rows{{1, 2, 3, 4, 5},
                                         {0, 0, 0, 0, 0},
                                         {2, -1, 2, 2, T(1.5)},
                                         {T(-1e4), T(1e4), 0, T(1e4), 3},
                                         {T(-3e4), -5, -5, -6, 0}};
  for (const index_t k : {1, 2, 3, 5, 9})
    for (const auto& x : rows) {
      std::vector<T> out(5, T(-7));
      const std::vector<T> scale{T(1.5)};
      mixing_softmax(ctx, matrix_view<const T>(x.data(), 1, 5), scale, matrix_view<T>(out.data(), 1, 5), k);
      std::vector<std::size_t> order{0, 1, 2, 3, 4};
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return x[a] > x[b]; });
      long double total = 0;
      for (std::size_t i = 0; i < 5 && static_cast<index_t>(i) < k; ++i)
        total += std::exp(static_cast<long double>(x[order[i]]) - static_cast<long double>(x[order[0]]));
      for (std::size_t i = 0; i < 5; ++i) {
        const long double part =
            static_cast<index_t>(i) < k
                ? std::exp(static_cast<long double>(x[order[i]]) - static_cast<long double>(x[order[0]])) / total
                : 0;
        CHECK(std::abs(static_cast<long double>(out[order[i]]) - 1.5L * part) <=
              12 * static_cast<long double>(std::numeric_limits<T>::epsilon()) * part +
                  static_cast<long double>(std::numeric_limits<T>::min()));
      }
    }
  std::vector<T> out(5);
  const matrix_view<const T> x(rows[0].data(), 1, 5);
  CHECK_THROWS_AS(mixing_softmax(ctx, x, std::vector<T>(2), matrix_view<T>(out.data(), 1, 5), 2), shape_error);
  CHECK_THROWS_AS(mixing_softmax(ctx, x, std::vector<T>(1), matrix_view<T>(out.data(), 5, 1), 2), shape_error);
  CHECK_THROWS_AS(mixing_softmax(ctx, x, std::vector<T>(1), matrix_view<T>(out.data(), 1, 5), 0), value_error);
}

TEST_CASE("mixing_softmax: the derivatives, of the numbers and of the scale") {
  const std::vector<array<double, 2>> inputs{stroma_test::normal_matrix<double>(3, 6, 1),
                                             stroma_test::normal_matrix<double>(1, 1, 2)};
  for (const index_t k : {1, 3, 6})
    CHECK(stroma_test::graph_gradient_error(inputs, [&](graph<double>& g, const std::vector<node>& in) {
            return mixing_softmax(g, in[0], in[1], k);
          }) < gradient_tolerance);
}
