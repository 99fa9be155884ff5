#pragma once
#include <tuple>
#include <vector>

#include <stroma/nn/attention.hpp>
#include <stroma/nn/linear.hpp>
#include <stroma/pooling/attention_pool.hpp>

namespace stroma {

/// Extents of an attention-based multiple-instance model.
struct abmil_shape {
  index_t features = 1536;           ///< of an instance as the patch encoder gives it
  std::vector<index_t> hidden{512};  ///< widths of the layers on each instance
  index_t attention = 384;           ///< hidden width of the attention
  index_t heads = 1;
  index_t outputs = 32;  ///< classes, time bins, or 1 for a score
  double dropout = 0;    ///< on the attention's hidden units while training
};

/// What an abmil model says of its bags.
struct abmil_output {
  node logits;     ///< [bags, outputs]
  node attention;  ///< [instances, heads]
};

/// Attention-based multiple-instance learning: fully connected ReLU layers on each instance, attention pooling, and a
/// linear head on the pooled vector. Parameter names are those of the public STEPH checkpoints.
/// Reference: Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", ICML 2018.
template <class T, template <class, class> class Attention = gated_attention, class Backend = backend::cpu>
struct abmil {
  std::vector<linear_layer<T, Backend>> feat_proj;
  Attention<T, Backend> attention_net;
  linear_layer<T, Backend> pred_head;

  abmil() = default;
  explicit abmil(const abmil_shape& shape) {
    index_t width = shape.features;
    for (const index_t next : shape.hidden) {
      feat_proj.emplace_back(width, next);
      width = next;
    }
    attention_net = {width, shape.attention, shape.heads, shape.dropout};
    pred_head = {width * shape.heads, shape.outputs};
  }
  static auto members(auto& self) {
    return std::tuple{member{"feat_proj", self.feat_proj}, member{"attention_net", self.attention_net},
                      member{"pred_head", self.pred_head}};
  }

  /// The pooled vectors [bags, heads * hidden] and the attention [instances, heads].
  /// @param bags  instances [N, features] with the offsets of their bags, or one bag
  pooled encode(graph<T, Backend>& g, node bags,
                const attention_options_in<typename Backend::space>& options = {}) const {
    node instances = bags;
    for (const auto& layer : feat_proj) instances = layer(g, instances, {.activate = activation::relu});
    return attention_pool(g, instances, attention_net, options);
  }
  abmil_output operator()(graph<T, Backend>& g, node bags,
                          const attention_options_in<typename Backend::space>& options = {}) const {
    const auto [slide, attention] = encode(g, bags, options);
    return {pred_head(g, slide), attention};
  }
};

}  // namespace stroma
