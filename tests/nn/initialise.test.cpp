#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/feed_forward.hpp>
#include <stroma/nn/initialise.hpp>

#include "../support/matrices.hpp"

using namespace stroma_test;
using stroma::array;
using stroma::feed_forward;
using stroma::initialisation;
using stroma::layer_norm_layer;
using stroma::linear_layer;
using stroma::member;

namespace {

template <class T>
struct model {
  feed_forward<T> body{{50, 40, 30}};
  layer_norm_layer<T> norm{30};
  std::optional<linear_layer<T>> extra, absent;
  array<T, 1> temperature{3};
  array<T, 2> token{2, 30};
  linear_layer<T> no_bias;
  static auto members(auto& s) {
    return std::tuple{member{"body", s.body},
                      member{"norm", s.norm},
                      member{"extra", s.extra},
                      member{"absent", s.absent},
                      member{"temperature", s.temperature},
                      member{"token", s.token},
                      member{"no_bias", s.no_bias}};
  }
  model() {
    extra.emplace(30, 20);
    temperature.fill(7);
    token.fill(9);
    norm.weight.fill(5);
    norm.bias.fill(5);
    no_bias.weight = array<T, 2>(4, 30);
  }
};

template <class A>
double largest(const A& a) {
  double most = 0;
  for (const auto v : a) most = std::max(most, std::abs(static_cast<double>(v)));
  return most;
}
/// Uniform on [-bound, bound): the variance is bound^2 / 3; six standard errors of its estimate, whose seed is fixed.
template <class A>
bool uniform_within(const A& a, double bound) {
  double sum = 0, square = 0;
  const auto n = static_cast<double>(a.size());
  for (const auto v : a)
    sum += static_cast<double>(v) / n, square += static_cast<double>(v) * static_cast<double>(v) / n;
  const double variance = bound * bound / 3;
  return largest(a) <= bound && std::abs(sum) < 6 * std::sqrt(variance / n) &&
         std::abs(square - variance) < 6 * variance * std::sqrt(0.8 / n);
}

}  // namespace

TEST_CASE_TEMPLATE("initialise: linear layers as in PyTorch, layer norms 1 and 0, the rest untouched", T, float,
                   double) {
  model<T> m;
  stroma::initialise(m, 42);
  for (const auto& layer : m.body.layers) {
    const double bound = 1 / std::sqrt(static_cast<double>(layer.weight.cols()));
    CHECK(uniform_within(layer.weight, bound));
    CHECK(uniform_within(layer.bias, bound));
    CHECK(largest(layer.weight) > 0.99 * bound);
  }
  CHECK(uniform_within(m.extra->weight, 1 / std::sqrt(30.0)));
  CHECK(uniform_within(m.no_bias.weight, 1 / std::sqrt(30.0)));
  CHECK(largest(m.no_bias.weight) > 0);
  for (index_t i = 0; i < 30; ++i) CHECK((m.norm.weight[i] == T(1) && m.norm.bias[i] == T(0)));
  for (const T v : m.temperature) CHECK(v == T(7));
  for (const T v : m.token) CHECK(v == T(9));
}

TEST_CASE("initialise: Xavier and He") {
  model<double> m;
  stroma::initialise(m, 42, {.scheme = initialisation::xavier_uniform});
  CHECK(uniform_within(m.body.layers[0].weight, std::sqrt(6.0 / 90)));
  CHECK(largest(m.body.layers[0].bias) == 0);
  stroma::initialise(m, 42, {.scheme = initialisation::he_uniform});
  CHECK(uniform_within(m.body.layers[0].weight, std::sqrt(6.0 / 50)));
  CHECK(uniform_within(m.body.layers[1].weight, std::sqrt(6.0 / 40)));
  CHECK(largest(m.body.layers[1].bias) == 0);
}

TEST_CASE(
    "initialise: the same seed gives the same model, another seed another; a layer does not depend on the sizes of "
    "others") {
  feed_forward<float> a({5, 7, 3}), b({5, 7, 3}), wider({50, 7, 3}), single({5, 7});
  stroma::initialise(a, 1);
  stroma::initialise(b, 1);
  stroma::initialise(wider, 1);
  stroma::initialise(single, 1);
  CHECK(same_matrix(a.layers[1].weight, b.layers[1].weight));
  CHECK(same_matrix(a.layers[1].weight, wider.layers[1].weight));
  CHECK(same_matrix(a.layers[0].weight, single.layers[0].weight));
  CHECK_FALSE(same_bits(a.layers[0].weight(0, 0), a.layers[1].weight(0, 0)));
  stroma::initialise(b, 2);
  CHECK_FALSE(same_matrix(a.layers[1].weight, b.layers[1].weight));
  // Float and double draw the same numbers.
  feed_forward<double> wide({5, 7, 3});
  stroma::initialise(wide, 1);
  for (index_t i = 0; i < 35; ++i)
    CHECK(a.layers[0].weight.data()[i] == static_cast<float>(wide.layers[0].weight.data()[i]));
  linear_layer<float> nothing(0, 3), unset;
  stroma::initialise(nothing, 1);
  stroma::initialise(unset, 1);
  CHECK(largest(nothing.bias) == 0);
}
