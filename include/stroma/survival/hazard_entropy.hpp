#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

namespace detail {

template <class Backend>
struct hazard_entropy_kernel {
  static_assert(std::same_as<Backend, backend::cpu>, "device data: copy the logits to the host first");

  /// Of one bin's Bernoulli variable with hazard 1 / (1 + exp(-z)); even in z.
  static double of_bin(double z) {
    const double size = std::abs(z), rare = logistic(-size);
    return rare > 0 ? softplus(-size) + size * rare : 0;  // an infinite size of no weight is nothing
  }
  /// f(k, S_k, H_k) for each bin of a row, in their order.
  template <class T, class F>
  static void for_each_bin(vector_view<const T> z, const F& f) {
    double hazards = 0;  // minus the log of the survival up to the bin
    for (index_t k = 0; k < z.size; ++k) {
      const auto z_k = static_cast<double>(z[k]);
      f(k, std::exp(-hazards), of_bin(z_k));
      hazards += softplus(z_k);
    }
  }
  template <class T>
  static double of_row(vector_view<const T> z) {
    double sum = 0;
    for_each_bin(z, [&](index_t, double survival, double entropy) { sum += survival * entropy; });
    return sum;
  }
  template <class T>
  static void forward(cpu_context&, matrix_view<const T> logit, T* value) {
    double sum = 0;
    for (index_t r = 0; r < logit.rows; ++r) sum += of_row(logit.row(r));
    *value = static_cast<T>(logit.rows > 0 ? sum / static_cast<double>(logit.rows) : 0);
  }
  /// d H / d z_k = -S_k z_k h_k (1 - h_k) - h_k sum over i > k of S_i H_i: the bin's own entropy, and the weight of all
  /// that come later.
  template <class T>
  static void backward(cpu_context&, matrix_view<const T> logit, const T* d_value, matrix_view<T> d_logit) {
    const double seed = static_cast<double>(*d_value) / static_cast<double>(std::max<index_t>(logit.rows, 1));
    for (index_t r = 0; r < logit.rows; ++r) {
      double later = of_row(logit.row(r));
      for_each_bin(logit.row(r), [&](index_t k, double survival, double entropy) {
        const auto z = static_cast<double>(logit(r, k));
        const double hazard = logistic(z);
        later -= survival * entropy;
        d_logit(r, k) -= static_cast<T>(seed * (survival * (z * hazard * logistic(-z)) + hazard * later));
      });
    }
  }
};

}  // namespace detail

/// Mean Shannon entropy, in nats, of the times that hazard logits predict: how unsure a survival model is, without
/// outcomes. With hazards h_k = 1 / (1 + exp(-z_k)) and survival S_k = product over i < k of (1 - h_i), the event falls
/// into bin k with probability p_k = h_k S_k and into none with p_K = S_K, and
///
///   H = -sum over k of p_k log p_k = sum over k of S_k [ -h_k log h_k - (1 - h_k) log(1 - h_k) ].
///
/// The smaller it is the surer the model: what `prediction_entropy` is to classes. Logits of up to 1e300 are safe;
/// without a row it is 0.
/// @param logit [B, bins], finite   Cost: O(B bins), no scratch. @throws value_error
/// Reference: the chain rule of entropy; minimised over merging coefficients it makes AdaMerging (Yang et al., ICLR
/// 2024) fit survival models.
template <execution_context Context, matrix_like Logits>
  requires same_space<Context, Logits> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> hazard_entropy(Context& ctx, const Logits& logit) {
  const auto z = as_const_view(logit);
  check::finite("hazard_entropy", "logit", z);
  scalar_of<Logits> value{};
  detail::hazard_entropy_kernel<typename Context::backend>::forward(ctx, z, &value);
  return value;
}

/// Adds d_value times its derivative to d_logit [B, bins].
template <execution_context Context, matrix_like Logits, matrix_like Gradients>
  requires same_space<Context, Logits, Gradients>
void hazard_entropy_backward(Context& ctx, const Logits& logit, const scalar_of<Logits>* d_value, Gradients&& d_logit) {
  const auto z = as_const_view(logit);
  const matrix_view<scalar_of<Logits>, typename Context::space> d = as_view(d_logit);
  check::shape("hazard_entropy_backward", "d_logit", d, z.rows, z.cols);
  detail::hazard_entropy_kernel<typename Context::backend>::backward(ctx, z, d_value, d);
}

/// Recorded on a graph: logit [B, bins] to [1, 1].
template <class T, class Backend>
node hazard_entropy(graph<T, Backend>& g, node logit) {
  const auto z = g.value(logit);
  check::finite("hazard_entropy", "logit", z);
  const auto [out, value] = g.emit(1, 1, {logit});
  detail::hazard_entropy_kernel<Backend>::forward(g.context(), z, value.data);
  g.on_backward(out, [=, at = out](graph<T, Backend>& r) {
    hazard_entropy_backward(r.context(), z, r.gradient(at).data, r.gradient_of(logit));
  });
  return out;
}

}  // namespace stroma
