#pragma once
#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>

#include <stroma/backend/checks.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

/// T and Space are those of the scores; they are deduced when options are given in place: {.weight = view}.
template <class T, class Space = host_space>
struct roc_auc_options {
  vector_view<const T, Space> weight{};  ///< [N] of each row, 0 or more; empty: all 1
  bool check_values = true;              ///< labels 0 or 1, weights finite and 0 or more; scores are always checked
};

namespace detail {

template <class Backend>
struct roc_auc_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/metrics/roc_auc.cuh> and compile with nvcc");

  template <class T, class Labels>
  static double run(cpu_context& ctx, vector_view<const T> score, vector_view<const Labels> label,
                    vector_view<const T> weight) {
    if (weight.size == 0) return area<std::int64_t>(ctx, score, label, [](index_t) { return std::int64_t{1}; });
    return area<double>(ctx, score, label, [&](index_t i) { return static_cast<double>(weight[i]); });
  }

 private:
  struct ranked {
    double score;
    index_t row;
  };

  /// From the lowest score up: each positive row wins against the negative rows below it and half wins at its score.
  template <class Sum, class T, class Labels, class Weight>
  static double area(cpu_context& ctx, vector_view<const T> score, vector_view<const Labels> label,
                     const Weight& weight) {
    const index_t n = score.size;
    auto scratch = ctx.workspace().open();
    auto* const rows = scratch.template take<ranked>(n);
    for (index_t i = 0; i < n; ++i) rows[i] = {static_cast<double>(score[i]), i};
    std::sort(rows, rows + n,
              [](const ranked& a, const ranked& b) { return a.score != b.score ? a.score < b.score : a.row < b.row; });
    Sum negatives = 0, positives = 0, twice_won = 0;
    for (index_t k = 0; k < n;) {
      const double level = rows[k].score;
      Sum negatives_here = 0, positives_here = 0;
      for (; k < n && rows[k].score == level; ++k)
        (label[rows[k].row] != Labels(0) ? positives_here : negatives_here) += weight(rows[k].row);
      twice_won += positives_here * (2 * negatives + negatives_here);
      negatives += negatives_here;
      positives += positives_here;
    }
    if (!(positives > 0 && negatives > 0)) return std::numeric_limits<double>::quiet_NaN();
    return static_cast<double>(twice_won) / (2 * static_cast<double>(positives) * static_cast<double>(negatives));
  }
};

}  // namespace detail

/// Area under the receiver operating characteristic: how often a row of class 1 scores above one of class 0.
///
/// AUC = (pairs with score_1 > score_0 + pairs with equal scores / 2) / all pairs, a pair counting w_1 w_0
///
/// @param score [N] any monotone score of class 1   @param label [N] 0 or 1
/// Returns NaN when a class has no row (of positive weight).
/// Cost: O(N log N) time, O(N) scratch; counts are exact without weights. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Hanley & McNeil 1982.
template <execution_context Context, vector_like Scores, vector_like Labels>
  requires same_space<Context, Scores, Labels>
[[nodiscard]] double roc_auc(Context& ctx, const Scores& score, const Labels& label,
                             const roc_auc_options<scalar_of<Scores>, typename Context::space>& options = {}) {
  constexpr auto name = "roc_auc";
  const auto s = as_const_view(score);
  const auto l = as_const_view(label);
  check::same_length(name, "label", l, "score", s);
  if (options.weight.size != 0) check::same_length(name, "weight", options.weight, "score", s);
  using checks = value_checks<typename Context::backend>;
  checks::finite(ctx, name, "score", s);  // NaN has no rank, and sorting it is not defined
  if (options.check_values) {
    checks::classes(ctx, name, "label", l);
    checks::weights(ctx, name, "weight", options.weight);
  }
  return detail::roc_auc_kernel<typename Context::backend>::run(ctx, s, l, options.weight);
}

}  // namespace stroma
