#pragma once
#include <cstdint>

#include <stroma/survival/detail/rank_sums.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

/// Ranks the scores at the positions first .. last - 1 into rank[0 ..]. Scores are tied when they are equal or no
/// further apart than `tolerance`; so those tied with one score are neighbours once all are sorted, found by two
/// pointers that never turn back, whether or not they are tied with each other. `of_class`: equal scores have one rank.
/// Returns how many ranks there are. O(n).
template <class T>
index_t rank_scores(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan, index_t first,
                    index_t last, double tolerance, bool of_class, score_rank* rank) {
  const index_t n = last - first;
  auto scratch = ctx.workspace().open();
  auto* const keys = scratch.template take<keyed_row>(n);
  auto* const spare = scratch.template take<keyed_row>(n);
  for (index_t i = 0; i < n; ++i) keys[i] = {sort_key(widen<double>(score[plan.row[first + i]])), i};
  const keyed_row* const rows =
      sort_by_key(ctx, keys, spare, n, scratch.template take<index_t>(sort_counts * ctx.threads()));

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
  return own.rank;
}

}  // namespace stroma::detail
