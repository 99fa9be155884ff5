#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/autodiff/graph.hpp>
#include <stroma/nn/activations.hpp>
#include <stroma/nn/add.hpp>
#include <stroma/nn/dropout.hpp>
#include <stroma/nn/layer_norm.hpp>
#include <stroma/nn/linear.hpp>

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
using stroma::graph;
using stroma::graph_mode;
using stroma::linear_layer;
using stroma::matrix_view;
using stroma::member;
using stroma::node;
using stroma::vector_view;
using ops = stroma::primitives<stroma::backend::cpu>;

namespace {

template <class T>
linear_layer<T> layer_of(index_t in, index_t out, std::uint64_t seed) {
  linear_layer<T> l(in, out);
  l.weight = normal_matrix<T>(out, in, seed);
  l.bias = normal_vector<T>(out, seed + 1);
  return l;
}

/// A user's own verb: out = c_0 a + c_1 b, coefficients [1, 2].
template <class T>
node mix(graph<T>& g, node coefficients, node a, node b) {
  const auto x = g.value(a), y = g.value(b), c = g.value(coefficients);
  const auto emitted = g.emit(x.rows, x.cols, {coefficients, a, b});
  const node out = emitted.first;
  for (index_t i = 0; i < x.rows; ++i)
    for (index_t j = 0; j < x.cols; ++j) emitted.second(i, j) = c(0, 0) * x(i, j) + c(0, 1) * y(i, j);
  g.on_backward(out, [=](graph<T>& r) {
    const auto d = r.gradient(out);
    for (int k = 0; k < 2; ++k) {
      const node parent = k == 0 ? a : b;
      const auto v = k == 0 ? x : y;
      if (r.needs_gradient(coefficients))
        for (index_t i = 0; i < d.rows; ++i)
          for (index_t j = 0; j < d.cols; ++j) r.gradient_of(coefficients)(0, k) += d(i, j) * v(i, j);
      if (r.needs_gradient(parent)) ops::axpy(r.context(), c(0, k), d, r.gradient_of(parent));
    }
  });
  return out;
}
/// The sum of all elements, [1, 1].
template <class T>
node sum(graph<T>& g, node x) {
  const auto v = g.value(x);
  const auto emitted = g.emit(1, 1, {x});
  const node out = emitted.first;
  emitted.second(0, 0) = 0;
  for (index_t i = 0; i < v.rows; ++i)
    for (index_t j = 0; j < v.cols; ++j) emitted.second(0, 0) += v(i, j);
  g.on_backward(out, [=](graph<T>& r) {
    const T d = r.gradient(out)(0, 0);
    const auto target = r.gradient_of(x);
    for (index_t i = 0; i < v.rows; ++i)
      for (index_t j = 0; j < v.cols; ++j) target(i, j) += d;
  });
  return out;
}

template <class T>
struct two_layers {
  linear_layer<T> first, second;
  static auto members(auto& self) { return std::tuple{member{"first", self.first}, member{"second", self.second}}; }
  node operator()(graph<T>& g, node x) const { return second(g, first(g, x, {.activate = activation::tanh})); }
};

struct pair {
  linear_layer<double> shared, left, right;
  static auto members(auto& s) {
    return std::tuple{member{"shared", s.shared}, member{"left", s.left}, member{"right", s.right}};
  }
};

/// Central differences of loss(model) in all parameters against `gradient`, an object of the same struct.
template <class Model, class Loss>
double parameter_error(Model model, const Model& gradient, Loss loss) {
  std::vector<double> x, analytic;
  stroma::for_each_parameter(
      [&](std::string_view, const auto& p, const auto& d) {
        x.insert(x.end(), p.begin(), p.end());
        analytic.insert(analytic.end(), d.begin(), d.end());
      },
      model, gradient);
  const auto f = [&](const std::vector<double>& values) {
    auto from = values.begin();
    stroma::for_each_parameter(
        [&](std::string_view, auto& p) {
          for (double& v : p) v = *from++;
        },
        model);
    return loss(model);
  };
  return gradient_error(f, x, analytic);
}

}  // namespace

TEST_CASE("graph: gradients add up when one layer is used twice") {
  cpu_context ctx;
  const auto layer = layer_of<double>(4, 4, 1);
  const auto x = normal_matrix<double>(5, 4, 3, 0.5);
  auto gradient = stroma::zeros_like(layer);
  const auto record = [&](graph<double>& g, const linear_layer<double>& l) {
    return sum(g, l(g, l(g, g.input(x), {.activate = activation::tanh}), {.activate = activation::sigmoid}));
  };
  graph<double> g(ctx);
  g.bind(layer, gradient);
  g.backward(record(g, layer));
  const auto loss = [&](const linear_layer<double>& l) {
    graph<double> at(ctx);
    return at.scalar_value(record(at, l));
  };
  CHECK(parameter_error(layer, gradient, loss) < gradient_tolerance);

  // backward adds: a second step doubles what the caller did not clear.
  const auto once = gradient;
  g.reset();
  g.backward(record(g, layer));
  // ((a + b) + a) + b is rounded three times, 2 (a + b) once; no partial sum reaches 4.
  for (index_t i = 0; i < once.weight.size(); ++i)
    CHECK(std::abs(gradient.weight.data()[i] - 2 * once.weight.data()[i]) <=
          4 * 4 * std::numeric_limits<double>::epsilon() / 2);
}

TEST_CASE("graph: gradients add up when two models run through one layer") {
  cpu_context ctx;
  const pair model{layer_of<double>(3, 4, 1), layer_of<double>(4, 2, 3), layer_of<double>(4, 2, 5)};
  const auto x = normal_matrix<double>(6, 3, 7), y = normal_matrix<double>(6, 3, 8);
  const auto record = [&](graph<double>& g, const pair& m) {
    const node a = m.left(g, m.shared(g, g.input(x), {.activate = activation::gelu}));
    const node b = m.right(g, m.shared(g, g.input(y), {.activate = activation::elu}));
    return sum(g, stroma::tanh(g, stroma::add(g, a, b)));
  };
  auto gradient = stroma::zeros_like(model);
  graph<double> g(ctx);
  g.bind(model.shared, gradient.shared);  // bound one by one, as parts of two models
  g.bind(model.left, gradient.left);
  g.bind(model.right, gradient.right);
  g.backward(record(g, model));
  CHECK(parameter_error(model, gradient, [&](const pair& m) {
          graph<double> at(ctx);
          return at.scalar_value(record(at, m));
        }) < gradient_tolerance);
}

TEST_CASE("graph: a model runs with parameters that are the output of a verb") {
  cpu_context ctx;
  two_layers<double> model{layer_of<double>(3, 4, 1), layer_of<double>(4, 2, 3)};
  const auto other = layer_of<double>(3, 4, 5);
  const auto x = normal_matrix<double>(5, 3, 7);
  auto gradient = stroma::zeros_like(model);
  // first = c_0 first + c_1 other: the gradient flows into the coefficients, the model's own and the other's
  // parameters.
  const auto record = [&](graph<double>& g, const std::vector<node>& n) {
    const node coefficients = n[0];
    g.substitute(model.first.weight, mix(g, coefficients, n[1], n[2]));
    g.substitute(model.first.bias, mix(g, coefficients, n[3], n[4]));
    return model(g, g.input(x));
  };
  array<double, 2> c(1, 2), bias(1, 4), other_bias(1, 4);
  c(0, 0) = 0.7, c(0, 1) = -0.4;
  std::copy(model.first.bias.begin(), model.first.bias.end(), bias.begin());
  std::copy(other.bias.begin(), other.bias.end(), other_bias.begin());
  CHECK(graph_gradient_error({c, model.first.weight, other.weight, bias, other_bias}, record) < gradient_tolerance);

  // One long row of coefficients may stand for a matrix, and what was not substituted keeps its own gradient.
  graph<double> g(ctx);
  g.bind(model, gradient);
  const auto flat = normal_matrix<double>(1, 12, 11);
  array<double, 2> d_flat(1, 12);
  g.substitute(model.first.weight, g.variable(as_const_view(flat), as_view(d_flat)));
  g.backward(sum(g, model(g, g.input(x))));
  for (const double d : gradient.first.weight) CHECK(d == 0);
  bool any = false;
  for (const double d : d_flat) any = any || d != 0;
  CHECK(any);
  CHECK(gradient.second.bias[0] == 5);

  // Substitutions go with the reset, bindings stay.
  g.reset();
  stroma::set_zero(gradient);
  g.backward(sum(g, model(g, g.input(x))));
  any = false;
  for (const double d : gradient.first.weight) any = any || d != 0;
  CHECK(any);
  CHECK_THROWS_WITH_AS(g.substitute(model.first.weight, g.input(x)),
                       "graph::substitute: replacement: 15 elements, expected 12 (the parameter's)",
                       stroma::shape_error);
}

TEST_CASE("graph: slices share value and gradient") {
  const auto x = normal_matrix<double>(4, 6, 1);
  CHECK(graph_gradient_error({x}, [](graph<double>& g, const std::vector<node>& n) {
          const node y = stroma::tanh(g, n[0]);
          const node head = g.slice(y, 0, 2, 6), tail = g.slice(y, 6, 2, 6), all = g.slice(y, 0, 4, 6);
          return stroma::add(g, stroma::sigmoid(g, stroma::add(g, head, tail)), g.slice(all, 12, 2, 6));
        }) < gradient_tolerance);
  cpu_context ctx;
  graph<double> g(ctx);
  const node in = g.input(x);
  CHECK(g.value(g.slice(in, 7, 2, 3)).data == x.data() + 7);
  CHECK_THROWS_WITH_AS(g.slice(in, 20, 1, 5),
                       "graph::slice: first: 20 + 1 x 5, expected a part of 24 contiguous elements",
                       stroma::shape_error);
  CHECK_THROWS_AS(g.slice(in, -1, 1, 5), stroma::shape_error);
  CHECK_THROWS_AS(g.slice(g.input(as_const_view(x).transposed()), 0, 1, 5), stroma::shape_error);
  laid_out<double> apart(as_const_view(x), layout::padded_rows);
  CHECK_THROWS_AS(g.slice(g.variable(as_const_view(x), apart.view()), 0, 1, 5), stroma::shape_error);

  // A slice may be what backward starts from.
  array<double, 2> d(4, 6);
  g.reset();
  g.backward(g.slice(stroma::relu(g, g.variable(as_const_view(x), as_view(d))), 3, 1, 1));
  for (index_t i = 0; i < 24; ++i) CHECK(d.data()[i] == (i == 3 && x.data()[3] > 0 ? 1 : 0));
}

TEST_CASE("graph: a user's own verb, and gradients of variables add to what is there") {
  const auto c = normal_matrix<double>(1, 2, 1), a = normal_matrix<double>(3, 4, 2), b = normal_matrix<double>(3, 4, 3);
  CHECK(graph_gradient_error({c, a, b}, [](graph<double>& g, const std::vector<node>& n) {
          return mix(g, n[0], n[1], n[2]);
        }) < gradient_tolerance);
  CHECK(graph_gradient_error({c, a}, [](graph<double>& g, const std::vector<node>& n) {
          return mix(g, n[0], n[1], n[1]);
        }) < gradient_tolerance);
  cpu_context ctx;
  graph<double> g(ctx);
  array<double, 2> d(3, 4);
  d.fill(10);
  g.backward(sum(g, g.variable(as_const_view(a), as_view(d))), 3.0);
  for (const double v : d) CHECK(v == 13);
  // A variable and a parameter may be what backward starts from.
  g.reset();
  const auto seed = normal_matrix<double>(3, 4, 5);
  g.backward(g.variable(as_const_view(a), as_view(d)), as_const_view(seed));
  for (index_t i = 0; i < 12; ++i) CHECK(d.data()[i] == 13 + seed.data()[i]);
}

TEST_CASE_TEMPLATE("graph: inference records nothing, stores no tiles, and has the values of training", T, float,
                   double) {
  for (const int threads : {1, 3}) {
    cpu_context ctx(threads);
    const two_layers<T> model{layer_of<T>(7, 33, 1), layer_of<T>(33, 5, 3)};
    const auto norm = stroma::layer_norm_layer<T>(33);
    auto gradient = stroma::zeros_like(model);
    const auto x = normal_matrix<T>(1025, 7, 7);
    graph<T> train(ctx), infer(ctx, graph_mode::inference);
    const auto record = [&](graph<T>& g) {
      const node h = norm(g, model.first(g, g.input(x), {.activate = activation::gelu}));
      return stroma::sigmoid(g, model.second(g, stroma::relu(g, stroma::dropout(g, h, 0.0))));
    };
    train.bind(model, gradient);
    infer.bind(model, gradient);
    const node a = record(train), b = record(infer);
    CHECK(train.needs_gradient(a));
    CHECK_FALSE(infer.needs_gradient(b));
    CHECK(infer.recording() == false);
    CHECK(infer.scratch_cols(b) > 0);
    // Rows in any piece, before they exist as a whole.
    const auto expected = train.value(a);
    stroma::for_each_tile<T>(ctx, 1025, infer.scratch_cols(b),
                             [&](index_t first, index_t count, stroma::tile_scratch<T>& scratch) {
                               infer.visit_rows(b, first, count, scratch, [&](auto rows) {
                                 if (!same_matrix(rows, expected.middle_rows(first, count)))
                                   throw std::runtime_error("rows differ");
                               });
                             });
    CHECK(same_matrix(infer.value(b), expected));
    CHECK(infer.scratch_cols(b) == 0);
    // The arena holds the result and the packed weights, not what is between.
    CHECK(infer.capacity() < train.capacity() / 3);
    CHECK_THROWS_WITH_AS(infer.backward(b, infer.value(b)),
                         "graph::backward: mode: inference, expected a graph made for training", stroma::value_error);
  }
}

TEST_CASE("graph: inference of no rows has their columns") {
  cpu_context ctx;
  const auto layer = layer_of<float>(3, 4, 1);
  const array<float, 2> none(0, 3);
  for (const auto mode : {graph_mode::training, graph_mode::inference}) {
    graph<float> g(ctx, mode);
    const auto v = g.value(stroma::relu(g, layer(g, g.input(none))));
    CHECK(v.rows == 0);
    CHECK(v.cols == 4);
  }
}

TEST_CASE_TEMPLATE("graph: steps after the first two take no memory", T, float, double) {
  cpu_context ctx(2);
  const two_layers<T> model{layer_of<T>(7, 33, 1), layer_of<T>(33, 5, 3)};
  auto gradient = stroma::zeros_like(model);
  const auto x = normal_matrix<T>(300, 7, 7);
  for (const auto mode : {graph_mode::training, graph_mode::inference}) {
    graph<T> g(ctx, mode);
    g.bind(model, gradient);
    const auto step = [&] {
      g.reset();
      g.set_random(1, 2);
      g.substitute(model.second.bias, g.parameter(model.second.bias));
      const node out = stroma::dropout(g, model(g, g.input(x)), 0.25);
      if (g.recording()) g.backward(sum(g, out));
      else g.value(out);
    };
    step();
    const auto capacity_of_first = g.capacity();
    g.reset();  // here the blocks of the first step become one
    for (int k = 0; k < 5; ++k) CHECK(allocations_in(step) == 0);
    CHECK(g.capacity() == capacity_of_first);
  }
}

TEST_CASE("graph: what backward refuses") {
  cpu_context ctx;
  const auto x = normal_matrix<double>(3, 4, 1);
  array<double, 2> d(3, 4);
  graph<double> g(ctx);
  const node v = g.variable(as_const_view(x), as_view(d)), loss = sum(g, v), other = sum(g, v);
  CHECK_THROWS_WITH_AS(g.backward(v), "graph::backward: loss: shape 3 x 4, expected 1 x 1", stroma::shape_error);
  CHECK_THROWS_WITH_AS(g.backward(v, g.value(loss)), "graph::backward: derivative: shape 1 x 1, expected 3 x 4",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(g.scalar_value(v), "graph::scalar_value: node: shape 3 x 4, expected 1 x 1",
                       stroma::shape_error);
  g.backward(loss);
  const auto message = "graph::backward: call: a second backward pass, expected one a reset";
  CHECK_THROWS_WITH_AS(g.backward(loss), message, stroma::value_error);
  CHECK_THROWS_WITH_AS(g.backward(other), message, stroma::value_error);
  for (const double e : d) CHECK(e == 1);
  g.reset();
  g.backward(sum(g, g.input(x)));  // nothing needs a gradient: no error, nothing to do
  const array<double, 2> small(2, 4);
  array<double, 2> d_small(2, 4);
  CHECK_THROWS_WITH_AS(g.variable(as_const_view(x), as_view(d_small)),
                       "graph::variable: gradient: shape 2 x 4, expected 3 x 4", stroma::shape_error);
  laid_out<double> apart(as_const_view(x), layout::columns);
  CHECK_THROWS_AS(g.variable(as_const_view(x), apart.view()), stroma::value_error);
  const auto model = layer_of<double>(3, 4, 1);
  auto wrong = layer_of<double>(2, 4, 1);
  CHECK_THROWS_WITH_AS(g.bind(model, wrong), "graph::bind: weight: a gradient of 8 elements, expected 12",
                       stroma::shape_error);
}

TEST_CASE("graph: unbound parameters are constants, and a parameter can be bound again") {
  cpu_context ctx;
  const auto layer = layer_of<double>(3, 2, 1);
  auto one = stroma::zeros_like(layer), two = stroma::zeros_like(layer);
  const auto x = normal_matrix<double>(4, 3, 2);
  graph<double> g(ctx);
  const auto step = [&] {
    g.reset();
    const node out = layer(g, g.input(x));
    g.backward(sum(g, out));
    return g.needs_gradient(out);
  };
  CHECK_FALSE(step());
  g.bind(layer, one);
  CHECK(step());
  g.bind(layer, two);
  CHECK(step());
  CHECK(one.bias[0] == 4);
  CHECK(two.bias[0] == 4);
}

TEST_CASE_TEMPLATE("graph: half and bfloat16 inputs count as their numbers", S, stroma::half, stroma::bfloat16) {
  cpu_context ctx(2);
  const auto x = normal_matrix<S>(300, 9, 1);
  array<float, 2> wide(300, 9);
  ops::copy(ctx, as_const_view(x), as_view(wide));
  const two_layers<float> model{layer_of<float>(9, 20, 1), layer_of<float>(20, 3, 3)};
  auto d_narrow = stroma::zeros_like(model), d_wide = stroma::zeros_like(model);
  for (const layout how : layouts) {
    const laid_out<S> stored(as_const_view(x), how);
    graph<float> g(ctx), h(ctx), infer(ctx, graph_mode::inference);
    stroma::set_zero(d_narrow);
    stroma::set_zero(d_wide);
    g.bind(model, d_narrow);
    h.bind(model, d_wide);
    const node a = sum(g, model(g, g.input(stored.view()))), b = sum(h, model(h, h.input(wide)));
    CHECK(g.scalar_value(a) == h.scalar_value(b));
    g.backward(a);
    h.backward(b);
    stroma::for_each_parameter(
        [](std::string_view, const auto& p, const auto& q) { CHECK(std::equal(p.begin(), p.end(), q.begin())); },
        d_narrow, d_wide);
    CHECK(infer.scalar_value(sum(infer, model(infer, infer.input(stored.view())))) == h.scalar_value(b));
    CHECK(same_matrix(g.value(g.input(stored.view())), wide));
  }
}

TEST_CASE("graph: ragged inputs carry their boundaries along rows") {
  cpu_context ctx;
  const auto x = normal_matrix<double>(5, 3, 1);
  const std::vector<index_t> offsets{0, 2, 5}, wrong{0, 2, 4};
  const auto layer = layer_of<double>(3, 2, 1);
  for (const auto mode : {graph_mode::training, graph_mode::inference}) {
    graph<double> g(ctx, mode);
    const node bags = g.input(stroma::bag_view<const double>{as_const_view(x), as_offsets(offsets)});
    CHECK(g.offsets(layer(g, bags)).size == 3);
    CHECK(g.offsets(stroma::relu(g, layer(g, bags))).data == offsets.data());
    CHECK(g.offsets(g.input(x)).size == 0);
    CHECK_THROWS_WITH_AS((g.input(stroma::bag_view<const double>{as_const_view(x), as_offsets(wrong)})),
                         "graph::input: offsets: from 0 to 4, expected from 0 to 5 (the rows of instances)",
                         stroma::shape_error);
    const auto row = normal_vector<double>(4, 2);
    CHECK(g.shape(g.input(row)).rows == 1);
    CHECK(g.shape(g.input(row)).cols == 4);
  }
}

TEST_CASE("graph: every draw of a step has a key of its own, the same in every run") {
  cpu_context ctx;
  graph<float> g(ctx);
  const auto keys = [&](std::uint32_t step) {
    std::vector<std::tuple<std::uint64_t, std::uint32_t, std::uint32_t>> k;
    g.reset();
    g.set_random(42, step);
    for (int i = 0; i < 4; ++i) {
      const auto key = g.next_random_key();
      k.emplace_back(key.seed, key.step, key.layer);
    }
    return k;
  };
  const auto first = keys(7), again = keys(7), second = keys(8);
  CHECK(first == again);
  std::set<std::tuple<std::uint64_t, std::uint32_t, std::uint32_t>> all(first.begin(), first.end());
  all.insert(second.begin(), second.end());
  CHECK(all.size() == 8);
  CHECK(first[0] == std::tuple{std::uint64_t{42}, 7u, 1u});
  g.reset();
  CHECK(g.next_random_key().layer == 1);  // reset begins again; the caller sets the step
}

TEST_CASE("graph: keep copies the caller's data") {
  cpu_context ctx;
  graph<float> g(ctx);
  std::vector<std::uint8_t> mask{1, 9, 0, 9, 1, 9};
  const auto kept = g.keep(vector_view<const std::uint8_t>(mask.data(), 3, 2));
  mask.assign(6, 5);
  CHECK(kept.size == 3);
  CHECK((kept[0] == 1 && kept[1] == 0 && kept[2] == 1));
}
