#pragma once
#include <tuple>
#include <vector>

#include <stroma/models/abmil.hpp>
#include <stroma/nn/linear.hpp>
#include <stroma/pooling/max_pool.hpp>
#include <stroma/pooling/mean_pool.hpp>

namespace stroma {

/// How a pooled_mil model makes one vector of a bag.
enum class instance_pooling { mean, max };

/// abmil without the attention, the baseline that it must beat: fully connected ReLU layers on each instance, their
/// mean or their largest value in each feature, and a linear head. Parameters have abmil's names.
template <class T, class Backend = backend::cpu>
struct pooled_mil {
  std::vector<linear_layer<T, Backend>> feat_proj;
  linear_layer<T, Backend> pred_head;
  instance_pooling pooling = instance_pooling::mean;

  pooled_mil() = default;
  /// Of the shape, what concerns the attention is left alone.
  explicit pooled_mil(const abmil_shape& shape, instance_pooling pool = instance_pooling::mean) : pooling(pool) {
    index_t width = shape.features;
    for (const index_t next : shape.hidden) {
      feat_proj.emplace_back(width, next);
      width = next;
    }
    pred_head = {width, shape.outputs};
  }
  static auto members(auto& self) {
    return std::tuple{member{"feat_proj", self.feat_proj}, member{"pred_head", self.pred_head}};
  }

  /// @param bags  instances [N, features] with the offsets of their bags, or one bag
  /// Returns the logits [bags, outputs].
  node operator()(graph<T, Backend>& g, node bags) const {
    node instances = bags;
    for (const auto& layer : feat_proj) instances = layer(g, instances, {.activate = activation::relu});
    return pred_head(g, pooling == instance_pooling::mean ? mean_pool(g, instances) : max_pool(g, instances));
  }
};

}  // namespace stroma
