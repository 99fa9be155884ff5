#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include <stroma/core/array.hpp>
#include <stroma/survival/detail/risk_sets.hpp>
#include <stroma/survival/detail/wide_number.hpp>

namespace stroma {

struct baseline_hazard_options {
  ties tie_method = ties::efron;  ///< as in the fit; exact: Breslow's hazards
  bool check_values = true;       ///< finite scores
};

/// The cumulative hazard of a patient whose score is 0: one row for each distinct time, from the earliest to the
/// latest. A view of what a baseline_hazards owns.
struct baseline_hazard {
  vector_view<const double> time{};        ///< [times]
  vector_view<const double> hazard{};      ///< [times] H(time); infinite, or 0, where it is beyond a double's range
  vector_view<const double> log_hazard{};  ///< [times] log H(time), of any scores; -infinity before the first event

  [[nodiscard]] index_t size() const { return time.size; }
};

namespace detail {

/// Increments of the hazard at each group, in any scores.
template <class T>
void find_hazards(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan, ties method,
                  wide_number* to) {
  auto scratch = ctx.workspace().open();
  auto* const by_position = scratch.template take<double>(plan.rows);
  for (index_t k = 0; k < plan.rows; ++k) by_position[k] = static_cast<double>(score[plan.row[k]]);
  const scored_rows rows{0, nullptr, by_position, plan.weight};
  std::fill_n(to, plan.groups, wide_number{0, 0});
  const risk_sets sets(plan, scratch);
  sets.walk(rows, false, scratch, [&](index_t g, risk_moments& others, risk_moments& tied) {
    others.align(tied);
    double died = 0;
    for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) died += rows.weight_at(k);
    const double hazard = terms_of(method, others.count, tied.count, died, tied.rows).rest;
    to[g] = wide_exp(-others.peak) * hazard;
  });
}

}  // namespace detail

/// Cumulative baseline hazards of Cox's model, one for each stratum, from scores however they were made.
///
/// Breslow  H(t) = sum over event times up to t of w_D / S,   S = sum at risk of w exp(score)
/// Efron    H(t) = sum over event times up to t, with d deaths D, of w_D / d sum over k < d of 1 / (S - k / d S_D)
///
/// `baseline_hazards baseline(ctx, score, order);   survival_curves(ctx, baseline[0], new_score, times, out);`
///
/// Scores of any finite size are safe: log H is computed without exp of a raw score. What was added to all scores comes
/// off log H. A patient of score s has the cumulative hazard H exp(s).
///
/// @param score [N] log hazards: covariates x coefficients + offset, or a network's   @param order the cohort
/// Cost: O(N), with late entry O(N log N); 3 numbers a distinct time, taken again only when more are needed. Same bits
/// from run to run.
/// @throws shape_error, value_error   Reference: Breslow 1972; Efron 1977; as R's survfit of a coxph.
class baseline_hazards {
 public:
  baseline_hazards() = default;
  template <execution_context Context, vector_like Scores>
    requires same_space<Context, Scores> && std::same_as<typename Context::space, host_space>
  baseline_hazards(Context& ctx, const Scores& score, const risk_order<>& order,
                   const baseline_hazard_options& options = {}) {
    remake(ctx, score, order, options);
  }

  /// Of other scores or another cohort, in the same memory.
  template <execution_context Context, vector_like Scores>
    requires same_space<Context, Scores> && std::same_as<typename Context::space, host_space>
  void remake(Context& ctx, const Scores& score, const risk_order<>& order,
              const baseline_hazard_options& options = {}) {
    const auto s = as_const_view(score);
    check::length("baseline_hazards", "score", s.size, order.size(), "the length of order");
    if (options.check_values) value_checks<backend::cpu>::finite(ctx, "baseline_hazards", "score", s);
    const auto plan = order.plan();
    if (numbers_.size() < 3 * plan.groups) numbers_ = array<double, 1>(3 * plan.groups);
    if (first_.size() < 2 * plan.strata + 1) first_ = array<index_t, 1>(2 * plan.strata + 1);
    strata_ = plan.strata;
    groups_ = plan.groups;
    auto scratch = ctx.workspace().open();
    auto* const step = scratch.template take<detail::wide_number>(plan.groups);
    detail::find_hazards(ctx, s, plan, options.tie_method, step);
    double* const to = numbers_.data();
    for (index_t stratum = 0, i = 0; stratum < plan.strata; ++stratum) {
      first_[stratum] = i;
      first_[plan.strata + 1 + stratum] = plan.row[plan.first[plan.stratum[stratum]]];
      detail::wide_number sum{0, 0};
      for (index_t g = plan.stratum[stratum + 1]; g-- > plan.stratum[stratum]; ++i) {
        sum += step[g];
        to[i] = plan.time[g];
        to[groups_ + i] = detail::to_double(sum);
        to[2 * groups_ + i] = sum.m == 0 ? -std::numeric_limits<double>::infinity() : detail::log(sum);
      }
    }
    if (strata_ > 0) first_[strata_] = groups_;
  }

  /// How many: the strata of the order, by their labels' size.
  [[nodiscard]] index_t size() const noexcept { return strata_; }
  /// Valid as long as this is, and not remade.
  [[nodiscard]] baseline_hazard operator[](index_t stratum) const {
    return rows_of(first_[stratum], first_[stratum + 1] - first_[stratum]);
  }
  /// A patient of the stratum, by row: whose label names it.
  [[nodiscard]] index_t patient(index_t stratum) const { return first_[strata_ + 1 + stratum]; }
  /// All, one after another.
  [[nodiscard]] baseline_hazard stacked() const { return rows_of(0, groups_); }

 private:
  [[nodiscard]] baseline_hazard rows_of(index_t first, index_t count) const {
    const double* const at = numbers_.data() + first;
    return {{at, count}, {at + groups_, count}, {at + 2 * groups_, count}};
  }

  array<double, 1> numbers_;
  array<index_t, 1> first_;  ///< [strata + 1] rows at which they begin, then [strata] patients
  index_t strata_ = 0, groups_ = 0;
};

/// out(i, j) = exp(-H(time_j) exp(score_i)): the chance of patient i to live beyond time j, 1 before the first event.
/// @param baseline of the patients' stratum   @param score [M] on the scale of those it was made from
/// @param time [T] in any order, the unit of the cohort's   @param out [M, T] overwritten
/// Cost: O(T log times + M T).
/// @throws shape_error
template <execution_context Context, vector_like Scores, vector_like Times, matrix_like Out>
  requires same_space<Context, Scores, Times, Out> && std::same_as<typename Context::space, host_space>
void survival_curves(Context& ctx, const baseline_hazard& baseline, const Scores& score, const Times& time, Out&& out) {
  constexpr auto name = "survival_curves";
  const auto s = as_const_view(score);
  const auto t = as_const_view(time);
  const auto to = as_view(out);
  check::shape(name, "out", to, s.size, t.size);
  auto scratch = ctx.workspace().open();
  auto* const log_hazard = scratch.template take<double>(t.size);
  const double* const end = baseline.time.data + baseline.size();
  for (index_t j = 0; j < t.size; ++j) {
    const index_t rows = std::upper_bound(baseline.time.data, end, widen<double>(t[j])) - baseline.time.data;
    log_hazard[j] = rows == 0 ? -std::numeric_limits<double>::infinity() : baseline.log_hazard[rows - 1];
  }
  for (index_t i = 0; i < s.size; ++i)
    for (index_t j = 0; j < t.size; ++j)
      to(i, j) = static_cast<scalar_of<Out>>(std::exp(-std::exp(log_hazard[j] + widen<double>(s[i]))));
}

}  // namespace stroma
