#pragma once
#include <algorithm>
#include <cmath>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>
#include <stroma/survival/discretise.hpp>

namespace stroma {

/// How logits become the chances p_k to die in bin k.
enum class incidence_model {
  bounded,  ///< softmax over the bins: nobody outlives the last (SurvIFMLE of STEPH)
  pmf,      ///< softmax over the bins and one more, of logit 0, for those who outlive the last
  mtlr      ///< the same of sums, logit_k + .. + logit_last: multi-task logistic regression
};

struct discrete_incidence_options {
  incidence_model model = incidence_model::bounded;
  double alpha = 0;                    ///< 0 to 1: how much of the censored patients' loss is left out
  double beyond_last_bin = 1e-7;       ///< above 0: chance of outliving the last bin where the model has no room for it
  reduction reduce = reduction::mean;  ///< mean: over the patients
  bool check_values = true;            ///< finite logits, bins on the scale, events 0 or 1
};

namespace detail {

/// A row's logits as the terms of a softmax.
template <class T, class Space>
struct incidence_terms {
  vector_view<const T, Space> logit;
  incidence_model model;

  [[nodiscard]] STROMA_HOST_DEVICE bool open() const { return model != incidence_model::bounded; }
  [[nodiscard]] STROMA_HOST_DEVICE index_t count() const { return logit.size + (open() ? 1 : 0); }
};
/// The terms from the last to the first, of which the last is that of those who outlive the last bin: 0.
template <class T, class Space>
struct incidence_walk {
  incidence_terms<T, Space> terms;
  index_t bin;
  double term = 0;

  STROMA_HOST_DEVICE explicit incidence_walk(const incidence_terms<T, Space>& t) : terms(t), bin(t.logit.size) {
    if (!t.open()) next();
  }
  [[nodiscard]] STROMA_HOST_DEVICE bool more() const { return bin >= 0; }
  STROMA_HOST_DEVICE void next() {
    if (--bin < 0) return;
    const auto x = static_cast<double>(terms.logit[bin]);
    term = terms.model == incidence_model::mtlr ? term + x : x;
  }
};

/// Bins first .. last - 1, or all others.
struct bin_set {
  index_t first, last;
  bool others = false;
  [[nodiscard]] STROMA_HOST_DEVICE bool has(index_t k) const { return (k >= first && k < last) != others; }
};
/// log of the sum of exp(term) over bins.
template <class T, class Space>
[[nodiscard]] STROMA_HOST_DEVICE double log_of_sum(const incidence_terms<T, Space>& terms, const bin_set& bins) {
  double high = -HUGE_VAL, sum = 0;
  for (incidence_walk<T, Space> at(terms); at.more(); at.next())
    if (bins.has(at.bin) && high < at.term) high = at.term;
  for (incidence_walk<T, Space> at(terms); at.more(); at.next())
    if (bins.has(at.bin)) sum += std::exp(at.term - high);
  return sum > 0 ? high + std::log(sum) : -HUGE_VAL;
}
/// The chances to outlive each bin; `survival` may be the logits.
template <class T, class Space>
STROMA_HOST_DEVICE void write_survival(const incidence_terms<T, Space>& terms, const vector_view<T, Space>& survival) {
  const double all = log_of_sum(terms, {0, terms.count()});
  double later = 0;
  for (incidence_walk<T, Space> at(terms); at.more(); at.next()) {
    if (at.bin < terms.logit.size) survival[at.bin] = static_cast<T>(later);
    later += std::exp(at.term - all);
  }
}

/// A row's bins in two parts: inside those that can be the bin of death, outside the others. Its loss is
/// -log P(inside) = softplus(log_outside - log_inside), each the log of a sum of exp, so nothing cancels.
template <class T, class Space>
struct incidence_row {
  incidence_terms<T, Space> terms;
  bin_set inside;
  double share;  ///< of its loss that counts
  double log_inside, log_outside;

  STROMA_HOST_DEVICE incidence_row(const incidence_terms<T, Space>& t, index_t bin, bool died, double alpha)
      : terms(t),
        inside{died ? bin : bin + 1, died ? bin + 1 : t.count()},
        share(died ? 1 : 1 - alpha),
        log_inside(log_of_sum(t, inside)),
        log_outside(log_of_sum(t, {inside.first, inside.last, true})) {}
  /// Censored in the last bin, and none after it.
  [[nodiscard]] STROMA_HOST_DEVICE bool constant() const { return inside.first == inside.last; }

  [[nodiscard]] STROMA_HOST_DEVICE double loss(double beyond_last_bin) const {
    return share * (constant() ? -std::log(beyond_last_bin) : softplus(log_outside - log_inside));
  }
  /// Adds seed times the derivative. That in the terms sums to 0 over the bins and the one beyond them, so a logit that
  /// is in the terms until its own bin has minus the sum over those after it.
  STROMA_HOST_DEVICE void differentiate(double seed, const vector_view<T, Space>& d_logit) const {
    if (constant()) return;
    const double factor = seed * share * logistic(log_outside - log_inside);
    double later = 0;
    for (incidence_walk<T, Space> at(terms); at.more(); at.next()) {
      const bool is_inside = inside.has(at.bin);
      const double part = std::exp(at.term - (is_inside ? log_inside : log_outside));
      const double d_term = is_inside ? -factor * part : factor * part;
      if (at.bin < terms.logit.size)
        d_logit[at.bin] += static_cast<T>(terms.model == incidence_model::mtlr ? -later : d_term);
      later += d_term;
    }
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
    return {{logit.row(r), options.model}, static_cast<index_t>(bin[r]), event[r] != Events(0), options.alpha};
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
      row_of(logit, bin, event, r, options).differentiate(seed, d_logit.row(r));
    }
  }

  template <class T>
  static void curve(cpu_context&, matrix_view<const T> logit, incidence_model model, matrix_view<T> out) {
    for (index_t r = 0; r < logit.rows; ++r)
      write_survival(incidence_terms<T, host_space>{logit.row(r), model}, out.row(r));
  }
};

template <class Context, class T, class Space, class Bins, class Events>
void check_incidence(Context& ctx, std::string_view name, matrix_view<const T, Space> logit, const Bins& bin,
                     const Events& event, const discrete_incidence_options& options) {
  check::in_range(name, "alpha", options.alpha, 0.0, 1.0);
  check::positive(name, "beyond_last_bin", options.beyond_last_bin);
  check::in_range(name, "beyond_last_bin", options.beyond_last_bin, 0.0, 1.0);
  check_binned(ctx, name, logit, bin, event, options.check_values);
}

}  // namespace detail

/// Negative log likelihood of the bin of death, with chances p_k by softmax; incidence_model says over what.
///
/// died in bin t       -log p_t
/// censored in bin t   -(1 - alpha) log(sum over k > t of p_k)
///
/// In the bounded model who is censored in the last bin leaves no bin to die in: the sum is the constant
/// beyond_last_bin, the gradient 0. The others have a chance to outlive it. Logits of any finite size are safe.
///
/// @param logit [B, bins]   @param bin [B] of the last follow-up, from 0, see discretise   @param event [B] 1 observed
/// Cost: O(B bins), no scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Kvamme & Borgan 2021 (PMF); Yu et al. 2011, Fotso 2018 (MTLR);
/// SurvIFMLE of STEPH.
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
/// (1 - alpha) (p_k - [k > t] p_k / sum over l > t of p_l) for the censored; in mtlr the sums of these over bins until
/// k.
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

/// S_k = sum over bins i > k of p_i, the probability to outlive bin k; in the bounded model 0 in the last.
/// @param logit [B, bins]   @param survival [B, bins], overwritten; may be logit itself
/// Cost: O(B bins).   @throws shape_error
template <execution_context Context, matrix_like Logits, matrix_like Curves>
  requires same_space<Context, Logits, Curves>
void discrete_incidence_survival(Context& ctx, const Logits& logit, incidence_model model, Curves&& survival) {
  const auto z = as_const_view(logit);
  const matrix_view<scalar_of<Logits>, typename Context::space> s = as_view(survival);
  check::shape("discrete_incidence_survival", "survival", s, z.rows, z.cols);
  detail::discrete_incidence_kernel<typename Context::backend>::curve(ctx, z, model, s);
}

}  // namespace stroma
