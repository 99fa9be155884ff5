#pragma once
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <stroma/models/abmil.hpp>
#include <stroma/nn/add.hpp>
#include <stroma/nn/softmax.hpp>
#include <stroma/nn/top_k.hpp>
#include <stroma/taskvector/mixing_penalty.hpp>

namespace stroma {

/// Extents of ROUPKT. The defaults are the published ones: the target's model and those of 12 other cancers.
struct roupkt_shape {
  index_t features = 1536;  ///< of an instance
  index_t hidden = 512;     ///< the router's width of an instance
  index_t attention = 384;  ///< hidden width of the router's attention
  index_t experts = 13;     ///< one for each model that has seen the bag
  index_t pooled = 512;     ///< what such a model pools a bag to, and the width of an expert
  index_t outputs = 32;     ///< time bins
  index_t top_k = 5;        ///< experts that are heard
  double dropout = 0.25;    ///< in the router's attention while training
};

/// What ROUPKT says of one bag.
template <class Space = host_space>
struct roupkt_output {
  node logits;             ///< [1, outputs]
  node attention;          ///< [instances, 1] of the router
  node scores;             ///< [1, experts] of the router
  node probability;        ///< [1, experts] their softmax
  selected<Space> chosen;  ///< the experts heard, from the most probable on, and their probabilities
};

namespace detail {

/// Recorded: the chosen of a row of probabilities where they stood, 0 elsewhere.
template <class T, class Backend>
node chosen_in_place(graph<T, Backend>& g, node probability, const selected<typename Backend::space>& chosen) {
  using ops = primitives<Backend>;
  const auto emitted = g.emit(1, g.shape(probability).cols, {probability});
  const node out = emitted.first;
  const auto kept = emitted.second;
  ops::fill(g.context(), kept, T(0));
  top_k_backward(g.context(), chosen.indices, g.value(chosen.values), kept);
  g.on_backward(out, [=](graph<T, Backend>& r) {
    // ReLU's slope at what was kept and at the zeros beside it says which derivatives pass. That of a probability that
    // was kept at 0 does not, and the softmax would let nothing of it through.
    ops::activate_backward(r.context(), activation::relu, r.value_of(kept), r.value_of(kept), r.gradient(out),
                           r.gradient_of(probability));
  });
  return out;
}

/// Recorded: sum += weight(0, j) row, where `sum` is as g.emit gave it and nobody has read it yet.
template <class T, class Backend>
void add_weighted(graph<T, Backend>& g, const std::pair<node, matrix_view<T, typename Backend::space>>& sum,
                  node weight, index_t j, node row) {
  using ops = primitives<Backend>;
  const T* const factor = &g.value(weight)(0, j);
  ops::axpy(g.context(), factor, g.value(row), sum.second);
  // The sum again, to have a backward of this row's own.
  const node term = g.slice(sum.first, 0, 1, sum.second.cols);
  g.on_backward(term, [=](graph<T, Backend>& r) {
    const auto d = r.gradient(term);
    if (r.needs_gradient(weight))
      ops::gemm_add(r.context(), d, r.value(row).transposed(),
                    matrix_view<T, typename Backend::space>(&r.gradient_of(weight)(0, j), 1, 1));
    if (r.needs_gradient(row)) ops::axpy(r.context(), factor, d, r.gradient_of(row));
  });
}

}  // namespace detail

/// ROUPKT: knowledge of several cancers' models for one of them. Each model has pooled the bag to a vector F_i; an
/// expert of its own reads it; a router, attention-based multiple-instance learning on the bag itself, says which
/// experts are heard, and a linear head reads their sum:
///
///   p = softmax(router(x)),   M = sum over the top_k largest p_i of p_i relu(E_i F_i),   logits = H M.
///
/// The probabilities are not made to sum to 1 again. The models' encoders are frozen and outside: their vectors come
/// in with the bag. Trained are the router (whose head has no bias), the experts and the head.
/// Cost of a bag: the router's, and top_k experts of 2 pooled^2 flops; only those that are heard are computed. A device
/// cannot tell the host who is heard without being waited for: there all experts are computed, and the others weigh 0.
/// Reference: Liu, Ji, Gou, Zeng, "Cross-cancer knowledge transfer in WSI-based prognosis prediction", 2025.
template <class T, class Backend = backend::cpu>
struct roupkt {
  using space = typename Backend::space;

  abmil<T, gated_attention, Backend> router;
  std::vector<linear_layer<T, Backend>> experts;
  linear_layer<T, Backend> pred_head;
  index_t top_k = 5;

  roupkt() = default;
  explicit roupkt(const roupkt_shape& shape)
      : router({.features = shape.features,
                .hidden = {shape.hidden},
                .attention = shape.attention,
                .outputs = shape.experts,
                .dropout = shape.dropout}),
        pred_head(shape.pooled, shape.outputs),
        top_k(shape.top_k) {
    check::require(shape.experts > 0 && shape.top_k > 0, "roupkt", "shape",
                   std::to_string(shape.experts) + " experts, of which " + std::to_string(shape.top_k) + " are heard",
                   "1 or more of both");
    router.pred_head.bias = {};
    for (index_t e = 0; e < shape.experts; ++e) experts.emplace_back(shape.pooled, shape.pooled);
  }
  static auto members(auto& self) {
    return std::tuple{member{"router", self.router}, member{"experts", self.experts},
                      member{"pred_head", self.pred_head}};
  }

  /// @param bag     instances [N, features] of one bag
  /// @param pooled  [experts, pooled] the vectors of the bag, row by row without gaps
  /// @throws shape_error
  roupkt_output<space> operator()(graph<T, Backend>& g, node bag, node pooled) const {
    const auto count = static_cast<index_t>(experts.size()), width = pred_head.weight.cols();
    check::shape("roupkt", "pooled", g.value(pooled), count, width);
    roupkt_output<space> out{};
    const auto routed = router(g, bag);
    check::shape("roupkt", "bag", g.value(routed.logits), 1, count);
    out.scores = routed.logits;
    out.attention = routed.attention;
    out.probability = softmax(g, out.scores);
    out.chosen = stroma::top_k(g, out.probability, std::min(top_k, count));

    constexpr bool told = std::same_as<space, host_space>;  // who is heard
    node weight = out.chosen.values;
    if constexpr (!told) weight = detail::chosen_in_place(g, out.probability, out.chosen);
    const auto sum = g.emit(1, width, {weight, pooled, g.parameter(experts.front().weight)});
    primitives<Backend>::fill(g.context(), sum.second, T(0));
    for (index_t j = 0; j < g.shape(weight).cols; ++j) {
      const index_t e = told ? out.chosen.indices(0, j) : j;
      const node of_model = g.slice(pooled, e * width, 1, width);
      detail::add_weighted(g, sum, weight, j,
                           experts[static_cast<std::size_t>(e)](g, of_model, {.activate = activation::relu}));
    }
    out.logits = pred_head(g, sum.first);
    return out;
  }
};

/// Factors of the terms; 0 leaves one out.
struct routing_penalty_options {
  double balance = 0.01, aggregation = 0.01;
};

/// What a router pays for one bag: balance times its largest probability, plus aggregation times the square of the log
/// of the sum of exp over its scores. Recorded on a graph, [1, 1].
template <class T, class Backend>
node routing_penalty(graph<T, Backend>& g, const roupkt_output<typename Backend::space>& said,
                     const routing_penalty_options& options = {}) {
  const mixing_penalty_options of_scores{.top_k = 0, .aggregation = options.aggregation, .balance = 0, .share = 0},
      of_largest{.top_k = 1, .aggregation = 0, .balance = options.balance, .share = 0};
  return add(g, mixing_penalty(g, said.scores, said.scores, of_scores),
             mixing_penalty(g, said.probability, said.probability, of_largest));
}

}  // namespace stroma
