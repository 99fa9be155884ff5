#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/pooling/mean_embedding.hpp>

#include "support/counting_allocator.hpp"
#include "support/graph_gradient.hpp"
#include "support/matrices.hpp"
#include "support/message_of.hpp"

using namespace stroma;
using stroma_test::normal_matrix;
using stroma_test::normal_vector;

namespace {

constexpr index_t in = 11, out = 7;

template <class T>
struct found {
  array<T, 2> mean{1, out}, d_weight{out, in};
  array<T, 1> d_bias{out};
};

/// The verb's mean, and its gradients for a derivative of the mean.
template <class T, class S>
found<T> trained(cpu_context& ctx, const array<S, 2>& x, const array<T, 2>& weight, const array<T, 1>& bias,
                 const array<T, 2>& d_mean, activation f) {
  found<T> to;
  graph<T> g(ctx);
  g.bind(weight, to.d_weight);
  g.bind(bias, to.d_bias);
  const node u = mean_embedding(g, g.input(x), g.parameter(weight), g.parameter(bias), {.activate = f});
  primitives<backend::cpu>::copy(ctx, g.value(u), as_view(to.mean));
  g.backward(u, as_const_view(d_mean));
  return to;
}

/// The definition, in long double, of one hidden unit: its mean, and the means of its slopes times (x, 1).
template <class T, class S>
struct plain_unit {
  long double mean = 0, slope = 0, size = 0;
  std::vector<long double> slopes = std::vector<long double>(in);
  plain_unit(const array<S, 2>& x, const array<T, 2>& weight, const array<T, 1>& bias, index_t h, activation f) {
    const auto rows = static_cast<long double>(x.rows());
    for (index_t n = 0; n < x.rows(); ++n) {
      long double z = static_cast<long double>(bias[h]);
      for (index_t j = 0; j < in; ++j)
        z += static_cast<long double>(widen<T>(x(n, j))) * static_cast<long double>(weight(h, j));
      const long double y = f == activation::relu ? std::max(z, 0.0L) : f == activation::tanh ? std::tanh(z) : z;
      const long double d = f == activation::relu ? (z > 0 ? 1 : 0) : f == activation::tanh ? 1 - y * y : 1;
      mean += y / rows;
      size += std::abs(z) / rows;
      slope += d / rows;
      for (index_t j = 0; j < in; ++j)
        slopes[static_cast<std::size_t>(j)] += d * static_cast<long double>(widen<T>(x(n, j))) / rows;
    }
  }
};

template <class T, class S>
void check_against_definition(index_t rows, activation f) {
  CAPTURE(rows);
  const auto x = normal_matrix<S>(rows, in, 1);
  const auto weight = normal_matrix<T>(out, in, 2, 0.4), d_mean = normal_matrix<T>(1, out, 4);
  const auto bias = normal_vector<T>(out, 3);
  cpu_context ctx(2);
  const auto to = trained<T>(ctx, x, weight, bias, d_mean, f);
  // Products of `in` terms, sums of `rows` of them with magnitudes of a few units.
  const double tolerance =
      (in + std::sqrt(static_cast<double>(rows)) + 8) * 4 * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (index_t h = 0; h < out; ++h) {
    const plain_unit<T, S> expected(x, weight, bias, h, f);
    const auto d = static_cast<long double>(d_mean(0, h));
    CHECK(std::abs(static_cast<double>(to.mean(0, h) - static_cast<T>(expected.mean))) <= tolerance);
    CHECK(std::abs(static_cast<double>(to.d_bias[h] - static_cast<T>(d * expected.slope))) <=
          tolerance * static_cast<double>(std::abs(d)));
    for (index_t j = 0; j < in; ++j)
      CHECK(std::abs(static_cast<double>(to.d_weight(h, j) -
                                         static_cast<T>(d * expected.slopes[static_cast<std::size_t>(j)]))) <=
            tolerance * static_cast<double>(std::abs(d)));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("mean_embedding: mean and gradients are the definition's", T, float, double) {
  for (const index_t rows : {1, 31, 33, 1007, 1008, 1009, 2500})
    for (const activation f : {activation::relu, activation::tanh, activation::identity})
      check_against_definition<T, T>(rows, f);
}
TEST_CASE_TEMPLATE("mean_embedding: 16-bit storage", S, half, bfloat16) {
  check_against_definition<float, S>(1100, activation::relu);
}

TEST_CASE("mean_embedding: gradients, also of instances") {
  const std::vector<array<double, 2>> inputs{normal_matrix<double>(40, in, 5), normal_matrix<double>(out, in, 6),
                                             normal_matrix<double>(1, out, 7)};
  for (const activation f : {activation::tanh, activation::gelu}) {
    CHECK(stroma_test::graph_gradient_error(inputs, [&](graph<double>& g, const std::vector<node>& n) {
            return mean_embedding(g, n[0], n[1], n[2], {.activate = f});
          }) < 1);
    CHECK(stroma_test::graph_gradient_error({inputs[1], inputs[2]}, [&](graph<double>& g, const std::vector<node>& n) {
            return mean_embedding(g, g.input(inputs[0]), n[0], n[1], {.activate = f});
          }) < 1);
    CHECK(stroma_test::graph_gradient_error({inputs[1]}, [&](graph<double>& g, const std::vector<node>& n) {
            return mean_embedding(g, g.input(inputs[0]), n[0], node{}, {.activate = f});
          }) < 1);
  }
}

TEST_CASE_TEMPLATE("mean_embedding: as the two verbs, in training and inference, of one bag and of several", T, float,
                   double) {
  const auto x = normal_matrix<T>(600, in, 1);
  const std::vector<index_t> offsets{0, 100, 101, 600};
  const auto weight = normal_matrix<T>(out, in, 2);
  const auto bias = normal_vector<T>(out, 3);
  cpu_context ctx;
  for (const bool several : {false, true})
    for (const auto mode : {graph_mode::training, graph_mode::inference}) {
      graph<T> g(ctx, mode);
      array<T, 2> d_weight(out, in);
      g.bind(weight, d_weight);
      const node bags =
          several ? g.input(bag_view<const T>{as_const_view(x), {offsets.data(), static_cast<index_t>(offsets.size())}})
                  : g.input(x);
      const node w = g.parameter(weight), b = g.parameter(bias);
      const auto expected = g.value(mean_pool(g, linear(g, bags, w, b, {.activate = activation::relu})));
      const auto to = g.value(mean_embedding(g, bags, w, b));
      REQUIRE(to.rows == expected.rows);
      for (index_t i = 0; i < to.rows; ++i)
        for (index_t h = 0; h < out; ++h)
          CHECK(std::abs(to(i, h) - expected(i, h)) <= 32 * std::numeric_limits<T>::epsilon() * expected(i, h));
    }
}

TEST_CASE("mean_embedding: the same bits for any number of threads, no N rows kept, no memory the second time") {
  const auto x = normal_matrix<float>(30000, in, 1);
  const auto weight = normal_matrix<float>(out, in, 2), d_mean = normal_matrix<float>(1, out, 4);
  const auto bias = normal_vector<float>(out, 3);
  found<float> first;
  for (const int threads : {1, 3}) {
    cpu_context ctx(threads);
    const auto to = trained<float>(ctx, x, weight, bias, d_mean, activation::relu);
    if (threads == 1) first = to;
    CHECK(std::equal(to.mean.begin(), to.mean.end(), first.mean.begin()));
    CHECK(std::equal(to.d_weight.begin(), to.d_weight.end(), first.d_weight.begin()));
    CHECK(std::equal(to.d_bias.begin(), to.d_bias.end(), first.d_bias.begin()));
  }
  cpu_context ctx;
  graph<float> g(ctx);
  array<float, 2> d_weight(out, in);
  g.bind(weight, d_weight);
  const auto step = [&] {
    g.reset();
    g.backward(mean_embedding(g, g.input(x), g.parameter(weight), g.parameter(bias)), as_const_view(d_mean));
  };
  step();
  CHECK(g.capacity() < std::size_t{30000} * out * sizeof(float));
  step();  // the second reset merges the arena's blocks
  CHECK(allocations_in(step) == 0);
}

TEST_CASE("mean_embedding: mistakes") {
  cpu_context ctx;
  graph<double> g(ctx);
  const auto x = normal_matrix<double>(5, in, 1), weight = normal_matrix<double>(out, in, 2);
  const auto narrow = normal_matrix<double>(out, in - 1, 2);
  array<double, 2> d_weight(out, in), d_narrow(out, in - 1);
  g.bind(weight, d_weight);
  g.bind(narrow, d_narrow);
  CHECK(message_of<shape_error>([&] { mean_embedding(g, g.input(x), g.parameter(narrow), {}); }) ==
        "mean_embedding: instances: 11 columns, expected 10 (the width of weight)");
  CHECK(message_of<shape_error>([&] {
          mean_embedding(g, g.input(x), g.parameter(weight), g.input(normal_matrix<double>(1, out + 1, 1)));
        }) == "mean_embedding: bias: shape 1 x 8, expected 1 x 7");
  CHECK(message_of<shape_error>([&] {
          mean_embedding(g, g.input(normal_matrix<double>(0, in, 1)), g.parameter(weight), {});
        }).starts_with("mean_pool: "));
  auto bad = x;
  bad(3, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK(message_of<value_error>([&] {
          mean_embedding(g, g.input(bad), g.parameter(weight), {});
        }).starts_with("mean_embedding: the mean over instances: "));
}
