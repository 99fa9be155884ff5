#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/nn/activations.hpp>
#include <stroma/nn/linear.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/graph_gradient.hpp"
#include "../support/matrices.hpp"

using namespace stroma_test;
using stroma::activation;
using stroma::array;
using stroma::as_const_view;
using stroma::as_view;
using stroma::cpu_context;
using stroma::graph;
using stroma::graph_mode;
using stroma::linear_layer;
using stroma::node;
using stroma::vector_view;

namespace {

constexpr activation activations[] = {activation::identity, activation::relu, activation::tanh,
                                      activation::sigmoid,  activation::gelu, activation::elu};

long double applied(activation f, long double x) {
  switch (f) {
    case activation::identity:
      return x;
    case activation::relu:
      return x > 0 ? x : 0;
    case activation::tanh:
      return std::tanh(x);
    case activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case activation::gelu:
      return x * 0.5L * std::erfc(-x / std::sqrt(2.0L));
    case activation::elu:
      return x > 0 ? x : std::expm1(x);
  }
  return 0;
}

}  // namespace

TEST_CASE_TEMPLATE("linear: x W^T + b and its activation, against the definition", T, float, double) {
  cpu_context ctx(2);
  for (const index_t rows : {1, 31, 32, 33, 1025}) {
    const auto x = normal_matrix<T>(rows, 17, 1), weight = normal_matrix<T>(33, 17, 2);
    const auto bias = normal_vector<T>(33, 3);
    for (const activation f : activations) {
      array<T, 2> out(rows, 33);
      stroma::linear(ctx, x, weight, bias, out, {.activate = f});
      const auto before = [&](index_t i, index_t j, bool absolute) {
        long double sum = absolute ? std::abs(static_cast<long double>(bias[j])) : static_cast<long double>(bias[j]);
        for (index_t k = 0; k < 17; ++k) {
          const auto term = static_cast<long double>(x(i, k)) * static_cast<long double>(weight(j, k));
          sum += absolute ? std::abs(term) : term;
        }
        return sum;
      };
      // 19 roundings of the sum (slopes are at most 1.13), and the function's own error.
      const auto eps = static_cast<long double>(std::numeric_limits<T>::epsilon());
      CHECK(worst_error(
                out, [&](index_t i, index_t j) { return applied(f, before(i, j, false)); },
                [&](index_t i, index_t j) {
                  return eps * (1.13L * 19 * before(i, j, true) + 6 * (1 + std::abs(before(i, j, false))));
                }) <= 1);
    }
    array<T, 2> plain(rows, 33), zero_bias(rows, 33);
    stroma::linear(ctx, x, weight, vector_view<const T>(), plain);
    stroma::linear(ctx, x, weight, array<T, 1>(33), zero_bias);
    CHECK(same_matrix(plain, zero_bias));
  }
}

TEST_CASE_TEMPLATE("linear: a row's bits depend on that row alone", T, float, double) {
  const auto x = normal_matrix<T>(300, 40, 1), weight = normal_matrix<T>(21, 40, 2);
  const auto bias = normal_vector<T>(21, 3);
  array<T, 2> expected(300, 21);
  cpu_context one;
  stroma::linear(one, x, weight, bias, expected, {.activate = activation::gelu});
  for (const int threads : {2, 3}) {
    cpu_context ctx(threads);
    array<T, 2> out(300, 21);
    stroma::linear(ctx, x, weight, bias, out, {.activate = activation::gelu});
    CHECK(same_matrix(out, expected));
  }
  array<T, 2> row(1, 21);
  for (index_t r = 0; r < 300; ++r) {
    stroma::linear(one, as_const_view(x).middle_rows(r, 1), weight, bias, row, {.activate = activation::gelu});
    REQUIRE(same_matrix(row, as_const_view(expected).middle_rows(r, 1)));
  }
}

TEST_CASE_TEMPLATE("linear: strides, and what they may not be", T, float, double) {
  cpu_context ctx;
  const auto x = normal_matrix<T>(33, 7, 1), weight = normal_matrix<T>(5, 7, 2), d_out = normal_matrix<T>(33, 5, 4);
  const auto bias = normal_vector<T>(5, 3);
  array<T, 2> expected(33, 5), d_x(33, 7), d_weight(5, 7);
  array<T, 1> d_bias(5);
  stroma::linear(ctx, x, weight, bias, expected);
  stroma::linear_backward(ctx, x, weight, d_out, {as_view(d_x), as_view(d_weight), as_view(d_bias)});
  for (const layout a : layouts)
    for (const layout b : layouts) {
      const laid_out<T> v(as_const_view(x), a), w(as_const_view(weight), b), d(as_const_view(d_out), b);
      laid_out<T> out(as_const_view(expected), layout::padded_rows);
      stroma::linear(ctx, v.view(), w.view(), bias, out.view());
      CHECK(same_matrix(out.view(), expected));
      CHECK(out.gaps_untouched());
      array<T, 2> dx(33, 7), dw(5, 7);
      array<T, 1> db(5);
      stroma::linear_backward(ctx, v.view(), w.view(), d.view(), {as_view(dx), as_view(dw), as_view(db)});
      CHECK(same_matrix(dx, d_x));
      CHECK(same_matrix(dw, d_weight));
      CHECK(std::equal(db.begin(), db.end(), d_bias.begin()));
    }
  laid_out<T> columns(as_const_view(expected), layout::columns), d_columns(as_const_view(x), layout::columns);
  CHECK_THROWS_WITH_AS(stroma::linear(ctx, x, weight, bias, columns.view()),
                       "linear: out: elements 33 apart, expected neighbours", stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::linear_backward(ctx, x, weight, d_out, {d_columns.view(), {}, {}}),
                       "linear_backward: gradients.x: elements 33 apart, expected neighbours", stroma::shape_error);
  const std::vector<T> twice(10);
  CHECK_THROWS_WITH_AS(stroma::linear(ctx, x, weight, vector_view<const T>(twice.data(), 5, 2), array<T, 2>(33, 5)),
                       "linear: bias: elements 2 apart, expected neighbours", stroma::shape_error);
  // One column may have any stride.
  laid_out<T> single(as_const_view(array<T, 2>(33, 1)), layout::apart);
  CHECK_NOTHROW(stroma::linear(ctx, x, as_const_view(weight).middle_rows(0, 1), vector_view<const T>(), single.view()));
}

TEST_CASE("linear: gradients of input, weight and bias for every activation") {
  const auto x = normal_matrix<double>(6, 5, 1), weight = normal_matrix<double>(4, 5, 2),
             bias = normal_matrix<double>(1, 4, 3);
  for (const activation f : activations) {
    CAPTURE(static_cast<int>(f));
    CHECK(graph_gradient_error({x, weight, bias}, [&](graph<double>& g, const std::vector<node>& n) {
            return stroma::linear(g, n[0], n[1], n[2], {.activate = f});
          }) < gradient_tolerance);
    CHECK(graph_gradient_error({x, weight}, [&](graph<double>& g, const std::vector<node>& n) {
            return stroma::linear(g, n[0], n[1], node{}, {.activate = f});
          }) < gradient_tolerance);
  }
}

TEST_CASE_TEMPLATE("linear: the graph adds what the plain backward adds", T, float, double) {
  cpu_context ctx(3);
  const auto x = normal_matrix<T>(600, 9, 1), d_out = normal_matrix<T>(600, 4, 4);
  linear_layer<T> layer(9, 4);
  layer.weight = normal_matrix<T>(4, 9, 2);
  layer.bias = normal_vector<T>(4, 3);
  auto gradient = stroma::zeros_like(layer), expected = gradient;
  array<T, 2> d_x(600, 9), expected_x(600, 9);
  stroma::linear_backward(ctx, x, layer.weight, d_out,
                          {as_view(expected_x), as_view(expected.weight), as_view(expected.bias)});
  graph<T> g(ctx);
  g.bind(layer, gradient);
  g.backward(layer(g, g.variable(as_const_view(x), as_view(d_x))), as_const_view(d_out));
  CHECK(same_matrix(d_x, expected_x));
  CHECK(same_matrix(gradient.weight, expected.weight));
  CHECK(std::equal(gradient.bias.begin(), gradient.bias.end(), expected.bias.begin()));
  // Gradients do not depend on the number of threads, and add.
  cpu_context one;
  array<T, 2> again(4, 9);
  stroma::linear_backward(one, x, layer.weight, d_out, {{}, as_view(again), {}});
  CHECK(same_matrix(again, expected.weight));
}

TEST_CASE_TEMPLATE("linear: fused activations, separate ones and inference have the same bits", T, float, double) {
  cpu_context ctx(2);
  const auto x = normal_matrix<T>(300, 19, 1);
  linear_layer<T> layer(19, 37);
  layer.weight = normal_matrix<T>(37, 19, 2);
  layer.bias = normal_vector<T>(37, 3);
  auto gradient = stroma::zeros_like(layer);
  for (const activation f : activations) {
    CAPTURE(static_cast<int>(f));
    graph<T> train(ctx), infer(ctx, graph_mode::inference);
    train.bind(layer, gradient);
    const auto fused = train.value(layer(train, train.input(x), {.activate = f}));
    CHECK(same_matrix(train.value(stroma::activate(train, f, layer(train, train.input(x)))), fused));
    CHECK(same_matrix(infer.value(layer(infer, infer.input(x), {.activate = f})), fused));
    CHECK(same_matrix(infer.value(stroma::activate(infer, f, layer(infer, infer.input(x)))), fused));
  }
}

TEST_CASE_TEMPLATE("linear: 16-bit inputs are widened", S, stroma::half, stroma::bfloat16) {
  cpu_context ctx;
  const auto x = normal_matrix<S>(40, 11, 1);
  array<float, 2> wide(40, 11), out(40, 3), expected(40, 3);
  for (index_t i = 0; i < x.size(); ++i) wide.data()[i] = to_float(x.data()[i]);
  const auto weight = normal_matrix<float>(3, 11, 2);
  const auto bias = normal_vector<float>(3, 3);
  stroma::linear(ctx, x, weight, bias, out);
  stroma::linear(ctx, wide, weight, bias, expected);
  CHECK(same_matrix(out, expected));
}

TEST_CASE("linear: messages") {
  cpu_context ctx;
  const array<float, 2> x(3, 4), weight(5, 4), narrow(5, 3);
  const array<float, 1> bias(5), short_bias(4);
  array<float, 2> out(3, 5), wrong(3, 4);
  CHECK_THROWS_WITH_AS(stroma::linear(ctx, x, narrow, bias, out),
                       "linear: x: 4 columns, expected 3 (the width of weight)", stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::linear(ctx, x, weight, short_bias, out),
                       "linear: bias: length 4, expected 5 (the rows of weight)", stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::linear(ctx, x, weight, bias, wrong), "linear: out: shape 3 x 4, expected 3 x 5",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::linear_backward(ctx, x, weight, wrong, {}),
                       "linear_backward: d_out: shape 3 x 4, expected 3 x 5", stroma::shape_error);
  graph<float> g(ctx);
  CHECK_THROWS_WITH_AS(stroma::linear(g, g.input(x), g.input(narrow), node{}),
                       "linear: x: 4 columns, expected 3 (the width of weight)", stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::linear(g, g.input(x), g.input(weight), g.input(short_bias)),
                       "linear: bias: shape 1 x 4, expected 1 x 5", stroma::shape_error);
  CHECK_THROWS_AS(stroma::linear(g, g.input(x), g.input(weight), g.input(array<float, 2>(5, 1))), stroma::shape_error);
}

TEST_CASE("linear: the second call takes no memory, and an empty batch is fine") {
  cpu_context ctx(2);
  const auto x = normal_matrix<float>(300, 40, 1), weight = normal_matrix<float>(21, 40, 2);
  const auto bias = normal_vector<float>(21, 3);
  array<float, 2> out(300, 21), d_x(300, 40), d_weight(21, 40);
  array<float, 1> d_bias(21);
  const auto call = [&] {
    stroma::linear(ctx, x, weight, bias, out, {.activate = activation::relu});
    stroma::linear_backward(ctx, x, weight, out, {as_view(d_x), as_view(d_weight), as_view(d_bias)});
  };
  call();
  CHECK(allocations_in(call) == 0);
  stroma::linear(ctx, array<float, 2>(0, 40), weight, bias, array<float, 2>(0, 21));
}
