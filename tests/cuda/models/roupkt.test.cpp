#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/models/roupkt.cuh>
#include <stroma/nn/initialise.hpp>
#include <stroma/optim/adam.cuh>
#include <stroma/survival/discrete_hazard.cuh>

#include "cuda/models/device_models.hpp"

using namespace stroma_test;

namespace {

using host = stroma::backend::cpu;
using device = stroma::backend::cuda;

constexpr index_t instances = 70, features = 13, experts = 6, width = 9, bins = 4;

/// A bag with its outcome, what six models pooled it to, and a network to train.
template <class T>
struct example {
  stroma::roupkt_shape shape{.features = features,
                             .hidden = 11,
                             .attention = 7,
                             .experts = experts,
                             .pooled = width,
                             .outputs = bins,
                             .top_k = 3,
                             .dropout = 0.25};
  stroma::array<T, 2> bag = normal_matrix<T>(instances, features, 1), pooled = normal_matrix<T>(experts, width, 2);
  std::vector<int> bin{2}, event{1};

  example() {
    for (T& v : pooled) v = std::abs(v);
  }
  [[nodiscard]] stroma::roupkt<T> model() const {
    stroma::roupkt<T> made(shape);
    stroma::initialise(made, 4);
    // Scores well apart: who is heard is no matter of rounding.
    stroma::random_stream draw(5);
    for (T& v : made.router.pred_head.weight) v = static_cast<T>(2 * draw.normal());
    return made;
  }
};

template <class T>
struct said {
  std::vector<stroma::array<T, 2>> values;  // loss, penalty, logits, attention, scores, probabilities, those heard
  stroma::array<index_t, 2> heard;
};
/// Forward and backward, with dropout. The scores' bias has no influence: its gradient, the rounding of a sum that is
/// 0, is cleared.
template <class T, class Backend, class Context, class Matrix, class Outcome>
said<T> differentiate(Context& ctx, const stroma::roupkt<T, Backend>& model, stroma::roupkt<T, Backend>& gradient,
                      const Matrix& bag, const Matrix& pooled, Matrix& d_pooled, const Outcome& bin,
                      const Outcome& event) {
  stroma::graph<T, Backend> g(ctx);
  g.bind(model, gradient);
  g.set_random(7, 3);
  const auto out = model(g, g.input(bag), g.variable(stroma::as_const_view(pooled), stroma::as_view(d_pooled)));
  const auto penalty = stroma::routing_penalty(g, out, {.balance = 0.7, .aggregation = 0.3});
  const auto loss = stroma::add(g, stroma::discrete_hazard(g, out.logits, bin, event, {.alpha = 0.5}), penalty);
  g.backward(loss);
  gradient.router.attention_net.score.bias.fill(T(0));
  said<T> result;
  // Named: nvcc loses a list of nodes in the loop's own line.
  const std::array<stroma::node, 7> told{loss,       penalty,         out.logits,       out.attention,
                                         out.scores, out.probability, out.chosen.values};
  for (const stroma::node n : told) result.values.push_back(read<T>(ctx, g.value(n)));
  result.heard = read<index_t>(ctx, out.chosen.indices);
  return result;
}

/// Products one after another: the layer on the instances, attention, pooling, scores, an expert, the sum of experts,
/// the head, and as many on the way back; of up to 70 terms, whose roundings add up like the root of their number.
constexpr index_t terms = 14 * 8;
template <class T>
constexpr double allowed = static_cast<double>(terms) * static_cast<double>(std::numeric_limits<T>::epsilon());

/// Who is heard has a gradient, and so has the vector that it read; nobody else has.
template <class T>
void check_who_learns(const stroma::array<index_t, 2>& heard, const stroma::roupkt<T>& gradient,
                      const stroma::array<T, 2>& d_pooled) {
  const auto some = [](const T* first, index_t count) {
    return std::any_of(first, first + count, [](T d) { return d != T(0); });
  };
  for (index_t e = 0; e < experts; ++e) {
    const bool learns = std::find(heard.begin(), heard.end(), e) != heard.end();
    const auto& expert = gradient.experts[static_cast<std::size_t>(e)];
    CHECK(some(expert.weight.data(), expert.weight.size()) == learns);
    CHECK(some(expert.bias.data(), expert.bias.size()) == learns);
    CHECK(some(&d_pooled(e, 0), width) == learns);
  }
}

template <class T>
void check_step(const example<T>& e) {
  CAPTURE(e.shape.top_k);
  auto model = e.model();
  auto gradient = stroma::zeros_like(model);
  stroma::array<T, 2> d_pooled(experts, width);
  stroma::roupkt<T, device> model_there(e.shape);
  auto gradient_there = stroma::zeros_like(model_there);
  stroma::cpu_context cpu;
  stroma::cuda_context ctx;
  stroma::transfer_parameters(ctx, model, model_there);
  const auto bag = on_device(ctx, e.bag), pooled = on_device(ctx, e.pooled);
  auto d_pooled_there = on_device(ctx, d_pooled);
  const auto bin = on_device(ctx, e.bin), event = on_device(ctx, e.event);

  const auto expected = differentiate(cpu, model, gradient, e.bag, e.pooled, d_pooled, e.bin, e.event);
  const auto found = differentiate(ctx, model_there, gradient_there, bag, pooled, d_pooled_there, bin, event);
  CHECK(same_matrix(found.heard, expected.heard));
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    CAPTURE(i);
    double size = 0;
    for (const T v : expected.values[i]) size = std::max(size, std::abs(static_cast<double>(v)));
    CHECK(size > 0);
    CHECK(error_of_sum(found.values[i], expected.values[i], terms, size) <= 1);
  }
  CHECK(parameter_error(ctx, gradient_there, gradient, allowed<T>) <= 1);
  const auto d_found = on_host(ctx, d_pooled_there);
  CHECK(error_of_sum(d_found, d_pooled, terms, 1) <= 1);

  auto gradient_found = gradient;
  stroma::transfer_parameters(ctx, gradient_there, gradient_found);
  check_who_learns(expected.heard, gradient, d_pooled);
  check_who_learns(expected.heard, gradient_found, d_found);
  stroma::for_each_parameter(
      [&](std::string_view name, const auto& d) {
        CAPTURE(std::string(name));
        if (d.size() == 0 || name.starts_with("experts") || name == "router.attention_net.attention_c.bias") return;
        CHECK(std::any_of(d.begin(), d.end(), [](T v) { return v != T(0); }));
      },
      gradient_found);

  stroma::adamw optimiser(model, {.epsilon = 1e-2, .weight_decay = 1e-2});
  stroma::adamw optimiser_there(model_there, {.epsilon = 1e-2, .weight_decay = 1e-2});
  optimiser.step_and_clear(cpu, model, gradient, 1e-2);
  optimiser_there.step_and_clear(ctx, model_there, gradient_there, 1e-2);
  CHECK(parameter_error(ctx, model_there, model, allowed<T>) <= 1);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: roupkt: a step of training is the host's, for any number of experts that are heard", T,
                   STROMA_DEVICE_SCALARS) {
  example<T> e;
  for (const index_t k : {index_t{1}, index_t{3}, experts, experts + 3}) {
    e.shape.top_k = k;
    check_step(e);
  }
}

TEST_CASE_TEMPLATE("cuda: roupkt: inference from every storage type", S, float, stroma::half, stroma::bfloat16) {
  const example<float> e;
  stroma::array<S, 2> x(instances, features);
  for (index_t i = 0; i < x.size(); ++i) x.data()[i] = stroma::narrow<S>(e.bag.data()[i]);
  const auto model = e.model();
  stroma::cpu_context cpu;
  stroma::cuda_context ctx;
  stroma::roupkt<float, device> model_there(e.shape);
  stroma::transfer_parameters(ctx, model, model_there);
  const auto bag = on_device(ctx, x);
  const auto pooled = on_device(ctx, e.pooled);
  stroma::graph<float, host> g(cpu, stroma::graph_mode::inference);
  stroma::graph<float, device> there(ctx, stroma::graph_mode::inference);
  const auto expected = read<float>(cpu, g.value(model(g, g.input(x), g.input(e.pooled)).logits));
  const auto found = read<float>(ctx, there.value(model_there(there, there.input(bag), there.input(pooled)).logits));
  CHECK(error_of_sum(found, expected, terms, 1) <= 1);
}

TEST_CASE("cuda: roupkt: a second step allocates nothing and waits for nothing") {
  const example<float> e;
  stroma::cuda_context ctx;
  stroma::roupkt<float, device> model(e.shape), gradient(e.shape);
  stroma::transfer_parameters(ctx, e.model(), model);
  const auto bag = on_device(ctx, e.bag), pooled = on_device(ctx, e.pooled);
  const auto bin = on_device(ctx, e.bin), event = on_device(ctx, e.event);
  stroma::adamw optimiser(model, {});
  stroma::graph<float, device> g(ctx);
  g.bind(model, gradient);
  const auto step = [&] {
    g.reset();
    const auto out = model(g, g.input(bag), g.input(pooled));
    g.backward(stroma::add(g, stroma::discrete_hazard(g, out.logits, bin, event), stroma::routing_penalty(g, out)));
    optimiser.step_and_clear(ctx, model, gradient, 1e-3);
  };
  check_second_call(step, 111);
  ctx.synchronize();
}

TEST_CASE("cuda: roupkt: refuses what the host refuses") {
  const example<float> e;
  stroma::cuda_context ctx;
  const stroma::roupkt<float, device> model(e.shape);
  const auto bag = on_device(ctx, e.bag), pooled = on_device(ctx, normal_matrix<float>(experts - 1, width, 2)),
             right = on_device(ctx, e.pooled);
  const offsets_on_device two(ctx, {0, 30, instances});
  stroma::graph<float, device> g(ctx, stroma::graph_mode::inference);
  CHECK_THROWS_WITH_AS(model(g, g.input(bag), g.input(pooled)), "roupkt: pooled: shape 5 x 9, expected 6 x 9",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(model(g, g.input(two.of(stroma::as_const_view(bag))), g.input(right)),
                       "roupkt: bag: shape 2 x 6, expected 1 x 6", stroma::shape_error);
}
