#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>

#include <stroma/core/loss.hpp>
#include <stroma/survival/detail/cox_tie.hpp>
#include <stroma/survival/detail/exp_log.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

/// Rows that one task takes. Fixed, so that results do not depend on the number of threads.
inline constexpr index_t rows_of_task = 8 * elementary_block;

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

/// risk[k] = w exp(score) by position, begin .. end - 1. Whether these, sums of them and their squares stay in the
/// range of Number by far: where they do, scores are finite.
template <class T, class Number>
bool weigh_risks(vector_view<const T> score, const risk_plan<host_space>& plan, index_t begin, index_t end,
                 Number* risk) {
  constexpr double score_limit = 128, weight_limit = 0x1p100;  // e^128 is below 2^185
  alignas(64) double s[elementary_block], m[elementary_block], e[elementary_block];
  bool fits = true;
  for (; begin < end; begin += elementary_block) {
    const index_t count = std::min(elementary_block, end - begin);
    for (index_t k = begin; k < begin + count; ++k) {
      prefetch_ahead<0>(plan, k, score);
      s[k - begin] = static_cast<double>(score[plan.row[k]]);
    }
    std::fill(s + count, s + elementary_block, 0.0);
    for (index_t i = 0; i < elementary_block; ++i) fits &= std::fabs(s[i]) <= score_limit;
    wide_exp_block(s, m, e);
    for (index_t i = 0; i < count; ++i) {
      if constexpr (std::same_as<Number, wide_number>) risk[begin + i] = {m[i], e[i]};
      else risk[begin + i] = m[i];
    }
    for (index_t k = begin; k < begin + count && plan.weight != nullptr; ++k) {
      const double w = plan.weight[k];
      fits &= w == 0 || (w >= 1 / weight_limit && w <= weight_limit);
      if (w != 1) risk[k] = w > 0 ? risk[k] * w : Number{};
    }
  }
  return fits || std::same_as<Number, wide_number>;
}
template <class T>
void weigh_risks(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan, wide_number* risk) {
  in_pieces(ctx, plan.rows, rows_of_task,
            [&](index_t begin, index_t end, index_t) { (void)weigh_risks(score, plan, begin, end, risk); });
}

/// The deaths of one time, first .. last - 1. `others` sums the risks of those who are at risk then and do not die.
template <class Number>
[[nodiscard]] basic_cox_tie<Number> tie_at(const risk_plan<host_space>& plan, const Number* risk, const Number& others,
                                           index_t first, index_t last) {
  basic_cox_tie<Number> tie{};
  Number tied{};
  for (index_t k = first; k < last; ++k) {
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

/// The same as a method takes them. Exact ties are not of the form: no steps.
template <class Number>
[[nodiscard]] basic_cox_tie<Number> tie_of(const risk_plan<host_space>& plan, const Number* risk, const Number& others,
                                           index_t first, index_t last, ties method) {
  auto tie = tie_at(plan, risk, others, first, last);
  if (method == ties::efron) tie.steps = tie.deaths;
  if (method == ties::exact && tie.deaths > 1) tie.steps = 0;
  return tie;
}
[[nodiscard]] inline double scale_of(reduction reduce, double events) {
  return reduce == reduction::sum || events == 0 ? 1 : 1 / events;
}

/// loss += w [ log S - score ] of a death of weight w > 0; risk / w is exp(score).
template <class Number>
inline void add_loss(const Number& risk, double w, const Number& at_risk, log_sum& loss) {
  // a weight that could overflow here gives its logarithm by itself
  const bool moderate = is_moderate(w);
  loss.add(w, mantissa(at_risk) / mantissa(risk) * (moderate ? w : 1), w * (exponent(at_risk) - exponent(risk)));
  if (!moderate) loss.add(w, w);
}

}  // namespace stroma::detail
