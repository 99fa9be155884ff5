#pragma once
#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

struct mean_squared_error_options {
  reduction reduce = reduction::mean;  ///< mean: over all elements; sum: the sum of squares
  bool check_values = true;            ///< finite predictions and targets
};

namespace detail {

template <class Backend>
struct mean_squared_error_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/mean_squared_error.cuh> and compile with nvcc");

  template <class T, class Targets>
  static void forward(cpu_context&, matrix_view<const T> prediction, matrix_view<const Targets> target, T* value,
                      const mean_squared_error_options& options) {
    double sum = 0;
    for (index_t r = 0; r < prediction.rows; ++r)
      for (index_t c = 0; c < prediction.cols; ++c) {
        const double miss = static_cast<double>(prediction(r, c)) - static_cast<double>(target(r, c));
        sum += miss * miss;
      }
    *value = static_cast<T>(reduction_scale(options.reduce, prediction.rows * prediction.cols) * sum);
  }

  template <class T, class Targets>
  static void backward(cpu_context&, matrix_view<const T> prediction, matrix_view<const Targets> target,
                       const T* d_value, matrix_view<T> d_prediction, const mean_squared_error_options& options) {
    const double factor =
        2 * static_cast<double>(*d_value) * reduction_scale(options.reduce, prediction.rows * prediction.cols);
    for (index_t r = 0; r < prediction.rows; ++r)
      for (index_t c = 0; c < prediction.cols; ++c)
        d_prediction(r, c) +=
            static_cast<T>(factor * (static_cast<double>(prediction(r, c)) - static_cast<double>(target(r, c))));
  }
};

template <class Context, class T, class Space, class Targets>
void check_mean_squared_error(Context& ctx, std::string_view name, matrix_view<const T, Space> prediction,
                              const Targets& target, const mean_squared_error_options& options) {
  using checks = value_checks<typename Context::backend>;
  check::shape(name, "target", target, prediction.rows, prediction.cols);
  if (!options.check_values) return;
  checks::finite(ctx, name, "prediction", prediction);
  checks::finite(ctx, name, "target", target);
}

}  // namespace detail

/// Mean (or sum) of (prediction - target)^2 over all elements. Without an element it is 0.
/// @param prediction [N] or [B, C]   @param target of the same extents
/// Cost: O(B C), no scratch. Same bits from run to run.   @throws shape_error, value_error
template <execution_context Context, detail::rows_like Predictions, detail::rows_like Targets>
  requires same_space<Context, Predictions, Targets> && detail::same_rank<Predictions, Targets>
void mean_squared_error(Context& ctx, const Predictions& prediction, const Targets& target,
                        scalar_of<Predictions>* value, const mean_squared_error_options& options = {}) {
  const auto p = detail::as_rows(as_const_view(prediction));
  const auto y = detail::as_rows(as_const_view(target));
  detail::check_mean_squared_error(ctx, "mean_squared_error", p, y, options);
  detail::mean_squared_error_kernel<typename Context::backend>::forward(ctx, p, y, value, options);
}

/// The value, for host data.
template <execution_context Context, detail::rows_like Predictions, detail::rows_like Targets>
  requires same_space<Context, Predictions, Targets> && detail::same_rank<Predictions, Targets> &&
           std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Predictions> mean_squared_error(Context& ctx, const Predictions& prediction,
                                                        const Targets& target,
                                                        const mean_squared_error_options& options = {}) {
  scalar_of<Predictions> value{};
  mean_squared_error(ctx, prediction, target, &value, options);
  return value;
}

/// Adds d_value times the loss's derivative, 2 (prediction - target) over their number for the mean, to d_prediction.
template <execution_context Context, detail::rows_like Predictions, detail::rows_like Targets,
          detail::rows_like Gradients>
  requires same_space<Context, Predictions, Targets, Gradients> && detail::same_rank<Predictions, Targets> &&
           detail::same_rank<Predictions, Gradients>
void mean_squared_error_backward(Context& ctx, const Predictions& prediction, const Targets& target,
                                 const scalar_of<Predictions>* d_value, Gradients&& d_prediction,
                                 const mean_squared_error_options& options = {}) {
  constexpr auto name = "mean_squared_error_backward";
  const auto p = detail::as_rows(as_const_view(prediction));
  const auto y = detail::as_rows(as_const_view(target));
  const matrix_view<scalar_of<Predictions>, typename Context::space> d = detail::as_rows(as_view(d_prediction));
  detail::check_mean_squared_error(ctx, name, p, y, options);
  check::shape(name, "d_prediction", d, p.rows, p.cols);
  detail::mean_squared_error_kernel<typename Context::backend>::backward(ctx, p, y, d_value, d, options);
}

/// Recorded on a graph: prediction [B, C] and targets [B, C], or [B] for one column, to the loss [1, 1]. Targets must
/// outlive the step.
template <class T, class Backend, detail::rows_like Targets>
  requires same_space<context_of<Backend>, Targets>
node mean_squared_error(graph<T, Backend>& g, node prediction, const Targets& target,
                        const mean_squared_error_options& options = {}) {
  const auto p = g.value(prediction);
  const auto y = detail::as_rows(as_const_view(target));
  const auto [loss, value] = g.emit(1, 1, {prediction});
  mean_squared_error(g.context(), p, y, value.data, options);
  g.on_backward(loss, [=, out = loss](graph<T, Backend>& at) {
    auto unchecked = options;
    unchecked.check_values = false;
    mean_squared_error_backward(at.context(), p, y, at.gradient(out).data, at.gradient_of(prediction), unchecked);
  });
  return loss;
}

}  // namespace stroma
