#pragma once
#include <cmath>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

struct scaled_cosine_options {
  double exponent = 3;                 ///< 1 or more: larger forgives small angles
  double norm_floor = 1e-12;           ///< above 0: shorter rows are divided by this instead of their norm
  reduction reduce = reduction::mean;  ///< mean: over the rows
  bool check_values = true;            ///< finite predictions and targets
};

namespace detail {

/// A row against its target: made from their sums of squares, then given their elements one by one.
struct row_angle {
  double prediction_norm, target_norm;  ///< not below the floor
  double cosine = 0, apart = 0;         ///< apart: the squared distance of the two rows after division by their norms
  bool floored, unit;                   ///< the prediction's norm is the floor, a constant; neither norm is

  STROMA_HOST_DEVICE row_angle(double prediction_squares, double target_squares, double floor) {
    const double p = std::sqrt(prediction_squares), t = std::sqrt(target_squares);
    prediction_norm = std::fmax(p, floor);
    target_norm = std::fmax(t, floor);
    floored = p <= floor;
    unit = p > floor && t > floor;
  }
  STROMA_HOST_DEVICE void add(double prediction, double target) {
    const double p = prediction / prediction_norm, t = target / target_norm;
    cosine += p * t;
    apart += (p - t) * (p - t);
  }
  /// 1 - cosine, 0 or more.
  [[nodiscard]] STROMA_HOST_DEVICE double distance() const {
    // Of unit vectors it is half their squared distance, which keeps its digits when they nearly agree.
    return unit ? apart / 2 : std::fmax(1 - cosine, 0.0);
  }
  /// seed distance^exponent, differentiated in an element of the prediction: what all elements share, and the rest.
  [[nodiscard]] STROMA_HOST_DEVICE double factor(double seed, double exponent) const {
    return -seed * exponent * std::pow(distance(), exponent - 1) / prediction_norm;
  }
  [[nodiscard]] STROMA_HOST_DEVICE double derivative(double factor, double prediction, double target) const {
    const double along = floored ? 0 : cosine;  // what lengthening the row does not change
    return factor * (target / target_norm - along * (prediction / prediction_norm));
  }
};

template <class Backend>
struct scaled_cosine_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/scaled_cosine.cuh> and compile with nvcc");

  template <class T, class Targets>
  static row_angle measure(vector_view<const T> prediction, vector_view<const Targets> target, double floor) {
    double pp = 0, tt = 0;
    for (index_t c = 0; c < prediction.size; ++c) {
      const auto p = static_cast<double>(prediction[c]), t = static_cast<double>(target[c]);
      pp += p * p;
      tt += t * t;
    }
    row_angle a(pp, tt, floor);
    for (index_t c = 0; c < prediction.size; ++c)
      a.add(static_cast<double>(prediction[c]), static_cast<double>(target[c]));
    return a;
  }

  template <class T, class Targets>
  static void forward(cpu_context&, matrix_view<const T> prediction, matrix_view<const Targets> target, T* value,
                      const scaled_cosine_options& options) {
    double sum = 0;
    for (index_t r = 0; r < prediction.rows; ++r)
      sum += std::pow(measure(prediction.row(r), target.row(r), options.norm_floor).distance(), options.exponent);
    *value = static_cast<T>(reduction_scale(options.reduce, prediction.rows) * sum);
  }

  template <class T, class Targets>
  static void backward(cpu_context&, matrix_view<const T> prediction, matrix_view<const Targets> target,
                       const T* d_value, matrix_view<T> d_prediction, const scaled_cosine_options& options) {
    const double seed = static_cast<double>(*d_value) * reduction_scale(options.reduce, prediction.rows);
    for (index_t r = 0; r < prediction.rows; ++r) {
      const row_angle a = measure(prediction.row(r), target.row(r), options.norm_floor);
      const double factor = a.factor(seed, options.exponent);
      for (index_t c = 0; c < prediction.cols; ++c)
        d_prediction(r, c) += static_cast<T>(
            a.derivative(factor, static_cast<double>(prediction(r, c)), static_cast<double>(target(r, c))));
    }
  }
};

template <class Context, class T, class Space, class Targets>
void check_scaled_cosine(Context& ctx, std::string_view name, matrix_view<const T, Space> prediction,
                         const Targets& target, const scaled_cosine_options& options) {
  using checks = value_checks<typename Context::backend>;
  check::shape(name, "target", target, prediction.rows, prediction.cols);
  if (!(options.exponent >= 1 && std::isfinite(options.exponent)))
    throw value_error(error_message(name, "exponent", number_text(options.exponent), "a finite number of 1 or more"));
  check::positive(name, "norm_floor", options.norm_floor);
  if (!options.check_values) return;
  checks::finite(ctx, name, "prediction", prediction);
  checks::finite(ctx, name, "target", target);
}

}  // namespace detail

/// Scaled cosine error of each row against its target (G-HANet's reconstruction of genes).
///
/// loss = sum over rows of (1 - cos(prediction, target))^exponent
/// cos(p, t) = p t / (max(|p|, floor) max(|t|, floor))
///
/// A row of zeros has cosine 0, error 1. Without a row the loss is 0.
/// @param prediction [B, C]   @param target [B, C]
/// Cost: O(B C), no scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Hou et al. 2022 (GraphMAE); G-HANet.
template <execution_context Context, matrix_like Predictions, matrix_like Targets>
  requires same_space<Context, Predictions, Targets>
void scaled_cosine(Context& ctx, const Predictions& prediction, const Targets& target, scalar_of<Predictions>* value,
                   const scaled_cosine_options& options = {}) {
  const auto p = as_const_view(prediction);
  const auto t = as_const_view(target);
  detail::check_scaled_cosine(ctx, "scaled_cosine", p, t, options);
  detail::scaled_cosine_kernel<typename Context::backend>::forward(ctx, p, t, value, options);
}

/// The value, for host data.
template <execution_context Context, matrix_like Predictions, matrix_like Targets>
  requires same_space<Context, Predictions, Targets> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Predictions> scaled_cosine(Context& ctx, const Predictions& prediction, const Targets& target,
                                                   const scaled_cosine_options& options = {}) {
  scalar_of<Predictions> value{};
  scaled_cosine(ctx, prediction, target, &value, options);
  return value;
}

/// Adds d_value times the loss's derivative to d_prediction [B, C]:
/// -exponent (1 - cos)^(exponent - 1) (t / |t| - cos p / |p|) / |p|; below the floor the second term is absent.
template <execution_context Context, matrix_like Predictions, matrix_like Targets, matrix_like Gradients>
  requires same_space<Context, Predictions, Targets, Gradients>
void scaled_cosine_backward(Context& ctx, const Predictions& prediction, const Targets& target,
                            const scalar_of<Predictions>* d_value, Gradients&& d_prediction,
                            const scaled_cosine_options& options = {}) {
  constexpr auto name = "scaled_cosine_backward";
  const auto p = as_const_view(prediction);
  const auto t = as_const_view(target);
  const matrix_view<scalar_of<Predictions>, typename Context::space> d = as_view(d_prediction);
  detail::check_scaled_cosine(ctx, name, p, t, options);
  check::shape(name, "d_prediction", d, p.rows, p.cols);
  detail::scaled_cosine_kernel<typename Context::backend>::backward(ctx, p, t, d_value, d, options);
}

/// Recorded on a graph: prediction [B, C] and targets [B, C] to the loss [1, 1]. A vector of targets is one row.
/// Targets must outlive the step.
template <class T, class Backend, detail::rows_like Targets>
  requires same_space<context_of<Backend>, Targets>
node scaled_cosine(graph<T, Backend>& g, node prediction, const Targets& target,
                   const scaled_cosine_options& options = {}) {
  const auto p = g.value(prediction);
  const auto t = [&] {
    if constexpr (vector_like<Targets>) return detail::as_rows(as_const_view(target)).transposed();
    else return as_const_view(target);
  }();
  const auto [loss, value] = g.emit(1, 1, {prediction});
  scaled_cosine(g.context(), p, t, value.data, options);
  g.on_backward(loss, [=, out = loss](graph<T, Backend>& at) {
    auto unchecked = options;
    unchecked.check_values = false;
    scaled_cosine_backward(at.context(), p, t, at.gradient(out).data, at.gradient_of(prediction), unchecked);
  });
  return loss;
}

}  // namespace stroma
