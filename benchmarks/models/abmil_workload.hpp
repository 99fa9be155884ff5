#pragma once
#include <array>
#include <optional>

#include <stroma/models/abmil.hpp>
#include <stroma/nn/cross_entropy.hpp>
#include <stroma/optim/adam.hpp>

#include "../support/inputs.hpp"

namespace bench {

/// STEPH's model of a slide; peers/abmil_pytorch.py has the same.
inline stroma::abmil_shape slide_shape(double dropout = 0) {
  return {.features = 1536, .hidden = {512}, .attention = 384, .heads = 1, .outputs = 32, .dropout = dropout};
}
/// The model of the classical multiple-instance sets, with a logit for each class.
inline stroma::abmil_shape small_shape() {
  return {.features = 166, .hidden = {256, 128, 64}, .attention = 64, .heads = 1, .outputs = 2, .dropout = 0};
}

/// Flops of the products alone: the layers on the instances and the two of the attention.
inline double inference_flops(const stroma::abmil_shape& shape, index_t instances) {
  double sum = 0, width = static_cast<double>(shape.features);
  for (const index_t next : shape.hidden) {
    sum += width * static_cast<double>(next);
    width = static_cast<double>(next);
  }
  return 2 * static_cast<double>(instances) * (sum + 2 * width * static_cast<double>(shape.attention));
}
/// Two more products for each, except that the features need no gradient.
inline double training_flops(const stroma::abmil_shape& shape, index_t instances) {
  return 3 * inference_flops(shape, instances) - 2 * static_cast<double>(instances) *
                                                     static_cast<double>(shape.features) *
                                                     static_cast<double>(shape.hidden.front());
}

/// All that inference holds beside the model and the bag.
class inference_run {
 public:
  inference_run(const stroma::abmil<float>& model, int threads)
      : model_(model), ctx_(threads), graph_(ctx_, stroma::graph_mode::inference) {}

  template <class S>
  float operator()(const stroma::array<S, 2>& bag) {
    graph_.reset();
    const auto out = model_(graph_, graph_.input(bag));
    return graph_.value(out.logits)(0, 0);
  }

 private:
  const stroma::abmil<float>& model_;
  stroma::cpu_context ctx_;
  stroma::graph<float> graph_;
};

/// All that a training step holds beside the model and the bag: forward, backward, optimiser.
template <class Optimiser>
class training_run {
 public:
  template <class Options>
  training_run(stroma::abmil<float>& model, int threads, const Options& options)
      : model_(model), gradient_(stroma::zeros_like(model)), optimiser_(model, options), ctx_(threads), graph_(ctx_) {
    graph_.bind(model_, gradient_);
  }

  template <class S>
  float operator()(const stroma::array<S, 2>& bag, double learning_rate) {
    graph_.reset();
    graph_.set_random(1, ++step_);
    const auto out = model_(graph_, graph_.input(bag));
    const auto loss = stroma::cross_entropy(graph_, out.logits, stroma::vector_view<const index_t>(label_.data(), 1));
    graph_.backward(loss);
    optimiser_.step_and_clear(ctx_, model_, gradient_, learning_rate);
    return graph_.scalar_value(loss);
  }

 private:
  stroma::abmil<float>& model_;
  stroma::abmil<float> gradient_;
  Optimiser optimiser_;
  stroma::cpu_context ctx_;
  stroma::graph<float> graph_;
  std::array<index_t, 1> label_{1};
  std::uint32_t step_ = 0;
};

}  // namespace bench
