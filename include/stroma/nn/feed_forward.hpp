#pragma once
#include <cstddef>
#include <initializer_list>
#include <string>
#include <tuple>
#include <vector>

#include <stroma/nn/dropout.hpp>
#include <stroma/nn/linear.hpp>

namespace stroma {

struct feed_forward_options {
  activation between = activation::relu;    ///< after every layer but the last
  activation after = activation::identity;  ///< after the last
  double dropout = 0;                       ///< rate after every layer but the last, while training
};

/// Fully connected layers one after another: x -> f(W_0 x + b_0) -> .. -> W_n x + b_n. Each activation is fused into
/// its layer's product. Parameters are named "0.weight", "0.bias", "1.weight" ...
template <class T, class Backend = backend::cpu>
struct feed_forward {
  std::vector<linear_layer<T, Backend>> layers;
  feed_forward_options options{};

  feed_forward() = default;
  /// @param widths {in, hidden .., out}: at least two
  feed_forward(std::initializer_list<index_t> widths, const feed_forward_options& o = {}) : options(o) {
    if (widths.size() < 2)
      throw shape_error(error_message("feed_forward", "widths", std::to_string(widths.size()) + " entries",
                                      "2 or more (in, hidden .., out)"));
    detail::check_dropout_rate("feed_forward", options.dropout);
    layers.reserve(widths.size() - 1);
    for (auto w = widths.begin(); w + 1 != widths.end(); ++w) layers.emplace_back(w[0], w[1]);
  }
  static auto members(auto& self) { return std::tuple{member{"", self.layers}}; }

  /// Recorded on a graph: x [N, in] to [N, out].
  node operator()(graph<T, Backend>& g, node x) const {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const bool last = i + 1 == layers.size();
      x = layers[i](g, x, {.activate = last ? options.after : options.between});
      if (!last && options.dropout > 0) x = dropout(g, x, options.dropout);
    }
    return x;
  }
};

}  // namespace stroma
