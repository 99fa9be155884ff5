#pragma once
#include <cmath>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

struct binary_cross_entropy_options {
  double positive_weight = 1;          ///< 0 or more: how much the part of class 1 counts
  reduction reduce = reduction::mean;  ///< mean: over all elements
  bool check_values = true;            ///< finite logits, targets from 0 to 1
};

namespace detail {

/// One element's loss and its derivative.
struct binary_cross_entropy_term {
  double z, y, positive_weight;
  [[nodiscard]] STROMA_HOST_DEVICE double value() const {
    return positive_weight * y * softplus(-z) + (1 - y) * softplus(z);
  }
  [[nodiscard]] STROMA_HOST_DEVICE double derivative() const {
    return (1 - y) * logistic(z) - positive_weight * y * logistic(-z);
  }
};

template <class Backend>
struct binary_cross_entropy_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/binary_cross_entropy.cuh> and compile with nvcc");

  template <class T, class Targets>
  static void forward(cpu_context&, matrix_view<const T> logit, matrix_view<const Targets> target, T* value,
                      const binary_cross_entropy_options& options) {
    double sum = 0;
    for (index_t r = 0; r < logit.rows; ++r)
      for (index_t c = 0; c < logit.cols; ++c) {
        const auto z = static_cast<double>(logit(r, c)), y = static_cast<double>(target(r, c));
        sum += binary_cross_entropy_term{z, y, options.positive_weight}.value();
      }
    *value = static_cast<T>(reduction_scale(options.reduce, logit.rows * logit.cols) * sum);
  }

  template <class T, class Targets>
  static void backward(cpu_context&, matrix_view<const T> logit, matrix_view<const Targets> target, const T* d_value,
                       matrix_view<T> d_logit, const binary_cross_entropy_options& options) {
    const double seed = static_cast<double>(*d_value) * reduction_scale(options.reduce, logit.rows * logit.cols);
    for (index_t r = 0; r < logit.rows; ++r)
      for (index_t c = 0; c < logit.cols; ++c) {
        const auto z = static_cast<double>(logit(r, c)), y = static_cast<double>(target(r, c));
        d_logit(r, c) += static_cast<T>(seed * binary_cross_entropy_term{z, y, options.positive_weight}.derivative());
      }
  }
};

template <class Context, class T, class Space, class Targets>
void check_binary_cross_entropy(Context& ctx, std::string_view name, matrix_view<const T, Space> logit,
                                const Targets& target, const binary_cross_entropy_options& options) {
  using checks = value_checks<typename Context::backend>;
  check::shape(name, "target", target, logit.rows, logit.cols);
  if (!(options.positive_weight >= 0 && std::isfinite(options.positive_weight)))
    throw value_error(
        error_message(name, "positive_weight", number_text(options.positive_weight), "a finite number of 0 or more"));
  if (!options.check_values) return;
  checks::finite(ctx, name, "logit", logit);
  checks::probabilities(ctx, name, "target", target);
}

}  // namespace detail

/// Binary cross entropy from logits, each element for itself.
///
/// loss = sum of positive_weight y softplus(-z) + (1 - y) softplus(z),   softplus(x) = log(1 + exp(x))
///
/// Logits of any finite size are safe. Without an element the loss is 0.
/// @param logit [N] or [B, C]   @param target of the same extents, 0 to 1
/// Cost: O(B C), no scratch. Same bits from run to run.   @throws shape_error, value_error
template <execution_context Context, detail::rows_like Logits, detail::rows_like Targets>
  requires same_space<Context, Logits, Targets> && detail::same_rank<Logits, Targets>
void binary_cross_entropy(Context& ctx, const Logits& logit, const Targets& target, scalar_of<Logits>* value,
                          const binary_cross_entropy_options& options = {}) {
  const auto z = detail::as_rows(as_const_view(logit));
  const auto y = detail::as_rows(as_const_view(target));
  detail::check_binary_cross_entropy(ctx, "binary_cross_entropy", z, y, options);
  detail::binary_cross_entropy_kernel<typename Context::backend>::forward(ctx, z, y, value, options);
}

/// The value, for host data.
template <execution_context Context, detail::rows_like Logits, detail::rows_like Targets>
  requires same_space<Context, Logits, Targets> && detail::same_rank<Logits, Targets> &&
           std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> binary_cross_entropy(Context& ctx, const Logits& logit, const Targets& target,
                                                     const binary_cross_entropy_options& options = {}) {
  scalar_of<Logits> value{};
  binary_cross_entropy(ctx, logit, target, &value, options);
  return value;
}

/// Adds d_value times the loss's derivative, (1 - y) sigmoid(z) - positive_weight y sigmoid(-z), to d_logit.
template <execution_context Context, detail::rows_like Logits, detail::rows_like Targets, detail::rows_like Gradients>
  requires same_space<Context, Logits, Targets, Gradients> && detail::same_rank<Logits, Targets> &&
           detail::same_rank<Logits, Gradients>
void binary_cross_entropy_backward(Context& ctx, const Logits& logit, const Targets& target,
                                   const scalar_of<Logits>* d_value, Gradients&& d_logit,
                                   const binary_cross_entropy_options& options = {}) {
  constexpr auto name = "binary_cross_entropy_backward";
  const auto z = detail::as_rows(as_const_view(logit));
  const auto y = detail::as_rows(as_const_view(target));
  const matrix_view<scalar_of<Logits>, typename Context::space> d = detail::as_rows(as_view(d_logit));
  detail::check_binary_cross_entropy(ctx, name, z, y, options);
  check::shape(name, "d_logit", d, z.rows, z.cols);
  detail::binary_cross_entropy_kernel<typename Context::backend>::backward(ctx, z, y, d_value, d, options);
}

/// Recorded on a graph: logit [B, C] and targets [B, C], or [B] for one column, to the loss [1, 1]. Targets must
/// outlive the step.
template <class T, class Backend, detail::rows_like Targets>
  requires same_space<context_of<Backend>, Targets>
node binary_cross_entropy(graph<T, Backend>& g, node logit, const Targets& target,
                          const binary_cross_entropy_options& options = {}) {
  const auto z = g.value(logit);
  const auto y = detail::as_rows(as_const_view(target));
  const auto [loss, value] = g.emit(1, 1, {logit});
  binary_cross_entropy(g.context(), z, y, value.data, options);
  g.on_backward(loss, [=, out = loss](graph<T, Backend>& at) {
    auto unchecked = options;
    unchecked.check_values = false;
    binary_cross_entropy_backward(at.context(), z, y, at.gradient(out).data, at.gradient_of(logit), unchecked);
  });
  return loss;
}

}  // namespace stroma
