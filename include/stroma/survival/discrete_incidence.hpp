#pragma once
#include <algorithm>
#include <cmath>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>
#include <stroma/survival/discretise.hpp>

namespace stroma {

struct discrete_incidence_options {
  double alpha = 0;                    ///< 0 to 1: how much of the censored patients' loss is left out
  double beyond_last_bin = 1e-7;       ///< above 0: chance of outliving the last bin, for which softmax has no room
  reduction reduce = reduction::mean;  ///< mean: over the patients
  bool check_values = true;            ///< finite logits, bins on the scale, events 0 or 1
};

namespace detail {

/// A row's bins in two parts: [first, last) can be the bin of death, the others cannot. Its loss is
/// -log P(inside) = softplus(outside - inside), each the log of a sum of exp, so nothing cancels.
template <class T, class Space>
struct incidence_row {
  vector_view<const T, Space> logit;
  index_t first, last;
  double share;  ///< of its loss that counts
  double inside, outside;

  STROMA_HOST_DEVICE incidence_row(vector_view<const T, Space> z, index_t bin, bool died, double alpha)
      : logit(z), first(died ? bin : bin + 1), last(died ? bin + 1 : z.size), share(died ? 1 : 1 - alpha) {
    const double none = -HUGE_VAL;
    double high_in = none, high_out = none, in = 0, out = 0;
    for (index_t k = 0; k < z.size; ++k) {
      double& high = is_inside(k) ? high_in : high_out;
      const auto x = static_cast<double>(z[k]);
      high = high < x ? x : high;
    }
    for (index_t k = 0; k < z.size; ++k)
      (is_inside(k) ? in : out) += std::exp(static_cast<double>(z[k]) - (is_inside(k) ? high_in : high_out));
    inside = in > 0 ? high_in + std::log(in) : none;
    outside = out > 0 ? high_out + std::log(out) : none;
  }
  [[nodiscard]] STROMA_HOST_DEVICE bool is_inside(index_t k) const { return k >= first && k < last; }
  /// Censored in the last bin.
  [[nodiscard]] STROMA_HOST_DEVICE bool constant() const { return first == last; }

  [[nodiscard]] STROMA_HOST_DEVICE double loss(double beyond_last_bin) const {
    return share * (constant() ? -std::log(beyond_last_bin) : softplus(outside - inside));
  }
  /// seed times the derivative in bin k is factor times this; not of a constant.
  [[nodiscard]] STROMA_HOST_DEVICE double factor(double seed) const {
    return seed * share * logistic(outside - inside);
  }
  [[nodiscard]] STROMA_HOST_DEVICE double derivative(double factor, index_t k) const {
    const double part = std::exp(static_cast<double>(logit[k]) - (is_inside(k) ? inside : outside));
    return is_inside(k) ? -factor * part : factor * part;
  }
};

template <class Backend>
struct discrete_incidence_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/discrete_incidence.cuh> and compile with nvcc");

  template <class T, class Bins, class Events>
  static incidence_row<T, host_space> row_of(matrix_view<const T> logit, vector_view<const Bins> bin,
                                             vector_view<const Events> event, index_t r,
                                             const discrete_incidence_options& options) {
    return {logit.row(r), static_cast<index_t>(bin[r]), event[r] != Events(0), options.alpha};
  }

  template <class T, class Bins, class Events>
  static void forward(cpu_context&, matrix_view<const T> logit, vector_view<const Bins> bin,
                      vector_view<const Events> event, T* value, const discrete_incidence_options& options) {
    double sum = 0;
    for (index_t r = 0; r < logit.rows; ++r) sum += row_of(logit, bin, event, r, options).loss(options.beyond_last_bin);
    *value = static_cast<T>(reduction_scale(options.reduce, logit.rows) * sum);
  }

  template <class T, class Bins, class Events>
  static void backward(cpu_context&, matrix_view<const T> logit, vector_view<const Bins> bin,
                       vector_view<const Events> event, const T* d_value, matrix_view<T> d_logit,
                       const discrete_incidence_options& options) {
    const double seed = static_cast<double>(*d_value) * reduction_scale(options.reduce, logit.rows);
    for (index_t r = 0; r < logit.rows; ++r) {
      const auto row = row_of(logit, bin, event, r, options);
      if (row.constant()) continue;
      const double factor = row.factor(seed);
      for (index_t k = 0; k < logit.cols; ++k) d_logit(r, k) += static_cast<T>(row.derivative(factor, k));
    }
  }
};

template <class Context, class T, class Space, class Bins, class Events>
void check_incidence(Context& ctx, std::string_view name, matrix_view<const T, Space> logit, const Bins& bin,
                     const Events& event, const discrete_incidence_options& options) {
  using checks = value_checks<typename Context::backend>;
  check::length(name, "bin", bin.size, logit.rows, "the rows of logit");
  check::length(name, "event", event.size, logit.rows, "the rows of logit");
  check::in_range(name, "alpha", options.alpha, 0.0, 1.0);
  check::positive(name, "beyond_last_bin", options.beyond_last_bin);
  check::in_range(name, "beyond_last_bin", options.beyond_last_bin, 0.0, 1.0);
  if (!options.check_values) return;
  checks::finite(ctx, name, "logit", logit);
  checks::labels(ctx, name, "bin", bin, logit.cols);
  checks::event_flags(ctx, name, "event", event);
}

}  // namespace detail

/// Negative log likelihood of the bin of death, p = softmax over bins.
///
/// died in bin t       -log p_t
/// censored in bin t   -(1 - alpha) log(sum over k > t of p_k)
///
/// Who is censored in the last bin leaves no bin to die in: the sum is the constant beyond_last_bin, the gradient 0.
/// Logits of any finite size are safe.
///
/// @param logit [B, bins]   @param bin [B] of the last follow-up, from 0, see discretise   @param event [B] 1 observed
/// Cost: O(B bins), no scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Kvamme & Borgan 2021 (PMF); SurvIFMLE of STEPH.
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Events>
  requires same_space<Context, Logits, Bins, Events> && std::integral<scalar_of<Bins>>
void discrete_incidence(Context& ctx, const Logits& logit, const Bins& bin, const Events& event,
                        scalar_of<Logits>* value, const discrete_incidence_options& options = {}) {
  const auto z = as_const_view(logit);
  const auto b = as_const_view(bin);
  const auto e = as_const_view(event);
  detail::check_incidence(ctx, "discrete_incidence", z, b, e, options);
  detail::discrete_incidence_kernel<typename Context::backend>::forward(ctx, z, b, e, value, options);
}

/// The value, for host data.
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Events>
  requires same_space<Context, Logits, Bins, Events> && std::integral<scalar_of<Bins>> &&
           std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Logits> discrete_incidence(Context& ctx, const Logits& logit, const Bins& bin,
                                                   const Events& event,
                                                   const discrete_incidence_options& options = {}) {
  scalar_of<Logits> value{};
  discrete_incidence(ctx, logit, bin, event, &value, options);
  return value;
}

/// Adds d_value times the loss's derivative to d_logit [B, bins]: p_k - [k = t] for deaths,
/// (1 - alpha) (p_k - [k > t] p_k / sum over l > t of p_l) for the censored.
template <execution_context Context, matrix_like Logits, vector_like Bins, vector_like Events, matrix_like Gradients>
  requires same_space<Context, Logits, Bins, Events, Gradients> && std::integral<scalar_of<Bins>>
void discrete_incidence_backward(Context& ctx, const Logits& logit, const Bins& bin, const Events& event,
                                 const scalar_of<Logits>* d_value, Gradients&& d_logit,
                                 const discrete_incidence_options& options = {}) {
  constexpr auto name = "discrete_incidence_backward";
  const auto z = as_const_view(logit);
  const auto b = as_const_view(bin);
  const auto e = as_const_view(event);
  const matrix_view<scalar_of<Logits>, typename Context::space> d = as_view(d_logit);
  detail::check_incidence(ctx, name, z, b, e, options);
  check::shape(name, "d_logit", d, z.rows, z.cols);
  detail::discrete_incidence_kernel<typename Context::backend>::backward(ctx, z, b, e, d_value, d, options);
}

/// Recorded on a graph: logit [B, bins] to the loss [1, 1]. Bins and events must outlive the step.
template <class T, class Backend, vector_like Bins, vector_like Events>
  requires same_space<context_of<Backend>, Bins, Events>
node discrete_incidence(graph<T, Backend>& g, node logit, const Bins& bin, const Events& event,
                        const discrete_incidence_options& options = {}) {
  const auto z = g.value(logit);
  const auto [loss, value] = g.emit(1, 1, {logit});
  discrete_incidence(g.context(), z, bin, event, value.data, options);
  g.on_backward(loss, [=, out = loss, b = as_const_view(bin), e = as_const_view(event)](graph<T, Backend>& at) {
    auto unchecked = options;
    unchecked.check_values = false;
    discrete_incidence_backward(at.context(), z, b, e, at.gradient(out).data, at.gradient_of(logit), unchecked);
  });
  return loss;
}

}  // namespace stroma
