#pragma once
#include <cmath>
#include <concepts>

#include <stroma/autodiff/row_mean.hpp>

namespace stroma {

namespace detail {

struct prediction_entropy_term {
  /// The entropy of softmax(z), and the log of the sum of exp(z_c - high) with the largest logit.
  struct row_entropy {
    double entropy, high, log_sum;
  };
  template <class Row>
  STROMA_HOST_DEVICE static row_entropy of_row(const Row& z) {
    double high = -HUGE_VAL, sum = 0, mean = 0;
    for (index_t c = 0; c < z.size; ++c) high = static_cast<double>(z[c]) > high ? static_cast<double>(z[c]) : high;
    for (index_t c = 0; c < z.size; ++c) {
      const double below = static_cast<double>(z[c]) - high, e = std::exp(below);
      sum += e;
      mean += e > 0 ? e * below : 0;  // an infinite distance of no weight is nothing
    }
    return {std::log(sum) - mean / sum, high, std::log(sum)};  // H = log sum - sum of p (z - high)
  }
  template <class Row>
  STROMA_HOST_DEVICE static double value(const Row& z) {
    return of_row(z).entropy;
  }
  template <class Row, class T, class Space>
  STROMA_HOST_DEVICE static void add_derivative(const Row& z, double factor, const vector_view<T, Space>& d) {
    const row_entropy of = of_row(z);
    for (index_t c = 0; c < z.size; ++c) {
      const double log_p = static_cast<double>(z[c]) - of.high - of.log_sum, p = std::exp(log_p);
      if (p > 0) d[c] -= static_cast<T>(factor * p * (log_p + of.entropy));
    }
  }
};

}  // namespace detail

/// Mean Shannon entropy, in nats, of the predictions softmax(z) of each row: how unsure a model is, without labels.
/// H = -sum over c of p_c log p_c. Logits of any finite size are safe; without a row it is 0.
/// @param logit [B, classes], finite   @param value one number
/// Cost: O(B classes), no scratch; a device reads a row by one thread. Sums in double.   @throws value_error
/// Reference: AdaMerging minimises it: Yang et al., ICLR 2024.
template <execution_context Context, matrix_like Logits>
  requires same_space<Context, Logits>
void prediction_entropy(Context& ctx, const Logits& logit, scalar_of<Logits>* value) {
  detail::row_mean<detail::prediction_entropy_term>(ctx, "prediction_entropy", as_const_view(logit), value);
}

/// The value, for host data.
template <execution_context Context, matrix_like Logits>
  requires same_space<Context, Logits> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> prediction_entropy(Context& ctx, const Logits& logit) {
  scalar_of<Logits> value{};
  prediction_entropy(ctx, logit, &value);
  return value;
}

/// Adds d_value times its derivative, -p_c (log p_c + H) / B, to d_logit [B, classes].
template <execution_context Context, matrix_like Logits, matrix_like Gradients>
  requires same_space<Context, Logits, Gradients>
void prediction_entropy_backward(Context& ctx, const Logits& logit, const scalar_of<Logits>* d_value,
                                 Gradients&& d_logit) {
  const matrix_view<scalar_of<Logits>, typename Context::space> d = as_view(d_logit);
  detail::row_mean_backward<detail::prediction_entropy_term>(ctx, "prediction_entropy_backward", as_const_view(logit),
                                                             d_value, d);
}

/// Recorded on a graph: logit [B, classes] to [1, 1].
template <class T, class Backend>
node prediction_entropy(graph<T, Backend>& g, node logit) {
  return detail::record_row_mean<detail::prediction_entropy_term>(g, "prediction_entropy", logit);
}

}  // namespace stroma
