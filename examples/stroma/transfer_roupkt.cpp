// ROUPKT in `stroma transfer`: all cancers' encoders read each bag once; a router and experts are trained on that.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include <stroma/models/roupkt.hpp>
#include <stroma/nn/initialise.hpp>

#include "transfer_training.hpp"

namespace program {
namespace {

using roupkt = stroma::roupkt<float>;

/// What each model pools a bag to, [models, width]: the target's first, then the sources'.
std::unordered_map<index_t, stroma::array<float, 2>> pool(const transfer_fold& f) {
  std::vector<const encoder_model*> models{&f.own().model};
  for (const std::size_t c : f.sources()) models.push_back(&f.bases.of[c][0].model);
  std::unordered_map<index_t, stroma::array<float, 2>> of_bag;
  float_graph g(f.ctx, stroma::graph_mode::inference);
  for (const auto* part : {&f.parts().train, &f.parts().test})
    for (const index_t bag : *part) {
      auto& pooled = of_bag.emplace(bag, stroma::array<float, 2>(static_cast<index_t>(models.size()), f.options.hidden))
                         .first->second;
      for (std::size_t m = 0; m < models.size(); ++m) {
        g.reset();
        const auto slide = g.value(models[m]->encode(g, input_of(g, f.data, bag)).slide).row(0);
        for (index_t i = 0; i < slide.size; ++i) pooled(static_cast<index_t>(m), i) = slide[i];
      }
    }
  return of_bag;
}

}  // namespace

transfer_result run_roupkt(const transfer_fold& f) {
  const auto pooled = pool(f);
  const outcomes known(f);
  roupkt model({.features = f.data.bags.features(),
                .hidden = f.options.hidden,
                .attention = f.options.attention,
                .experts = static_cast<index_t>(f.cohorts.size()),
                .pooled = f.options.hidden,
                .outputs = f.options.bins,
                .top_k = f.options.top_k,
                .dropout = f.options.dropout});
  stroma::initialise(model, f.options.seed + 1);
  const auto ask = [&](float_graph& g, const roupkt& m, index_t bag) {
    return m(g, input_of(g, f.data, bag), g.input(pooled.at(bag)));
  };
  model = fit(f.ctx, f.options, std::move(model), f.parts().train, [&](float_graph& g, const roupkt& m, index_t bag) {
    const auto out = ask(g, m, bag);
    return stroma::add(g, known.loss(g, out.logits, bag), stroma::routing_penalty(g, out));
  });
  transfer_result result;
  float_graph g(f.ctx, stroma::graph_mode::inference);
  for (const index_t bag : f.parts().test) {
    g.reset();
    result.risk.push_back(risk_of(g, ask(g, model, bag).logits));
  }
  return result;
}

}  // namespace program
