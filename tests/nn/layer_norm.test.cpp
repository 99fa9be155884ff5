#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/layer_norm.hpp>

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
using stroma::layer_norm_layer;
using stroma::node;
using stroma::vector_view;

namespace {

struct moments {
  long double mean = 0, deviation = 0;
};
template <class Row>
moments of_row(const Row& x, long double epsilon) {
  moments m;
  long double square = 0;
  for (index_t j = 0; j < x.size; ++j) m.mean += static_cast<long double>(x[j]) / static_cast<long double>(x.size);
  for (index_t j = 0; j < x.size; ++j) {
    const auto apart = static_cast<long double>(x[j]) - m.mean;
    square += apart * apart / static_cast<long double>(x.size);
  }
  m.deviation = std::sqrt(square + epsilon);
  return m;
}

}  // namespace

TEST_CASE_TEMPLATE("layer_norm: against the definition, in every layout, alone and in a batch", T, float, double) {
  const auto eps = static_cast<long double>(std::numeric_limits<T>::epsilon());
  for (const index_t cols : {1, 31, 32, 33, 1025})
    for (const double shift : {0.0, 100.0}) {
      CAPTURE(cols);
      auto x = normal_matrix<T>(37, cols, 1);
      for (T& v : x) v += static_cast<T>(shift);
      const auto gain = normal_vector<T>(cols, 2), bias = normal_vector<T>(cols, 3);
      array<T, 2> expected(37, cols);
      cpu_context one;
      stroma::layer_norm(one, x, gain, bias, expected);
      CHECK(worst_error(
                expected,
                [&](index_t i, index_t j) {
                  const auto m = of_row(as_const_view(x).row(i), 1e-5L);
                  return static_cast<long double>(gain[j]) * (static_cast<long double>(x(i, j)) - m.mean) /
                             m.deviation +
                         static_cast<long double>(bias[j]);
                },
                [&](index_t i, index_t j) {
                  // The mean is known to some eps of the row's size, which counts in units of the deviation.
                  const auto m = of_row(as_const_view(x).row(i), 1e-5L);
                  return 32 * eps * ((std::abs(m.mean) + 4) / m.deviation + 1) *
                             (std::abs(static_cast<long double>(gain[j])) + 1) +
                         4 * eps * std::abs(static_cast<long double>(bias[j]));
                }) <= 1);
      array<T, 2> row(1, cols);
      for (index_t r = 0; r < 37; ++r) {
        stroma::layer_norm(one, as_const_view(x).middle_rows(r, 1), gain, bias, row);
        REQUIRE(same_matrix(row, as_const_view(expected).middle_rows(r, 1)));
      }
      for (const layout a : layouts)
        for (const layout b : layouts) {
          cpu_context ctx(3);
          laid_out<T> in(as_const_view(x), a), out(as_const_view(array<T, 2>(37, cols)), b);
          const laid_out<T> w({gain.data(), 1, cols}, a), c({bias.data(), 1, cols}, b);
          stroma::layer_norm(ctx, in.view(), w.view().row(0), c.view().row(0), out.view());
          CHECK(same_matrix(out.view(), expected));
          CHECK(out.gaps_untouched());
          stroma::layer_norm(ctx, in.view(), gain, bias, in.view());
          CHECK(same_matrix(in.view(), expected));
        }
    }
}

TEST_CASE("layer_norm: gradients of x, gain and bias") {
  for (const index_t rows : {1, 5}) {
    const auto x = normal_matrix<double>(rows, 9, 1, 2), gain = normal_matrix<double>(1, 9, 2),
               bias = normal_matrix<double>(1, 9, 3);
    CHECK(graph_gradient_error({x, gain, bias}, [](graph<double>& g, const std::vector<node>& n) {
            return stroma::layer_norm(g, n[0], n[1], n[2]);
          }) < gradient_tolerance);
    CHECK(graph_gradient_error({x}, [](graph<double>& g, const std::vector<node>& n) {
            return stroma::layer_norm(g, n[0], node{}, node{}, {.epsilon = 0.1});
          }) < gradient_tolerance);
    CHECK(graph_gradient_error({x, gain}, [](graph<double>& g, const std::vector<node>& n) {
            return stroma::layer_norm(g, n[0], n[1], node{});
          }) < gradient_tolerance);
  }
}

TEST_CASE_TEMPLATE("layer_norm: backward adds, the same for any number of threads, any layout, and on the graph", T,
                   float, double) {
  const index_t rows = 1025, cols = 19;
  const auto x = normal_matrix<T>(rows, cols, 1), d = normal_matrix<T>(rows, cols, 2),
             start = normal_matrix<T>(rows, cols, 3);
  layer_norm_layer<T> layer(cols);
  layer.weight = normal_vector<T>(cols, 4);
  layer_norm_layer<T> gradient = stroma::zeros_like(layer), expected = gradient;
  array<T, 2> d_x = start, expected_x = start;
  cpu_context one;
  stroma::layer_norm_backward(one, x, layer.weight, d,
                              {as_view(expected_x), as_view(expected.weight), as_view(expected.bias)});
  for (const int threads : {1, 2, 3})
    for (const layout how : layouts) {
      cpu_context ctx(threads);
      const laid_out<T> in(as_const_view(x), how), out(as_const_view(d), how);
      laid_out<T> target(as_const_view(start), how);
      array<T, 1> d_gain(cols), d_bias(cols);
      stroma::layer_norm_backward(ctx, in.view(), layer.weight, out.view(),
                                  {target.view(), as_view(d_gain), as_view(d_bias)});
      CHECK(same_matrix(target.view(), expected_x));
      CHECK(std::equal(d_gain.begin(), d_gain.end(), expected.weight.begin()));
      CHECK(std::equal(d_bias.begin(), d_bias.end(), expected.bias.begin()));
    }
  graph<T> g(one);
  g.bind(layer, gradient);
  g.backward(layer(g, g.variable(as_const_view(x), as_view(d_x))), as_const_view(d));
  CHECK(same_matrix(d_x, expected_x));
  CHECK(std::equal(gradient.weight.begin(), gradient.weight.end(), expected.weight.begin()));
  CHECK(std::equal(gradient.bias.begin(), gradient.bias.end(), expected.bias.begin()));
}

TEST_CASE_TEMPLATE(
    "layer_norm: the layer is named as in PyTorch, begins as 1 and 0; inference has the bits of training", T, float,
    double) {
  cpu_context ctx(2);
  layer_norm_layer<T> layer(5);
  std::string names;
  stroma::for_each_parameter(
      [&](std::string_view name, const auto& p) { names += std::string(name) + (p[0] == T(1) ? "=1 " : "=0 "); },
      layer);
  CHECK(names == "weight=1 bias=0 ");
  layer.weight = normal_vector<T>(5, 4);
  layer.bias = normal_vector<T>(5, 5);
  const auto x = normal_matrix<T>(300, 5, 1);
  const auto small = normal_matrix<stroma::bfloat16>(300, 5, 1);
  graph<T> train(ctx), infer(ctx, graph_mode::inference);
  CHECK(same_matrix(infer.value(layer(infer, infer.input(x))), train.value(layer(train, train.input(x)))));
  CHECK(same_matrix(infer.value(layer(infer, infer.input(small))), train.value(layer(train, train.input(small)))));
}

TEST_CASE("layer_norm: constant rows, NaN, messages, memory") {
  cpu_context ctx(2);
  const vector_view<const double> none;
  array<double, 2> x(3, 4), out(3, 4), wrong(3, 5);
  for (index_t j = 0; j < 4; ++j) x(1, j) = 7, x(2, j) = double(j);
  x(0, 1) = std::numeric_limits<double>::quiet_NaN();
  stroma::layer_norm(ctx, x, none, none, out);
  for (index_t j = 0; j < 4; ++j) {
    CHECK(std::isnan(out(0, j)));
    CHECK(out(1, j) == 0);
    CHECK(std::isfinite(out(2, j)));
  }
  const array<double, 1> short_gain(3), gain(4);
  CHECK_THROWS_WITH_AS(stroma::layer_norm(ctx, x, short_gain, none, out),
                       "layer_norm: gain: length 3, expected 4 (the columns of x)", stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::layer_norm(ctx, x, gain, short_gain, out),
                       "layer_norm: bias: length 3, expected 4 (the columns of x)", stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::layer_norm(ctx, x, gain, none, wrong), "layer_norm: out: shape 3 x 5, expected 3 x 4",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::layer_norm(ctx, x, gain, none, out, {.epsilon = 0}),
                       "layer_norm: epsilon: 0, expected a number above 0", stroma::value_error);
  CHECK_THROWS_AS(stroma::layer_norm_backward(ctx, x, gain, wrong, {}), stroma::shape_error);
  graph<double> g(ctx);
  CHECK_THROWS_WITH_AS(stroma::layer_norm(g, g.input(x), g.input(short_gain), node{}),
                       "layer_norm: gain: shape 1 x 3, expected 1 x 4", stroma::shape_error);
  array<double, 1> d_gain(4);
  const auto call = [&] {
    stroma::layer_norm(ctx, x, gain, none, out);
    stroma::layer_norm_backward(ctx, x, gain, out, {as_view(x), as_view(d_gain), {}});
  };
  call();
  CHECK(allocations_in(call) == 0);
  stroma::layer_norm(ctx, array<double, 2>(0, 4), gain, none, array<double, 2>(0, 4));
}
