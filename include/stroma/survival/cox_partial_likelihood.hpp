#pragma once
#include <algorithm>
#include <cmath>

#include <stroma/autodiff/graph.hpp>
#include <stroma/survival/detail/cox_exact.hpp>
#include <stroma/survival/detail/cox_risk.hpp>
#include <stroma/survival/detail/risk_ranges.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma {

/// What several deaths at one time mean. Breslow: each has the whole risk set. Efron: the tied deaths leave it in
/// equal parts, closer to the exact likelihood. Exact: time is discrete, and the dead are one of all sets of their
/// number. The same without ties.
enum class ties { breslow, efron, exact };

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

[[nodiscard]] inline double scale_of(const cox_options& options, double events) {
  return options.reduce == reduction::sum || events == 0 ? 1 : 1 / events;
}
/// The deaths of a group as a method takes them. Exact ties are not of the form: no steps.
template <class Number>
[[nodiscard]] basic_cox_tie<Number> tie_of(const risk_plan<host_space>& plan, const Number* risk, const Number& others,
                                           index_t g, ties method) {
  auto tie = tie_at(plan, risk, others, g);
  if (method == ties::efron) tie.steps = tie.deaths;
  if (method == ties::exact && tie.deaths > 1) tie.steps = 0;
  return tie;
}

/// Order is that of the highest derivative that is asked for; Number, in which sums are kept: wide_number, or double
/// where the scores are known to fit, with half the memory to move.
template <int Order, class Number>
class cox_passes {
  static constexpr int sums = Order > 1 ? 2 : 1;
  using hazards = risk_sums<sums, Number>;  // of a time, and squared

 public:
  template <class T>
  static void run(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                  const cox_options& options, const cox_output<T>& out) {
    auto scratch = ctx.workspace().open();
    cox_passes p(ctx, plan, options.tie_method);
    p.step_ = scratch.template take<hazards>(plan.groups + 1);
    p.risk_ = scratch.template take<Number>(plan.rows);
    for (int d = 0; d < Order; ++d) p.own_[d] = scratch.template take<double>(plan.rows);
    const risk_ranges ranges(scratch, plan);

    weigh_risks(ctx, score, plan, p.risk_);
    p.sum_others(ranges);
    auto [loss, events] = p.visit_groups();
    if constexpr (std::same_as<Number, wide_number>)
      if (options.tie_method == ties::exact) loss += p.visit_exact_ties();
    const double scale = scale_of(options, events);
    *out.value = static_cast<T>(scale * loss);
    if constexpr (Order > 0) p.differentiate(ranges, scale, out);
  }

 private:
  struct total {
    double loss, events;
  };
  cox_passes(cpu_context& ctx, const risk_plan<host_space>& plan, ties method)
      : ctx_(ctx), plan_(plan), method_(method) {}

  /// step[g] becomes the sum over those who are at risk at group g and do not die then, if any do.
  void sum_others(const risk_ranges& ranges) {
    if (plan_.until != nullptr) {
      auto scratch = ctx_.workspace().open();
      auto* const room = scratch.template take<hazards>(ranges.room(plan_));
      ranges.spread(
          plan_, [&](index_t k) { return hazards{{risk_[k]}}; }, room, step_);
      return;
    }
    Number unused;
    for (index_t s = 0; s < plan_.strata; ++s) {
      Number sum{};
      const index_t end = plan_.first[plan_.stratum[s + 1]];
      for (index_t k = plan_.first[plan_.stratum[s]]; k < end; ++k) {
        const index_t g = plan_.group[k];
        // Who dies is not to be foreseen: a choice of places costs less than a jump.
        (k <= plan_.deaths[g] ? step_[g].x[0] : unused) = sum;
        sum += risk_[k];
      }
    }
  }

  total visit_groups() {
    auto scratch = ctx_.workspace().open();
    auto* const totals = scratch.template take<total>((plan_.groups + groups_of_task - 1) / groups_of_task);
    in_pieces(ctx_, plan_.groups, groups_of_task, [&](index_t begin, index_t end, index_t task) {
      log_sum loss;
      double events = 0;
      for (int d = 0; d < Order; ++d) std::fill(own_[d] + plan_.first[begin], own_[d] + plan_.first[end], 0.0);
      index_t with_deaths[groups_of_task], count = 0;
      for (index_t g = begin; g < end; ++g) {
        with_deaths[count] = g;
        const bool any = plan_.deaths[g] < plan_.first[g + 1];
        count += any ? 1 : 0;
        step_[g] = any ? step_[g] : hazards{};
      }
      for (index_t i = 0; i < count; ++i) events += visit(with_deaths[i], loss);
      totals[task] = {loss.sum(), events};
    });
    total all{0, 0};
    for (index_t g = 0; g < plan_.groups; g += groups_of_task) {
      all.loss += totals[g / groups_of_task].loss;
      all.events += totals[g / groups_of_task].events;
    }
    return all;
  }

  /// A group's loss and hazards, and what its own time gives the derivatives of its deaths; returns their weight.
  double visit(index_t g, log_sum& loss) {
    const index_t k = plan_.deaths[g];
    if (plan_.first[g + 1] - k == 1) {
      if (const double w = weight_of(plan_, k); is_moderate(w)) return visit_alone(g, k, w, loss);
    }
    const auto tie = tie_of(plan_, risk_, step_[g].x[0], g, method_);
    step_[g] = {};
    if (tie.steps > 0) add_loss(plan_, risk_, tie, g, loss);
    if constexpr (Order > 0) {
      const auto h = sum_of_steps(tie, cox_hazard{});
      const Number unit = tie.steps > 0 ? reciprocal(tie.at_risk) : Number{}, own = unit * h.own;
      step_[g].x[0] = unit * h.all;
      for (index_t i = k; i < plan_.first[g + 1]; ++i) own_[0][i] = plain_product(risk_[i], own) - weight_of(plan_, i);
      if constexpr (Order > 1) {
        const auto squared = sum_of_steps(tie, cox_squared_hazard{});
        step_[g].x[1] = unit * unit * squared.all;
        for (index_t i = k; i < plan_.first[g + 1]; ++i)
          own_[1][i] = second_derivative(risk_[i], own, unit * unit * squared.own);
      }
    }
    return tie.weight;
  }
  /// Of a death alone at its time, r hazard - w = -w others / S: no digits are lost however much of S is its own.
  double visit_alone(index_t g, index_t k, double w, log_sum& loss) {
    const Number r = risk_[k], others = step_[g].x[0], at_risk = others + r;
    loss.add(w, mantissa(at_risk) / mantissa(r) * w, w * (exponent(at_risk) - exponent(r)));
    if constexpr (Order > 0) {
      const double others_part = ratio(others, at_risk);
      step_[g].x[0] = quotient(w, at_risk);
      own_[0][k] = -w * others_part;
      if constexpr (Order > 1) {
        step_[g].x[1] = reciprocal(at_risk) * step_[g].x[0];
        own_[1][k] = w * others_part * ratio(r, at_risk);
      }
    }
    return w;
  }
  static double second_derivative(const Number& r, const Number& hazard, const Number& squared) {
    return std::max(plain_product(r, hazard) - plain_product(r, r * squared), 0.0);
  }

  /// Groups of several deaths under exact ties. Second derivatives need the chances at every time by themselves.
  double visit_exact_ties() {
    auto scratch = ctx_.workspace().open();
    double loss = 0;
    for_each_exact_chain(scratch, plan_, Order > 1, [&](const index_t* at, const exact_tie* tie, index_t count) {
      auto frame = ctx_.workspace().open();
      const exact_chain<wide_number> chain(tie, count);
      const auto risk = [&](index_t j) { return risk_[at[j]]; };
      loss += chain.loss(frame, risk);
      if constexpr (Order > 0)
        chain.differentiate(frame, risk, [&](index_t j, const wide_number& r) {
          const double chance = to_double(r);
          own_[0][at[j]] += chance;
          if constexpr (Order > 1) own_[1][at[j]] += chance * (1 - chance);
        });
    });
    return loss;
  }

  template <class T>
  void differentiate(const risk_ranges& ranges, double scale, const cox_output<T>& out) {
    if (plan_.until != nullptr) {
      auto scratch = ctx_.workspace().open();
      auto* const room = scratch.template take<hazards>(ranges.room(plan_));
      ranges.gather(plan_, step_, room, [&](index_t k, const hazards& h) { write_derivatives(k, h, scale, out); });
      return;
    }
    for (index_t s = 0; s < plan_.strata; ++s)  // as gather does, but rows by several threads
      for (index_t g = plan_.stratum[s + 1] - 1; g > plan_.stratum[s]; --g) step_[g - 1] += step_[g];
    in_pieces(ctx_, plan_.rows, rows_of_task, [&](index_t begin, index_t end, index_t) {
      const index_t* stratum_end =
          std::upper_bound(plan_.stratum, plan_.stratum + plan_.strata + 1, plan_.group[begin]);
      for (index_t k = begin; k < end; ++stratum_end) {
        // A stratum's last deaths, at its earliest time, have no hazard but that of this time.
        const index_t last_group = *stratum_end - 1, last = std::min(end, plan_.first[last_group + 1]);
        for (const index_t stop = std::min(last, plan_.deaths[last_group]); k < stop; ++k) {
          const index_t g = plan_.group[k];
          prefetch_ahead<1>(plan_, k, out.gradient.size != 0 ? out.gradient : out.hessian_diagonal);
          write_derivatives(k, step_[g + (k >= plan_.deaths[g] ? 1 : 0)], scale, out);
        }
        for (; k < last; ++k) write_derivatives(k, hazards{}, scale, out);
      }
    });
  }

  /// From the hazards of the times at which position k is at risk, but for that of its death.
  template <class T>
  void write_derivatives(index_t k, const hazards& h, double scale, const cox_output<T>& out) {
    const Number r = risk_[k];
    const index_t row = plan_.row[k];
    if (Order < 2 || out.gradient.size != 0)
      out.gradient[row] = static_cast<T>(scale * (own_[0][k] + plain_product(r, h.x[0])));
    if constexpr (Order > 1)
      out.hessian_diagonal[row] = static_cast<T>(scale * (own_[1][k] + second_derivative(r, h.x[0], h.x[1])));
  }

  cpu_context& ctx_;
  const risk_plan<host_space>& plan_;
  ties method_;
  Number* risk_ = nullptr;   // [rows]
  hazards* step_ = nullptr;  // [groups] of those who do not die: sums of risks, then hazards
  double* own_[sums] = {};   // [rows] what the time of a death gives its own derivatives
};

template <class Backend>
struct cox_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/cox_partial_likelihood.cuh> and compile with nvcc");

  template <class T>
  static void run(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                  const cox_options& options, const cox_output<T>& out) {
    if (options.tie_method != ties::exact && fit_a_double(score, plan))
      run_with<double>(ctx, score, plan, options, out);
    else run_with<wide_number>(ctx, score, plan, options, out);
  }

 private:
  template <class Number, class T>
  static void run_with(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                       const cox_options& options, const cox_output<T>& out) {
    if (out.hessian_diagonal.size != 0) cox_passes<2, Number>::run(ctx, score, plan, options, out);
    else if (out.gradient.size != 0) cox_passes<1, Number>::run(ctx, score, plan, options, out);
    else cox_passes<0, Number>::run(ctx, score, plan, options, out);
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
  using checks = value_checks<typename Context::backend>;
  check::length(name, "score", score.size, rows, "the length of order");
  if (out.gradient.size != 0) check::same_length(name, "gradient", out.gradient, "score", score);
  if (out.hessian_diagonal.size != 0)
    check::same_length(name, "hessian_diagonal", out.hessian_diagonal, "score", score);
  check_exact_ties(name, options, weighted, std::same_as<Space, host_space>);
  if (options.check_values) checks::finite(ctx, name, "score", score);
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
