#pragma once
#include <algorithm>
#include <cmath>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>
#include <stroma/survival/discretise.hpp>

namespace stroma {

struct discrete_hazard_options {
  double alpha = 0;                    ///< 0 to 1: how much of the censored patients' loss is left out
  reduction reduce = reduction::mean;  ///< mean: over the patients
  bool check_values = true;            ///< finite logits, bins on the scale, events 0 or 1
};

namespace detail {

/// A patient: its logits, the bin of its last follow-up, and whether it died there.
template <class T, class Space>
struct hazard_row {
  vector_view<const T, Space> logit;
  index_t last;
  bool died;
  double share;  ///< of its loss that counts

  STROMA_HOST_DEVICE hazard_row(vector_view<const T, Space> z, index_t bin, bool event, double alpha)
      : logit(z), last(bin), died(event), share(event ? 1 : 1 - alpha) {}

  [[nodiscard]] STROMA_HOST_DEVICE double loss() const {
    double survived = 0;
    for (index_t k = 0; k < last; ++k) survived += softplus(static_cast<double>(logit[k]));
    const auto z = static_cast<double>(logit[last]);
    return share * (survived + softplus(died ? -z : z));
  }
  /// In bin k <= last, without the share.
  [[nodiscard]] STROMA_HOST_DEVICE double derivative(index_t k) const {
    const auto z = static_cast<double>(logit[k]);
    return died && k == last ? -logistic(-z) : logistic(z);
  }
};

template <class Backend>
struct discrete_hazard_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/discrete_hazard.cuh> and compile with nvcc");

  template <class T, class Bins, class Events>
  static hazard_row<T, host_space> row_of(matrix_view<const T> logit, vector_view<const Bins> bin,
                                          vector_view<const Events> event, index_t r,
                                          const discrete_hazard_options& options) {
    return {logit.row(r), static_cast<index_t>(bin[r]), event[r] != Events(0), options.alpha};
  }

  template <class T, class Bins, class Events>
  static void forward(cpu_context&, matrix_view<const T> logit, vector_view<const Bins> bin,
                      vector_view<const Events> event, T* value, const discrete_hazard_options& options) {
    double sum = 0;
    for (index_t r = 0; r < logit.rows; ++r) sum += row_of(logit, bin, event, r, options).loss();
    *value = static_cast<T>(reduction_scale(options.reduce, logit.rows) * sum);
  }

  template <class T, class Bins, class Events>
  static void backward(cpu_context&, matrix_view<const T> logit, vector_view<const Bins> bin,
                       vector_view<const Events> event, const T* d_value, matrix_view<T> d_logit,
                       const discrete_hazard_options& options) {
    const double seed = static_cast<double>(*d_value) * reduction_scale(options.reduce, logit.rows);
    for (index_t r = 0; r < logit.rows; ++r) {
      const auto row = row_of(logit, bin, event, r, options);
      const double factor = seed * row.share;
      for (index_t k = 0; k <= row.last; ++k) d_logit(r, k) += static_cast<T>(factor * row.derivative(k));
    }
  }

  template <class T>
  static void curve(cpu_context&, matrix_view<const T> logit, matrix_view<T> out) {
    for (index_t r = 0; r < logit.rows; ++r) {
      double cumulative = 0;
      for (index_t k = 0; k < logit.cols; ++k) {
        cumulative += softplus(static_cast<double>(logit(r, k)));
        out(r, k) = static_cast<T>(std::exp(-cumulative));
      }
    }
  }
};

template <class Context, class T, class Space, class Bins, class Events>
void check_hazard(Context& ctx, std::string_view name, matrix_view<const T, Space> logit, const Bins& bin,
                  const Events& event, const discrete_hazard_options& options) {
  check::in_range(name, "alpha", options.alpha, 0.0, 1.0);
  check_binned(ctx, name, logit, bin, event, options.check_values);
}

}  // namespace detail

/// Negative log likelihood of hazards in bins of time, from their logits (the loss of STEPH and G-HANet).
///
/// died in bin t       sum over k < t of softplus(z_k) + softplus(-z_t)
/// censored in bin t   (1 - alpha) sum over k <= t of softplus(z_k)
///
/// with hazard_k = 1 / (1 + exp(-z_k)); it equals -log S_{t-1} - log hazard_t and -(1 - alpha) log S_t without their
/// clamps, so logits of any finite size are safe.
///
/// @param logit [B, bins]   @param bin [B] of the last follow-up, from 0, see discretise   @param event [B] 1 observed
/// Cost: O(B bins), no scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Zadeh & Schmid 2020; SurvMLE of STEPH.
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Events>
  requires same_space<Context, Logits, Bins, Events> && std::integral<scalar_of<Bins>>
void discrete_hazard(Context& ctx, const Logits& logit, const Bins& bin, const Events& event, scalar_of<Logits>* value,
                     const discrete_hazard_options& options = {}) {
  const auto z = as_const_view(logit);
  const auto b = as_const_view(bin);
  const auto e = as_const_view(event);
  detail::check_hazard(ctx, "discrete_hazard", z, b, e, options);
  detail::discrete_hazard_kernel<typename Context::backend>::forward(ctx, z, b, e, value, options);
}

/// The value, for host data.
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Events>
  requires same_space<Context, Logits, Bins, Events> && std::integral<scalar_of<Bins>> &&
           std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> discrete_hazard(Context& ctx, const Logits& logit, const Bins& bin, const Events& event,
                                                const discrete_hazard_options& options = {}) {
  scalar_of<Logits> value{};
  discrete_hazard(ctx, logit, bin, event, &value, options);
  return value;
}

/// Adds d_value times the loss's derivative to d_logit [B, bins]: hazard_k for every survived bin, hazard_t - 1 in the
/// bin of death, 0 after.
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Events, matrix_like Gradients>
  requires same_space<Context, Logits, Bins, Events, Gradients> && std::integral<scalar_of<Bins>>
void discrete_hazard_backward(Context& ctx, const Logits& logit, const Bins& bin, const Events& event,
                              const scalar_of<Logits>* d_value, Gradients&& d_logit,
                              const discrete_hazard_options& options = {}) {
  constexpr auto name = "discrete_hazard_backward";
  const auto z = as_const_view(logit);
  const auto b = as_const_view(bin);
  const auto e = as_const_view(event);
  const matrix_view<scalar_of<Logits>, typename Context::space> d = as_view(d_logit);
  detail::check_hazard(ctx, name, z, b, e, options);
  check::shape(name, "d_logit", d, z.rows, z.cols);
  detail::discrete_hazard_kernel<typename Context::backend>::backward(ctx, z, b, e, d_value, d, options);
}

/// Recorded on a graph: logit [B, bins] to the loss [1, 1]. Bins and events must outlive the step.
template <class T, class Backend, vector_like Bins, vector_like Events>
  requires same_space<context_of<Backend>, Bins, Events>
node discrete_hazard(graph<T, Backend>& g, node logit, const Bins& bin, const Events& event,
                     const discrete_hazard_options& options = {}) {
  const auto z = g.value(logit);
  const auto [loss, value] = g.emit(1, 1, {logit});
  discrete_hazard(g.context(), z, bin, event, value.data, options);
  g.on_backward(loss, [=, out = loss, b = as_const_view(bin), e = as_const_view(event)](graph<T, Backend>& at) {
    auto unchecked = options;
    unchecked.check_values = false;
    discrete_hazard_backward(at.context(), z, b, e, at.gradient(out).data, at.gradient_of(logit), unchecked);
  });
  return loss;
}

/// S_k = product over i <= k of (1 - hazard_i), the probability to outlive bin k.
/// @param logit [B, bins]   @param survival [B, bins], overwritten; may be logit itself
/// Cost: O(B bins).   @throws shape_error
template <execution_context Context, matrix_like Logits, matrix_like Curves>
  requires same_space<Context, Logits, Curves>
void discrete_hazard_survival(Context& ctx, const Logits& logit, Curves&& survival) {
  const auto z = as_const_view(logit);
  const matrix_view<scalar_of<Logits>, typename Context::space> s = as_view(survival);
  check::shape("discrete_hazard_survival", "survival", s, z.rows, z.cols);
  detail::discrete_hazard_kernel<typename Context::backend>::curve(ctx, z, s);
}

}  // namespace stroma
