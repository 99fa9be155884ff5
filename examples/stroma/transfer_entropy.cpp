// AdaMerging as it was published, in `stroma transfer`: the models' weights are those that make the merged model sure
// of the target's training bags. No outcome is seen.
#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include <stroma/core/random.hpp>
#include <stroma/survival/hazard_entropy.hpp>
#include <stroma/taskvector/adaptive_merge.hpp>
#include <stroma/taskvector/arithmetic.hpp>

#include "transfer_training.hpp"

namespace program {
namespace {

/// The published settings: Adam at a constant rate, from equal coefficients.
constexpr int steps = 500;
constexpr double rate = 1e-3, first_coefficient = 0.3;

/// The encoder's task vectors of all models, the target's among them; heads are no part of the merge.
std::vector<encoder_model> encoder_vectors(const transfer_fold& f) {
  std::vector<encoder_model> vectors = f.all_models();
  for (encoder_model& v : vectors) {
    stroma::difference(f.ctx, v, f.bases.origin.model, v);
    stroma::set_zero(v.pred_head);
  }
  return vectors;
}

}  // namespace

transfer_result run_entropy(const transfer_fold& f) {
  const auto vectors = encoder_vectors(f);
  encoder_model base = f.bases.origin.model;
  base.pred_head = f.own().model.pred_head;
  encoder_model merged = base;
  merged.attention_net.dropout = 0;
  encoder_model d_merged = zeros_like(merged);

  using coefficients = stroma::merge_coefficients<float>;
  coefficients c(base, static_cast<index_t>(vectors.size()),
                 {.each = stroma::coefficients_of::task, .initial = first_coefficient});
  coefficients d_c = zeros_like(c);
  stroma::adam<coefficients> optimizer(c);
  const auto merge = [&] { stroma::adaptive_merge(f.ctx, c, base, std::span<const encoder_model>(vectors), merged); };

  float_graph g(f.ctx);
  g.bind(merged, d_merged);
  std::vector<index_t> order = f.parts().train;
  const auto batch = std::min(static_cast<std::size_t>(f.options.batch), order.size());
  std::size_t at = order.size();
  std::uint32_t epoch = 0;
  for (int step = 0; step < steps; ++step) {
    if (at + batch > order.size()) {
      stroma::random_stream(f.options.seed, epoch++).shuffle(order);
      at = 0;
    }
    merge();
    for (const std::size_t end = at + batch; at < end; ++at) {
      g.reset();
      const auto logits = merged(g, input_of(g, f.data, order[at])).logits;
      g.backward(stroma::hazard_entropy(g, logits), 1 / static_cast<float>(batch));
    }
    stroma::adaptive_merge_backward(f.ctx, c, std::span<const encoder_model>(vectors), d_merged, d_c);
    set_zero(d_merged);
    optimizer.step_and_clear(f.ctx, c, d_c, rate);
  }
  merge();
  return {risks_by(f.ctx, f.data, f.parts().test, merged), {}, {}};
}

}  // namespace program
