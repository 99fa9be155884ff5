#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/survival/cox_partial_likelihood.hpp>
#include <stroma/train/full_cohort_cox.hpp>

#include "../support/counting_allocator.hpp"
#include "bags.hpp"

using stroma::cpu_context;
using stroma::full_cohort_cox;
using stroma::full_cohort_cox_options;
using stroma::graph;
using stroma::graph_mode;
using stroma::index_t;
using stroma::node;

namespace {

struct outcome {
  double loss;
  std::vector<double> gradient;
};

template <class T>
outcome in_two_passes(const cohort<T>& data, const mean_model<T>& model, bool with_scorer,
                      const stroma::cox_options& cox, int threads = 1) {
  cpu_context ctx(threads);
  auto gradient = stroma::zeros_like(model);
  graph<T> g(ctx), scorer(ctx, graph_mode::inference);
  g.bind(model, gradient);
  const stroma::risk_order<> order(ctx, data.time, data.event);
  const T loss =
      full_cohort_cox(g, order, [&](graph<T>& at, index_t bag) { return model(at, at.input(data.bag(bag))); },
                      {.scorer = with_scorer ? &scorer : nullptr, .cox = cox, .seed = 9, .step = 100});
  return {static_cast<double>(loss), flat(gradient)};
}

/// All bags on one graph, their scores in one recorded loss.
template <class T>
outcome in_one_graph(const cohort<T>& data, const mean_model<T>& model, const stroma::cox_options& cox) {
  cpu_context ctx;
  auto gradient = stroma::zeros_like(model);
  graph<T> g(ctx);
  g.bind(model, gradient);
  g.set_random(9, 100);
  const node loss = cox_partial_likelihood(g, model(g, g.input(data.all())), data.time, data.event, cox);
  const T value = g.scalar_value(loss);
  g.backward(loss);
  return {static_cast<double>(value), flat(gradient)};
}

double difference(const outcome& a, const outcome& b) {
  double worst = std::abs(a.loss - b.loss), size = std::max(1.0, std::abs(a.loss));
  REQUIRE(a.gradient.size() == b.gradient.size());
  for (std::size_t i = 0; i < a.gradient.size(); ++i) {
    worst = std::max(worst, std::abs(a.gradient[i] - b.gradient[i]));
    size = std::max(size, std::abs(a.gradient[i]));
  }
  return worst / size;
}

}  // namespace

TEST_CASE_TEMPLATE("full_cohort_cox: loss and gradient are those of one graph of all bags", T, float, double) {
  const cohort<T> data(37, 7, 1);
  // Sums over all instances of all bags, in another order.
  const double tolerance = 4 * static_cast<double>(data.all().instances.rows) * std::numeric_limits<T>::epsilon();
  for (const auto ties : {stroma::ties::breslow, stroma::ties::efron})
    for (const auto reduce : {stroma::reduction::sum, stroma::reduction::mean}) {
      const stroma::cox_options cox{.tie_method = ties, .reduce = reduce};
      const mean_model<T> plain(7, 9), random(7, 9, 0.5);
      const auto expected = in_one_graph(data, plain, cox);
      CHECK(difference(in_two_passes(data, plain, false, cox), expected) < tolerance);
      CHECK(difference(in_two_passes(data, plain, true, cox), expected) < tolerance);
      // With dropout: both passes and the one graph draw the same numbers for the same bag.
      const auto with_dropout = in_one_graph(data, random, cox);
      CHECK(difference(in_two_passes(data, random, false, cox), with_dropout) < tolerance);
      CHECK(difference(with_dropout, expected) > 0.01);
    }
}

TEST_CASE("full_cohort_cox: an inference graph for a model with dropout is refused") {
  const cohort<double> data(12, 7, 2);
  CHECK_THROWS_AS(in_two_passes(data, mean_model<double>(7, 9, 0.5), true, {}), stroma::value_error);
}

TEST_CASE("full_cohort_cox: the same bits for any number of threads") {
  const cohort<float> data(9, 20, 3, 900);
  const mean_model<float> model(20, 33, 0.25);
  const auto one = in_two_passes(data, model, false, {});
  for (const int threads : {2, 3}) {
    const auto other = in_two_passes(data, model, false, {}, threads);
    CHECK(one.loss == other.loss);
    CHECK(one.gradient == other.gradient);
  }
}

TEST_CASE("full_cohort_cox: memory does not grow with the number of bags, and is reused") {
  const mean_model<float> model(16, 24, 0.25);
  const auto capacity = [&](index_t bags) {
    cohort<float> data(bags, 16, 4);
    data.offsets.clear();  // bags of one size, so that their number is the only difference
    for (index_t b = 0; b <= bags; ++b) data.offsets.push_back(30 * b);
    data.instances = stroma::array<float, 2>(30 * bags, 16);
    cpu_context ctx;
    auto gradient = stroma::zeros_like(model);
    graph<float> g(ctx);
    g.bind(model, gradient);
    const stroma::risk_order<> order(ctx, data.time, data.event);
    const auto run = [&] {
      return full_cohort_cox(g, order,
                             [&](graph<float>& at, index_t bag) { return model(at, at.input(data.bag(bag))); });
    };
    const float loss = run();
    const std::size_t bytes = g.capacity();
    float again = 0;
    CHECK(allocations_in([&] { again = run(); }) == 0);
    CHECK(again == loss);
    return bytes;
  };
  const std::size_t few = capacity(3);
  CHECK(few > 0);
  CHECK(few == capacity(300));
}

TEST_CASE("full_cohort_cox: no event, one bag, and mistakes") {
  cohort<double> data(6, 3, 5);
  std::fill(data.event.begin(), data.event.end(), 0.0);
  const mean_model<double> model(3, 4);
  const auto none = in_two_passes(data, model, false, {});
  CHECK(none.loss == 0);
  CHECK(none.gradient == std::vector<double>(none.gradient.size()));
  const auto one = in_two_passes(cohort<double>(1, 3, 6), model, true, {});
  CHECK(one.loss == 0);
  cpu_context ctx;
  graph<double> g(ctx), inference(ctx, graph_mode::inference);
  const stroma::risk_order<> order(ctx, data.time, data.event);
  const auto wide = [&](graph<double>& at, index_t bag) { return at.input(data.bag(bag)); };
  CHECK_THROWS_WITH_AS(
      full_cohort_cox(g, order, wide),
      ("full_cohort_cox: score: shape " + std::to_string(data.bag(0).rows) + " x 3, expected 1 x 1").c_str(),
      stroma::shape_error);
  CHECK_THROWS_AS(full_cohort_cox(inference, order, wide), stroma::value_error);
}
