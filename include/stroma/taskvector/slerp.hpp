#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/gram.hpp>
#include <stroma/taskvector/detail/scope.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

/// Vectors that point in opposite directions have no shortest arc between them.
enum class opposite_vectors {
  refuse,
  straight  ///< the straight line, through 0 in the middle: mergekit's
};

struct slerp_options {
  double share = 0.5;                       ///< of the second model, 0 to 1
  merge_scope scope = merge_scope::tensor;  ///< what is one vector: the model, a tensor, a row
  double straight_above = 0.9995;           ///< vectors whose cosine is larger are mixed on the straight line
  opposite_vectors opposite = opposite_vectors::refuse;  ///< those whose cosine is below the negative of it
};

/// Spherical interpolation of two models a and b, with the angle W between them:
/// theta = sin((1 - t) W) / sin(W) a + sin(t W) / sin(W) b. With a base their task vectors are interpolated and added
/// to it (mergekit's NuSLERP); without, the models themselves. A zero vector has no direction
/// and a single number no angle: they are mixed on the straight line. Share 0 gives the first model's bits, 1 the
/// second's. Cost: one pass for the angles, one for the sum; with the scope model each is a pass over all tensors.
/// @throws value_error  another number of models than 2, an option, opposite vectors
/// Reference: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
class slerp {
 public:
  explicit slerp(const slerp_options& options = {}) : options_(options) {}

  [[nodiscard]] static std::string_view name() { return "slerp"; }
  void begin(index_t models) {
    check::require(models == 2, name(), "models", std::to_string(models), "2");
    check::in_range(name(), "options.share", options_.share, 0.0, 1.0);
    check::in_range(name(), "options.straight_above", options_.straight_above, 0.0, 1.0);
    whole_ = {};
    wants_pass_ = options_.scope == merge_scope::model;
  }
  [[nodiscard]] bool wants_pass() const { return wants_pass_; }
  template <class T>
  void observe(cpu_context& ctx, const tensor_slices<T>& s) {
    const gram_matrix g = products(ctx, s);
    for (std::size_t i = 0; i < g.size(); ++i) whole_[i] += g[i];
  }
  void conclude() { wants_pass_ = false; }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    detail::for_each_row_slices(options_.scope, s, out, [&](const tensor_slices<T>& part, T* to) {
      const bool whole = options_.scope == merge_scope::model;
      const auto weights =
          !whole && part.size() < 2 ? straight() : factors(whole ? whole_ : products(ctx, part), s.name);
      detail::sum_vectors<T>(ctx, part, weights, to);
    });
    return 2 * s.size();
  }

 private:
  using gram_matrix = std::array<double, 4>;  // aa, ab, ba, bb

  template <class T>
  [[nodiscard]] static gram_matrix products(cpu_context& ctx, const tensor_slices<T>& s) {
    gram_matrix g;
    detail::gram_of_differences<T>(ctx, s.size(), s.base, s.models, 0, g.data());
    return g;
  }
  [[nodiscard]] std::array<double, 2> straight() const { return {1 - options_.share, options_.share}; }
  [[nodiscard]] std::array<double, 2> factors(const gram_matrix& g, std::string_view tensor) const {
    const double t = options_.share;
    if (g[0] == 0 || g[3] == 0) return straight();
    const double cosine = std::clamp(detail::gram_cosine(g[0], g[3], g[1]), -1.0, 1.0);
    if (cosine > options_.straight_above) return straight();
    if (cosine < -options_.straight_above) {
      check::require(options_.opposite == opposite_vectors::straight, name(),
                     options_.scope == merge_scope::model ? "models" : tensor,
                     "vectors of cosine " + number_text(cosine), "vectors that are not opposite");
      return straight();
    }
    const double angle = std::acos(cosine);
    return {std::sin((1 - t) * angle) / std::sin(angle), std::sin(t * angle) / std::sin(angle)};
  }

  slerp_options options_;
  gram_matrix whole_{};
  bool wants_pass_ = false;
};

}  // namespace stroma
