#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/models/steph.cuh>
#include <stroma/nn/add.cuh>
#include <stroma/nn/initialise.hpp>
#include <stroma/optim/adam.cuh>
#include <stroma/survival/discrete_hazard.cuh>

#include "cuda/models/device_models.hpp"

using namespace stroma_test;
using stroma::mixing_source;

namespace {

using host = stroma::backend::cpu;
using device = stroma::backend::cuda;
template <class T, class Backend>
using encoder_of = stroma::abmil<T, stroma::gated_attention, Backend>;

constexpr index_t instances = 70, features = 13, bins = 4;

/// Models of five cancers and the target's, a bag with its outcome, and a model to train.
template <class T>
struct example {
  stroma::abmil_shape encoder_shape{
      .features = features, .hidden = {11}, .attention = 7, .outputs = bins, .dropout = 0.25};
  stroma::steph_shape shape{.features = features, .embedding = 11, .sources = 5, .outputs = bins, .top_k = 3};
  encoder_of<T, host> origin{encoder_shape};
  encoder_of<T, host> target;
  std::vector<encoder_of<T, host>> sources;
  stroma::array<T, 2> bag = normal_matrix<T>(instances, features, 1);
  std::vector<int> bin{2}, event{1};

  example() {
    stroma::random_stream draw(5);
    stroma::initialise(origin, 1);
    const auto tuned = [&] {
      encoder_of<T, host> model = origin;
      stroma::for_each_parameter(
          [&](std::string_view, auto& p) {
            for (T& v : p) v += static_cast<T>(0.3 * draw.normal());
          },
          model);
      return model;
    };
    for (int j = 0; j < 5; ++j) sources.push_back(tuned());
    target = tuned();
  }
  [[nodiscard]] stroma::steph<T> model() const {
    stroma::steph<T> made(shape);
    stroma::initialise(made, 4);
    return made;
  }
  template <class Storage = T>
  [[nodiscard]] stroma::vector_stack<T, host, Storage> vectors() const {
    return {origin, std::span<const encoder_of<T, host>>(sources), target, stroma::in_encoder};
  }
};

template <class T>
struct said {
  std::vector<stroma::array<T, 2>> values;  // loss, logits, attention, weights, shares, coefficients
  stroma::array<index_t, 2> selected;
};
/// Forward and backward, with dropout.
template <class T, class Backend, class Context, class Vectors, class Bag, class Outcome>
said<T> differentiate(Context& ctx, const stroma::steph<T, Backend>& model, stroma::steph<T, Backend>& gradient,
                      const encoder_of<T, Backend>& encoder, const Vectors& vectors, const Bag& bag, const Outcome& bin,
                      const Outcome& event) {
  stroma::graph<T, Backend> g(ctx);
  g.bind(model, gradient);
  g.set_random(7, 3);
  const auto out = model(g, g.input(bag), vectors, encoder);
  const auto loss = stroma::add(g, stroma::discrete_hazard(g, out.logits, bin, event, {.alpha = 0.5}),
                                stroma::mixing_penalty(g, out.weight, out.share, {.top_k = 3, .aggregation = 0.1}));
  g.backward(loss);
  said<T> result;
  // Named: nvcc loses a list of nodes in the loop's own line.
  const std::array<stroma::node, 5> told{loss, out.logits, out.attention, out.weight, out.share};
  for (const stroma::node n : told) result.values.push_back(read<T>(ctx, g.value(n)));
  const auto c = out.encoder.coefficient;
  const auto s = out.encoder.selected;
  using space = typename Backend::space;
  result.values.push_back(read<T>(ctx, stroma::matrix_view<const T, space>(c.data, 1, c.size)));
  result.selected = read<index_t>(ctx, stroma::matrix_view<const index_t, space>(s.data, 1, s.size));
  return result;
}

template <class T>
void check_step(const example<T>& e) {
  auto model = e.model();
  auto gradient = stroma::zeros_like(model);
  stroma::steph<T, device> model_there(e.shape);
  auto gradient_there = stroma::zeros_like(model_there);
  stroma::cpu_context cpu;
  stroma::cuda_context ctx;
  stroma::transfer_parameters(ctx, model, model_there);
  const auto vectors = e.vectors();
  const stroma::vector_stack<T, device> vectors_there(ctx, vectors);
  const encoder_of<T, device> encoder_there(e.encoder_shape);  // its own parameters do not matter
  const auto bag = on_device(ctx, e.bag);
  const auto bin = on_device(ctx, e.bin), event = on_device(ctx, e.event);

  const auto expected = differentiate(cpu, model, gradient, e.origin, vectors, e.bag, e.bin, e.event);
  const auto found = differentiate(ctx, model_there, gradient_there, encoder_there, vectors_there, bag, bin, event);
  CHECK(same_matrix(found.selected, expected.selected));
  // Six layers, each with sums of up to 70 terms.
  const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    CAPTURE(i);
    double size = 0;
    for (const T v : expected.values[i]) size = std::max(size, std::abs(static_cast<double>(v)));
    CHECK(size > 0);
    CHECK(error_of_sum(found.values[i], expected.values[i], 6 * 64, size) <= 1);
  }
  CHECK(parameter_error(ctx, gradient_there, gradient, 6 * 64 * eps) <= 1);
  stroma::for_each_parameter(
      [&](std::string_view name, const auto& d) {
        CAPTURE(std::string(name));
        if (name.starts_with("regulate_layer_emb") && !model.weight_head.network && !model.share_head.network) return;
        CHECK(std::any_of(d.begin(), d.end(), [](T v) { return v != T(0); }));
      },
      gradient);

  stroma::adamw optimiser(model, {.epsilon = 1e-2, .weight_decay = 1e-2});
  stroma::adamw optimiser_there(model_there, {.epsilon = 1e-2, .weight_decay = 1e-2});
  optimiser.step_and_clear(cpu, model, gradient, 1e-2);
  optimiser_there.step_and_clear(ctx, model_there, gradient_there, 1e-2);
  CHECK(parameter_error(ctx, model_there, model, 6 * 64 * eps) <= 1);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: steph: a step of training is the host's, for every source of weights and shares", T,
                   STROMA_DEVICE_SCALARS) {
  example<T> e;
  check_step(e);
  e.shape.weight = e.shape.ratio = stroma::positive_map::softplus;
  check_step(e);
  e.shape.weight_from = mixing_source::vector;
  e.shape.share_from = mixing_source::vector;
  e.shape.first_share = 0.25;
  check_step(e);
  e.shape.weight_from = mixing_source::network;
  e.shape.share_from = mixing_source::fixed;
  check_step(e);
}

TEST_CASE("cuda: steph: a hypernetwork's dropout takes the same units as the host's") {
  constexpr index_t width = 1025;
  stroma::mixing_network<float> network{{3, width}, {width, width}, 0.25};
  for (float& b : network.hidden.bias) b = 1;
  for (index_t i = 0; i < width; ++i) network.output.weight(i, i) = 1;
  stroma::mixing_network<float, device> there{{3, width}, {width, width}, 0.25};
  const std::vector<stroma::array<float, 2>> in{stroma::array<float, 2>(1, 3)};
  const auto kept = recorded_on_host<float>(in, {}, [&](auto& g, const auto& n) { return network(g, n[0]); }).value;
  stroma::cuda_context ctx;
  stroma::transfer_parameters(ctx, network, there);
  const auto kept_there =
      recorded_on_device<float>(in, {}, [&](auto& g, const auto& n) { return there(g, n[0]); }).value;
  CHECK(same_matrix(kept_there, kept));
  const auto zeros = std::count(kept.begin(), kept.end(), 0.0f);
  CHECK(zeros > width / 8);
  CHECK(zeros < width / 2);
}

TEST_CASE_TEMPLATE("cuda: steph: inference, with task vectors in every storage type", S, float, stroma::half,
                   stroma::bfloat16) {
  const example<float> e;
  const auto model = e.model();
  stroma::cpu_context cpu;
  stroma::cuda_context ctx;
  stroma::steph<float, device> model_there(e.shape);
  stroma::transfer_parameters(ctx, model, model_there);
  const auto vectors = e.vectors<S>();
  const stroma::vector_stack<float, device, S> vectors_there(ctx, vectors);
  const encoder_of<float, device> encoder_there(e.encoder_shape);
  const auto bag = on_device(ctx, e.bag);
  stroma::graph<float, host> g(cpu, stroma::graph_mode::inference);
  stroma::graph<float, device> there(ctx, stroma::graph_mode::inference);
  const auto expected = read<float>(cpu, g.value(model(g, g.input(e.bag), vectors, e.origin).logits));
  const auto found =
      read<float>(ctx, there.value(model_there(there, there.input(bag), vectors_there, encoder_there).logits));
  CHECK(error_of_sum(found, expected, 6 * 64, 1) <= 1);
}

TEST_CASE("cuda: steph: a second step allocates nothing and waits for nothing") {
  const example<float> e;
  stroma::cuda_context ctx;
  stroma::steph<float, device> model(e.shape), gradient(e.shape);
  stroma::transfer_parameters(ctx, e.model(), model);
  const stroma::vector_stack<float, device> vectors(ctx, e.vectors());
  const encoder_of<float, device> encoder(e.encoder_shape);
  const auto bag = on_device(ctx, e.bag);
  const auto bin = on_device(ctx, e.bin), event = on_device(ctx, e.event);
  stroma::adamw optimiser(model, {});
  stroma::graph<float, device> g(ctx);
  g.bind(model, gradient);
  const auto step = [&] {
    g.reset();
    const auto out = model(g, g.input(bag), vectors, encoder);
    g.backward(stroma::add(g, stroma::discrete_hazard(g, out.logits, bin, event),
                           stroma::mixing_penalty(g, out.weight, out.share)));
    optimiser.step_and_clear(ctx, model, gradient, 1e-3);
  };
  check_second_call(step, 200);
  ctx.synchronize();
}

TEST_CASE("cuda: steph: refuses a stack of other sources") {
  const example<float> e;
  stroma::cuda_context ctx;
  auto shape = e.shape;
  shape.sources = 4;
  const stroma::steph<float, device> model(shape);
  const stroma::vector_stack<float, device> vectors(ctx, e.vectors());
  const encoder_of<float, device> encoder(e.encoder_shape);
  const auto bag = on_device(ctx, e.bag);
  stroma::graph<float, device> g(ctx, stroma::graph_mode::inference);
  CHECK_THROWS_WITH_AS(model(g, g.input(bag), vectors, encoder),
                       "sparse_mixup: weight: length 4, expected 5 (the sources of the stack)", stroma::shape_error);
}
