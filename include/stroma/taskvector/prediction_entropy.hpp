#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>

namespace stroma {

namespace detail {

template <class Backend>
struct prediction_entropy_kernel {
  static_assert(std::same_as<Backend, backend::cpu>, "device data: copy the logits to the host first");

  /// The entropy of softmax(z) and the log of the sum of exp(z_c).
  struct row_entropy {
    double entropy, log_sum;
  };
  template <class T>
  static row_entropy of_row(vector_view<const T> z) {
    double high = -HUGE_VAL, sum = 0, mean = 0;
    for (index_t c = 0; c < z.size; ++c) high = std::max(high, static_cast<double>(z[c]));
    for (index_t c = 0; c < z.size; ++c) {
      const double below = static_cast<double>(z[c]) - high, e = std::exp(below);
      sum += e;
      mean += e * below;
    }
    return {std::log(sum) - mean / sum, high + std::log(sum)};  // H = log sum - sum of p (z - high)
  }
  template <class T>
  static void forward(cpu_context&, matrix_view<const T> logit, T* value) {
    double sum = 0;
    for (index_t r = 0; r < logit.rows; ++r) sum += of_row(logit.row(r)).entropy;
    *value = static_cast<T>(logit.rows > 0 ? sum / static_cast<double>(logit.rows) : 0);
  }
  template <class T>
  static void backward(cpu_context&, matrix_view<const T> logit, const T* d_value, matrix_view<T> d_logit) {
    const double seed = static_cast<double>(*d_value) / static_cast<double>(std::max<index_t>(logit.rows, 1));
    for (index_t r = 0; r < logit.rows; ++r) {
      const row_entropy of = of_row(logit.row(r));
      for (index_t c = 0; c < logit.cols; ++c) {
        const double log_p = static_cast<double>(logit(r, c)) - of.log_sum;
        d_logit(r, c) -= static_cast<T>(seed * std::exp(log_p) * (log_p + of.entropy));
      }
    }
  }
};

}  // namespace detail

/// Mean Shannon entropy, in nats, of the predictions softmax(z) of each row: how unsure a model is, without labels.
/// H = -sum over c of p_c log p_c. Logits of any finite size are safe; without a row it is 0.
/// @param logit [B, classes], finite   Cost: O(B classes), no scratch. @throws value_error
/// Reference: AdaMerging minimises it: Yang et al., ICLR 2024.
template <execution_context Context, matrix_like Logits>
  requires same_space<Context, Logits> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> prediction_entropy(Context& ctx, const Logits& logit) {
  const auto z = as_const_view(logit);
  check::finite("prediction_entropy", "logit", z);
  scalar_of<Logits> value{};
  detail::prediction_entropy_kernel<typename Context::backend>::forward(ctx, z, &value);
  return value;
}

/// Adds d_value times its derivative, -p_c (log p_c + H) / B, to d_logit [B, classes].
template <execution_context Context, matrix_like Logits, matrix_like Gradients>
  requires same_space<Context, Logits, Gradients>
void prediction_entropy_backward(Context& ctx, const Logits& logit, const scalar_of<Logits>* d_value,
                                 Gradients&& d_logit) {
  const auto z = as_const_view(logit);
  const matrix_view<scalar_of<Logits>, typename Context::space> d = as_view(d_logit);
  check::shape("prediction_entropy_backward", "d_logit", d, z.rows, z.cols);
  detail::prediction_entropy_kernel<typename Context::backend>::backward(ctx, z, d_value, d);
}

/// Recorded on a graph: logit [B, classes] to [1, 1].
template <class T, class Backend>
node prediction_entropy(graph<T, Backend>& g, node logit) {
  const auto z = g.value(logit);
  check::finite("prediction_entropy", "logit", z);
  const auto [out, value] = g.emit(1, 1, {logit});
  detail::prediction_entropy_kernel<Backend>::forward(g.context(), z, value.data);
  g.on_backward(out, [=, at = out](graph<T, Backend>& r) {
    prediction_entropy_backward(r.context(), z, r.gradient(at).data, r.gradient_of(logit));
  });
  return out;
}

}  // namespace stroma
