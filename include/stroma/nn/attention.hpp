#pragma once
#include <tuple>

#include <stroma/nn/linear.hpp>

namespace stroma {

/// Parameters of attention pooling, e = c . tanh(V h + b): named as in the published checkpoints.
template <class T, class Backend = backend::cpu>
struct plain_attention {
  static constexpr bool gated = false;
  linear_layer<T, Backend> hidden;  ///< [attention, features]
  linear_layer<T, Backend> score;   ///< [heads, attention]
  double dropout = 0;               ///< rate on tanh(..) while training

  plain_attention() = default;
  plain_attention(index_t features, index_t attention, index_t heads = 1, double dropout_rate = 0)
      : hidden(features, attention), score(attention, heads), dropout(dropout_rate) {}
  static auto members(auto& self) {
    return std::tuple{member{"module.0", self.hidden}, member{"module.3", self.score}};
  }
};

/// Parameters of gated attention pooling, e = c . (tanh(V h + b) * sigmoid(U h + d)).
template <class T, class Backend = backend::cpu>
struct gated_attention {
  static constexpr bool gated = true;
  linear_layer<T, Backend> hidden;  ///< [attention, features]
  linear_layer<T, Backend> gate;    ///< [attention, features]
  linear_layer<T, Backend> score;   ///< [heads, attention]
  double dropout = 0;               ///< rate on tanh(..) and on sigmoid(..), independently, while training

  gated_attention() = default;
  gated_attention(index_t features, index_t attention, index_t heads = 1, double dropout_rate = 0)
      : hidden(features, attention), gate(features, attention), score(attention, heads), dropout(dropout_rate) {}
  static auto members(auto& self) {
    return std::tuple{member{"attention_a.0", self.hidden}, member{"attention_b.0", self.gate},
                      member{"attention_c", self.score}};
  }
};

}  // namespace stroma
