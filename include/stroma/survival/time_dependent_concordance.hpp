#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/survival/detail/concordant_pairs.hpp>
#include <stroma/survival/detail/pair_weights.hpp>
#include <stroma/survival/detail/score_ranks.hpp>

namespace stroma {

/// What a comparable pair with equal predictions counts.
enum class prediction_ties {
  half,    ///< one half, as Harrell's concordance
  nothing  ///< 0: concordant are those with strictly lower survival
};
/// Whether two events at one time are a pair too.
enum class event_ties {
  left_out,
  counted  ///< they count 1 where their predictions are equal and 1/2 else: pycox's "adj_antolini"
};

struct time_dependent_concordance_options {
  prediction_ties equal_predictions = prediction_ties::half;
  event_ties equal_times = event_ties::left_out;
  pair_weighting weighting = pair_weighting::equal;
  censoring_limit censoring = censoring_limit::before;       ///< where a weighting divides by G
  double horizon = std::numeric_limits<double>::infinity();  ///< events later than this make no pairs
  bool check_values = true;  ///< finite predictions; finite times of 0 or later; events 0 or 1; a rising grid
};

/// Sums over pairs of w_i w_j v. Where all weights are 1 whole numbers, exact below 2^53.
struct time_dependent_concordance_result {
  double value;       ///< NaN without a pair
  double concordant;  ///< who died first had the lower predicted survival at that time
  double discordant, tied_prediction;
  double tied_events;     ///< pairs of two events at one time
  double tied_credit;     ///< what these count: all of those with equal predictions, half of the others
  index_t undefined = 0;  ///< events that were left out, for G is 0 there and the weighting divides by it
};

namespace detail {

/// An event whose pairs are found by comparing it with everybody at risk.
struct compared_event {
  index_t position, group, column, first, deaths;  ///< of its stratum, and of its time
  double survival;
};

template <class Backend>
struct time_dependent_concordance_kernel {
  static_assert(std::same_as<Backend, backend::cpu>, "time_dependent_concordance: host data only");

  /// Events of a column from which on ranking all its predictions costs less than comparing each event with all.
  static constexpr index_t worth_ranking = 64;
  static constexpr index_t block = 32;  // events that are compared together, for a row's predictions lie side by side

  template <class S, class Times>
  static pair_sums run(cpu_context& ctx, matrix_view<const S> survival, vector_view<const Times> times,
                       const risk_plan<host_space>& plan, const time_dependent_concordance_options& options,
                       index_t& undefined) {
    auto scratch = ctx.workspace().open();
    auto* const pair_weight = scratch.template take<double>(plan.groups);
    auto* const of_column = scratch.template take<double>(plan.groups);
    auto* const column = scratch.template take<index_t>(plan.groups);
    auto* const events = scratch.template take<index_t>(times.size + 1);
    auto* const compared = scratch.template take<compared_event>(plan.events);
    auto* const blocks = scratch.template take<pair_sums>(plan.events / block + 1);
    {
      auto frame = ctx.workspace().open();
      undefined = weigh_pairs(frame, plan, {options.weighting, options.censoring, options.horizon}, pair_weight);
    }
    // Column c + 1 of `events` is column c; column 0 is before the first time, where everybody lives.
    std::fill(events, events + times.size + 1, index_t{0});
    for (index_t g = 0; g < plan.groups; ++g) {
      column[g] = last_column(times, plan.time[g]);
      if (pair_weight[g] > 0) events[column[g] + 1] += plan.first[g + 1] - plan.deaths[g];
    }
    index_t count = 0;
    for (index_t s = 0; s < plan.strata; ++s)
      for (index_t g = plan.stratum[s]; g < plan.stratum[s + 1]; ++g) {
        if (!(pair_weight[g] > 0) || events[column[g] + 1] >= worth_ranking) continue;
        for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k)
          compared[count++] = {k,
                               g,
                               column[g],
                               plan.first[plan.stratum[s]],
                               plan.deaths[g],
                               predicted(survival, plan.row[k], column[g])};
      }
    const index_t tasks = (count + block - 1) / block;
    ctx.parallel(tasks, [&](index_t b, int) {
      blocks[b] = compare(survival, plan, pair_weight, compared + b * block, std::min(block, count - b * block));
    });
    pair_sums total;
    for (index_t b = 0; b < tasks; ++b) total.add(blocks[b]);
    for (index_t c = -1; c < times.size; ++c) {
      if (events[c + 1] < worth_ranking) continue;
      for (index_t g = 0; g < plan.groups; ++g) of_column[g] = column[g] == c ? pair_weight[g] : 0;
      static constexpr S everybody_lives = S(1);
      const auto predictions = c >= 0 ? survival.col(c) : vector_view<const S>{&everybody_lives, plan.rows, 0};
      total.add(plan.weight == nullptr ? rank_column<rank_set>(ctx, predictions, plan, of_column)
                                       : rank_column<rank_weights>(ctx, predictions, plan, of_column));
    }
    return total;
  }

 private:
  template <class Times>
  static index_t last_column(vector_view<const Times> times, double t) {
    index_t low = 0, high = times.size;
    while (low < high) {
      const index_t middle = low + (high - low) / 2;
      if (widen<double>(times[middle]) <= t) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  template <class S>
  static double predicted(const matrix_view<const S>& survival, index_t row, index_t column) {
    return column < 0 ? 1.0 : widen<double>(survival(row, column));
  }

  /// A block of events, one after another in the plan, with everybody who is at risk at one of their times.
  template <class S>
  static pair_sums compare(const matrix_view<const S>& survival, const risk_plan<host_space>& plan,
                           const double* pair_weight, const compared_event* event, index_t count) {
    const auto weight = [&](index_t k) { return plan.weight == nullptr ? 1.0 : plan.weight[k]; };
    double higher[block]{}, tied[block]{}, all[block]{};
    index_t low = 0, high = 0;  // the events at whose times, but for late entry, position k is at risk
    for (index_t k = event[0].first; k < event[count - 1].deaths; ++k) {
      while (event[low].deaths <= k) ++low;
      while (high < count && event[high].first <= k) ++high;
      const double w = weight(k);
      const index_t row = plan.row[k];
      for (index_t e = low; e < high; ++e) {
        if (plan.until != nullptr && event[e].group >= plan.until[k]) break;
        const double s = predicted(survival, row, event[e].column);
        all[e] += w;
        higher[e] += s > event[e].survival ? w : 0;
        tied[e] += s == event[e].survival ? w : 0;
      }
    }
    pair_sums sums;
    for (index_t e = 0; e < count; ++e) {
      const double scale = weight(event[e].position) * pair_weight[event[e].group];
      sums.concordant += scale * higher[e];
      sums.tied_score += scale * tied[e];
      sums.discordant += scale * std::max(all[e] - higher[e] - tied[e], 0.0);
      for (index_t k = event[e].deaths; k < event[e].position; ++k) {
        const bool equal = predicted(survival, plan.row[k], event[e].column) == event[e].survival;
        (equal ? sums.tied_both : sums.tied_time) += scale * weight(k);
      }
    }
    return sums;
  }

  /// All events of a column as a concordance of its predictions.
  template <class Tree, class S>
  static pair_sums rank_column(cpu_context& ctx, vector_view<const S> predictions, const risk_plan<host_space>& plan,
                               const double* pair_weight) {
    pair_sums total;
    for (index_t s = 0; s < plan.strata; ++s) {
      const index_t first = plan.stratum[s], last = plan.stratum[s + 1];
      if (std::all_of(pair_weight + first, pair_weight + last, [](double v) { return !(v > 0); })) continue;
      auto scratch = ctx.workspace().open();
      const index_t n = plan.first[last] - plan.first[first];
      stratum_pairs pairs{&plan, s, plan.first[first], plan.first[last], nullptr, 0, pair_weight, nullptr, nullptr};
      if (plan.until != nullptr) sort_leaving(scratch, pairs);
      auto* const sorted = scratch.template take<rank_and_weight>(n);
      const auto ranked = rank_scores(ctx, scratch, predictions, plan, pairs.first, pairs.last, 0, Tree::rank_of_class);
      pairs.rank = ranked.rank;
      pairs.ranks = ranked.count;
      Tree at_risk(scratch, pairs.ranks);
      total.add(compare_events(pairs, at_risk, sorted, nullptr, nullptr));
    }
    std::swap(total.concordant, total.discordant);  // who dies first should have the lower prediction
    return total;
  }
};

[[nodiscard]] inline time_dependent_concordance_result time_dependent_concordance_of(
    const pair_sums& sums, const time_dependent_concordance_options& options, index_t undefined) {
  time_dependent_concordance_result r{std::numeric_limits<double>::quiet_NaN(),
                                      sums.concordant,
                                      sums.discordant,
                                      sums.tied_score,
                                      sums.tied_time + sums.tied_both,
                                      sums.tied_both + sums.tied_time / 2,
                                      undefined};
  double credit = r.concordant, pairs = r.concordant + r.discordant + r.tied_prediction;
  if (options.equal_predictions == prediction_ties::half) credit += r.tied_prediction / 2;
  if (options.equal_times == event_ties::counted) {
    credit += r.tied_credit;
    pairs += r.tied_events;
  }
  if (pairs > 0) r.value = credit / pairs;
  return r;
}

}  // namespace detail

/// How often, of two patients, the one who died first was predicted the lower survival at the time of that death:
/// Antolini's concordance, for predictions whose order changes with time.
///
/// C = (concordant + tied_prediction / 2) / (concordant + discordant + tied_prediction)
///
/// Pairs are comparable, and weigh, as in concordance; with the event at t, i and j are concordant when
/// S_i(t) < S_j(t). S_i(t) is the prediction in the last column whose time is not after t, and 1 before the first.
///
/// @param survival [N, T] predicted chances to live beyond the times of the grid   @param times [T] never falling
/// @param order [N] the cohort, sorted before; or time [N] and event [N] 1 observed, 0 censored
/// Cost: a column with few events is compared with all who are at risk, O(N) an event, threaded; one with many is
/// ranked, O(N log N). So O(N E) for E events at distinct times each with its column, and O(T N log N) for a grid of
/// few times; O(N + T) scratch. Same bits for any number of threads. Rounding as in concordance.
/// @throws shape_error, value_error
/// Reference: Antolini, Boracchi, Biganzoli 2005; options as in pycox.
template <execution_context Context, matrix_like Survival, vector_like Grid>
  requires same_space<Context, Survival, Grid>
[[nodiscard]] time_dependent_concordance_result time_dependent_concordance(
    Context& ctx, const Survival& survival, const Grid& times, const risk_order<typename Context::backend>& order,
    const time_dependent_concordance_options& options = {}) {
  constexpr auto name = "time_dependent_concordance";
  const auto s = as_const_view(survival);
  const auto t = as_const_view(times);
  check::shape(name, "survival", s, order.size(), t.size);
  check::require(!std::isnan(options.horizon), name, "horizon", "nan", "a time, or infinity");
  if (options.check_values) {
    check::finite(name, "survival", s);
    check::rising(name, "times", t);
  }
  index_t undefined = 0;
  const auto sums = detail::time_dependent_concordance_kernel<typename Context::backend>::run(ctx, s, t, order.plan(),
                                                                                              options, undefined);
  return detail::time_dependent_concordance_of(sums, options, undefined);
}
template <execution_context Context, matrix_like Survival, vector_like Grid, vector_like Times, vector_like Events>
  requires same_space<Context, Survival, Grid, Times, Events>
[[nodiscard]] time_dependent_concordance_result time_dependent_concordance(
    Context& ctx, const Survival& survival, const Grid& times, const Times& time, const Events& event,
    const time_dependent_concordance_options& options = {}) {
  const risk_order order(ctx, time, event, {.check_values = options.check_values});
  return time_dependent_concordance(ctx, survival, times, order, options);
}

}  // namespace stroma
