#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/activations.hpp>

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
using stroma::node;

namespace {

/// One function under test: its verbs under their own names, and its definition.
struct verb {
  const char* name;
  activation which;
  long double (*value)(long double);
  bool from_argument;  // the derivative is computed from the argument, not from the value
};
constexpr verb verbs[] = {
    {"relu", activation::relu, [](long double x) { return x > 0 ? x : 0; }, false},
    {"tanh", activation::tanh, [](long double x) { return std::tanh(x); }, false},
    {"sigmoid", activation::sigmoid, [](long double x) { return 1 / (1 + std::exp(-x)); }, false},
    {"gelu", activation::gelu, [](long double x) { return x * 0.5L * std::erfc(-x / std::sqrt(2.0L)); }, true},
    {"elu", activation::elu, [](long double x) { return x > 0 ? x : std::expm1(x); }, false},
};

template <class X, class Y>
void forward(cpu_context& ctx, const verb& v, const X& x, Y&& out) {
  switch (v.which) {
    case activation::relu:
      return stroma::relu(ctx, x, out);
    case activation::tanh:
      return stroma::tanh(ctx, x, out);
    case activation::sigmoid:
      return stroma::sigmoid(ctx, x, out);
    case activation::gelu:
      return stroma::gelu(ctx, x, out);
    case activation::elu:
      return stroma::elu(ctx, x, out);
    case activation::identity:
      return;
  }
}
template <class X, class D, class G>
void backward(cpu_context& ctx, const verb& v, const X& saved, const D& d, G&& d_x) {
  switch (v.which) {
    case activation::relu:
      return stroma::relu_backward(ctx, saved, d, d_x);
    case activation::tanh:
      return stroma::tanh_backward(ctx, saved, d, d_x);
    case activation::sigmoid:
      return stroma::sigmoid_backward(ctx, saved, d, d_x);
    case activation::gelu:
      return stroma::gelu_backward(ctx, saved, d, d_x);
    case activation::elu:
      return stroma::elu_backward(ctx, saved, d, d_x);
    case activation::identity:
      return;
  }
}
template <class T>
node record(graph<T>& g, const verb& v, node x) {
  switch (v.which) {
    case activation::relu:
      return stroma::relu(g, x);
    case activation::tanh:
      return stroma::tanh(g, x);
    case activation::sigmoid:
      return stroma::sigmoid(g, x);
    case activation::gelu:
      return stroma::gelu(g, x);
    case activation::elu:
      return stroma::elu(g, x);
    case activation::identity:
      break;
  }
  return x;
}

}  // namespace

TEST_CASE_TEMPLATE("activations: against the definitions, in every layout, in place, with any number of threads", T,
                   float, double) {
  const auto eps = static_cast<long double>(std::numeric_limits<T>::epsilon());
  for (const verb& v : verbs)
    for (const index_t rows : {1, 31, 32, 33, 1025}) {
      CAPTURE(v.name);
      const auto x = normal_matrix<T>(rows, 67, 1, 3);
      array<T, 2> expected(rows, 67);
      cpu_context one;
      forward(one, v, x, expected);
      CHECK(worst_error(
                expected, [&](index_t i, index_t j) { return v.value(static_cast<long double>(x(i, j))); },
                [&](index_t i, index_t j) { return 6 * eps * (1 + std::abs(static_cast<long double>(x(i, j)))); }) <=
            1);
      for (const layout a : layouts)
        for (const layout b : layouts) {
          cpu_context ctx(2);
          laid_out<T> in(as_const_view(x), a), out(as_const_view(array<T, 2>(rows, 67)), b);
          forward(ctx, v, in.view(), out.view());
          CHECK(same_matrix(out.view(), expected));
          CHECK(out.gaps_untouched());
          forward(ctx, v, in.view(), in.view());
          CHECK(same_matrix(in.view(), expected));
        }
      cpu_context three(3);
      array<T, 2> again(rows, 67);
      stroma::activate(three, v.which, x, again);
      CHECK(same_matrix(again, expected));
    }
}

TEST_CASE_TEMPLATE("activations: backward adds, in every layout, what the graph adds", T, float, double) {
  cpu_context ctx(2);
  for (const verb& v : verbs) {
    CAPTURE(v.name);
    const auto x = normal_matrix<T>(33, 35, 1), d = normal_matrix<T>(33, 35, 2), start = normal_matrix<T>(33, 35, 3);
    array<T, 2> out(33, 35);
    auto d_x = start, expected = start;
    forward(ctx, v, x, out);
    graph<T> g(ctx);
    g.backward(record(g, v, g.variable(as_const_view(x), as_view(expected))), as_const_view(d));
    const auto& saved = v.from_argument ? x : out;
    backward(ctx, v, saved, d, d_x);
    CHECK(same_matrix(d_x, expected));
    for (const layout a : layouts)
      for (const layout b : layouts) {
        const laid_out<T> s(as_const_view(saved), a), e(as_const_view(d), b);
        laid_out<T> target(as_const_view(start), a);
        backward(ctx, v, s.view(), e.view(), target.view());
        CHECK(same_matrix(target.view(), expected));
        CHECK(target.gaps_untouched());
      }
    auto generic = start;
    stroma::activate_backward(ctx, v.which, saved, d, generic);
    CHECK(same_matrix(generic, expected));
  }
}

TEST_CASE("activations: gradients") {
  const auto x = normal_matrix<double>(7, 9, 1);
  for (const verb& v : verbs) {
    CAPTURE(v.name);
    CHECK(graph_gradient_error({x}, [&](graph<double>& g, const std::vector<node>& n) { return record(g, v, n[0]); }) <
          gradient_tolerance);
    // A second consumer of the same node: its gradient adds.
    CHECK(graph_gradient_error({x}, [&](graph<double>& g, const std::vector<node>& n) {
            return record(g, v, record(g, v, n[0]));
          }) < gradient_tolerance);
  }
}

TEST_CASE_TEMPLATE("activations: inference has the bits of training, also of strided and 16-bit inputs", T, float,
                   double) {
  cpu_context ctx(2);
  const auto x = normal_matrix<T>(300, 35, 1);
  const auto small = normal_matrix<stroma::half>(300, 35, 1);
  for (const verb& v : verbs)
    for (const layout how : layouts) {
      CAPTURE(v.name);
      const laid_out<T> in(as_const_view(x), how);
      const laid_out<stroma::half> narrow(as_const_view(small), how);
      graph<T> train(ctx), infer(ctx, graph_mode::inference);
      CHECK(same_matrix(infer.value(record(infer, v, infer.input(in.view()))),
                        train.value(record(train, v, train.input(in.view())))));
      const auto wide = train.value(record(train, v, train.input(narrow.view())));
      CHECK(same_matrix(infer.value(record(infer, v, infer.input(narrow.view()))), wide));
      array<T, 2> out(300, 35);
      forward(ctx, v, narrow.view(), out);
      CHECK(same_matrix(out, wide));
    }
}

TEST_CASE_TEMPLATE("activations: NaN stays NaN, and the ends of the scale", T, float, double) {
  cpu_context ctx;
  const T nan = std::numeric_limits<T>::quiet_NaN(), inf = std::numeric_limits<T>::infinity();
  array<T, 2> x(3, 37), out(3, 37);
  for (index_t i = 0; i < x.size(); i += 2) x.data()[i] = nan;
  for (const verb& v : verbs) {
    CAPTURE(v.name);
    forward(ctx, v, x, out);
    for (index_t i = 0; i < x.size(); ++i) CHECK(std::isnan(out.data()[i]) == (i % 2 == 0));
  }
  array<T, 2> ends(1, 4), found(1, 4);
  ends(0, 0) = inf, ends(0, 1) = -inf, ends(0, 2) = T(1e4), ends(0, 3) = T(-1e4);
  const auto row = [&](const verb& v) {
    forward(ctx, v, ends, found);
    return std::vector<T>(found.begin(), found.end());
  };
  CHECK(row(verbs[0]) == std::vector<T>{inf, 0, T(1e4), 0});
  CHECK(row(verbs[1]) == std::vector<T>{1, -1, 1, -1});
  CHECK(row(verbs[2]) == std::vector<T>{1, 0, 1, 0});
  CHECK(row(verbs[4]) == std::vector<T>{inf, -1, T(1e4), -1});
  const auto gelu = row(verbs[3]);
  CHECK(gelu[0] == inf);
  CHECK(gelu[2] == T(1e4));
  CHECK(gelu[3] == T(0));
}

TEST_CASE("activations: messages") {
  cpu_context ctx;
  const array<float, 2> x(3, 4);
  array<float, 2> wrong(4, 3), right(3, 4);
  CHECK_THROWS_WITH_AS(stroma::relu(ctx, x, wrong), "relu: out: shape 4 x 3, expected 3 x 4", stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::activate(ctx, activation::elu, x, wrong), "activate: out: shape 4 x 3, expected 3 x 4",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::gelu_backward(ctx, wrong, x, right), "gelu_backward: x: shape 4 x 3, expected 3 x 4",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::tanh_backward(ctx, wrong, x, right), "tanh_backward: out: shape 4 x 3, expected 3 x 4",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::elu_backward(ctx, x, x, wrong), "elu_backward: d_x: shape 4 x 3, expected 3 x 4",
                       stroma::shape_error);
}

TEST_CASE("activations: the second call takes no memory, and no rows are fine") {
  cpu_context ctx(2);
  const auto x = normal_matrix<float>(300, 35, 1);
  laid_out<float> out(as_const_view(x), layout::columns);
  const auto call = [&] {
    stroma::tanh(ctx, x, out.view());
    stroma::tanh_backward(ctx, out.view(), x, out.view());
  };
  call();
  CHECK(allocations_in(call) == 0);
  stroma::relu(ctx, array<float, 2>(0, 4), array<float, 2>(0, 4));
}
