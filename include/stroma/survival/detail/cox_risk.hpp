#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>

#include <stroma/survival/detail/cox_tie.hpp>
#include <stroma/survival/detail/exp_log.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

/// Rows and groups that one task takes. Fixed, so that results do not depend on the number of threads.
inline constexpr index_t rows_of_task = 32 * elementary_block, groups_of_task = 2048;

/// f(begin, end, task) for the pieces of 0 .. count - 1, by the context's threads.
template <class F>
void in_pieces(cpu_context& ctx, index_t count, index_t piece, const F& f) {
  ctx.parallel((count + piece - 1) / piece,
               [&](index_t task, int) { f(task * piece, std::min(count, (task + 1) * piece), task); });
}

[[nodiscard]] inline double weight_of(const risk_plan<host_space>& plan, index_t k) {
  return plan.weight == nullptr ? 1 : plan.weight[k];
}

/// Rows stand in memory in an order of their own, so that every one misses the cache; no processor looks as far ahead
/// of itself as memory is away. Write: 1 for what will be written, 0 for what will be read.
template <int Write, class T>
void prefetch_ahead(const risk_plan<host_space>& plan, index_t k, const vector_view<T>& of) {
  constexpr index_t distance = 48;
  __builtin_prefetch(of.data + plan.row[std::min(k + distance, plan.rows - 1)] * of.stride, Write);
}

/// Whether w exp(score), sums of it and their squares stay in the range of a double by far.
template <class T>
[[nodiscard]] bool fit_a_double(vector_view<const T> score, const risk_plan<host_space>& plan) {
  constexpr double score_limit = 128, weight_limit = 0x1p100;  // e^128 is below 2^185
  bool fits = true;
  for (index_t i = 0; i < score.size; ++i) fits &= std::fabs(static_cast<double>(score[i])) <= score_limit;
  for (index_t k = 0; k < plan.rows && plan.weight != nullptr; ++k)
    fits &= plan.weight[k] == 0 || (plan.weight[k] >= 1 / weight_limit && plan.weight[k] <= weight_limit);
  return fits;
}

/// risk[k] = w exp(score) by position
template <class T, class Number>
void weigh_risks(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan, Number* risk) {
  in_pieces(ctx, plan.rows, rows_of_task, [&](index_t begin, index_t end, index_t) {
    alignas(64) double s[elementary_block], m[elementary_block], e[elementary_block];
    for (; begin < end; begin += elementary_block) {
      const index_t count = std::min(elementary_block, end - begin);
      for (index_t k = begin; k < begin + count; ++k) {
        prefetch_ahead<0>(plan, k, score);
        s[k - begin] = static_cast<double>(score[plan.row[k]]);
      }
      std::fill(s + count, s + elementary_block, 0.0);
      wide_exp_block(s, m, e);
      for (index_t i = 0; i < count; ++i) {
        if constexpr (std::same_as<Number, wide_number>) risk[begin + i] = {m[i], e[i]};
        else risk[begin + i] = m[i];
      }
      for (index_t k = begin; k < begin + count && plan.weight != nullptr; ++k)
        if (const double w = plan.weight[k]; w != 1) risk[k] = w > 0 ? risk[k] * w : Number{};
    }
  });
}

/// The deaths of a group. `others` sums the risks of those who are at risk with them and do not die then.
template <class Number>
[[nodiscard]] basic_cox_tie<Number> tie_at(const risk_plan<host_space>& plan, const Number* risk, const Number& others,
                                           index_t g) {
  basic_cox_tie<Number> tie{};
  Number tied{};
  for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) {
    const double w = weight_of(plan, k);
    if (!(w > 0)) continue;
    tied += risk[k];
    tie.weight += w;
    ++tie.deaths;
  }
  if (tie.deaths == 0) return tie;
  tie.steps = 1;
  tie.at_risk = others + tied;
  tie.others = ratio(others, tie.at_risk);
  tie.tied = ratio(tied, tie.at_risk);
  return tie;
}

/// loss += w [ log S - score ] over the deaths of a group, and what Efron's smaller risk sets have less.
template <class Number>
void add_loss(const risk_plan<host_space>& plan, const Number* risk, const basic_cox_tie<Number>& tie, index_t g,
              log_sum& loss) {
  for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) {
    const double w = weight_of(plan, k);
    if (!(w > 0)) continue;
    // risk[k] / w is exp(score); a weight that could overflow here gives its logarithm by itself
    loss.add(w, mantissa(tie.at_risk) / mantissa(risk[k]) * (is_moderate(w) ? w : 1),
             w * (exponent(tie.at_risk) - exponent(risk[k])));
    if (!is_moderate(w)) loss.add(w, w);
  }
  for (index_t l = 1; l < tie.steps; ++l) loss.add(tie.share(), tie.part(l));
}

}  // namespace stroma::detail
