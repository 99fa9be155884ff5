#pragma once
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include <stroma/models/abmil.hpp>
#include <stroma/nn/dropout.hpp>
#include <stroma/pooling/mean_embedding.hpp>
#include <stroma/taskvector/mixing_penalty.hpp>
#include <stroma/taskvector/mixing_weight.hpp>
#include <stroma/taskvector/sparse_mixup.hpp>

namespace stroma {

/// Where the weights of the sources, or the target's shares, come from: a hypernetwork that reads the bag; a vector
/// that is trained and is the same for all bags, used as it stands; or one number that is not trained.
enum class mixing_source { network, vector, fixed };

/// Extents and choices of STEPH. The defaults are the published ones; the others are its rivals and ablations: learned
/// weights for all bags (AdaMerging), share 0 (other cancers' vectors alone), share 1 (the target's alone), top_k as
/// large as sources (dense).
struct steph_shape {
  index_t features = 1536;  ///< of an instance
  index_t embedding = 512;  ///< width of the hypernetwork, and of the merged encoder's instances
  index_t sources = 12;     ///< models of other cancers
  index_t outputs = 32;     ///< time bins
  index_t top_k = 5;        ///< sources that are mixed for a bag
  double dropout = 0.25;    ///< in the hypernetwork while training
  positive_map weight = positive_map::relu, ratio = positive_map::relu;
  /// In place of `weight`: a network's weights are a softmax over the selected sources times a learned scale, so that
  /// how much is mixed in and from which sources are different numbers.
  bool softmax_weight = false;
  mixing_source weight_from = mixing_source::network, share_from = mixing_source::network;
  double first_weight = 0;  ///< of a vector before training, or fixed; 0: one over the sources
  double first_share = 1;   ///< the same of the shares
};

/// Whether a parameter of an abmil model belongs to the encoder, which STEPH merges; the head is trained anew.
[[nodiscard]] constexpr bool in_encoder(std::string_view name) { return !name.starts_with("pred_head"); }

/// Two fully connected layers with ReLU and dropout between.
template <class T, class Backend = backend::cpu>
struct mixing_network {
  linear_layer<T, Backend> hidden, output;
  double dropout_rate = 0;

  static auto members(auto& self) { return std::tuple{member{"0", self.hidden}, member{"3", self.output}}; }
  node operator()(graph<T, Backend>& g, node x) const {
    return output(g, dropout(g, hidden(g, x, {.activate = activation::relu}), dropout_rate));
  }
};
/// One number a source.
template <class T, class Backend = backend::cpu>
struct mixing_vector {
  array<T, 1, typename Backend::space> values;
  static auto members(auto& self) { return std::tuple{member{"values", self.values}}; }
};

/// Numbers for the sources of a mixture [1, sources], from one of three places: see mixing_source.
template <class T, class Backend = backend::cpu>
struct mixing_head {
  std::optional<mixing_network<T, Backend>> network;
  std::optional<mixing_vector<T, Backend>> vector;
  mixing_vector<T, Backend> fixed;  ///< no parameter

  mixing_head() = default;
  mixing_head(mixing_source from, index_t width, index_t sources, double dropout, double first) {
    array<T, 1, typename Backend::space> values(sources);
    values.fill(static_cast<T>(first));
    if (from == mixing_source::network) network = {{width, width}, {width, sources}, dropout};
    else (from == mixing_source::vector ? vector.emplace() : fixed).values = std::move(values);
  }
  static auto members(auto& self) { return std::tuple{member{"", self.network}, member{"", self.vector}}; }

  /// @param map  map(node) makes weights or shares of what a network says
  template <class Map>
  node operator()(graph<T, Backend>& g, node embedded, const Map& map) const {
    if (network) return map((*network)(g, embedded));
    return g.parameter(vector ? vector->values : fixed.values);
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
  std::optional<mixing_vector<T, Backend>> weight_scale;  ///< [1], with softmax_weight alone
  linear_layer<T, Backend> pred_head;
  index_t top_k = 5;
  positive_map weight_map = positive_map::relu, ratio_map = positive_map::relu;

  steph() = default;
  explicit steph(const steph_shape& shape)
      : embedding(shape.features, shape.embedding),
        weight_head(shape.weight_from, shape.embedding, shape.sources, shape.dropout,
                    shape.first_weight != 0 ? shape.first_weight : 1 / static_cast<double>(shape.sources)),
        share_head(shape.share_from, shape.embedding, shape.sources, shape.dropout, shape.first_share),
        pred_head(shape.embedding, shape.outputs),
        top_k(shape.top_k),
        weight_map(shape.weight),
        ratio_map(shape.ratio) {
    if (!shape.softmax_weight) return;
    check::require(shape.weight_from == mixing_source::network, "steph", "softmax_weight", "weights without a network",
                   "weights of the network");
    weight_scale.emplace().values = array<T, 1, typename Backend::space>(1);
    weight_scale->values.fill(T(1));
  }
  static auto members(auto& self) {
    return std::tuple{member{"regulate_layer_emb.0", self.embedding}, member{"regulate_layer_prj", self.weight_head},
                      member{"weight_scale", self.weight_scale}, member{"vecmix_layer", self.share_head},
                      member{"pred_head", self.pred_head}};
  }

  /// @param bag      instances [N, features] of one bag
  /// @param vectors  made with in_encoder   @param encoder  any model of the struct and extents behind the vectors: it
  ///                 lends its layers; its own parameters do not matter
  template <class Encoder, class Storage>
  steph_output<T, Backend> operator()(graph<T, Backend>& g, node bag, const vector_stack<T, Backend, Storage>& vectors,
                                      const Encoder& encoder) const {
    node u{};
    if (weight_head.network || share_head.network)
      u = mean_embedding(g, bag, g.parameter(embedding.weight), g.parameter(embedding.bias));
    steph_output<T, Backend> out{};
    out.weight = weight_head(g, u, [&](node x) {
      return weight_scale ? mixing_softmax(g, x, g.parameter(weight_scale->values), top_k)
                          : mixing_weight(g, x, weight_map);
    });
    out.share = share_head(g, u, [&](node x) { return mixing_share(g, x, ratio_map); });
    out.encoder = sparse_mixup(g, out.weight, out.share, vectors, {.top_k = top_k});
    vectors.substitute(g, encoder, out.encoder.merged);
    const auto [slide, attention] = encoder.encode(g, bag);
    out.attention = attention;
    out.logits = pred_head(g, slide);
    return out;
  }
};

}  // namespace stroma
