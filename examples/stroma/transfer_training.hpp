#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/optim/adam.hpp>
#include <stroma/optim/schedule.hpp>
#include <stroma/survival/discrete_hazard.hpp>
#include <stroma/survival/discretise.hpp>
#include <stroma/train/loop.hpp>

#include "model.hpp"
#include "transfer.hpp"

/// How the models of `stroma transfer` are trained and asked: one recipe for all.
namespace program {

using float_graph = stroma::graph<float>;

/// Time bins and events of all bags.
struct outcomes {
  std::vector<int> bin;
  const std::vector<double>& event;

  explicit outcomes(const transfer_fold& f) : outcomes(f.ctx, f.options, f.data.known) {}
  outcomes(stroma::cpu_context& ctx, const transfer_options& o, const targets& known)
      : bin(known.time.size()), event(known.event) {
    stroma::discretise(ctx, known.time, edges(ctx, o), bin);
  }
  [[nodiscard]] static std::vector<double> edges(stroma::cpu_context& ctx, const transfer_options& o) {
    std::vector<double> inner(static_cast<std::size_t>(o.bins - 1));
    stroma::equal_width_edges(ctx, o.bin_width * o.bins, inner);
    return inner;
  }
  [[nodiscard]] stroma::node loss(float_graph& g, stroma::node logits, index_t bag) const {
    return stroma::discrete_hazard(g, logits, stroma::vector_view<const int>(bin.data() + bag, 1),
                                   stroma::vector_view<const double>(event.data() + bag, 1), {.alpha = 0.5});
  }
};

[[nodiscard]] inline stroma::node input_of(float_graph& g, const cohort& data, index_t bag) {
  return data.bags.visit(bag, [&](auto instances) { return g.input(instances); });
}
/// Minus the expected number of bins lived.
[[nodiscard]] inline double risk_of(const prediction& p) {
  model_spec hazards;
  hazards.loss = loss_kind::nll;
  return risk(hazards, p);
}
[[nodiscard]] inline double risk_of(float_graph& g, stroma::node logits) {
  return risk_of(read_prediction(g, {logits, stroma::node{}}));
}

/// The recipe of the published models: AdamW, decay of matrices alone, one epoch of warm-up, then a cosine, the last
/// epoch's model.
/// @param loss  loss(graph, model, bag): a node
template <class Model, class Loss>
[[nodiscard]] Model fit(stroma::cpu_context& ctx, const transfer_options& o, Model model,
                        const std::vector<index_t>& bags, const Loss& loss) {
  const auto count = static_cast<index_t>(bags.size());
  const index_t batch = std::min<index_t>(o.batch, count), steps = count / batch;
  stroma::adamw<Model> optimizer(model, {.weight_decay = o.weight_decay, .decay = stroma::decay_on::matrices});
  stroma::training_state state(std::move(model), std::move(optimizer), o.seed);
  stroma::training_options options{.epochs = o.epochs, .batch = batch, .remainder = stroma::last_batch::dropped};
  options.learning_rate = stroma::warm_up_cosine{o.learning_rate, steps, o.epochs * steps};
  stroma::train<float>(
      ctx, state, bags, [&](float_graph& g, index_t bag) { return loss(g, state.model, bag); }, options);
  return std::move(state.model);
}

/// An untrained model of the options' extents; the same for the same seed.
[[nodiscard]] encoder_model untrained(const transfer_options& options, index_t features);
/// Trains a model on bags with the hazard loss, from where it stands.
[[nodiscard]] encoder_model train_encoder(stroma::cpu_context& ctx, const transfer_options& options, const cohort& data,
                                          const std::vector<index_t>& bags, encoder_model model);
/// Risks of bags by one model.
[[nodiscard]] std::vector<double> risks_by(stroma::cpu_context& ctx, const cohort& data,
                                           const std::vector<index_t>& bags, const encoder_model& model);

}  // namespace program
