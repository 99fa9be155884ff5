#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/activations.hpp>
#include <stroma/nn/feed_forward.hpp>
#include <stroma/nn/initialise.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/gradient.hpp"
#include "../support/graph_gradient.hpp"
#include "../support/matrices.hpp"

using namespace stroma_test;
using stroma::activation;
using stroma::array;
using stroma::as_const_view;
using stroma::as_view;
using stroma::cpu_context;
using stroma::feed_forward;
using stroma::graph;
using stroma::graph_mode;
using stroma::node;

TEST_CASE("feed_forward: layers are numbered") {
  const feed_forward<float> model({5, 7, 3});
  std::string names;
  stroma::for_each_parameter([&](std::string_view name, const auto&) { names += std::string(name) + " "; }, model);
  CHECK(names == "0.weight 0.bias 1.weight 1.bias ");
  CHECK(model.layers[0].weight.rows() == 7);
  CHECK(model.layers[1].weight.cols() == 7);
  CHECK(stroma::parameter_count(model) == 5 * 7 + 7 + 7 * 3 + 3);
}

TEST_CASE_TEMPLATE(
    "feed_forward: is its layers, activations and dropout one after another; inference has the bits of training", T,
    float, double) {
  cpu_context ctx(2);
  feed_forward<T> model({5, 33, 17, 3}, {.between = activation::gelu, .after = activation::tanh, .dropout = 0.25});
  stroma::initialise(model, 1);
  const auto x = normal_matrix<T>(300, 5, 2);
  graph<T> g(ctx), h(ctx), infer(ctx, graph_mode::inference), plain(ctx);
  g.set_random(1, 2);
  h.set_random(1, 2);
  node step = h.input(x);
  for (std::size_t i = 0; i < 3; ++i) {
    step = model.layers[i](h, step);
    step = i < 2 ? stroma::dropout(h, stroma::gelu(h, step), 0.25) : stroma::tanh(h, step);
  }
  CHECK(same_matrix(g.value(model(g, g.input(x))), h.value(step)));
  auto without = model;
  without.options.dropout = 0;
  CHECK(same_matrix(infer.value(model(infer, infer.input(x))), plain.value(without(plain, plain.input(x)))));
}

TEST_CASE("feed_forward: gradients of input and every parameter, with dropout") {
  cpu_context ctx;
  feed_forward<double> model({4, 5, 3}, {.between = activation::tanh, .after = activation::sigmoid, .dropout = 0.5});
  stroma::initialise(model, 3);
  const auto x = normal_matrix<double>(6, 4, 1), weight = normal_matrix<double>(6, 3, 2);
  auto gradient = stroma::zeros_like(model);
  array<double, 2> d_x(6, 4);
  const auto run = [&](graph<double>& g, const feed_forward<double>& m, node in) {
    g.set_random(1, 2);
    return m(g, in);
  };
  graph<double> g(ctx);
  g.bind(model, gradient);
  g.backward(run(g, model, g.variable(as_const_view(x), as_view(d_x))), as_const_view(weight));
  std::vector<double> values, analytic(d_x.begin(), d_x.end());
  values.assign(x.begin(), x.end());
  stroma::for_each_parameter(
      [&](std::string_view, const auto& p, const auto& d) {
        values.insert(values.end(), p.begin(), p.end());
        analytic.insert(analytic.end(), d.begin(), d.end());
      },
      model, gradient);
  auto at = model;
  auto in = x;
  const auto loss = [&](const std::vector<double>& v) {
    auto from = v.begin();
    for (double& e : in) e = *from++;
    stroma::for_each_parameter(
        [&](std::string_view, auto& p) {
          for (double& e : p) e = *from++;
        },
        at);
    graph<double> f(ctx);
    const auto out = f.value(run(f, at, f.input(in)));
    double sum = 0;
    for (index_t i = 0; i < 18; ++i) sum += out.data[i] * weight.data()[i];
    return sum;
  };
  CHECK(gradient_error(loss, values, analytic) < gradient_tolerance);
}

TEST_CASE("feed_forward: messages and memory") {
  CHECK_THROWS_WITH_AS(feed_forward<float>({4}),
                       "feed_forward: widths: 1 entries, expected 2 or more (in, hidden .., out)", stroma::shape_error);
  CHECK_THROWS_WITH_AS(feed_forward<float>({4, 3}, {.dropout = 1}),
                       "feed_forward: rate: 1, expected 0 or more and below 1", stroma::value_error);
  cpu_context ctx;
  const feed_forward<float> model({4, 5, 3}, {.dropout = 0.1});
  const array<float, 2> x(7, 4);
  for (const auto mode : {graph_mode::training, graph_mode::inference}) {
    graph<float> g(ctx, mode);
    const auto step = [&] {
      g.reset();
      g.value(model(g, g.input(x)));
    };
    step();
    g.reset();
    CHECK(allocations_in(step) == 0);
  }
}
