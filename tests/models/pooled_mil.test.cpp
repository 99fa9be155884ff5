#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/models/pooled_mil.hpp>
#include <stroma/nn/initialise.hpp>

#include "support/gradient.hpp"

using namespace stroma;

namespace {

constexpr index_t rows = 7, features = 3;
const std::vector<index_t> offsets{0, 1, 5, 7};

array<double, 2> instances() {
  array<double, 2> x(rows, features);
  random_stream draw(5);
  for (double& v : x) v = draw.normal();
  return x;
}

pooled_mil<double> model_of(instance_pooling pooling) {
  pooled_mil<double> model({.features = features, .hidden = {4, 5}, .outputs = 2}, pooling);
  initialise(model, 3);
  return model;
}

/// The definition: instance by instance, in plain loops.
double oracle(const pooled_mil<double>& model, const array<double, 2>& x, index_t bag, index_t output) {
  const auto apply = [](const linear_layer<double>& layer, const std::vector<double>& in) {
    std::vector<double> out;
    for (index_t r = 0; r < layer.weight.rows(); ++r) {
      double sum = layer.bias[r];
      for (std::size_t c = 0; c < in.size(); ++c) sum += layer.weight(r, static_cast<index_t>(c)) * in[c];
      out.push_back(sum);
    }
    return out;
  };
  const index_t first = offsets[static_cast<std::size_t>(bag)], last = offsets[static_cast<std::size_t>(bag) + 1];
  const bool mean = model.pooling == instance_pooling::mean;
  std::vector<double> pooled(static_cast<std::size_t>(model.pred_head.weight.cols()), mean ? 0 : -1e300);
  for (index_t n = first; n < last; ++n) {
    std::vector<double> h(x.data() + n * features, x.data() + (n + 1) * features);
    for (const auto& layer : model.feat_proj) {
      h = apply(layer, h);
      for (double& v : h) v = std::max(v, 0.0);
    }
    for (std::size_t j = 0; j < h.size(); ++j)
      pooled[j] = mean ? pooled[j] + h[j] / static_cast<double>(last - first) : std::max(pooled[j], h[j]);
  }
  return apply(model.pred_head, pooled)[static_cast<std::size_t>(output)];
}

bag_view<const double> bags_of(const array<double, 2>& x) {
  return {{x.data(), rows, features}, {offsets.data(), static_cast<index_t>(offsets.size())}};
}

}  // namespace

TEST_CASE("pooled_mil: the definition, in training and inference") {
  cpu_context ctx;
  const auto x = instances();
  for (const auto pooling : {instance_pooling::mean, instance_pooling::max})
    for (const auto mode : {graph_mode::training, graph_mode::inference}) {
      const auto model = model_of(pooling);
      graph<double> g(ctx, mode);
      const auto logits = g.value(model(g, g.input(bags_of(x))));
      REQUIRE(logits.rows == 3);
      REQUIRE(logits.cols == 2);
      for (index_t b = 0; b < 3; ++b)
        for (index_t k = 0; k < 2; ++k)  // sums of 3, 4, up to 7 and 5 terms, and their biases; all of order 1
          CHECK(std::abs(logits(b, k) - static_cast<double>(oracle(model, x, b, k))) <=
                (3 + 4 + 7 + 5 + 4) * std::numeric_limits<double>::epsilon());
    }
}

TEST_CASE("pooled_mil: gradients of every parameter, which has abmil's name") {
  cpu_context ctx;
  const auto x = instances();
  for (const auto pooling : {instance_pooling::mean, instance_pooling::max}) {
    auto model = model_of(pooling);
    auto gradient = zeros_like(model);
    const array<double, 2> seed = [] {
      array<double, 2> s(3, 2);
      for (index_t i = 0; i < 6; ++i) s[i] = 1 - 0.4 * static_cast<double>(i);
      return s;
    }();
    graph<double> g(ctx);
    g.bind(model, gradient);
    g.backward(model(g, g.input(bags_of(x))), as_const_view(seed));
    std::string names;
    for_each_parameter(
        [&](std::string_view name, auto& p, auto& d) {
          names.append(names.empty() ? "" : " ").append(name);
          const auto loss = [&](const std::vector<double>& values) {
            const std::vector<double> kept(p.begin(), p.end());
            std::copy(values.begin(), values.end(), p.begin());
            double sum = 0;
            for (index_t b = 0; b < 3; ++b)
              for (index_t k = 0; k < 2; ++k) sum += seed(b, k) * oracle(model, x, b, k);
            std::copy(kept.begin(), kept.end(), p.begin());
            return sum;
          };
          CAPTURE(std::string(name));
          CHECK(gradient_error(loss, {p.begin(), p.end()}, {d.begin(), d.end()}) < gradient_tolerance);
        },
        model, gradient);
    CHECK(names ==
          "feat_proj.0.weight feat_proj.0.bias feat_proj.1.weight feat_proj.1.bias pred_head.weight pred_head.bias");
  }
}
