#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <stroma/survival/detail/concordant_pairs.hpp>
#include <stroma/survival/detail/normal_quantile.hpp>
#include <stroma/survival/detail/pair_weights.hpp>
#include <stroma/survival/detail/score_ranks.hpp>

namespace stroma {

struct concordance_options {
  pair_weighting weighting = pair_weighting::equal;
  censoring_limit censoring = censoring_limit::before;       ///< where a weighting divides by G
  double horizon = std::numeric_limits<double>::infinity();  ///< events later than this make no pairs: R's ymax
  /// Scores no further apart than this are tied. Ties are a matter of pairs: with 0.1 the scores 0, 0.1 and 0.2 make
  /// two tied pairs and a third that is not. scikit-survival has 1e-8.
  double tolerance = 0;
  bool standard_error = false;  ///< variance, null_variance, null_variance_once as well
  bool check_values = true;     ///< finite scores; finite times of 0 or later; events 0 or 1
};

/// Optional outputs, overwritten.
template <class Space = host_space>
struct concordance_output {
  vector_view<double, Space> influence{};   ///< [N] d value / d weight of a patient, times the weight: R's dfbeta
  matrix_view<double, Space> by_stratum{};  ///< [order.strata(), 5] concordant .. tied_both, by label of the stratum
};

struct confidence_interval {
  double lower, upper;
};

/// Sums over pairs of w_i w_j v. Where all weights are 1 whole numbers, exact below 2^53.
struct concordance_result {
  static constexpr double none = std::numeric_limits<double>::quiet_NaN();

  double value;           ///< (concordant + tied_score / 2) / comparable; NaN without a comparable pair
  double concordant;      ///< who died first had the higher score
  double discordant;      ///< who died first had the lower score
  double tied_score;      ///< comparable, equal scores: R's tied.x
  double tied_time;       ///< two events at one time with different scores, not comparable: R's tied.y
  double tied_both;       ///< two events at one time with equal scores, not comparable: R's tied.xy
  index_t undefined = 0;  ///< events that were left out, for G is 0 there and the weighting divides by it

  /// Where a standard error was asked for. By the infinitesimal jackknife, the sum of the squared influences.
  double variance = none;
  /// If scores said nothing, as of the score test of a Cox model in their ranks; NaN with a tolerance.
  double null_variance = none;
  double null_variance_once = none;  ///< with v where v^2 belongs: R's cvar. The same where v is 1

  [[nodiscard]] double comparable() const { return concordant + discordant + tied_score; }
  [[nodiscard]] double standard_error() const { return std::sqrt(variance); }
  /// value -+ z standard_error, within [0, 1]. @param level above 0, below 1
  [[nodiscard]] confidence_interval interval(double level = 0.95) const {
    check::require(level > 0 && level < 1, "concordance_result::interval", "level", number_text(level),
                   "a number between 0 and 1");
    const double reach = detail::two_sided_normal_quantile(level) * standard_error();
    if (std::isnan(reach)) return {none, none};
    return {std::max(value - reach, 0.0), std::min(value + reach, 1.0)};
  }
};

namespace detail {

[[nodiscard]] inline concordance_result concordance_of(const pair_sums& sums, index_t undefined) {
  const double pairs = sums.concordant + sums.discordant + sums.tied_score;
  return {pairs > 0 ? (sums.concordant + sums.tied_score / 2) / pairs : concordance_result::none,
          sums.concordant,
          sums.discordant,
          sums.tied_score,
          sums.tied_time,
          sums.tied_both,
          undefined};
}
/// d C / d weight of a patient, times the weight.
[[nodiscard]] STROMA_HOST_DEVICE inline double concordance_influence(double weight, const pair_influence& of_patient,
                                                                     double somers, double pairs) {
  return weight * (of_patient.net - of_patient.all * somers) / (2 * pairs);
}

template <class Backend>
struct concordance_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/concordance.cuh> and compile with nvcc");

  template <class T>
  static concordance_result run(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                                const concordance_options& options, const concordance_output<>& out) {
    const bool error = options.standard_error || out.influence.size != 0;
    const bool counts = plan.weight == nullptr && (options.weighting == pair_weighting::equal || !error);
    return counts ? judge<rank_set>(ctx, score, plan, options, out, error)
                  : judge<rank_weights>(ctx, score, plan, options, out, error);
  }

 private:
  /// By position of the plan: in pairs of which the patient is the event, and in the others.
  struct influences {
    pair_influence *as_event, *as_other;
  };

  template <class Tree, class T>
  static concordance_result judge(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                                  const concordance_options& options, const concordance_output<>& out, bool error) {
    auto scratch = ctx.workspace().open();
    auto* const pair_weight = scratch.template take<double>(plan.groups);
    influences of{};
    if (error)
      of = {scratch.template take<pair_influence>(plan.rows), scratch.template take<pair_influence>(plan.rows)};
    index_t undefined = 0;
    {
      auto frame = ctx.workspace().open();
      undefined = weigh_pairs(frame, plan, {options.weighting, options.censoring, options.horizon}, pair_weight);
    }
    pair_sums total;
    for (index_t s = 0; s < plan.strata; ++s) {
      const pair_sums sums = judge_stratum<Tree>(ctx, score, plan, s, options.tolerance, pair_weight, of);
      total.add(sums);
      if (out.by_stratum.rows == 0) continue;
      const double row[] = {sums.concordant, sums.discordant, sums.tied_score, sums.tied_time, sums.tied_both};
      for (index_t c = 0; c < 5; ++c) out.by_stratum(s, c) = row[c];
    }
    concordance_result result = concordance_of(total, undefined);
    if (error) add_error(plan, total, options.tolerance, of, out.influence, result);
    return result;
  }

  template <class Tree, class T>
  static pair_sums judge_stratum(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                                 index_t s, double tolerance, const double* pair_weight, const influences& of) {
    const index_t first = plan.first[plan.stratum[s]], last = plan.first[plan.stratum[s + 1]], n = last - first;
    auto scratch = ctx.workspace().open();
    stratum_pairs pairs{&plan, s, first, last, nullptr, 0, pair_weight, nullptr, nullptr};
    if (plan.until != nullptr) sort_leaving(scratch, pairs);
    const auto ranked = rank_scores(ctx, scratch, score, plan, first, last, tolerance, Tree::rank_of_class);
    pairs.rank = ranked.rank;
    pairs.ranks = ranked.count;
    auto* const sorted = scratch.template take<rank_and_weight>(n);
    Tree at_risk(scratch, pairs.ranks);
    if (of.as_event == nullptr) return compare_events(pairs, at_risk, sorted, nullptr, nullptr);

    Tree events(scratch, pairs.ranks);
    rank_variance variance(scratch, pairs.ranks);
    pair_influence *const as_event = of.as_event + first, *const as_other = of.as_other + first;
    std::fill(as_event, as_event + n, pair_influence{});
    pair_sums sums;
    const auto sweep = [&](index_t task, int) {
      if (task == 0) sums = compare_events(pairs, at_risk, sorted, as_event, &variance);
      else compare_with_events(pairs, events, as_other);
    };
    constexpr index_t worth_a_thread = 4096;
    if (n >= worth_a_thread) {
      ctx.parallel(2, sweep);
    } else {
      sweep(0, 0);
      sweep(1, 0);
    }
    return sums;
  }

  static void add_error(const risk_plan<host_space>& plan, const pair_sums& total, double tolerance,
                        const influences& of, vector_view<double> influence, concordance_result& result) {
    const double pairs = result.comparable(), somers = (result.concordant - result.discordant) / pairs;
    double squares = 0;
    for (index_t k = 0; k < plan.rows; ++k) {
      const pair_influence both{of.as_event[k].net + of.as_other[k].net, of.as_event[k].all + of.as_other[k].all};
      const double x = concordance_influence(plan.weight == nullptr ? 1 : plan.weight[k], both, somers, pairs);
      squares += x * x;
      if (influence.size != 0) influence[plan.row[k]] = x;
    }
    if (!(pairs > 0)) return;
    result.variance = squares;
    if (tolerance > 0) return;
    result.null_variance = total.null_variance / (4 * pairs * pairs);
    result.null_variance_once = total.null_variance_once / (4 * pairs * pairs);
  }
};

template <class Context, class Scores>
void check_concordance(Context& ctx, std::string_view function, const Scores& score,
                       const concordance_options& options) {
  check::require(options.tolerance >= 0 && std::isfinite(options.tolerance), function, "tolerance",
                 number_text(options.tolerance), "a finite number of 0 or more");
  check::require(!std::isnan(options.horizon), function, "horizon", "nan", "a time, or infinity");
  if (options.check_values) value_checks<typename Context::backend>::finite(ctx, function, "score", score);
}

}  // namespace detail

/// How often, of two patients, the one who died first had the higher score.
///
/// C = (concordant + tied_score / 2) / (concordant + discordant + tied_score)
///
/// A pair is comparable when one had an event at t and the other was at risk at t, having entered before, and was
/// followed longer or censored at t itself. Two events at one time are not comparable. A pair counts w_i w_j v(t): the
/// weights of its patients, which come with the order, and what options.weighting says of the time of its event.
/// Weights, strata and late entry belong to the order; pairs never cross strata.
///
/// `concordance(ctx, score, order, {.weighting = pair_weighting::inverse_censoring, .horizon = 60});`
///
/// @param score [N] risks, larger is worse   @param order [N] the cohort, sorted before
/// @param time [N] any unit   @param event [N] 1 observed, 0 censored; in place of order
/// @param out influence, by_stratum, or neither
/// Cost: O(N log N) time, O(N) scratch. Same bits from run to run and for any number of threads, of which two are used
/// for the standard error. Counts of pairs of weight 1 are exact; with weights sums are within a few N epsilon of the
/// sum over all pairs, and with late entry of what that would be if all had entered at once, for who is not at risk
/// yet is taken off again. Without ties tied_score and tied_both are exactly 0 whatever the weights.
/// @throws shape_error, value_error
/// Reference: Harrell 1982; Uno 2011; weights, ties and variance as in R's survival.
template <execution_context Context, vector_like Scores>
  requires same_space<Context, Scores>
concordance_result concordance(Context& ctx, const Scores& score, const risk_order<typename Context::backend>& order,
                               const concordance_output<typename Context::space>& out,
                               const concordance_options& options = {}) {
  constexpr auto name = "concordance";
  const auto s = as_const_view(score);
  check::length(name, "score", s.size, order.size(), "the length of order");
  if (out.influence.size != 0)
    check::length(name, "influence", out.influence.size, order.size(), "the length of order");
  if (out.by_stratum.rows != 0) check::shape(name, "by_stratum", out.by_stratum, order.strata(ctx), 5);
  detail::check_concordance(ctx, name, s, options);
  return detail::concordance_kernel<typename Context::backend>::run(ctx, s, order.plan(), options, out);
}
template <execution_context Context, vector_like Scores>
  requires same_space<Context, Scores>
[[nodiscard]] concordance_result concordance(Context& ctx, const Scores& score,
                                             const risk_order<typename Context::backend>& order,
                                             const concordance_options& options = {}) {
  return concordance(ctx, score, order, concordance_output<typename Context::space>{}, options);
}
template <execution_context Context, vector_like Scores, vector_like Times, vector_like Events>
  requires same_space<Context, Scores, Times, Events>
[[nodiscard]] concordance_result concordance(Context& ctx, const Scores& score, const Times& time, const Events& event,
                                             const concordance_options& options = {}) {
  constexpr auto name = "concordance";
  const auto s = as_const_view(score);
  const auto t = as_const_view(time);
  const auto e = as_const_view(event);
  check::same_length(name, "time", t, "score", s);
  check::same_length(name, "event", e, "score", s);
  detail::check_concordance(ctx, name, s, options);
  detail::check_follow_up(ctx, name, t, e, {.check_values = options.check_values});
  auto scratch = ctx.workspace().open();
  return detail::concordance_kernel<typename Context::backend>::run(ctx, s, detail::scratch_plan(ctx, scratch, t, e),
                                                                    options, {});
}

}  // namespace stroma
