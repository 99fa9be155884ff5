#pragma once
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <tuple>
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
struct roupkt_output {
  node logits;                  ///< [1, outputs]
  node attention;               ///< [instances, 1] of the router
  node scores;                  ///< [1, experts] of the router
  node probability;             ///< [1, experts] their softmax
  selected<host_space> chosen;  ///< the experts heard, from the most probable on, and their probabilities
};

namespace detail {

/// Recorded: sum over j of weight(0, j) rows[j], where each row is [1, width]. `rows` lives until the graph's reset.
template <class T, class Backend>
node weighted_rows(graph<T, Backend>& g, node weight, std::span<const node> rows) {
  using ops = primitives<Backend>;
  const auto w = g.value(weight);
  const auto emitted = g.emit(1, g.shape(rows.front()).cols, {weight, rows.front()});
  const node out = emitted.first;
  ops::fill(g.context(), emitted.second, T(0));
  const node* const from = rows.data();
  for (index_t j = 0; j < w.cols; ++j) ops::axpy(g.context(), &w(0, j), g.value(from[j]), emitted.second);
  g.on_backward(out, [=](graph<T, Backend>& r) {
    const auto d = r.gradient(out);
    for (index_t j = 0; j < w.cols; ++j) {
      if (r.needs_gradient(weight))
        ops::gemm_add(r.context(), d, r.value(from[j]).transposed(),
                      matrix_view<T>(&r.gradient_of(weight)(0, j), 1, 1));
      if (r.needs_gradient(from[j])) ops::axpy(r.context(), &w(0, j), d, r.gradient_of(from[j]));
    }
  });
  return out;
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
/// Cost of a bag: the router's, and top_k experts of 2 pooled^2 flops; only those that are heard are computed.
/// Reference: Liu, Ji, Gou, Zeng, "Cross-cancer knowledge transfer in WSI-based prognosis prediction", 2025.
template <class T, class Backend = backend::cpu>
struct roupkt {
  static_assert(std::same_as<Backend, backend::cpu>, "roupkt: which experts are heard is decided on the host");

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
  roupkt_output operator()(graph<T, Backend>& g, node bag, node pooled) const {
    const auto count = static_cast<index_t>(experts.size()), width = pred_head.weight.cols();
    check::shape("roupkt", "pooled", g.value(pooled), count, width);
    roupkt_output out{};
    const auto routed = router(g, bag);
    check::shape("roupkt", "bag", g.value(routed.logits), 1, count);
    out.scores = routed.logits;
    out.attention = routed.attention;
    out.probability = softmax(g, out.scores);
    out.chosen = stroma::top_k(g, out.probability, std::min(top_k, count));
    const index_t heard = out.chosen.indices.cols;
    node* const said = g.template take<node>(heard);
    for (index_t j = 0; j < heard; ++j) {
      const index_t e = out.chosen.indices(0, j);
      const node of_model = g.slice(pooled, e * width, 1, width);
      said[j] = experts[static_cast<std::size_t>(e)](g, of_model, {.activate = activation::relu});
    }
    const std::span<const node> rows(said, static_cast<std::size_t>(heard));
    out.logits = pred_head(g, detail::weighted_rows(g, out.chosen.values, rows));
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
node routing_penalty(graph<T, Backend>& g, const roupkt_output& said, const routing_penalty_options& options = {}) {
  const mixing_penalty_options of_scores{.top_k = 0, .aggregation = options.aggregation, .balance = 0, .share = 0},
      of_largest{.top_k = 1, .aggregation = 0, .balance = options.balance, .share = 0};
  return add(g, mixing_penalty(g, said.scores, said.scores, of_scores),
             mixing_penalty(g, said.probability, said.probability, of_largest));
}

}  // namespace stroma
