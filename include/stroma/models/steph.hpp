#pragma once
#include <string_view>
#include <tuple>

#include <stroma/models/abmil.hpp>
#include <stroma/nn/dropout.hpp>
#include <stroma/pooling/mean_pool.hpp>
#include <stroma/taskvector/mixing_penalty.hpp>
#include <stroma/taskvector/mixing_weight.hpp>
#include <stroma/taskvector/sparse_mixup.hpp>

namespace stroma {

/// Extents and choices of STEPH.
struct steph_shape {
  index_t features = 1536;  ///< of an instance
  index_t embedding = 512;  ///< width of the hypernetwork, and of the merged encoder's instances
  index_t sources = 12;     ///< models of other cancers
  index_t outputs = 32;     ///< time bins
  index_t top_k = 5;        ///< sources that are mixed for a bag
  double dropout = 0.25;    ///< in the hypernetwork while training
  positive_map weight = positive_map::relu, ratio = positive_map::relu;
};

/// Whether a parameter of an abmil model belongs to the encoder, which STEPH merges; the head is trained anew.
[[nodiscard]] constexpr bool in_encoder(std::string_view name) { return !name.starts_with("pred_head"); }

/// Two fully connected layers with ReLU and dropout between.
template <class T, class Backend = backend::cpu>
struct mixing_head {
  linear_layer<T, Backend> hidden, output;
  double dropout_rate = 0;

  mixing_head() = default;
  mixing_head(index_t width, index_t outputs, double dropout)
      : hidden(width, width), output(width, outputs), dropout_rate(dropout) {}
  static auto members(auto& self) { return std::tuple{member{"0", self.hidden}, member{"3", self.output}}; }

  node operator()(graph<T, Backend>& g, node x) const {
    return output(g, dropout(g, hidden(g, x, {.activate = activation::relu}), dropout_rate));
  }
};

/// What STEPH says of one bag.
template <class T, class Backend = backend::cpu>
struct steph_output {
  node logits;                      ///< [1, outputs]
  node attention;                   ///< [instances, heads]
  node weight, share;               ///< [1, sources] of each source, and of the target in its mixture
  mixed_model<T, Backend> encoder;  ///< which sources, with which coefficients
};

/// STEPH: for every bag a hypernetwork reads the bag and mixes an encoder of its own from the task vectors of models
/// for other cancers and for the target cancer,
///
///   u = mean over instances of relu(E x_n),   w = relu(A(u)),   share = 1 / (1 + relu(B(u))),
///   encoder = base + sum over the top_k largest w_j of w_j [ (1 - share_j) v_j + share_j v_target ],
///
/// and a head of its own reads what that encoder pools. These are its parameters, and all that is trained: they are
/// few, and the task vectors stay outside. Names are those of the public code.
/// Reference: "STEPH", CVPR 2026.
template <class T, class Backend = backend::cpu>
struct steph {
  linear_layer<T, Backend> embedding;
  mixing_head<T, Backend> weight_head, share_head;
  linear_layer<T, Backend> pred_head;
  index_t top_k = 5;
  positive_map weight_map = positive_map::relu, ratio_map = positive_map::relu;

  steph() = default;
  explicit steph(const steph_shape& shape)
      : embedding(shape.features, shape.embedding),
        weight_head(shape.embedding, shape.sources, shape.dropout),
        share_head(shape.embedding, shape.sources, shape.dropout),
        pred_head(shape.embedding, shape.outputs),
        top_k(shape.top_k),
        weight_map(shape.weight),
        ratio_map(shape.ratio) {}
  static auto members(auto& self) {
    return std::tuple{member{"regulate_layer_emb.0", self.embedding}, member{"regulate_layer_prj", self.weight_head},
                      member{"vecmix_layer", self.share_head}, member{"pred_head", self.pred_head}};
  }

  /// @param bag      instances [N, features] of one bag
  /// @param vectors  made with in_encoder   @param encoder  any model of the struct and extents behind the vectors: it
  ///                 lends its layers; its own parameters do not matter
  template <class Encoder, class Storage>
  steph_output<T, Backend> operator()(graph<T, Backend>& g, node bag, const vector_stack<T, Backend, Storage>& vectors,
                                      const Encoder& encoder) const {
    const node u = mean_pool(g, embedding(g, bag, {.activate = activation::relu}));
    steph_output<T, Backend> out{};
    out.weight = mixing_weight(g, weight_head(g, u), weight_map);
    out.share = mixing_share(g, share_head(g, u), ratio_map);
    out.encoder = sparse_mixup(g, out.weight, out.share, vectors, {.top_k = top_k});
    vectors.substitute(g, encoder, out.encoder.merged);
    const auto [slide, attention] = encoder.encode(g, bag);
    out.attention = attention;
    out.logits = pred_head(g, slide);
    return out;
  }
};

}  // namespace stroma
