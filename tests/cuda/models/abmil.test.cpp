#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/models/abmil.cuh>
#include <stroma/nn/initialise.hpp>
#include <stroma/optim/adam.cuh>
#include <stroma/survival/discrete_hazard.cuh>

#include "../../support/device.hpp"

using namespace stroma_test;
using stroma::as_const_view;
using stroma::cpu_context;
using stroma::cuda_context;
using stroma::graph;
using stroma::graph_mode;

namespace {

using host = stroma::backend::cpu;
using device = stroma::backend::cuda;
template <class T, class Backend>
using model_of = stroma::abmil<T, stroma::gated_attention, Backend>;

/// Bags with their outcomes, on both sides.
template <class T>
struct cohort {
  std::vector<index_t> offsets = offsets_of_sizes({3, 1, 40, 300});
  stroma::array<T, 2> x = normal_matrix<T>(offsets.back(), 13, 1);
  std::vector<int> bin{0, 2, 3, 1}, event{1, 0, 1, 1};

  stroma::bag_view<const T> bags() const { return {as_const_view(x), as_offsets(offsets)}; }
  struct on_device_side {
    device_array<T> x;
    device_vector<index_t> offsets;
    device_vector<int> bin, event;
    stroma::bag_view<const T, stroma::device_space> bags() const { return {as_const_view(x), as_const_view(offsets)}; }
  };
  on_device_side copy(cuda_context& ctx) const {
    return {on_device(ctx, x), on_device(ctx, offsets), on_device(ctx, bin), on_device(ctx, event)};
  }
};

stroma::abmil_shape small_shape(double dropout) {
  return {.features = 13, .hidden = {11, 9}, .attention = 7, .heads = 2, .outputs = 4, .dropout = dropout};
}

/// Largest difference of two models' parameters, in units of the largest parameter.
template <class T>
double difference(cuda_context& ctx, const model_of<T, host>& expected, const model_of<T, device>& found) {
  auto copy = expected;
  stroma::transfer_parameters(ctx, found, copy);
  double worst = 0, size = 0;
  stroma::for_each_parameter(
      [&](std::string_view, const auto& a, const auto& b) {
        for (index_t i = 0; i < a.size(); ++i) {
          size = std::max(size, std::abs(static_cast<double>(a.data()[i])));
          worst = std::max(worst, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
        }
      },
      expected, copy);
  return worst / size;
}

/// Some steps of training on one side; what is left is in `model` and in the gradient of the last step.
template <class T, class Backend, class Context, class Bags, class Bins, class Events>
double train(Context& ctx, model_of<T, Backend>& model, model_of<T, Backend>& gradient, const Bags& bags,
             const Bins& bin, const Events& event, int steps) {
  // The scores' bias has no influence: its gradient is rounding alone, which AdamW would blow up to a whole step.
  stroma::adamw optimiser(model, {.epsilon = 1e-2, .weight_decay = 1e-2});
  graph<T, Backend> g(ctx);
  g.bind(model, gradient);
  double loss = 0;
  for (int step = 0; step < steps; ++step) {
    g.reset();
    g.set_random(7, static_cast<std::uint32_t>(4 * step));
    const auto out = stroma::discrete_hazard(g, model(g, g.input(bags)).logits, bin, event, {.alpha = 0.3});
    g.backward(out);
    loss = static_cast<double>(g.scalar_value(out));
    if (step + 1 < steps) optimiser.step_and_clear(ctx, model, gradient, 1e-2);
  }
  return loss;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: abmil: gradients and training steps are the host's, with and without dropout", T,
                   STROMA_DEVICE_SCALARS) {
  const cohort<T> data;
  cpu_context cpu;
  cuda_context ctx;
  const auto there = data.copy(ctx);
  for (const double dropout : {0.0, 0.25}) {
    CAPTURE(dropout);
    model_of<T, host> model(small_shape(dropout));
    stroma::initialise(model, 3);
    auto gradient = stroma::zeros_like(model);
    model_of<T, device> model_there(small_shape(dropout));
    stroma::transfer_parameters(ctx, model, model_there);
    CHECK(difference<T>(ctx, model, model_there) == 0);
    auto gradient_there = stroma::zeros_like(model_there);

    // One backward pass: sums of up to 344 terms in each of six layers.
    const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
    double loss = train<T, host>(cpu, model, gradient, data.bags(), data.bin, data.event, 1);
    double loss_there = train<T, device>(ctx, model_there, gradient_there, there.bags(), there.bin, there.event, 1);
    CHECK(std::abs(loss - loss_there) <= 64 * eps * std::abs(loss));
    CHECK(difference<T>(ctx, gradient, gradient_there) <= 6 * 64 * eps);

    stroma::set_zero(gradient);
    gradient_there = stroma::zeros_like(model_there);
    loss = train<T, host>(cpu, model, gradient, data.bags(), data.bin, data.event, 3);
    loss_there = train<T, device>(ctx, model_there, gradient_there, there.bags(), there.bin, there.event, 3);
    CHECK(std::abs(loss - loss_there) <= 3 * 64 * eps * std::abs(loss));
    CHECK(difference<T>(ctx, model, model_there) <= 3 * 6 * 64 * eps);
  }
}

TEST_CASE_TEMPLATE("cuda: abmil: inference from every storage type", S, float, stroma::half, stroma::bfloat16) {
  const cohort<float> data;
  cpu_context cpu;
  cuda_context ctx;
  stroma::array<S, 2> x(data.x.rows(), data.x.cols());
  for (index_t i = 0; i < x.size(); ++i) x.data()[i] = stroma::narrow<S>(data.x.data()[i]);
  model_of<float, host> model(small_shape(0));
  stroma::initialise(model, 3);
  model_of<float, device> model_there(small_shape(0));
  stroma::transfer_parameters(ctx, model, model_there);

  graph<float, host> g(cpu, graph_mode::inference);
  const stroma::bag_view<const S> bags{as_const_view(x), as_offsets(data.offsets)};
  const auto expected = g.value(model(g, g.input(bags)).logits);
  const auto x_there = on_device(ctx, x);
  const auto offsets = on_device(ctx, data.offsets);
  graph<float, device> there(ctx, graph_mode::inference);
  const stroma::bag_view<const S, stroma::device_space> bags_there{as_const_view(x_there), as_const_view(offsets)};
  const auto found = there.value(model_there(there, there.input(bags_there)).logits);
  stroma::array<float, 2> copy(found.rows, found.cols);
  stroma::transfer(ctx, found, copy);
  CHECK(worst_error(
            copy, [&](index_t r, index_t c) { return expected(r, c); }, 64 * std::numeric_limits<float>::epsilon()) <=
        1);
}

TEST_CASE("cuda: abmil: a second step allocates nothing and waits for nothing") {
  const cohort<float> data;
  cuda_context ctx;
  const auto there = data.copy(ctx);
  model_of<float, device> model(small_shape(0.1)), gradient(small_shape(0.1));
  stroma::adamw optimiser(model, {});
  graph<float, device> g(ctx);
  g.bind(model, gradient);
  const auto step = [&] {
    g.reset();
    g.backward(stroma::discrete_hazard(g, model(g, g.input(there.bags())).logits, there.bin, there.event, {}));
    optimiser.step_and_clear(ctx, model, gradient, 1e-3);
  };
  step();
  step();
#if !defined(__CUDACC__)
  const auto before = cuda_emulator::count();
  step();
  const auto after = cuda_emulator::count();
  CHECK(after.allocations == before.allocations);
  CHECK(after.synchronisations == before.synchronisations);
#endif
  ctx.synchronize();
}

TEST_CASE("cuda: abmil: what is wrong is reported when the host waits") {
  cohort<float> data;
  data.x(41, 3) = std::nanf("");
  cuda_context ctx;
  const auto there = data.copy(ctx);
  model_of<float, device> model(small_shape(0));
  model_of<float, host> start(small_shape(0));
  stroma::initialise(start, 3);
  stroma::transfer_parameters(ctx, start, model);
  graph<float, device> g(ctx, graph_mode::inference);
  const auto out = model(g, g.input(there.bags()));
  static_cast<void>(out);
  CHECK_THROWS_AS(ctx.synchronize(), stroma::value_error);
  CHECK_NOTHROW(ctx.synchronize());  // said once
}
