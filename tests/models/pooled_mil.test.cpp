#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/models/pooled_mil.hpp>
#include <stroma/nn/initialise.hpp>

#include "../support/gradient.hpp"

namespace {

using stroma::index_t;
using stroma::instance_pooling;

struct example {
  std::vector<double> x;
  std::vector<index_t> offsets{0, 4, 300, 301};
  example() : x(301 * 5) {
    stroma::random_stream random(2);
    for (double& v : x) v = random.normal();
  }
  stroma::bag_view<const double> bags() const { return {{x.data(), 301, 5}, {offsets.data(), 4}}; }
};

stroma::pooled_mil<double> model_of(instance_pooling pooling) {
  stroma::pooled_mil<double> model({.features = 5, .hidden = {6, 4}, .outputs = 2}, pooling);
  stroma::initialise(model, 9);
  return model;
}

}  // namespace

TEST_CASE("pooled_mil: equals its definition, trained or not") {
  const example e;
  for (const auto pooling : {instance_pooling::mean, instance_pooling::max}) {
    const auto model = model_of(pooling);
    std::vector<long double> expected;
    for (std::size_t b = 0; b < 3; ++b) {
      std::vector<long double> slide(4, pooling == instance_pooling::mean ? 0.0L : -1e30L);
      for (index_t n = e.offsets[b]; n < e.offsets[b + 1]; ++n) {
        std::vector<long double> h(e.x.begin() + n * 5, e.x.begin() + n * 5 + 5);
        for (const auto& layer : model.feat_proj) {
          std::vector<long double> next;
          for (index_t k = 0; k < layer.weight.rows(); ++k) {
            long double sum = layer.bias[k];
            for (index_t j = 0; j < layer.weight.cols(); ++j)
              sum += static_cast<long double>(layer.weight(k, j)) * h[static_cast<std::size_t>(j)];
            next.push_back(std::max(sum, 0.0L));
          }
          h = next;
        }
        for (std::size_t j = 0; j < 4; ++j)
          slide[j] = pooling == instance_pooling::mean ? slide[j] + h[j] / (e.offsets[b + 1] - e.offsets[b])
                                                       : std::max(slide[j], h[j]);
      }
      for (index_t k = 0; k < 2; ++k) {
        long double sum = model.pred_head.bias[k];
        for (index_t j = 0; j < 4; ++j)
          sum += static_cast<long double>(model.pred_head.weight(k, j)) * slide[static_cast<std::size_t>(j)];
        expected.push_back(sum);
      }
    }
    stroma::cpu_context ctx(2);
    for (const auto mode : {stroma::graph_mode::training, stroma::graph_mode::inference}) {
      stroma::graph<double> g(ctx, mode);
      const auto z = g.value(model(g, g.input(e.bags())));
      // A mean of 296 values, each of two sums of some 6 products.
      const double tolerance = 320 * std::numeric_limits<double>::epsilon();
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(std::abs(z.data[i] - static_cast<double>(expected[i])) < tolerance);
    }
  }
}

TEST_CASE("pooled_mil: every named parameter's gradient matches central differences") {
  const example e;
  const std::vector<double> weight{0.3, -1, 0.7, 1.1, 0.2, -0.4};
  for (const auto pooling : {instance_pooling::mean, instance_pooling::max}) {
    auto model = model_of(pooling);
    auto gradient = stroma::zeros_like(model);
    stroma::cpu_context ctx;
    stroma::graph<double> g(ctx);
    g.bind(model, gradient);
    g.backward(model(g, g.input(e.bags())), {weight.data(), 3, 2});
    stroma::for_each_parameter(
        [&](std::string_view name, auto& p, auto& d) {
          CAPTURE(std::string(name));
          const std::vector<double> at(p.begin(), p.end());
          const auto f = [&](const std::vector<double>& v) {
            std::copy(v.begin(), v.end(), p.begin());
            stroma::graph<double> inference(ctx, stroma::graph_mode::inference);
            const auto z = inference.value(model(inference, inference.input(e.bags())));
            double sum = 0;
            for (std::size_t i = 0; i < weight.size(); ++i) sum += weight[i] * z.data[i];
            return sum;
          };
          CHECK(gradient_error(f, at, {d.begin(), d.end()}) < gradient_tolerance);
          std::copy(at.begin(), at.end(), p.begin());
        },
        model, gradient);
  }
}

TEST_CASE("pooled_mil: parameters have abmil's names") {
  const auto model = model_of(instance_pooling::mean);
  std::vector<std::string> names;
  stroma::for_each_parameter([&](std::string_view name, const auto&) { names.emplace_back(name); }, model);
  CHECK(names == std::vector<std::string>{"feat_proj.0.weight", "feat_proj.0.bias", "feat_proj.1.weight",
                                          "feat_proj.1.bias", "pred_head.weight", "pred_head.bias"});
}
