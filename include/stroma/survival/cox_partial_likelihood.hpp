#pragma once
#include <cmath>
#include <limits>

#include <stroma/autodiff/graph.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma {

/// What several deaths at one time mean. Breslow: each has the whole risk set. Efron: the tied deaths leave it in
/// equal parts, closer to the exact likelihood. The same without ties.
enum class ties { breslow, efron };

struct cox_options {
  ties tie_method = ties::breslow;
  reduction reduce = reduction::sum;  ///< mean: over the events, which count their weights
  bool check_values = true;           ///< finite scores; finite times of 0 or later; events 0 or 1
};

template <class T, class Space = host_space>
struct cox_output {
  T* value{};                        ///< one number
  vector_view<T, Space> gradient{};  ///< [N] d value / d score, overwritten; empty: not computed
};

namespace detail {

template <class Backend>
struct cox_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/cox_partial_likelihood.cuh> and compile with nvcc");

  /// The sums at a death time, all in units of exp(peak), where peak is the largest score at risk.
  struct risk_set {
    double peak, others, tied;       ///< sum over those at risk who do not die now, and over those who do
    double tied_weight, tied_score;  ///< sum of w, and of w (score - peak), over the deaths
    index_t deaths;                  ///< of positive weight
  };

  template <class T>
  static void run(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                  const cox_options& options, cox_output<T> out) {
    auto scratch = ctx.workspace().open();
    auto* const risk = scratch.template take<double>(plan.rows);
    auto* const sets = scratch.template take<risk_set>(plan.groups);
    gather_risk_sets(score, plan, risk, sets);

    double loss = 0, events = 0;
    for (index_t g = 0; g < plan.groups; ++g) {
      const risk_set& s = sets[g];
      if (s.deaths == 0) continue;
      loss += log_likelihood(s, options.tie_method);
      events += s.tied_weight;
    }
    const double scale = options.reduce == reduction::sum || events == 0 ? 1 : 1 / events;
    *out.value = static_cast<T>(scale * loss);
    if (out.gradient.size != 0) differentiate(plan, options.tie_method, risk, sets, scale, out.gradient);
  }

  /// target += seed gradient
  template <class T>
  static void add_scaled(cpu_context&, const T* seed, vector_view<const T> gradient, vector_view<T> target) {
    for (index_t i = 0; i < target.size; ++i) target[i] += *seed * gradient[i];
  }

 private:
  static double weight_at(const risk_plan<host_space>& plan, index_t k) {
    return plan.weight == nullptr ? 1 : plan.weight[k];
  }

  /// risk[k] = w exp(score - peak of k's group), and the sums of each group. Sums are rescaled when the peak grows, so
  /// every exponent is 0 or less and the largest term is 1 times its weight.
  template <class T>
  static void gather_risk_sets(vector_view<const T> score, const risk_plan<host_space>& plan, double* risk,
                               risk_set* sets) {
    constexpr double none = -std::numeric_limits<double>::infinity();
    double peak = none, at_risk = 0;
    for (index_t g = 0; g < plan.groups; ++g) {
      const index_t first = plan.first[g], deaths = plan.deaths[g], last = plan.first[g + 1];
      double highest = peak;
      for (index_t k = first; k < last; ++k) {
        risk[k] = static_cast<double>(score[plan.row[k]]);
        if (risk[k] > highest && weight_at(plan, k) > 0) highest = risk[k];
      }
      if (highest > peak) {
        at_risk *= std::exp(peak - highest);
        peak = highest;
      }
      risk_set s{peak, at_risk, 0, 0, 0, 0};
      for (index_t k = first; k < last; ++k) {
        const double w = weight_at(plan, k), below = risk[k] - peak;
        risk[k] = w > 0 ? w * std::exp(below) : 0;
        if (k < deaths) {
          s.others += risk[k];
        } else if (w > 0) {
          s.tied += risk[k];
          s.tied_weight += w;
          s.tied_score += w * below;
          ++s.deaths;
        }
      }
      at_risk = s.others + s.tied;
      sets[g] = s;
    }
  }

  static double log_likelihood(const risk_set& s, ties method) {
    if (method == ties::breslow || s.deaths == 1) return s.tied_weight * std::log(s.others + s.tied) - s.tied_score;
    double logs = 0;
    for (index_t k = 0; k < s.deaths; ++k) logs += std::log(s.others + remaining(s, k) * s.tied);
    return s.tied_weight / static_cast<double>(s.deaths) * logs - s.tied_score;
  }
  /// The part of the tied deaths that is still at risk at the k-th of them.
  static double remaining(const risk_set& s, index_t k) {
    return static_cast<double>(s.deaths - k) / static_cast<double>(s.deaths);
  }

  /// d loss / d score = w exp(score) hazard(time) - w event, where hazard sums w_D / S over the event times so far.
  /// From the earliest time on the peak only falls, so the hazard, in units of exp(-peak), only shrinks.
  template <class T>
  static void differentiate(const risk_plan<host_space>& plan, ties method, const double* risk, const risk_set* sets,
                            double scale, vector_view<T> gradient) {
    double hazard = 0;
    for (index_t g = plan.groups; g-- > 0;) {
      const risk_set& s = sets[g];
      if (g + 1 < plan.groups && sets[g + 1].peak > s.peak) hazard *= std::exp(s.peak - sets[g + 1].peak);
      double of_deaths = hazard;
      if (method == ties::breslow && s.deaths > 0) {
        hazard += s.tied_weight / (s.others + s.tied);
        of_deaths = hazard;
      } else if (s.deaths > 0) {
        const double each = s.tied_weight / static_cast<double>(s.deaths);
        for (index_t k = 0; k < s.deaths; ++k) {
          const double step = each / (s.others + remaining(s, k) * s.tied);
          hazard += step;
          of_deaths += remaining(s, k) * step;
        }
      }
      for (index_t k = plan.first[g]; k < plan.first[g + 1]; ++k) {
        const bool died = k >= plan.deaths[g];
        const double d = died ? risk[k] * of_deaths - weight_at(plan, k) : risk[k] * hazard;
        gradient[plan.row[k]] = static_cast<T>(scale * d);
      }
    }
  }
};

template <class Context, class T, class Space>
void check_cox(Context& ctx, std::string_view name, index_t rows, vector_view<const T, Space> score,
               const cox_output<T, Space>& out, const cox_options& options) {
  using checks = value_checks<typename Context::backend>;
  check::length(name, "score", score.size, rows, "the length of order");
  if (out.gradient.size != 0) check::same_length(name, "gradient", out.gradient, "score", score);
  if (options.check_values) checks::finite(ctx, name, "score", score);
}

}  // namespace detail

/// Negative log partial likelihood of Cox's model and its gradient in the scores.
///
/// Breslow  loss = sum over event times t of [ w_D log S - sum over D of w score ],   S = sum at risk of w exp(score)
/// Efron    with d deaths D at t: w_D / d sum over k < d of log(S - k / d S_D) in place of w_D log S
///
/// where D are the deaths at t, w_D and S_D their sums of w and w exp(score); weighted Efron is R's. Weights come with
/// a risk_order. Adding a number to all scores changes nothing, and scores of any finite size are safe: exp is taken
/// of differences from the largest score at risk, sums are kept in double and terms only added. Without an event the
/// value and the gradient are 0.
///
/// @param score [N] log hazards, larger is worse   @param time [N] any unit   @param event [N] 1 observed, 0 censored
/// @param order [N] or, in place of both, the cohort sorted before
/// @param out   value, and unless empty the gradient [N]
/// Cost: O(N log N) time, O(N) with an order, one exp a patient and one log an event; O(N) scratch. Same bits from
/// run to run.
/// @throws shape_error, value_error   Reference: Cox 1975; ties: Breslow 1974, Efron 1977.
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
  detail::check_cox(ctx, name, s.size, s, out, options);
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
  detail::check_cox(ctx, "cox_partial_likelihood", order.size(), s, out, options);
  detail::cox_kernel<typename Context::backend>::run(ctx, s, order.plan(), options, out);
}

/// The value alone, for host data.
template <execution_context Context, vector_like Scores, vector_like Times, vector_like Events>
  requires same_space<Context, Scores, Times, Events> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Scores> cox_partial_likelihood(Context& ctx, const Scores& score, const Times& time,
                                                       const Events& event, const cox_options& options = {}) {
  scalar_of<Scores> value{};
  cox_partial_likelihood(ctx, score, time, event, cox_output<scalar_of<Scores>>{&value, {}}, options);
  return value;
}
template <execution_context Context, vector_like Scores>
  requires same_space<Context, Scores> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Scores> cox_partial_likelihood(Context& ctx, const Scores& score, const risk_order<>& order,
                                                       const cox_options& options = {}) {
  scalar_of<Scores> value{};
  cox_partial_likelihood(ctx, score, order, cox_output<scalar_of<Scores>>{&value, {}}, options);
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
    evaluate(s, cox_output<T, space>{value.data, {}});
    return loss;
  }
  const vector_view<T, space> gradient(g.template take<T>(s.size), s.size);
  evaluate(s, cox_output<T, space>{value.data, gradient});
  g.on_backward(loss, [score, gradient, out = loss](graph<T, Backend>& at) {
    cox_kernel<Backend>::add_scaled(at.context(), at.gradient(out).data, vector_view<const T, space>(gradient),
                                    as_vector("cox_partial_likelihood", "score", at.gradient_of(score)));
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
