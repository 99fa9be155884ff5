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

template <class Backend>
struct scaled_cosine_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/scaled_cosine.cuh> and compile with nvcc");

  static double scale(const scaled_cosine_options& options, index_t rows) {
    return options.reduce == reduction::sum || rows == 0 ? 1 : 1 / static_cast<double>(rows);
  }

  struct angle {
    double prediction_norm, target_norm;  ///< not below the floor
    double cosine, distance;              ///< distance = 1 - cosine, 0 or more
    bool floored;                         ///< the prediction's norm is the floor, a constant
  };
  template <class T, class Targets>
  static angle measure(vector_view<const T> prediction, vector_view<const Targets> target, double floor) {
    double pp = 0, tt = 0;
    for (index_t c = 0; c < prediction.size; ++c) {
      const auto p = static_cast<double>(prediction[c]), t = static_cast<double>(target[c]);
      pp += p * p;
      tt += t * t;
    }
    pp = std::sqrt(pp);
    tt = std::sqrt(tt);
    angle a{std::fmax(pp, floor), std::fmax(tt, floor), 0, 0, pp <= floor};
    double apart = 0;
    for (index_t c = 0; c < prediction.size; ++c) {
      const double p = static_cast<double>(prediction[c]) / a.prediction_norm;
      const double t = static_cast<double>(target[c]) / a.target_norm;
      a.cosine += p * t;
      apart += (p - t) * (p - t);
    }
    // Of unit vectors 1 - cosine is half their squared distance, which keeps its digits when they nearly agree.
    a.distance = pp > floor && tt > floor ? apart / 2 : std::fmax(1 - a.cosine, 0.0);
    return a;
  }

  template <class T, class Targets>
  static void forward(cpu_context&, matrix_view<const T> prediction, matrix_view<const Targets> target, T* value,
                      const scaled_cosine_options& options) {
    double sum = 0;
    for (index_t r = 0; r < prediction.rows; ++r)
      sum += std::pow(measure(prediction.row(r), target.row(r), options.norm_floor).distance, options.exponent);
    *value = static_cast<T>(scale(options, prediction.rows) * sum);
  }

  template <class T, class Targets>
  static void backward(cpu_context&, matrix_view<const T> prediction, matrix_view<const Targets> target,
                       const T* d_value, matrix_view<T> d_prediction, const scaled_cosine_options& options) {
    const double seed = static_cast<double>(*d_value) * scale(options, prediction.rows);
    for (index_t r = 0; r < prediction.rows; ++r) {
      const angle a = measure(prediction.row(r), target.row(r), options.norm_floor);
      const double factor = -seed * options.exponent * std::pow(a.distance, options.exponent - 1) / a.prediction_norm;
      const double along = a.floored ? 0 : a.cosine;  // what lengthening the row does not change
      for (index_t c = 0; c < prediction.cols; ++c) {
        const double p = static_cast<double>(prediction(r, c)) / a.prediction_norm;
        const double t = static_cast<double>(target(r, c)) / a.target_norm;
        d_prediction(r, c) += static_cast<T>(factor * (t - along * p));
      }
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
