#pragma once
#include <algorithm>
#include <cstdint>

#include <stroma/survival/detail/rank_sums.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

struct ranked_scores {
  score_rank* rank;  ///< by position, from the first on
  index_t count;     ///< how many ranks there are
};

/// Ranks the scores at the positions first .. last - 1, in memory of `scratch`. Scores are tied when they are equal or
/// no further apart than `tolerance`; so those tied with one score are neighbours once all are sorted, found by two
/// pointers that never turn back, whether or not they are tied with each other. `of_class`: equal scores have one rank.
/// O(n).
template <class Frame, class T>
ranked_scores rank_scores(cpu_context& ctx, Frame& scratch, vector_view<const T> score,
                          const risk_plan<host_space>& plan, index_t first, index_t last, double tolerance,
                          bool of_class) {
  const index_t n = last - first;
  // What is sorted makes room for the ranks: no third array of this size.
  static_assert(sizeof(score_rank) == sizeof(keyed_row) && alignof(score_rank) <= alignof(keyed_row));
  auto* const keys = scratch.template take<keyed_row>(n);
  auto* const rank = reinterpret_cast<score_rank*>(keys);
  auto frame = ctx.workspace().open();
  auto* const spare = frame.template take<keyed_row>(n);
  for (index_t i = 0; i < n; ++i) keys[i] = {sort_key(widen<double>(score[plan.row[first + i]])), i};
  const keyed_row* rows = sort_by_key(ctx, keys, spare, n, frame.template take<index_t>(sort_counts * ctx.threads()));
  if (rows == keys) rows = std::copy_n(keys, n, spare) - n;

  const auto tied = [&](index_t low, index_t high) {
    return rows[low].key == rows[high].key ||
           (tolerance > 0 && number_of_key(rows[high].key) - number_of_key(rows[low].key) <= tolerance);
  };
  struct pointer {
    index_t at = 0;
    std::uint32_t rank = 0;
  } own, low, high;
  const auto advance = [&](pointer& p) {
    ++p.at;
    if (!of_class || p.at == n || rows[p.at].key != rows[p.at - 1].key) ++p.rank;
  };
  for (; own.at < n; advance(own)) {
    while (!tied(low.at, own.at)) advance(low);
    while (high.at < n && tied(own.at, high.at)) advance(high);
    rank[rows[own.at].row] = {own.rank, low.rank, high.rank, high.at - low.at == 1 ? 1u : 0u};
  }
  return {rank, own.rank};
}

}  // namespace stroma::detail
