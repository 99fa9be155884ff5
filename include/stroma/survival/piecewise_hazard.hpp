#pragma once
#include <cmath>
#include <concepts>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>
#include <stroma/survival/discretise.hpp>

namespace stroma {

struct piecewise_hazard_options {
  reduction reduce = reduction::mean;  ///< mean: over the patients
  bool check_values = true;            ///< finite logits, bins on the scale, parts from 0 to 1, events 0 or 1
};

namespace detail {

/// log(softplus(x)) and its derivative, where softplus(x) = exp(x) (1 - exp(x) / 2 + ..) is too small for a double too.
[[nodiscard]] STROMA_HOST_DEVICE inline double log_softplus(double x) {
  return x < -30 ? x - std::exp(x) / 2 : std::log(softplus(x));
}
[[nodiscard]] STROMA_HOST_DEVICE inline double log_softplus_derivative(double x) {
  return x < -30 ? 1 - std::exp(x) / 2 : logistic(x) / softplus(x);
}

/// A patient: its logits, the bin of its last follow-up, the part of it that was lived, and whether it died there.
template <class T, class Space>
struct piecewise_row {
  vector_view<const T, Space> logit;
  index_t last;
  double part;
  bool died;

  [[nodiscard]] STROMA_HOST_DEVICE double loss() const {
    double lived = 0;
    for (index_t k = 0; k < last; ++k) lived += softplus(static_cast<double>(logit[k]));
    const auto z = static_cast<double>(logit[last]);
    return lived + part * softplus(z) - (died ? log_softplus(z) : 0);
  }
  /// In bin k <= last.
  [[nodiscard]] STROMA_HOST_DEVICE double derivative(index_t k) const {
    const auto z = static_cast<double>(logit[k]);
    if (k < last) return logistic(z);
    return part * logistic(z) - (died ? log_softplus_derivative(z) : 0);
  }
};

/// A batch on either side, row by row.
template <class T, class Bins, class Parts, class Events, class Space>
struct piecewise_rows {
  matrix_view<const T, Space> logit;
  vector_view<const Bins, Space> bin;
  vector_view<const Parts, Space> part;
  vector_view<const Events, Space> event;

  [[nodiscard]] STROMA_HOST_DEVICE piecewise_row<T, Space> at(index_t r) const {
    return {logit.row(r), clamped_label(bin[r], logit.cols), static_cast<double>(part[r]), event[r] != Events(0)};
  }
};

template <class Backend>
struct piecewise_hazard_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/piecewise_hazard.cuh> and compile with nvcc");

  template <class Rows, class T>
  static void forward(cpu_context&, const Rows& rows, T* value, reduction reduce) {
    double sum = 0;
    for (index_t r = 0; r < rows.logit.rows; ++r) sum += rows.at(r).loss();
    *value = static_cast<T>(reduction_scale(reduce, rows.logit.rows) * sum);
  }
  template <class Rows, class T>
  static void backward(cpu_context&, const Rows& rows, const T* d_value, matrix_view<T> d_logit, reduction reduce) {
    const double seed = static_cast<double>(*d_value) * reduction_scale(reduce, rows.logit.rows);
    for (index_t r = 0; r < rows.logit.rows; ++r) {
      const auto row = rows.at(r);
      for (index_t k = 0; k <= row.last; ++k) d_logit(r, k) += static_cast<T>(seed * row.derivative(k));
    }
  }
};

/// The arguments as rows, once they fit.
template <class Context, class Logits, class Bins, class Parts, class Events>
[[nodiscard]] auto checked_piecewise_rows(Context& ctx, std::string_view name, const Logits& logit, const Bins& bin,
                                          const Parts& part, const Events& event, bool check_values) {
  using space = typename Context::space;
  const piecewise_rows<scalar_of<Logits>, scalar_of<Bins>, scalar_of<Parts>, scalar_of<Events>, space> rows{
      as_const_view(logit), as_const_view(bin), as_const_view(part), as_const_view(event)};
  check::length(name, "part", rows.part.size, rows.logit.rows, "the rows of logit");
  check_binned(ctx, name, rows.logit, rows.bin, rows.event, check_values);
  if (check_values) value_checks<typename Context::backend>::probabilities(ctx, name, "part", rows.part);
  return rows;
}

}  // namespace detail

/// Negative log likelihood of hazards that are constant in each bin of time, from their logits.
///
/// sum over k < t of h_k + part h_t - [died] log h_t,   h_k = softplus(logit_k), a hazard per bin
///
/// for follow-up that ended in bin t, of which a part was lived. Logits of any finite size are safe. The survival at
/// the ends of bins is exp(-(h_0 + .. + h_k)), which discrete_hazard_survival computes from the same logits.
///
/// @param logit [B, bins]   @param bin [B] of the last follow-up, from 0, see discretise   @param part [B] 0 to 1, see
/// lived_part   @param event [B] 1 observed
/// Cost: O(B bins), no scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Kvamme & Borgan 2021 (PC-Hazard).
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Parts, vector_like Events>
  requires same_space<Context, Logits, Bins, Parts, Events> && std::integral<scalar_of<Bins>>
void piecewise_hazard(Context& ctx, const Logits& logit, const Bins& bin, const Parts& part, const Events& event,
                      scalar_of<Logits>* value, const piecewise_hazard_options& options = {}) {
  const auto rows =
      detail::checked_piecewise_rows(ctx, "piecewise_hazard", logit, bin, part, event, options.check_values);
  detail::piecewise_hazard_kernel<typename Context::backend>::forward(ctx, rows, value, options.reduce);
}

/// The value, for host data.
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Parts, vector_like Events>
  requires same_space<Context, Logits, Bins, Parts, Events> && std::integral<scalar_of<Bins>> &&
           std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> piecewise_hazard(Context& ctx, const Logits& logit, const Bins& bin, const Parts& part,
                                                 const Events& event, const piecewise_hazard_options& options = {}) {
  scalar_of<Logits> value{};
  piecewise_hazard(ctx, logit, bin, part, event, &value, options);
  return value;
}

/// Adds d_value times the loss's derivative to d_logit [B, bins]: with s_k = 1 / (1 + exp(-logit_k)), s_k for every bin
/// before t, part s_t - [died] s_t / h_t in bin t, 0 after.
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Parts, vector_like Events,
          matrix_like Gradients>
  requires same_space<Context, Logits, Bins, Parts, Events, Gradients> && std::integral<scalar_of<Bins>>
void piecewise_hazard_backward(Context& ctx, const Logits& logit, const Bins& bin, const Parts& part,
                               const Events& event, const scalar_of<Logits>* d_value, Gradients&& d_logit,
                               const piecewise_hazard_options& options = {}) {
  constexpr auto name = "piecewise_hazard_backward";
  const auto rows = detail::checked_piecewise_rows(ctx, name, logit, bin, part, event, options.check_values);
  const matrix_view<scalar_of<Logits>, typename Context::space> d = as_view(d_logit);
  check::shape(name, "d_logit", d, rows.logit.rows, rows.logit.cols);
  detail::piecewise_hazard_kernel<typename Context::backend>::backward(ctx, rows, d_value, d, options.reduce);
}

/// Recorded on a graph: logit [B, bins] to the loss [1, 1]. Bins, parts and events must outlive the step.
template <class T, class Backend, vector_like Bins, vector_like Parts, vector_like Events>
  requires same_space<context_of<Backend>, Bins, Parts, Events>
node piecewise_hazard(graph<T, Backend>& g, node logit, const Bins& bin, const Parts& part, const Events& event,
                      const piecewise_hazard_options& options = {}) {
  const auto z = g.value(logit);
  const auto [loss, value] = g.emit(1, 1, {logit});
  piecewise_hazard(g.context(), z, bin, part, event, value.data, options);
  g.on_backward(loss, [=, out = loss, b = as_const_view(bin), p = as_const_view(part),
                       e = as_const_view(event)](graph<T, Backend>& at) {
    auto unchecked = options;
    unchecked.check_values = false;
    piecewise_hazard_backward(at.context(), z, b, p, e, at.gradient(out).data, at.gradient_of(logit), unchecked);
  });
  return loss;
}

}  // namespace stroma
