// STEPH, its controls, and the rivals whose weights are learned on the target's training bags.
#include <algorithm>
#include <span>
#include <utility>

#include <stroma/nn/add.hpp>
#include <stroma/nn/initialise.hpp>
#include <stroma/taskvector/iso_c.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/ties_merging.hpp>

#include "transfer_state.hpp"
#include "transfer_training.hpp"

namespace program {
namespace {

using vectors = stroma::vector_stack<float>;
using steph = stroma::steph<float>;

stroma::steph_shape shape_of(transfer_method method, const transfer_options& o, index_t features, index_t sources) {
  stroma::steph_shape s{.features = features,
                        .embedding = o.hidden,
                        .sources = sources,
                        .outputs = o.bins,
                        .top_k = std::min<index_t>(o.top_k, sources),
                        .dropout = o.dropout};
  using enum transfer_method;
  const bool learned = method == ties_learned || method == iso_c_learned || method == ada_merging;
  const bool network = method == ties_network || method == iso_c_network || method == ada_network;
  if (learned || method == learned_weights) s.weight_from = stroma::mixing_source::vector;
  if (learned || network || method == dense) s.top_k = sources;
  if (learned || network || method == share_0 || method == share_1) {
    s.share_from = stroma::mixing_source::fixed;
    s.first_share = method == share_1 ? 1 : 0;
  }
  return s;
}

/// The models whose task vectors are mixed: the sources', or what a rule makes of each and the target's.
std::vector<encoder_model> sources_for(const transfer_fold& f, transfer_method method) {
  std::vector<encoder_model> sources;
  for (const std::size_t c : f.sources()) sources.push_back(f.bases.of[c][0].model);
  const auto with_target = [&](auto rule) {
    for (encoder_model& source : sources) {
      const std::vector<encoder_model> pair{f.own().model, source};
      stroma::merge(f.ctx, rule, f.bases.origin.model, pair, source);
    }
  };
  using enum transfer_method;
  if (method == ties_learned || method == ties_network)
    with_target(stroma::ties_merging({.merge = stroma::agreeing::sum}));
  if (method == iso_c_learned || method == iso_c_network) with_target(stroma::iso_c());
  return sources;
}

steph train_steph(const transfer_fold& f, const vectors& stack, steph model) {
  const outcomes known(f);
  stroma::initialise(model, f.options.seed + 1);  // vectors of weights stay where the shape says
  const double gamma = model.weight_head.network ? f.options.gamma : 0;
  const stroma::mixing_penalty_options penalty{.top_k = model.top_k,
                                               .aggregation = gamma,
                                               .balance = gamma,
                                               .share = model.share_head.network ? f.options.beta : 0};
  return fit(f.ctx, f.options, std::move(model), f.parts().train, [&](float_graph& g, const steph& m, index_t bag) {
    const auto out = m(g, input_of(g, f.data, bag), stack, f.own().model);
    return stroma::add(g, known.loss(g, out.logits, bag), stroma::mixing_penalty(g, out.weight, out.share, penalty));
  });
}

/// Asks a model about bags: see(bag, output, graph) with each answer.
template <class See>
void ask(const transfer_fold& f, const steph& model, const vectors& stack, const std::vector<index_t>& bags,
         const See& see) {
  float_graph g(f.ctx, stroma::graph_mode::inference);
  for (const index_t bag : bags) {
    g.reset();
    see(bag, model(g, input_of(g, f.data, bag), stack, f.own().model), g);
  }
}

/// One encoder for all bags: the mean of what the training bags are given, with STEPH's head.
encoder_model static_encoder(const transfer_fold& f, const steph& model, const vectors& stack) {
  std::vector<double> mean(static_cast<std::size_t>(stack.sources()) + 1);
  ask(f, model, stack, f.parts().train, [&](index_t, const auto& out, float_graph&) {
    for (std::size_t j = 0; j < mean.size(); ++j)
      mean[j] += static_cast<double>(out.encoder.coefficient[static_cast<index_t>(j)]) /
                 static_cast<double>(f.parts().train.size());
  });
  std::vector<float> merged(stack.base().data, stack.base().data + stack.size());
  for (std::size_t j = 0; j < mean.size(); ++j)
    for (index_t i = 0; i < stack.size(); ++i)
      merged[static_cast<std::size_t>(i)] += static_cast<float>(mean[j]) * stack.rows()(static_cast<index_t>(j), i);
  encoder_model encoder = f.bases.origin.model;
  stack.assign(stroma::vector_view<const float>(merged.data(), stack.size()), encoder);
  encoder.pred_head = model.pred_head;
  return encoder;
}

mixture_record record_of(const transfer_fold& f, index_t bag, const stroma::steph_output<float>& out, float_graph& g) {
  const auto row = [](auto v) { return std::vector<float>(v.data, v.data + v.size); };
  const auto& chosen = out.encoder.selected;
  return {bag,
          row(g.value(out.weight).row(0)),
          row(g.value(out.share).row(0)),
          row(out.encoder.coefficient),
          {chosen.data, chosen.data + chosen.size},
          read_prediction(g, {out.logits, f.options.attention_maps ? out.attention : stroma::node{}})};
}

}  // namespace

transfer_result run_mixture(const transfer_fold& f, transfer_method method) {
  const bool is_steph = method == transfer_method::steph;
  const auto sources = sources_for(f, method);
  const vectors stack(f.bases.origin.model, std::span<const encoder_model>(sources), f.own().model, stroma::in_encoder);
  steph model(shape_of(method, f.options, f.data.bags.features(), static_cast<index_t>(sources.size())));
  if (!is_steph || !load_steph(f, model)) {
    model = train_steph(f, stack, std::move(model));
    if (is_steph) save_steph(f, model);
  }
  transfer_result result;
  ask(f, model, stack, f.parts().test, [&](index_t bag, const auto& out, float_graph& g) {
    result.risk.push_back(risk_of(g, out.logits));
    if (is_steph) result.mixtures.push_back(record_of(f, bag, out, g));
  });
  if (!is_steph) return result;
  const encoder_model still = static_encoder(f, model, stack);
  result.static_risk = risks_by(f.ctx, f.data, f.parts().test, still);
  if (!f.options.export_static.empty()) save_static(f, still);
  return result;
}

}  // namespace program
