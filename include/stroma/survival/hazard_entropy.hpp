#pragma once
#include <cmath>
#include <concepts>

#include <stroma/autodiff/row_mean.hpp>

namespace stroma {

namespace detail {

struct hazard_entropy_term {
  /// Of one bin's Bernoulli variable with hazard 1 / (1 + exp(-z)); even in z.
  STROMA_HOST_DEVICE static double of_bin(double z) {
    const double size = std::fabs(z), rare = logistic(-size);
    return rare > 0 ? softplus(-size) + size * rare : 0;  // an infinite size of no weight is nothing
  }
  /// f(k, S_k, H_k) for each bin of a row, in their order.
  template <class Row, class F>
  STROMA_HOST_DEVICE static void for_each_bin(const Row& z, const F& f) {
    double hazards = 0;  // minus the log of the survival up to the bin
    for (index_t k = 0; k < z.size; ++k) {
      const auto z_k = static_cast<double>(z[k]);
      f(k, std::exp(-hazards), of_bin(z_k));
      hazards += softplus(z_k);
    }
  }
  template <class Row>
  STROMA_HOST_DEVICE static double value(const Row& z) {
    double sum = 0;
    for_each_bin(z, [&](index_t, double survival, double entropy) { sum += survival * entropy; });
    return sum;
  }
  /// d H / d z_k = -S_k z_k h_k (1 - h_k) - h_k sum over i > k of S_i H_i: the bin's own entropy, and the weight of all
  /// that come later.
  template <class Row, class T, class Space>
  STROMA_HOST_DEVICE static void add_derivative(const Row& row, double factor, const vector_view<T, Space>& d) {
    double later = value(row);
    for_each_bin(row, [&](index_t k, double survival, double entropy) {
      const auto z = static_cast<double>(row[k]);
      const double hazard = logistic(z);
      later -= survival * entropy;
      d[k] -= static_cast<T>(factor * (survival * (z * hazard * logistic(-z)) + hazard * later));
    });
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
/// @param logit [B, bins], finite   @param value one number
/// Cost: O(B bins), no scratch; a device reads a row by one thread. Sums in double.   @throws value_error
/// Reference: the chain rule of entropy; minimised over merging coefficients it makes AdaMerging (Yang et al., ICLR
/// 2024) fit survival models.
template <execution_context Context, matrix_like Logits>
  requires same_space<Context, Logits>
void hazard_entropy(Context& ctx, const Logits& logit, scalar_of<Logits>* value) {
  detail::row_mean<detail::hazard_entropy_term>(ctx, "hazard_entropy", as_const_view(logit), value);
}

/// The value, for host data.
template <execution_context Context, matrix_like Logits>
  requires same_space<Context, Logits> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> hazard_entropy(Context& ctx, const Logits& logit) {
  scalar_of<Logits> value{};
  hazard_entropy(ctx, logit, &value);
  return value;
}

/// Adds d_value times its derivative to d_logit [B, bins].
template <execution_context Context, matrix_like Logits, matrix_like Gradients>
  requires same_space<Context, Logits, Gradients>
void hazard_entropy_backward(Context& ctx, const Logits& logit, const scalar_of<Logits>* d_value, Gradients&& d_logit) {
  const matrix_view<scalar_of<Logits>, typename Context::space> d = as_view(d_logit);
  detail::row_mean_backward<detail::hazard_entropy_term>(ctx, "hazard_entropy_backward", as_const_view(logit), d_value,
                                                         d);
}

/// Recorded on a graph: logit [B, bins] to [1, 1].
template <class T, class Backend>
node hazard_entropy(graph<T, Backend>& g, node logit) {
  return detail::record_row_mean<detail::hazard_entropy_term>(g, "hazard_entropy", logit);
}

}  // namespace stroma
