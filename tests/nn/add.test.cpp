#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/activations.hpp>
#include <stroma/nn/add.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/graph_gradient.hpp"
#include "../support/matrices.hpp"

using namespace stroma_test;
using stroma::array;
using stroma::as_const_view;
using stroma::as_view;
using stroma::cpu_context;
using stroma::graph;
using stroma::graph_mode;
using stroma::matrix_view;
using stroma::node;
using stroma::vector_view;

TEST_CASE_TEMPLATE("add: sums, rows spread over rows, in every layout", T, float, double) {
  for (const index_t rows : {1, 31, 32, 33, 1025}) {
    cpu_context ctx(2);
    const auto a = normal_matrix<T>(rows, 19, 1), b = normal_matrix<T>(rows, 19, 2), row = normal_matrix<T>(1, 19, 3);
    array<T, 2> sum(rows, 19), spread(rows, 19), out(rows, 19);
    for (index_t i = 0; i < rows; ++i)
      for (index_t j = 0; j < 19; ++j) sum(i, j) = a(i, j) + b(i, j), spread(i, j) = a(i, j) + row(0, j);
    stroma::add(ctx, a, b, out);
    CHECK(same_matrix(out, sum));
    for (const layout how : layouts)
      for (const layout to : layouts) {
        const laid_out<T> y(as_const_view(b), how), r(as_const_view(row), how);
        laid_out<T> x(as_const_view(a), to), target(as_const_view(a), to);
        stroma::add(ctx, x.view(), y.view(), target.view());
        CHECK(same_matrix(target.view(), sum));
        CHECK(target.gaps_untouched());
        stroma::add(ctx, x.view(), r.view(), target.view());
        CHECK(same_matrix(target.view(), spread));
        stroma::add(ctx, x.view(), r.view().row(0), x.view());
        CHECK(same_matrix(x.view(), spread));
      }
  }
}

TEST_CASE_TEMPLATE("add: backward adds, sums of columns have a fixed order", T, float, double) {
  cpu_context one, ctx(3);
  const auto d = normal_matrix<T>(1025, 9, 1), start = normal_matrix<T>(1025, 9, 2), row = normal_matrix<T>(1, 9, 3);
  auto d_a = start, d_row = row;
  stroma::add_backward(one, d, d_a, d_row);
  for (index_t i = 0; i < d.size(); ++i) CHECK(d_a.data()[i] == start.data()[i] + d.data()[i]);
  for (index_t j = 0; j < 9; ++j) {
    long double sum = static_cast<long double>(row(0, j)), absolute = std::abs(sum);
    for (index_t i = 0; i < 1025; ++i)
      sum += static_cast<long double>(d(i, j)), absolute += std::abs(static_cast<long double>(d(i, j)));
    CHECK(std::abs(static_cast<long double>(d_row(0, j)) - sum) <=
          260 * static_cast<long double>(std::numeric_limits<T>::epsilon()) * absolute);
  }
  for (const layout how : layouts) {
    const laid_out<T> out(as_const_view(d), how);
    laid_out<T> a(as_const_view(start), how), b(as_const_view(row), how);
    stroma::add_backward(ctx, out.view(), a.view(), b.view());
    CHECK(same_matrix(a.view(), d_a));
    CHECK(worst_error(
              b.view(), [&](index_t, index_t j) { return d_row(0, j); }, 1025 * std::numeric_limits<T>::epsilon()) <=
          1);
    if (how != layout::apart) CHECK(same_matrix(b.view(), d_row));
    CHECK(b.gaps_untouched());
  }
  auto vector = array<T, 1>(9);
  stroma::add_backward(ctx, d, matrix_view<T>{}, vector);
  auto only_a = start;
  stroma::add_backward(ctx, d, only_a, vector_view<T>{});
  CHECK(same_matrix(only_a, d_a));
}

TEST_CASE("add: on a graph") {
  const auto a = normal_matrix<double>(5, 4, 1), b = normal_matrix<double>(5, 4, 2),
             row = normal_matrix<double>(1, 4, 3);
  const auto sum = [](graph<double>& g, const std::vector<node>& n) {
    return stroma::tanh(g, stroma::add(g, n[0], n[1]));
  };
  CHECK(graph_gradient_error({a, b}, sum) < gradient_tolerance);
  CHECK(graph_gradient_error({a, row}, sum) < gradient_tolerance);
  CHECK(graph_gradient_error({row, row}, sum) < gradient_tolerance);
  CHECK(graph_gradient_error({a}, [](graph<double>& g, const std::vector<node>& n) {
          return stroma::add(g, n[0], n[0]);
        }) < gradient_tolerance);

  cpu_context ctx(2);
  const auto x = normal_matrix<double>(600, 4, 4), y = normal_matrix<double>(600, 4, 5);
  const auto small = normal_matrix<stroma::half>(600, 4, 6);
  graph<double> train(ctx), infer(ctx, graph_mode::inference);
  const auto record = [&](graph<double>& g) {
    const node h = stroma::tanh(g, g.input(x));
    const node residual = stroma::add(g, h, stroma::relu(g, stroma::add(g, h, g.input(y))));
    return stroma::add(g, stroma::add(g, g.input(small), residual), g.input(row));
  };
  CHECK(same_matrix(infer.value(record(infer)), train.value(record(train))));
}

TEST_CASE("add: messages and memory") {
  cpu_context ctx(2);
  const array<float, 2> a(3, 4), b(2, 4), c(3, 5);
  array<float, 2> out(3, 4), wrong(4, 4);
  CHECK_THROWS_WITH_AS(stroma::add(ctx, a, b, out), "add: b: shape 2 x 4, expected 3 x 4 or 1 x 4",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::add(ctx, a, c, out), "add: b: shape 3 x 5, expected 3 x 4 or 1 x 4",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::add(ctx, a, a, wrong), "add: out: shape 4 x 4, expected 3 x 4", stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::add_backward(ctx, a, wrong, out), "add_backward: d_a: shape 4 x 4, expected 3 x 4",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::add_backward(ctx, a, out, wrong), "add_backward: d_b: shape 4 x 4, expected 1 x 4",
                       stroma::shape_error);
  graph<float> g(ctx);
  CHECK_THROWS_AS(stroma::add(g, g.input(a), g.input(b)), stroma::shape_error);
  const auto call = [&] {
    stroma::add(ctx, a, a, out);
    stroma::add_backward(ctx, a, out, as_view(out).middle_rows(0, 1));
  };
  call();
  CHECK(allocations_in(call) == 0);
}
