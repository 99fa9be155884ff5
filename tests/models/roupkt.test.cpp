#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/models/roupkt.hpp>
#include <stroma/nn/initialise.hpp>
#include <stroma/survival/discrete_hazard.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"

using namespace stroma;

namespace {

/// A bag of 7 instances, what four models pooled it to, and a network of which two experts are heard.
struct example {
  roupkt<double> model{
      {.features = 6, .hidden = 5, .attention = 4, .experts = 4, .pooled = 3, .outputs = 3, .top_k = 2, .dropout = 0}};
  std::vector<double> bag = std::vector<double>(7 * 6), pooled = std::vector<double>(4 * 3);

  example() {
    initialise(model, 3);
    random_stream random(8);
    for (double& v : bag) v = random.normal();
    for (double& v : pooled) v = std::abs(random.normal());
    // Scores well apart: a step of a central difference changes no choice.
    for (double& v : model.router.pred_head.weight) v = 2 * random.normal();
  }
  [[nodiscard]] matrix_view<const double> x() const { return {bag.data(), 7, 6}; }
  [[nodiscard]] matrix_view<const double> f() const { return {pooled.data(), 4, 3}; }
};

using numbers = std::vector<long double>;

/// W x + b of plain arrays, relu or not.
numbers dense(const linear_layer<double>& layer, const numbers& x, bool relu) {
  numbers y;
  for (index_t o = 0; o < layer.weight.rows(); ++o) {
    long double sum = layer.bias.size() > 0 ? static_cast<long double>(layer.bias[o]) : 0;
    for (index_t i = 0; i < layer.weight.cols(); ++i)
      sum += static_cast<long double>(layer.weight(o, i)) * x[static_cast<std::size_t>(i)];
    y.push_back(relu ? std::max(sum, 0.0L) : sum);
  }
  return y;
}
numbers softmax_of(numbers x) {
  long double sum = 0;
  for (long double& v : x) sum += v = std::exp(v);
  for (long double& v : x) v /= sum;
  return x;
}

/// The definition: all experts, and the probabilities of those that are not heard put to zero.
struct plain_answer {
  numbers scores, probability, logits;
};
plain_answer definition(const roupkt<double>& m, matrix_view<const double> bag, matrix_view<const double> pooled) {
  std::vector<numbers> instances;
  numbers attention;
  for (index_t n = 0; n < bag.rows; ++n) {
    numbers x(&bag(n, 0), &bag(n, 0) + bag.cols);
    instances.push_back(dense(m.router.feat_proj[0], x, true));
    numbers a = dense(m.router.attention_net.hidden, instances.back(), false);
    const numbers b = dense(m.router.attention_net.gate, instances.back(), false);
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = std::tanh(a[i]) / (1 + std::exp(-b[i]));
    attention.push_back(dense(m.router.attention_net.score, a, false)[0]);
  }
  const numbers p = softmax_of(attention);
  numbers slide(instances[0].size());
  for (std::size_t n = 0; n < p.size(); ++n)
    for (std::size_t i = 0; i < slide.size(); ++i) slide[i] += p[n] * instances[n][i];
  plain_answer answer;
  answer.scores = dense(m.router.pred_head, slide, false);
  answer.probability = softmax_of(answer.scores);
  numbers sorted = answer.probability, sum(static_cast<std::size_t>(pooled.cols));
  std::sort(sorted.rbegin(), sorted.rend());
  const auto heard = std::min(static_cast<std::size_t>(m.top_k), sorted.size());
  for (std::size_t e = 0; e < m.experts.size(); ++e) {
    const auto row = static_cast<index_t>(e);
    const numbers f(&pooled(row, 0), &pooled(row, 0) + pooled.cols), said = dense(m.experts[e], f, true);
    const long double gate = answer.probability[e] >= sorted[heard - 1] ? answer.probability[e] : 0;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gate * said[i];
  }
  answer.logits = dense(m.pred_head, sum, false);
  return answer;
}

/// Sums of at most 7 x 6 products of numbers of size 1, some hundred roundings one after another.
constexpr double rounding = 1000 * std::numeric_limits<double>::epsilon();

}  // namespace

TEST_CASE("roupkt: what is heard, the probabilities and the logits are those of the definition") {
  example e;
  for (const index_t k : {1, 2, 3, 4, 9}) {  // more than there are experts: all
    e.model.top_k = k;
    const auto expected = definition(e.model, e.x(), e.f());
    for (const graph_mode mode : {graph_mode::training, graph_mode::inference}) {
      cpu_context ctx;
      graph<double> g(ctx, mode);
      const auto out = e.model(g, g.input(e.x()), g.input(e.f()));
      REQUIRE(out.chosen.indices.cols == std::min<index_t>(k, 4));
      for (index_t i = 0; i < 4; ++i) {
        const auto at = static_cast<std::size_t>(i);
        CHECK(std::abs(g.value(out.scores)(0, i) - static_cast<double>(expected.scores[at])) < rounding);
        CHECK(std::abs(g.value(out.probability)(0, i) - static_cast<double>(expected.probability[at])) < rounding);
      }
      for (index_t i = 0; i < 3; ++i)
        CHECK(std::abs(g.value(out.logits)(0, i) - static_cast<double>(expected.logits[static_cast<std::size_t>(i)])) <
              rounding);
      CHECK(g.shape(out.attention).rows == 7);
      for (index_t j = 1; j < out.chosen.indices.cols; ++j)
        CHECK(g.value(out.chosen.values)(0, j) <= g.value(out.chosen.values)(0, j - 1));
    }
  }
}

TEST_CASE("roupkt: the penalty of a router") {
  const example e;
  cpu_context ctx;
  graph<double> g(ctx);
  const auto out = e.model(g, g.input(e.x()), g.input(e.f()));
  const auto expected = definition(e.model, e.x(), e.f());
  long double sum = 0;
  for (const long double s : expected.scores) sum += std::exp(s);
  const long double largest = *std::max_element(expected.probability.begin(), expected.probability.end());
  const auto penalty = [&](double balance, double aggregation) {
    return g.scalar_value(routing_penalty(g, out, {.balance = balance, .aggregation = aggregation}));
  };
  CHECK(std::abs(penalty(1, 0) - static_cast<double>(largest)) < rounding);
  CHECK(std::abs(penalty(0, 1) - static_cast<double>(std::log(sum) * std::log(sum))) < rounding);
  CHECK(std::abs(penalty(0.5, 0.25) - (0.5 * penalty(1, 0) + 0.25 * penalty(0, 1))) < rounding);
}

TEST_CASE("roupkt: the gradients of all parameters and of the pooled vectors") {
  const example e;
  cpu_context ctx;
  roupkt<double> model = e.model, gradient = zeros_like(model);
  std::vector<double> pooled = e.pooled, d_pooled(pooled.size());
  const std::vector<index_t> bin{1};
  const std::vector<int> event{1};
  const auto loss = [&](graph<double>& g, node f) {
    const auto out = model(g, g.input(e.x()), f);
    return add(g, discrete_hazard(g, out.logits, bin, event),
               routing_penalty(g, out, {.balance = 0.7, .aggregation = 0.3}));
  };
  {
    graph<double> g(ctx);
    g.bind(model, gradient);
    g.backward(loss(g, g.variable({pooled.data(), 4, 3}, {d_pooled.data(), 4, 3})));
  }
  std::vector<double> at = pooled, analytic = d_pooled;
  for_each_parameter(
      [&](std::string_view, const auto& p, const auto& d) {
        at.insert(at.end(), p.begin(), p.end());
        analytic.insert(analytic.end(), d.begin(), d.end());
      },
      model, gradient);
  const auto value = [&](const std::vector<double>& x) {
    auto from = x.begin();
    for (double& v : pooled) v = *from++;
    for_each_parameter(
        [&](std::string_view, auto& p) {
          for (auto& v : p) v = *from++;
        },
        model);
    graph<double> g(ctx, graph_mode::inference);
    return g.scalar_value(loss(g, g.input(matrix_view<const double>(pooled.data(), 4, 3))));
  };
  CHECK(gradient_error(value, at, analytic) < gradient_tolerance);

  // Of the experts the two that are heard have a gradient, and so have the vectors that they read.
  const auto probability = definition(e.model, e.x(), e.f()).probability;
  std::vector<std::size_t> order(4);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return probability[a] > probability[b]; });
  for (std::size_t rank = 0; rank < 4; ++rank) {
    double size = 0, of_vector = 0;
    for (const double d : gradient.experts[order[rank]].weight) size += std::abs(d);
    for (std::size_t i = 0; i < 3; ++i) of_vector += std::abs(d_pooled[3 * order[rank] + i]);
    CHECK((size > 0) == (rank < 2));
    CHECK((of_vector > 0) == (rank < 2));
  }
}

TEST_CASE("roupkt: the published extents have the published number of parameters") {
  const roupkt<float> model(roupkt_shape{});
  CHECK(parameter_count(model) == 4'618'913);
}

TEST_CASE("roupkt: names of parameters; the router's head has no bias") {
  const example e;
  std::vector<std::string> names;
  for_each_parameter(
      [&](std::string_view name, const auto& p) {
        if (p.size() > 0) names.emplace_back(name);
      },
      e.model);
  CHECK(names ==
        std::vector<std::string>{"router.feat_proj.0.weight", "router.feat_proj.0.bias",
                                 "router.attention_net.attention_a.0.weight", "router.attention_net.attention_a.0.bias",
                                 "router.attention_net.attention_b.0.weight", "router.attention_net.attention_b.0.bias",
                                 "router.attention_net.attention_c.weight", "router.attention_net.attention_c.bias",
                                 "router.pred_head.weight", "experts.0.weight", "experts.0.bias", "experts.1.weight",
                                 "experts.1.bias", "experts.2.weight", "experts.2.bias", "experts.3.weight",
                                 "experts.3.bias", "pred_head.weight", "pred_head.bias"});
}

TEST_CASE("roupkt: one instance, and a second step of the same size takes no memory") {
  const example e;
  cpu_context ctx;
  roupkt<double> gradient = zeros_like(e.model);
  graph<double> g(ctx);
  g.bind(e.model, gradient);
  const auto step = [&] {
    g.reset();
    const auto out = e.model(g, g.input(e.x()), g.input(e.f()));
    g.backward(routing_penalty(g, out));
  };
  step();
  step();
  CHECK(allocations_in(step) == 0);

  graph<double> h(ctx, graph_mode::inference);
  const auto out = e.model(h, h.input(e.x().middle_rows(0, 1)), h.input(e.f()));
  CHECK(h.value(out.attention)(0, 0) == 1);
  CHECK(std::isfinite(h.value(out.logits)(0, 0)));
}

TEST_CASE("roupkt: refuses what does not fit") {
  const example e;
  cpu_context ctx;
  graph<double> g(ctx, graph_mode::inference);
  CHECK_THROWS_WITH_AS(e.model(g, g.input(e.x()), g.input(e.f().middle_rows(0, 3))),
                       "roupkt: pooled: shape 3 x 3, expected 4 x 3", shape_error);
  const std::vector<index_t> offsets{0, 3, 7};
  CHECK_THROWS_WITH_AS(e.model(g, g.input(bag_view<const double>{e.x(), {offsets.data(), 3}}), g.input(e.f())),
                       "roupkt: bag: shape 2 x 4, expected 1 x 4", shape_error);
  CHECK_THROWS_WITH_AS(roupkt<double>(roupkt_shape{.experts = 0}),
                       "roupkt: shape: 0 experts, of which 5 are heard, expected 1 or more of both", value_error);
}
