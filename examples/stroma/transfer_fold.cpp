// What the methods of `stroma transfer` do for one target and fold; those with a training of their own kind have files
// of their own.
#include <utility>

#include <stroma/nn/initialise.hpp>
#include <stroma/taskvector/iso_c.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/weighted_average.hpp>

#include "transfer.hpp"
#include "transfer_training.hpp"

namespace program {
namespace {

/// All cancers' models made into one by a rule, with the target's head.
template <class Rule>
encoder_model merged_by(const transfer_fold& f, Rule rule) {
  encoder_model merged = f.bases.origin.model;
  stroma::merge(f.ctx, std::move(rule), f.bases.origin.model, f.all_models(), merged);
  merged.pred_head = f.own().model.pred_head;
  return merged;
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
  return fit(ctx, o, std::move(model), bags, [&](float_graph& g, const encoder_model& m, index_t bag) {
    return known.loss(g, m(g, input_of(g, data, bag)).logits, bag);
  });
}

std::vector<double> risks_by(stroma::cpu_context& ctx, const cohort& data, const std::vector<index_t>& bags,
                             const encoder_model& model) {
  float_graph g(ctx, stroma::graph_mode::inference);
  std::vector<double> risks;
  for (const index_t bag : bags) {
    g.reset();
    risks.push_back(risk_of(g, model(g, input_of(g, data, bag)).logits));
  }
  return risks;
}

transfer_result run_method(const transfer_fold& f, transfer_method method) {
  const auto judged = [&](const encoder_model& m) {
    return transfer_result{risks_by(f.ctx, f.data, f.parts().test, m), {}, {}};
  };
  switch (method) {
    case transfer_method::specific:
      return judged(f.own().model);
    case transfer_method::fine_tuned:
      return judged(train_encoder(f.ctx, f.options, f.data, f.parts().train, f.own().model));
    case transfer_method::joint:
      return judged(f.bases.joint[f.fold]);
    case transfer_method::average:
      return judged(merged_by(f, stroma::weighted_average()));
    case transfer_method::iso_c_fixed:
      return judged(merged_by(f, stroma::iso_c()));
    case transfer_method::ada_entropy:
      return run_entropy(f);
    case transfer_method::roupkt:
      return run_roupkt(f);
    default:
      return run_mixture(f, method);
  }
}

}  // namespace program
