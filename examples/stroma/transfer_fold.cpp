// What the methods of `stroma transfer` do for one target and fold.
#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include <stroma/adapt/std.hpp>
#include <stroma/nn/add.hpp>
#include <stroma/nn/initialise.hpp>
#include <stroma/optim/adam.hpp>
#include <stroma/optim/schedule.hpp>
#include <stroma/survival/discrete_hazard.hpp>
#include <stroma/survival/discretise.hpp>
#include <stroma/taskvector/arithmetic.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/ties_merging.hpp>
#include <stroma/train/loop.hpp>

#include "transfer.hpp"

namespace program {
namespace {

using graph = stroma::graph<float>;
using stroma::node;
using vectors = stroma::vector_stack<float>;
using steph = stroma::steph<float>;

/// Time bins and events of all bags.
struct outcomes {
  std::vector<int> bin;
  const std::vector<double>& event;

  outcomes(stroma::cpu_context& ctx, const transfer_options& o, const targets& known)
      : bin(known.time.size()), event(known.event) {
    std::vector<double> edges(static_cast<std::size_t>(o.bins - 1));
    stroma::equal_width_edges(ctx, o.bin_width * o.bins, edges);
    stroma::discretise(ctx, known.time, edges, bin);
  }
  [[nodiscard]] node loss(graph& g, node logits, index_t bag) const {
    return stroma::discrete_hazard(g, logits, stroma::vector_view<const int>(bin.data() + bag, 1),
                                   stroma::vector_view<const double>(event.data() + bag, 1), {.alpha = 0.5});
  }
};

node input_of(graph& g, const cohort& data, index_t bag) {
  return data.bags.visit(bag, [&](auto instances) { return g.input(instances); });
}

double risk_of(graph& g, node logits) {
  const auto z = g.value(logits);
  model_spec spec;
  spec.loss = loss_kind::nll;
  prediction p;
  for (index_t k = 0; k < z.cols; ++k) p.logits.push_back(z(0, k));
  return risk(spec, p);
}

/// The recipe of the published models: AdamW, decay of matrices alone, one epoch of warm-up, then a cosine, the last
/// epoch's model.
template <class Model, class Loss>
Model fit(stroma::cpu_context& ctx, const transfer_options& o, Model model, const std::vector<index_t>& bags,
          const Loss& loss) {
  const auto count = static_cast<index_t>(bags.size());
  const index_t batch = std::min<index_t>(o.batch, count), steps = count / batch;
  stroma::adamw<Model> optimizer(model, {.weight_decay = o.weight_decay, .decay = stroma::decay_on::matrices});
  stroma::training_state state(std::move(model), std::move(optimizer), o.seed);
  stroma::training_options options{.epochs = o.epochs, .batch = batch, .remainder = stroma::last_batch::dropped};
  options.learning_rate = stroma::warm_up_cosine{o.learning_rate, steps, o.epochs * steps};
  stroma::train<float>(
      ctx, state, bags, [&](graph& g, index_t bag) { return loss(g, state.model, bag); }, options);
  return std::move(state.model);
}

stroma::steph_shape shape_of(transfer_method method, const transfer_options& o, index_t features, index_t sources) {
  stroma::steph_shape s{.features = features,
                        .embedding = o.hidden,
                        .sources = sources,
                        .outputs = o.bins,
                        .top_k = std::min<index_t>(o.top_k, sources),
                        .dropout = o.dropout};
  using enum transfer_method;
  const bool learned = method == ties_learned || method == ada_merging || method == learned_weights;
  if (learned) s.weight_from = stroma::mixing_source::vector;
  if (method == ties_learned || method == ada_merging || method == ties_network || method == ada_network ||
      method == dense)
    s.top_k = sources;
  if (method != transfer_method::steph && method != dense && method != learned_weights) {
    s.share_from = stroma::mixing_source::fixed;
    s.first_share = method == share_1 ? 1 : 0;
  }
  return s;
}

}  // namespace

encoder_model untrained(const transfer_options& o, index_t features) {
  encoder_model model(
      {.features = features, .hidden = {o.hidden}, .attention = o.attention, .outputs = o.bins, .dropout = o.dropout});
  stroma::initialise(model, o.seed);
  return model;
}

encoder_model train_encoder(stroma::cpu_context& ctx, const transfer_options& o, const cohort& data,
                            const std::vector<index_t>& bags, encoder_model model) {
  const outcomes known(ctx, o, data.known);
  return fit(ctx, o, std::move(model), bags, [&](graph& g, const encoder_model& m, index_t bag) {
    return known.loss(g, m(g, input_of(g, data, bag)).logits, bag);
  });
}

std::vector<double> risks_by(stroma::cpu_context& ctx, const cohort& data, const std::vector<index_t>& bags,
                             const encoder_model& model) {
  graph g(ctx, stroma::graph_mode::inference);
  std::vector<double> risks;
  for (const index_t bag : bags) {
    g.reset();
    risks.push_back(risk_of(g, model(g, input_of(g, data, bag)).logits));
  }
  return risks;
}

transfer_result transfer_fold::run(transfer_method method, std::size_t target, std::size_t fold) const {
  const stroma::split& parts = cohorts_[target].folds[fold];
  const encoder_model& own = bases_.of[target][fold];
  const auto judged = [&](const encoder_model& m) {
    return transfer_result{risks_by(ctx_, data_, parts.test, m), {}, {}};
  };
  switch (method) {
    case transfer_method::specific:
      return judged(own);
    case transfer_method::fine_tuned:
      return judged(train_encoder(ctx_, options_, data_, parts.train, own));
    case transfer_method::joint:
      return judged(bases_.joint[fold]);
    case transfer_method::average:
      return averaged(target, fold);
    default:
      return mixed(method, target, fold);
  }
}

transfer_result transfer_fold::averaged(std::size_t target, std::size_t fold) const {
  const encoder_model& own = bases_.of[target][fold];
  encoder_model mean = bases_.origin;
  const double part = 1 / static_cast<double>(cohorts_.size());
  for (std::size_t c = 0; c < cohorts_.size(); ++c) {
    const encoder_model& from = c == target ? own : bases_.of[c][0];
    stroma::for_each_parameter(
        [&](std::string_view, auto& m, const auto& o, const auto& x) {
          for (index_t i = 0; i < m.size(); ++i)
            m.data()[i] += static_cast<float>(part * static_cast<double>(x.data()[i] - o.data()[i]));
        },
        mean, bases_.origin, from);
  }
  mean.pred_head = own.pred_head;
  return {risks_by(ctx_, data_, cohorts_[target].folds[fold].test, mean), {}, {}};
}

transfer_result transfer_fold::mixed(transfer_method method, std::size_t target, std::size_t fold) const {
  const stroma::split& parts = cohorts_[target].folds[fold];
  const encoder_model& own = bases_.of[target][fold];
  const bool with_ties = method == transfer_method::ties_learned || method == transfer_method::ties_network;
  std::vector<encoder_model> sources;
  for (std::size_t c = 0; c < cohorts_.size(); ++c) {
    if (c == target) continue;
    sources.push_back(bases_.of[c][0]);
    if (!with_ties) continue;
    const std::vector<encoder_model> pair{own, bases_.of[c][0]};
    encoder_model merged = bases_.origin;
    stroma::merge(ctx_, stroma::ties_merging({.merge = stroma::agreeing::sum}), bases_.origin, pair, merged);
    sources.back() = std::move(merged);
  }
  const vectors stack(bases_.origin, std::span<const encoder_model>(sources), own, stroma::in_encoder);
  const outcomes known(ctx_, options_, data_.known);

  steph model(shape_of(method, options_, data_.bags.features(), static_cast<index_t>(sources.size())));
  {
    const auto fixed_start = model;  // vectors start where the shape says
    stroma::initialise(model, options_.seed + 1);
    if (model.weight_head.vector) model.weight_head.vector = fixed_start.weight_head.vector;
    if (model.share_head.vector) model.share_head.vector = fixed_start.share_head.vector;
  }
  const stroma::mixing_penalty_options penalty{.top_k = model.top_k,
                                               .aggregation = model.weight_head.network ? options_.gamma : 0,
                                               .balance = model.weight_head.network ? options_.gamma : 0,
                                               .share = model.share_head.network ? options_.beta : 0};
  model = fit(ctx_, options_, std::move(model), parts.train, [&](graph& g, const steph& m, index_t bag) {
    const auto out = m(g, input_of(g, data_, bag), stack, own);
    return stroma::add(g, known.loss(g, out.logits, bag), stroma::mixing_penalty(g, out.weight, out.share, penalty));
  });

  transfer_result result;
  graph g(ctx_, stroma::graph_mode::inference);
  const auto run = [&](index_t bag) {
    g.reset();
    return model(g, input_of(g, data_, bag), stack, own);
  };
  for (const index_t bag : parts.test) {
    const auto out = run(bag);
    result.risk.push_back(risk_of(g, out.logits));
    if (method != transfer_method::steph) continue;
    const auto row = [](auto v) { return std::vector<float>(v.data, v.data + v.size); };
    const auto& e = out.encoder;
    result.mixtures.push_back({bag,
                               row(g.value(out.weight).row(0)),
                               row(g.value(out.share).row(0)),
                               row(e.coefficient),
                               {e.selected.data, e.selected.data + e.selected.size}});
  }
  if (method != transfer_method::steph) return result;

  // One encoder for all bags: the mean of what the training bags were given.
  std::vector<double> mean(sources.size() + 1);
  for (const index_t bag : parts.train) {
    const auto out = run(bag);
    for (std::size_t j = 0; j < mean.size(); ++j)
      mean[j] += static_cast<double>(out.encoder.coefficient[static_cast<index_t>(j)]) /
                 static_cast<double>(parts.train.size());
  }
  encoder_model still = bases_.origin;
  std::vector<float> merged(stack.base().data, stack.base().data + stack.size());
  for (std::size_t j = 0; j < mean.size(); ++j)
    for (index_t i = 0; i < stack.size(); ++i)
      merged[static_cast<std::size_t>(i)] += static_cast<float>(mean[j]) * stack.rows()(static_cast<index_t>(j), i);
  stack.assign(stroma::vector_view<const float>(merged.data(), stack.size()), still);
  still.pred_head = model.pred_head;
  result.static_risk = risks_by(ctx_, data_, parts.test, still);
  return result;
}

}  // namespace program
