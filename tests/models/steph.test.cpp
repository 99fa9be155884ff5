#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/io/safetensors.hpp>
#include <stroma/models/steph.hpp>
#include <stroma/nn/add.hpp>
#include <stroma/nn/initialise.hpp>
#include <stroma/survival/discrete_hazard.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "support/shared.hpp"

using namespace stroma;

namespace {

using encoder_model = abmil<double>;

/// The largest difference, relative to the larger of 1 and the expected size.
double difference(matrix_view<const double> found, const std::vector<double>& expected) {
  if (static_cast<index_t>(expected.size()) != found.rows * found.cols) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (index_t i = 0; i < found.rows; ++i)
    for (index_t j = 0; j < found.cols; ++j) {
      const double want = expected[static_cast<std::size_t>(i * found.cols + j)];
      worst = std::max(worst, std::abs(found(i, j) - want) / std::max(1.0, std::abs(want)));
    }
  return worst;
}
std::vector<double> numbers_of(const safetensors_reader& file, const std::string& name) {
  const auto read = file.read<double>(name);
  const auto flat = read.flat();
  return {flat.data, flat.data + flat.size};
}

/// The encoder theta_0 + scale tau.
encoder_model moved(const safetensors_reader& file, const std::string& tau) {
  encoder_model model({.features = 20, .hidden = {14}, .attention = 10, .outputs = 6});
  for_each_parameter(
      [&](std::string_view name, auto& p) {
        if (!in_encoder(name)) return;
        const auto base = numbers_of(file, "theta0." + std::string(name));
        const auto by =
            tau.empty() ? std::vector<double>(base.size(), 0.0) : numbers_of(file, tau + "." + std::string(name));
        for (index_t i = 0; i < p.size(); ++i)
          p.data()[i] = base[static_cast<std::size_t>(i)] + by[static_cast<std::size_t>(i)];
      },
      model);
  return model;
}

void check_against_pytorch(const char* file_name, merge_base base) {
  const safetensors_reader file(test_data("models") / file_name);
  std::vector<encoder_model> sources;
  for (int j = 0; j < 7; ++j) sources.push_back(moved(file, "tau_source" + std::to_string(j)));
  const encoder_model origin = moved(file, ""), target = moved(file, "tau_target");
  const vector_stack<double> vectors(origin, std::span<const encoder_model>(sources), target, in_encoder, base);

  steph<double> model({.features = 20, .embedding = 14, .sources = 7, .outputs = 6, .top_k = 3, .dropout = 0});
  load_parameters(file, model, {.prefix = "param.", .extra = extra_tensors::refuse});
  auto gradient = zeros_like(model);
  const auto x = file.read<double>("input.x").matrix();
  std::vector<double> d_x(static_cast<std::size_t>(x.rows * x.cols));
  const std::vector<index_t> bin{file.read<std::int64_t>("input.bin").flat()[0]};
  const std::vector<int> event{static_cast<int>(numbers_of(file, "input.event")[0])};

  cpu_context ctx;
  graph<double> g(ctx);
  g.bind(model, gradient);
  const auto out = model(g, g.variable(x, {d_x.data(), x.rows, x.cols}), vectors, origin);
  const node survival = discrete_hazard(g, out.logits, vector_view<const index_t>(bin.data(), 1),
                                        vector_view<const int>(event.data(), 1), {.alpha = 0.5});
  const node penalty =
      mixing_penalty(g, out.weight, out.share, {.top_k = 3, .aggregation = 0.1, .balance = 0.1, .share = 0.05});
  const node loss = add(g, survival, penalty);
  g.backward(loss);

  constexpr double limit = 1e-10;
  CHECK(difference(g.value(out.logits), numbers_of(file, "output.logits")) < limit);
  CHECK(difference(g.value(out.attention), numbers_of(file, "output.attention")) < limit);
  CHECK(difference(g.value(out.weight), numbers_of(file, "output.merge_weight")) < limit);
  CHECK(difference(g.value(out.share), numbers_of(file, "output.lambda_target")) < limit);
  CHECK(difference(g.value(survival), numbers_of(file, "output.loss_survival")) < limit);
  CHECK(difference(g.value(loss), numbers_of(file, "output.loss")) < limit);
  const auto selected = file.read<std::int64_t>("output.selected").flat();
  REQUIRE(out.encoder.selected.size == 3);
  for (index_t i = 0; i < 3; ++i) CHECK(out.encoder.selected[i] == selected[i]);
  CHECK(difference(matrix_view<const double>(d_x.data(), x.rows, x.cols), numbers_of(file, "grad.input.x")) < limit);
  int parameters = 0;
  for_each_parameter(
      [&](std::string_view name, const auto& d) {
        CAPTURE(std::string(name));
        CHECK(difference(matrix_view<const double>(d.data(), 1, d.size()),
                         numbers_of(file, "grad.param." + std::string(name))) < limit);
        ++parameters;
      },
      gradient);
  CHECK(parameters == 12);
}

/// Models of four cancers and a bag, small.
struct example {
  encoder_model origin{{.features = 6, .hidden = {5}, .attention = 4, .outputs = 3}};
  std::vector<encoder_model> sources;
  encoder_model target;
  steph<double> model{{.features = 6, .embedding = 5, .sources = 4, .outputs = 3, .top_k = 2, .dropout = 0}};
  std::vector<double> bag = std::vector<double>(7 * 6);

  example() {
    random_stream random(5);
    initialise(origin, 1);
    const auto tune = [&] {
      encoder_model tuned = origin;
      for_each_parameter(
          [&](std::string_view, auto& p) {
            for (auto& v : p) v += 0.3 * random.normal();
          },
          tuned);
      return tuned;
    };
    for (int j = 0; j < 4; ++j) sources.push_back(tune());
    target = tune();
    initialise(model, 2);
    for (double& v : bag) v = random.normal();
  }
  template <class Storage = double>
  [[nodiscard]] vector_stack<double, backend::cpu, Storage> vectors(merge_base base = merge_base::origin) const {
    return {origin, std::span<const encoder_model>(sources), target, in_encoder, base};
  }
  [[nodiscard]] matrix_view<const double> x() const { return {bag.data(), 7, 6}; }
};

}  // namespace

TEST_CASE("steph: equals PyTorch, base theta_0") {
  check_against_pytorch("steph_null.safetensors", merge_base::origin);
}
TEST_CASE("steph: equals PyTorch, base theta_target") {
  check_against_pytorch("steph_target.safetensors", merge_base::target);
}

TEST_CASE("steph: the gradients of all parameters, with weights by softplus and by a scaled softmax") {
  for (const bool softmax : {false, true}) {
    CAPTURE(softmax);
    const example e;
    const auto vectors = e.vectors();
    cpu_context ctx;
    steph<double> model = e.model;
    // Off the kinks of ReLU and away from ties among the weights.
    model.weight_map = model.ratio_map = positive_map::softplus;
    if (softmax) {
      model.weight_scale.emplace().values = array<double, 1>(1);
      model.weight_scale->values[0] = 0.7;
    }
    steph<double> gradient = zeros_like(model);
    const std::vector<index_t> bin{1};
    const std::vector<int> event{1};
    const auto loss = [&](graph<double>& g) {
      const auto out = model(g, g.input(e.x()), vectors, e.origin);
      return add(g, discrete_hazard(g, out.logits, bin, event), mixing_penalty(g, out.weight, out.share, {.top_k = 2}));
    };
    std::vector<double> analytic, at;
    {
      graph<double> g(ctx);
      g.bind(model, gradient);
      g.backward(loss(g));
    }
    for_each_parameter(
        [&](std::string_view, const auto& p, const auto& d) {
          at.insert(at.end(), p.begin(), p.end());
          analytic.insert(analytic.end(), d.begin(), d.end());
        },
        model, gradient);
    const auto value = [&](const std::vector<double>& parameters) {
      auto from = parameters.begin();
      for_each_parameter(
          [&](std::string_view, auto& p) {
            for (auto& v : p) v = *from++;
          },
          model);
      graph<double> g(ctx, graph_mode::inference);
      return g.scalar_value(loss(g));
    };
    CHECK(gradient_error(value, at, analytic) < gradient_tolerance);
  }
}

TEST_CASE("steph: with no weight above 0 the encoder is the base") {
  const example e;
  cpu_context ctx;
  steph<double> model = e.model;
  model.weight_head.network->output.weight.fill(0);
  model.weight_head.network->output.bias.fill(-1);
  for (const merge_base base : {merge_base::origin, merge_base::target}) {
    const auto vectors = e.vectors(base);
    graph<double> g(ctx, graph_mode::inference), h(ctx, graph_mode::inference);
    const auto out = model(g, g.input(e.x()), vectors, e.origin);
    encoder_model plain = base == merge_base::origin ? e.origin : e.target;
    plain.pred_head = model.pred_head;
    const auto expected = plain(h, h.input(e.x()));
    for (index_t j = 0; j < 3; ++j) CHECK(g.value(out.logits)(0, j) == h.value(expected.logits)(0, j));
    CHECK(out.encoder.selected[0] == 0);  // of equal weights the first
    CHECK(out.encoder.selected[1] == 1);
  }
}

TEST_CASE("steph: weights and shares that do not come from the network") {
  const example e;
  const auto vectors = e.vectors();
  cpu_context ctx;
  // One trained weight for each source, as they stand; the target's own vector is not in the mixture.
  const steph<double> learned({.features = 6,
                               .embedding = 5,
                               .sources = 4,
                               .outputs = 3,
                               .top_k = 4,
                               .dropout = 0,
                               .weight_from = mixing_source::vector,
                               .share_from = mixing_source::fixed,
                               .first_share = 0});
  steph<double> gradient = zeros_like(learned);
  graph<double> g(ctx);
  g.bind(learned, gradient);
  const auto out = learned(g, g.input(e.x()), vectors, e.origin);
  for (index_t j = 0; j < 4; ++j) CHECK(out.encoder.coefficient[j] == 0.25);
  CHECK(out.encoder.coefficient[4] == 0);
  g.backward(out.encoder.merged, g.value(out.encoder.merged));
  for (index_t j = 0; j < 4; ++j) CHECK(gradient.weight_head.vector->values[j] != 0);
  // The target's own vector alone.
  const steph<double> own({.features = 6,
                           .embedding = 5,
                           .sources = 4,
                           .outputs = 3,
                           .top_k = 1,
                           .dropout = 0,
                           .weight_from = mixing_source::fixed,
                           .share_from = mixing_source::fixed,
                           .first_weight = 0.5});
  graph<double> h(ctx, graph_mode::inference);
  const auto of_target = own(h, h.input(e.x()), vectors, e.origin).encoder.coefficient;
  for (index_t j = 0; j < 4; ++j) CHECK(of_target[j] == 0);
  CHECK(of_target[4] == 0.5);
}

TEST_CASE("steph: the mixture that was used can be written into one static model") {
  const example e;
  const auto vectors = e.vectors();
  cpu_context ctx;
  graph<double> g(ctx, graph_mode::inference), h(ctx, graph_mode::inference);
  const auto out = e.model(g, g.input(e.x()), vectors, e.origin);
  encoder_model merged = e.origin;
  vectors.assign(g.value(out.encoder.merged).row(0), merged);
  merged.pred_head = e.model.pred_head;
  const auto expected = merged(h, h.input(e.x()));
  for (index_t j = 0; j < 3; ++j) CHECK(g.value(out.logits)(0, j) == h.value(expected.logits)(0, j));
}

TEST_CASE("steph: task vectors kept as halves") {
  const example e;
  const auto exact = e.vectors();
  const auto narrow = e.vectors<half>();
  cpu_context ctx;
  graph<double> g(ctx, graph_mode::inference), h(ctx, graph_mode::inference);
  const auto a = e.model(g, g.input(e.x()), exact, e.origin), b = e.model(h, h.input(e.x()), narrow, e.origin);
  double coefficients = 0, largest = 0;
  for (index_t j = 0; j <= 4; ++j) coefficients += std::abs(a.encoder.coefficient[j]);
  for (index_t j = 0; j <= 4; ++j)
    for (index_t i = 0; i < exact.size(); ++i) largest = std::max(largest, std::abs(exact.rows()(j, i)));
  const auto merged = g.value(a.encoder.merged), rounded = h.value(b.encoder.merged);
  for (index_t i = 0; i < exact.size(); ++i)  // a half has 11 digits: each element is off by 2^-12 of its size at most
    CHECK(std::abs(merged(0, i) - rounded(0, i)) <= coefficients * largest * std::ldexp(1.0, -11));
}

TEST_CASE("steph: a second step of the same size takes no memory") {
  const example e;
  const auto vectors = e.vectors();
  cpu_context ctx;
  steph<double> gradient = zeros_like(e.model);
  graph<double> g(ctx);
  g.bind(e.model, gradient);
  const auto step = [&] {
    g.reset();
    const auto out = e.model(g, g.input(e.x()), vectors, e.origin);
    g.backward(mixing_penalty(g, out.weight, out.share));
  };
  step();
  step();
  CHECK(allocations_in(step) == 0);
}

TEST_CASE("steph: a softmax needs the network's weights") {
  CHECK_THROWS_AS((steph<double>({.features = 4,
                                  .embedding = 3,
                                  .sources = 2,
                                  .outputs = 2,
                                  .softmax_weight = true,
                                  .weight_from = mixing_source::vector})),
                  value_error);
  const steph<double> model({.features = 4, .embedding = 3, .sources = 2, .outputs = 2, .softmax_weight = true});
  REQUIRE(model.weight_scale.has_value());
  CHECK(model.weight_scale->values[0] == 1);
}

TEST_CASE("steph: refuses a stack of other sources") {
  const example e;
  const auto vectors = e.vectors();
  cpu_context ctx;
  const steph<double> model({.features = 6, .embedding = 5, .sources = 3, .outputs = 3, .top_k = 2});
  graph<double> g(ctx, graph_mode::inference);
  CHECK_THROWS_WITH_AS(model(g, g.input(e.x()), vectors, e.origin),
                       "sparse_mixup: weight: length 3, expected 4 (the sources of the stack)", shape_error);
  const encoder_model wide({.features = 6, .hidden = {9}, .attention = 4, .outputs = 3});
  graph<double> h(ctx, graph_mode::inference);
  CHECK_THROWS_AS(e.model(h, h.input(e.x()), vectors, wide), shape_error);
}
