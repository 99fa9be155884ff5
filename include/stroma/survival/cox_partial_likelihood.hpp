#pragma once
#include <algorithm>
#include <cmath>

#include <stroma/autodiff/graph.hpp>
#include <stroma/survival/detail/cox_passes.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma {

struct cox_options {
  ties tie_method = ties::breslow;
  reduction reduce = reduction::sum;  ///< mean: over the events, which count their weights
  bool check_values = true;           ///< finite scores; finite times of 0 or later; events 0 or 1
};

template <class T, class Space = host_space>
struct cox_output {
  T* value{};                                ///< one number
  vector_view<T, Space> gradient{};          ///< [N] d value / d score, overwritten; empty: not computed
  vector_view<T, Space> hessian_diagonal{};  ///< [N] d2 value / d score^2, overwritten; empty: not computed
};

namespace detail {

template <class Backend>
struct cox_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/cox_partial_likelihood.cuh> and compile with nvcc");

  template <class T>
  static void run(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                  const cox_options& options, const cox_output<T>& out) {
    if (options.tie_method != ties::exact && run_with<double>(ctx, score, plan, options, out)) return;
    if (options.check_values) value_checks<Backend>::finite(ctx, "cox_partial_likelihood", "score", score);
    (void)run_with<wide_number>(ctx, score, plan, options, out);
  }

 private:
  template <class Number, class T>
  [[nodiscard]] static bool run_with(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                                     const cox_options& options, const cox_output<T>& out) {
    if (out.hessian_diagonal.size != 0)
      return cox_passes<2, Number>::run(ctx, score, plan, options.tie_method, options.reduce, out);
    if (out.gradient.size != 0)
      return cox_passes<1, Number>::run(ctx, score, plan, options.tie_method, options.reduce, out);
    return cox_passes<0, Number>::run(ctx, score, plan, options.tie_method, options.reduce, out);
  }
};

inline void check_exact_ties(std::string_view name, const cox_options& options, bool weighted, bool on_host) {
  if (options.tie_method != ties::exact) return;
  check::require(on_host, name, "tie_method", "exact ties on a device", "breslow or efron (exact is for host data)");
  check::require(!weighted, name, "order", "a weighted cohort", "one without weights, for exact ties");
}
template <class Context, class T, class Space>
void check_cox(Context& ctx, std::string_view name, index_t rows, bool weighted, vector_view<const T, Space> score,
               const cox_output<T, Space>& out, const cox_options& options) {
  check::length(name, "score", score.size, rows, "the length of order");
  if (out.gradient.size != 0) check::same_length(name, "gradient", out.gradient, "score", score);
  if (out.hessian_diagonal.size != 0)
    check::same_length(name, "hessian_diagonal", out.hessian_diagonal, "score", score);
  check_exact_ties(name, options, weighted, std::same_as<Space, host_space>);
  // On the host the kernel looks at the scores in any case.
  if constexpr (!std::same_as<Space, host_space>)
    if (options.check_values) value_checks<typename Context::backend>::finite(ctx, name, "score", score);
}

}  // namespace detail

/// Negative log partial likelihood of Cox's model and its derivatives in the scores.
///
/// Breslow  loss = sum over event times t of [ w_D log S - sum over D of w score ],   S = sum at risk of w exp(score)
/// Efron    with d deaths D at t: w_D / d sum over k < d of log(S - k / d S_D) in place of w_D log S
/// exact    log of the sum, over all sets of d at risk, of exp(their scores) in place of w_D log S
///
/// where D are the deaths at t, w_D and S_D their sums of w and w exp(score); weighted Efron is R's; exact ties take no
/// weights. Weights, strata and late entry come with a risk_order; an offset is added to the score by the caller. Sums
/// are kept in double with an exponent of their own, so that scores of any finite size (exact: up to 1e15) are safe and
/// each counts with the relative precision of exp: adding a number to all scores changes results by rounding alone.
/// Risk sets, also those that patients enter late, are made by adding, never by taking a sum from another: no score,
/// however large, costs the digits of a time at which it is not at risk. Without an event the value and the derivatives
/// are 0.
///
/// @param score [N] log hazards, larger is worse   @param time [N] any unit   @param event [N] 1 observed, 0 censored
/// @param order [N] or, in place of both, the cohort sorted before
/// @param out   value, and unless empty the gradient [N] and the Hessian's diagonal [N]
/// Cost: O(N log N) time, O(N) with an order, one exp a patient and one log an event (Efron: two); late entry O(N log
/// N). Exact ties of d deaths: O(N d) for all times together, for every such time with late entry or the Hessian.
/// O(N) scratch, exact O(N + sqrt(N) d). Same bits from run to run and for any number of threads.
/// @throws shape_error, value_error
/// Reference: Cox 1975; ties: Breslow 1974, Efron 1977, exact: Gail, Lubin & Rubinstein 1981.
template <execution_context Context, vector_like Scores, vector_like Times, vector_like Events>
  requires same_space<Context, Scores, Times, Events>
void cox_partial_likelihood(Context& ctx, const Scores& score, const Times& time, const Events& event,
                            cox_output<scalar_of<Scores>, typename Context::space> out,
                            const cox_options& options = {}) {
  constexpr auto name = "cox_partial_likelihood";
  const auto s = as_const_view(score);
  const auto t = as_const_view(time);
  const auto e = as_const_view(event);
  using kernel = detail::cox_kernel<typename Context::backend>;
  check::same_length(name, "time", t, "score", s);
  check::same_length(name, "event", e, "score", s);
  detail::check_cox(ctx, name, s.size, false, s, out, options);
  detail::check_follow_up(ctx, name, t, e, {.check_values = options.check_values});
  auto scratch = ctx.workspace().open();
  kernel::run(ctx, s, detail::scratch_plan(ctx, scratch, t, e), options, out);
}
template <execution_context Context, vector_like Scores>
  requires same_space<Context, Scores>
void cox_partial_likelihood(Context& ctx, const Scores& score, const risk_order<typename Context::backend>& order,
                            cox_output<scalar_of<Scores>, typename Context::space> out,
                            const cox_options& options = {}) {
  const auto s = as_const_view(score);
  detail::check_cox(ctx, "cox_partial_likelihood", order.size(), order.weighted(), s, out, options);
  detail::cox_kernel<typename Context::backend>::run(ctx, s, order.plan(), options, out);
}

/// The value alone, for host data.
template <execution_context Context, vector_like Scores, vector_like Times, vector_like Events>
  requires same_space<Context, Scores, Times, Events> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Scores> cox_partial_likelihood(Context& ctx, const Scores& score, const Times& time,
                                                       const Events& event, const cox_options& options = {}) {
  scalar_of<Scores> value{};
  cox_partial_likelihood(ctx, score, time, event, cox_output<scalar_of<Scores>>{&value, {}, {}}, options);
  return value;
}
template <execution_context Context, vector_like Scores>
  requires same_space<Context, Scores> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Scores> cox_partial_likelihood(Context& ctx, const Scores& score, const risk_order<>& order,
                                                       const cox_options& options = {}) {
  scalar_of<Scores> value{};
  cox_partial_likelihood(ctx, score, order, cox_output<scalar_of<Scores>>{&value, {}, {}}, options);
  return value;
}

namespace detail {

/// The gradient costs as little as the value, so it is made with it and waits on the graph.
template <class T, class Backend, class Evaluate>
node record_cox(graph<T, Backend>& g, node score, const Evaluate& evaluate) {
  using space = typename Backend::space;
  const auto s = as_vector("cox_partial_likelihood", "score", g.value(score));
  const auto [loss, value] = g.emit(1, 1, {score});
  if (!g.needs_gradient(loss)) {
    evaluate(s, cox_output<T, space>{value.data, {}, {}});
    return loss;
  }
  const vector_view<T, space> gradient(g.template take<T>(s.size), s.size);
  evaluate(s, cox_output<T, space>{value.data, gradient, {}});
  g.on_backward(loss, [score, gradient, out = loss](graph<T, Backend>& at) {
    const auto target = at.gradient_of(score);
    primitives<Backend>::axpy(at.context(), at.gradient(out).data,
                              matrix_view<const T, space>(gradient.data, target.rows, target.cols), target);
  });
  return loss;
}

}  // namespace detail

/// Recorded on a graph: score [N, 1] or [1, N] to the loss [1, 1].
template <class T, class Backend, vector_like Times, vector_like Events>
  requires same_space<context_of<Backend>, Times, Events>
node cox_partial_likelihood(graph<T, Backend>& g, node score, const Times& time, const Events& event,
                            const cox_options& options = {}) {
  return detail::record_cox(g, score, [&](const auto& s, const auto& out) {
    cox_partial_likelihood(g.context(), s, time, event, out, options);
  });
}
template <class T, class Backend>
node cox_partial_likelihood(graph<T, Backend>& g, node score, const risk_order<Backend>& order,
                            const cox_options& options = {}) {
  return detail::record_cox(
      g, score, [&](const auto& s, const auto& out) { cox_partial_likelihood(g.context(), s, order, out, options); });
}

}  // namespace stroma
