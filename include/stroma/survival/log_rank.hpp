#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <string>

#include <stroma/survival/detail/chi_square.hpp>
#include <stroma/survival/detail/product_limit.hpp>

namespace stroma {

struct log_rank_options {
  /// Weight of a time: S(t-)^rho, S of all groups together. 0: the log-rank test; 1: Peto and Peto's Wilcoxon, for
  /// which early deaths matter more.
  double rho = 0;
};

/// Groups stand in the order of their labels.
struct log_rank_result {
  chi_square_test test{};
  array<double, 1> label;     ///< [groups]
  array<double, 1> patients;  ///< [groups] sum of weights
  array<double, 1> observed;  ///< [groups] deaths, weighted by time
  array<double, 1> expected;  ///< [groups] deaths if all groups had the same hazard
  array<double, 2> variance;  ///< [groups x groups] covariances of observed - expected
};

namespace detail {

inline constexpr index_t most_log_rank_groups = 1000;

/// Sorted distinct labels, and which of them a position has.
struct group_labels {
  double* label;
  index_t groups;
  index_t* of;  ///< [rows] by position
};
template <class Frame>
[[nodiscard]] group_labels groups_of(std::string_view function, Frame& scratch, const number_view<>& group,
                                     const risk_plan<host_space>& plan) {
  auto* const label = scratch.template take<double>(most_log_rank_groups);
  auto* const of = scratch.template take<index_t>(plan.rows);
  index_t groups = 0;
  for (index_t i = 0; i < group.size; ++i) {
    const double x = group[i];
    double* const at = std::lower_bound(label, label + groups, x);
    if (at != label + groups && *at == x) continue;
    if (groups == most_log_rank_groups)
      throw value_error(error_message(function, "group", "more than " + std::to_string(groups) + " labels",
                                      "few groups of many patients"));
    std::copy_backward(at, label + groups, label + groups + 1);
    *at = x;
    ++groups;
  }
  for (index_t k = 0; k < plan.rows; ++k) of[k] = std::lower_bound(label, label + groups, group[plan.row[k]]) - label;
  return {label, groups, of};
}

/// x' V^- x and the rank of V, where x sums to 0 as the rows of V do, whose elements off the diagonal are 0 or less.
/// Elimination that takes a pivot from the rest of its row adds numbers of one sign only: nothing cancels, and a pivot
/// is 0 only for groups that are compared with no later one. V and x are overwritten.
[[nodiscard]] inline chi_square_test generalised_square(matrix_view<double> v, double* x) {
  double square = 0;
  index_t rank = 0;
  for (index_t i = 0; i < v.rows; ++i) {
    double pivot = 0;
    for (index_t j = i + 1; j < v.cols; ++j) pivot -= v(i, j);
    if (!(pivot > 0)) continue;
    ++rank;
    square += x[i] / pivot * x[i];
    for (index_t j = i + 1; j < v.rows; ++j) {
      const double factor = -v(j, i) / pivot;
      x[j] += factor * x[i];
      for (index_t l = i + 1; l < v.cols; ++l) v(j, l) += factor * v(i, l);
    }
  }
  return chi_square(square, rank);
}

/// Who of each group is at risk, from a stratum's latest time to its earliest.
class group_risk {
 public:
  template <class Frame>
  group_risk(Frame& scratch, const risk_plan<host_space>& plan, const group_labels& groups)
      : plan_(plan),
        groups_(groups),
        weight_(scratch.template take<double>(groups.groups)),
        rows_(scratch.template take<index_t>(groups.groups)) {
    if (plan.until == nullptr) return;
    first_late_ = scratch.template take<index_t>(plan.groups + 2);
    late_ = scratch.template take<index_t>(plan.rows);
    std::fill_n(first_late_, plan.groups + 2,
                index_t{0});  // positions by the time at which they enter: a counting sort
    for (index_t k = 0; k < plan.rows; ++k) ++first_late_[plan.until[k] + 1];
    for (index_t g = 0; g <= plan.groups; ++g) first_late_[g + 1] += first_late_[g];
    for (index_t k = plan.rows; k-- > 0;) late_[--first_late_[plan.until[k] + 1]] = k;
  }
  void begin_stratum() {
    std::fill_n(weight_, groups_.groups, 0.0);
    std::fill_n(rows_, groups_.groups, index_t{0});
  }
  void enter(index_t g, bool begins_stratum) {
    if (first_late_ != nullptr && !begins_stratum)
      for (index_t i = first_late_[g + 1]; i < first_late_[g + 2]; ++i) add(late_[i], -1);
    for (index_t k = plan_.first[g]; k < plan_.first[g + 1]; ++k) add(k, 1);
  }
  [[nodiscard]] double operator[](index_t group) const { return weight_[group]; }
  [[nodiscard]] double weight(index_t k) const { return plan_.weight == nullptr ? 1.0 : plan_.weight[k]; }

 private:
  void add(index_t k, index_t sign) {
    const index_t j = groups_.of[k];
    if (!(weight(k) > 0)) return;
    weight_[j] += static_cast<double>(sign) * weight(k);
    if ((rows_[j] += sign) == 0) weight_[j] = 0;  // what rounding left
  }

  const risk_plan<host_space>& plan_;
  const group_labels& groups_;
  double* weight_;
  index_t* rows_;
  index_t *first_late_ = nullptr, *late_ = nullptr;  ///< late_[first_late_[g + 1]] .. are not at risk from g on
};

/// Adds up what is observed and expected, and V above its diagonal. `steps` null: all times weigh 1.
inline void add_log_rank(const risk_plan<host_space>& plan, const risk_count* counts, const survival_step* steps,
                         double rho, const group_labels& groups, group_risk& at_risk, log_rank_result& to) {
  const auto v = as_view(to.variance);
  for (index_t s = 0; s < plan.strata; ++s) {
    at_risk.begin_stratum();
    for (index_t g = plan.stratum[s]; g < plan.stratum[s + 1]; ++g) {
      at_risk.enter(g, g == plan.stratum[s]);
      const double n = counts[g].at_risk, d = counts[g].died;
      if (!(d > 0)) continue;
      const double scale = steps == nullptr ? 1 : std::pow(steps[g].before, rho);
      for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k)
        to.observed[groups.of[k]] += scale * at_risk.weight(k);
      const double spread =
          n > 1 && counts[g].rows_at_risk > 1 ? scale * scale * d * std::max(0.0, n - d) / (n - 1) : 0;
      for (index_t j = 0; j < groups.groups; ++j) {
        const double share = at_risk[j] / n;
        if (share == 0) continue;
        to.expected[j] += scale * d * share;
        for (index_t l = j + 1; l < groups.groups; ++l) v(j, l) -= spread * share * (at_risk[l] / n);
      }
    }
  }
}

inline void resize_log_rank(const group_labels& groups, log_rank_result& to) {
  const index_t k = groups.groups;
  for (auto* const column : {&to.label, &to.patients, &to.observed, &to.expected}) {
    if (column->size() != k) *column = array<double, 1>(k);
    column->fill(0);
  }
  if (to.variance.rows() != k) to.variance = array<double, 2>(k, k);
  to.variance.fill(0);
  std::copy_n(groups.label, k, to.label.data());
}

inline void log_rank(cpu_context& ctx, const number_view<>& group, const risk_plan<host_space>& plan,
                     const log_rank_options& options, log_rank_result& to) {
  auto scratch = ctx.workspace().open();
  const auto groups = groups_of("log_rank", scratch, group, plan);
  const index_t k = groups.groups;
  resize_log_rank(groups, to);
  auto* const counts = scratch.take<risk_count>(plan.groups);
  auto* const steps = options.rho == 0 ? nullptr : scratch.take<survival_step>(plan.groups);
  count_at_risk(plan, counts);
  if (steps != nullptr) product_limit(plan, counts, surviving_deaths, steps);
  group_risk at_risk(scratch, plan, groups);
  for (index_t i = 0; i < plan.rows; ++i) to.patients[groups.of[i]] += at_risk.weight(i);
  add_log_rank(plan, counts, steps, options.rho, groups, at_risk, to);

  const auto v = as_view(to.variance);
  for (index_t j = 0; j < k; ++j)
    for (index_t l = j + 1; l < k; ++l) {
      v(l, j) = v(j, l);
      v(j, j) -= v(j, l);
      v(l, l) -= v(j, l);
    }
  auto* const copy = scratch.take<double>(k * k);
  auto* const difference = scratch.take<double>(k);
  std::copy_n(to.variance.data(), k * k, copy);
  for (index_t j = 0; j < k; ++j) difference[j] = to.observed[j] - to.expected[j];
  to.test = generalised_square({copy, k, k}, difference);
}

inline void check_log_rank(const number_view<>& group, index_t patients, const log_rank_options& options) {
  check::length("log_rank", "group", group.size, patients, "the length of order");
  check::require(options.rho >= 0 && std::isfinite(options.rho), "log_rank", "rho", number_text(options.rho),
                 "a number of 0 or more");
  check::finite("log_rank", "group", group);
}

}  // namespace detail

/// Do groups of patients die at different rates? The log-rank test and its weighted relatives (G-rho).
///
/// With d deaths among n at risk at time t, of whom n_j in group j, and c = S(t-)^rho,
/// observed_j = sum of c d_j, expected_j = sum of c d n_j / n,
/// variance_jl = sum of c^2 d (n - d) / (n - 1) n_j / n ([j = l] - n_l / n),
/// statistic = (observed - expected)' variance^- (observed - expected), chi-square with rank(variance) degrees of
/// freedom: groups - 1 if every group is at some time at risk beside the others.
///
/// Risk sets and S are those of a stratum, and the strata's sums are added. Weights count as so many patients.
/// @param group [N] labels, any finite numbers, at most 1000 different ones   @param order [N] the cohort
/// @param result where the memory of an earlier result is used again
/// Cost: O(N log k + times of death x k^2) for k groups. Same bits from run to run.
/// @throws shape_error, value_error; result is then as it was
/// Reference: Mantel 1966; Harrington and Fleming 1982; as R's survdiff.
template <execution_context Context>
  requires std::same_as<typename Context::backend, backend::cpu>
void log_rank(Context& ctx, const number_view<>& group, const risk_order<>& order, log_rank_result& result,
              const log_rank_options& options = {}) {
  detail::check_log_rank(group, order.size(), options);
  detail::log_rank(ctx, group, order.plan(), options, result);
}
template <execution_context Context>
  requires std::same_as<typename Context::backend, backend::cpu>
[[nodiscard]] log_rank_result log_rank(Context& ctx, const number_view<>& group, const risk_order<>& order,
                                       const log_rank_options& options = {}) {
  log_rank_result result;
  log_rank(ctx, group, order, result, options);
  return result;
}

}  // namespace stroma
