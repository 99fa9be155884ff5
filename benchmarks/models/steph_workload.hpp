#pragma once
#include <span>
#include <vector>

#include <stroma/models/steph.hpp>
#include <stroma/nn/add.hpp>
#include <stroma/optim/adam.hpp>
#include <stroma/survival/discrete_hazard.hpp>

#include "abmil_workload.hpp"

namespace bench {

/// STEPH at its published size: 12 other cancers, of which 5 are mixed. peers/steph_pytorch.py has the same.
template <class Storage = float>
struct steph_setting {
  static constexpr index_t sources = 12, batch = 16;
  using model = stroma::steph<float>;

  stroma::abmil<float> encoder{slide_shape(0.25)};
  stroma::vector_stack<float, stroma::backend::cpu, Storage> vectors;
  model m{stroma::steph_shape{}};

  steph_setting() {
    initialise(encoder);
    std::vector<stroma::abmil<float>> others(sources, encoder);
    auto target = encoder;
    std::uint64_t seed = 100;
    const auto move = [&](stroma::abmil<float>& other) {
      stroma::random_stream random(++seed);
      stroma::for_each_parameter(
          [&](std::string_view, auto& p) {
            for (auto& x : p) x += 0.01f * (2 * stroma::unit_float(random()) - 1);
          },
          other);
    };
    for (auto& other : others) move(other);
    move(target);
    vectors = {encoder, std::span<const stroma::abmil<float>>(others), target, stroma::in_encoder};
    initialise(m, 50);
  }
};

/// Products alone: the hypernetwork reads the bag once, the encoder once; backward twice as much, but for the features.
inline double steph_inference_flops(index_t instances) {
  return inference_flops(slide_shape(), instances) + 2.0 * static_cast<double>(instances) * 1536 * 512;
}
inline double steph_training_flops(index_t instances) {
  return training_flops(slide_shape(), instances) + 4.0 * static_cast<double>(instances) * 1536 * 512;
}

/// A training step of a batch: the same bag 16 times, one after another.
template <class Storage>
class steph_training {
 public:
  steph_training(steph_setting<Storage>& setting, int threads)
      : setting_(setting),
        gradient_(stroma::zeros_like(setting.m)),
        optimiser_(setting.m, {.weight_decay = 1e-5, .decay = stroma::decay_on::matrices}),
        ctx_(threads),
        graph_(ctx_) {
    graph_.bind(setting_.m, gradient_);
  }
  template <class S>
  float operator()(const stroma::array<S, 2>& bag) {
    constexpr index_t batch = steph_setting<Storage>::batch;
    float sum = 0;
    for (index_t i = 0; i < batch; ++i) {
      graph_.reset();
      graph_.set_random(1, ++step_);
      const auto out = setting_.m(graph_, graph_.input(bag), setting_.vectors, setting_.encoder);
      const auto loss = stroma::add(
          graph_,
          stroma::discrete_hazard(graph_, out.logits, stroma::vector_view<const int>(&bin_, 1),
                                  stroma::vector_view<const double>(&event_, 1), {.alpha = 0.5}),
          stroma::mixing_penalty(graph_, out.weight, out.share,
                                 {.top_k = setting_.m.top_k, .aggregation = 0.005, .balance = 0.005, .share = 0.05}));
      graph_.backward(loss, 1.0f / batch);
      sum += graph_.scalar_value(loss);
    }
    optimiser_.step_and_clear(ctx_, setting_.m, gradient_, 1e-4);
    return sum / batch;
  }

 private:
  steph_setting<Storage>& setting_;
  typename steph_setting<Storage>::model gradient_;
  stroma::adamw<typename steph_setting<Storage>::model> optimiser_;
  stroma::cpu_context ctx_;
  stroma::graph<float> graph_;
  std::uint32_t step_ = 0;
  int bin_ = 3;
  double event_ = 1;
};

template <class Storage>
class steph_inference {
 public:
  steph_inference(const steph_setting<Storage>& setting, int threads)
      : setting_(setting), ctx_(threads), graph_(ctx_, stroma::graph_mode::inference) {}
  template <class S>
  float operator()(const stroma::array<S, 2>& bag) {
    graph_.reset();
    const auto out = setting_.m(graph_, graph_.input(bag), setting_.vectors, setting_.encoder);
    return graph_.value(out.logits)(0, 0);
  }

 private:
  const steph_setting<Storage>& setting_;
  stroma::cpu_context ctx_;
  stroma::graph<float> graph_;
};

}  // namespace bench
