#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

/// T and Space are those of the logits; they are deduced when options are given in place: {.class_weight = view}.
template <class T, class Space = host_space>
struct cross_entropy_options {
  vector_view<const T, Space> class_weight{};  ///< [classes], 0 or more; empty: all 1
  reduction reduce = reduction::mean;          ///< mean: over the rows, which count the weights of their classes
  bool check_values = true;                    ///< finite logits, labels within the columns, weights 0 or more
};

namespace detail {

template <class Backend>
struct cross_entropy_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/cross_entropy.cuh> and compile with nvcc");

  template <class T>
  using options = cross_entropy_options<T, host_space>;

  template <class T>
  static double weight_of(const options<T>& o, index_t label) {
    return o.class_weight.size == 0 ? 1 : static_cast<double>(o.class_weight[label]);
  }
  template <class T, class Labels>
  static double scale(vector_view<const Labels> label, const options<T>& o) {
    if (o.reduce == reduction::sum) return 1;
    double weights = 0;
    for (index_t r = 0; r < label.size; ++r) weights += weight_of(o, static_cast<index_t>(label[r]));
    return weights > 0 ? 1 / weights : 0;
  }
  /// log of the sum of exp over all columns but `label`.
  template <class T>
  static double log_others(vector_view<const T> z, index_t label) {
    double high = -HUGE_VAL, sum = 0;
    for (index_t c = 0; c < z.size; ++c)
      if (c != label) high = std::max(high, static_cast<double>(z[c]));
    for (index_t c = 0; c < z.size; ++c)
      if (c != label) sum += std::exp(static_cast<double>(z[c]) - high);
    return sum > 0 ? high + std::log(sum) : high;
  }

  template <class T, class Labels>
  static void forward(cpu_context&, matrix_view<const T> logit, vector_view<const Labels> label, T* value,
                      const options<T>& o) {
    double sum = 0;
    for (index_t r = 0; r < logit.rows; ++r) {
      const auto l = static_cast<index_t>(label[r]);
      // -log p = log(1 + others / own), which keeps its digits when p is near 1.
      sum += weight_of(o, l) * softplus(log_others(logit.row(r), l) - static_cast<double>(logit(r, l)));
    }
    *value = static_cast<T>(scale(label, o) * sum);
  }

  template <class T, class Labels>
  static void backward(cpu_context&, matrix_view<const T> logit, vector_view<const Labels> label, const T* d_value,
                       matrix_view<T> d_logit, const options<T>& o) {
    const double seed = static_cast<double>(*d_value) * scale(label, o);
    for (index_t r = 0; r < logit.rows; ++r) {
      const auto l = static_cast<index_t>(label[r]);
      const double others = log_others(logit.row(r), l);
      const double missed = seed * weight_of(o, l) * logistic(others - static_cast<double>(logit(r, l)));
      for (index_t c = 0; c < logit.cols; ++c)
        d_logit(r, c) +=
            static_cast<T>(c == l ? -missed : missed * std::exp(static_cast<double>(logit(r, c)) - others));
    }
  }
};

template <class Context, class T, class Space, class Labels>
void check_cross_entropy(Context& ctx, std::string_view name, matrix_view<const T, Space> logit, const Labels& label,
                         const cross_entropy_options<T, Space>& options) {
  using checks = value_checks<typename Context::backend>;
  check::length(name, "label", label.size, logit.rows, "the rows of logit");
  if (options.class_weight.size != 0)
    check::length(name, "class_weight", options.class_weight.size, logit.cols, "the columns of logit");
  if (!options.check_values) return;
  checks::finite(ctx, name, "logit", logit);
  checks::labels(ctx, name, "label", label, logit.cols);
  checks::weights(ctx, name, "class_weight", options.class_weight);
}

}  // namespace detail

/// Cross entropy of softmax over each row's logits.
///
/// loss = sum over rows of weight_y (log sum over c of exp(z_c) - z_y), divided by sum of weight_y for the mean
///
/// Logits of any finite size are safe. Without a row the loss is 0.
/// @param logit [B, classes]   @param label [B] y, from 0
/// Cost: O(B classes), no scratch. Same bits from run to run.   @throws shape_error, value_error
template <execution_context Context, matrix_like Logits, vector_like Labels>
  requires same_space<Context, Logits, Labels> && std::integral<scalar_of<Labels>>
void cross_entropy(Context& ctx, const Logits& logit, const Labels& label, scalar_of<Logits>* value,
                   const cross_entropy_options<scalar_of<Logits>, typename Context::space>& options = {}) {
  const auto z = as_const_view(logit);
  const auto l = as_const_view(label);
  detail::check_cross_entropy(ctx, "cross_entropy", z, l, options);
  detail::cross_entropy_kernel<typename Context::backend>::forward(ctx, z, l, value, options);
}

/// The value, for host data.
template <execution_context Context, matrix_like Logits, vector_like Labels>
  requires same_space<Context, Logits, Labels> && std::integral<scalar_of<Labels>> &&
           std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> cross_entropy(Context& ctx, const Logits& logit, const Labels& label,
                                              const cross_entropy_options<scalar_of<Logits>>& options = {}) {
  scalar_of<Logits> value{};
  cross_entropy(ctx, logit, label, &value, options);
  return value;
}

/// Adds d_value times the loss's derivative, weight_y (softmax(z)_c - [c = y]), to d_logit [B, classes].
template <execution_context Context, matrix_like Logits, vector_like Labels, matrix_like Gradients>
  requires same_space<Context, Logits, Labels, Gradients> && std::integral<scalar_of<Labels>>
void cross_entropy_backward(Context& ctx, const Logits& logit, const Labels& label, const scalar_of<Logits>* d_value,
                            Gradients&& d_logit,
                            const cross_entropy_options<scalar_of<Logits>, typename Context::space>& options = {}) {
  constexpr auto name = "cross_entropy_backward";
  const auto z = as_const_view(logit);
  const auto l = as_const_view(label);
  const matrix_view<scalar_of<Logits>, typename Context::space> d = as_view(d_logit);
  detail::check_cross_entropy(ctx, name, z, l, options);
  check::shape(name, "d_logit", d, z.rows, z.cols);
  detail::cross_entropy_kernel<typename Context::backend>::backward(ctx, z, l, d_value, d, options);
}

/// Recorded on a graph: logit [B, classes] to the loss [1, 1]. Labels and weights must outlive the step.
template <class T, class Backend, vector_like Labels>
  requires same_space<context_of<Backend>, Labels>
node cross_entropy(graph<T, Backend>& g, node logit, const Labels& label,
                   const cross_entropy_options<T, typename Backend::space>& options = {}) {
  const auto z = g.value(logit);
  const auto [loss, value] = g.emit(1, 1, {logit});
  cross_entropy(g.context(), z, label, value.data, options);
  g.on_backward(loss, [=, out = loss, l = as_const_view(label)](graph<T, Backend>& at) {
    auto unchecked = options;
    unchecked.check_values = false;
    cross_entropy_backward(at.context(), z, l, at.gradient(out).data, at.gradient_of(logit), unchecked);
  });
  return loss;
}

}  // namespace stroma
