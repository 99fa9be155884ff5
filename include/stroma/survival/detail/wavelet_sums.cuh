#pragma once
#include <bit>
#include <cstdint>
#include <utility>

#include <stroma/backend/cuda/scan.cuh>

/// Sums of the items of a sequence that stand in a range and have a symbol below a threshold, for as many queries as
/// there are items, each with its range and its threshold: O(N) work and five launches at most for every bit of the
/// symbols, O(N) memory.
///
/// It is a wavelet matrix whose levels are made, used and forgotten one after another. From the highest bit on the
/// items of a level are parted, stably, into those without the bit and, behind them, those with it. Running counts of
/// the former say where an item goes and where both ends of a range go. A query whose threshold has the bit takes what
/// its range holds without it and goes on with the rest; another goes on with the items without it.
///
/// Symbols are halved, not positions: a query is a single range at every level. With halved positions it would follow
/// two paths, of its first and its last position, each with a number of lower and one of not higher keys, and sums
/// would have to be taken in the order of keys, for which every sequence is sorted by itself.
///
/// Sums of doubles begin anew with each node of items that agree in all higher bits, and with each segment of the
/// sequence. That of a range which begins with its segment is a sum and nothing else; that of another is a difference,
/// rounded like sums of its own node and segment.
///
/// Reference: Claude, Navarro and Ordonez, The wavelet matrix, Information Systems 47, 2015.
namespace stroma::detail {

struct wavelet_item {
  index_t symbol;
  index_t segment;  // the items of one stand together
  double value;
};
/// Items first .. last - 1 of the sequence, all of one segment, whose symbol is less than the threshold.
struct wavelet_query {
  index_t first, last, threshold;
};

/// The items of a level up to one of them that do not have the level's bit.
struct lower_items {
  index_t count;
  index_t first;  // item at which node and segment begin; before the scan -1 for all others
  double sum;     // of values, from there on
};
struct join_lower_items {
  __device__ lower_items operator()(const lower_items& earlier, const lower_items& later) const {
    const index_t count = earlier.count + later.count;
    if (later.first >= 0) return {count, later.first, later.sum};
    return {count, earlier.first, earlier.sum + later.sum};
  }
};

struct wavelet_level {
  const wavelet_item* item;
  const lower_items* lower;
  index_t size;
  int bit;

  [[nodiscard]] __device__ bool is_lower(index_t symbol) const { return (symbol >> bit & 1) == 0; }
  [[nodiscard]] __device__ index_t lower_before(index_t i) const { return i == 0 ? 0 : lower[i - 1].count; }
  /// Where item i goes, and the end i of a range.
  [[nodiscard]] __device__ index_t place(index_t i, bool among_lower) const {
    return among_lower ? lower_before(i) : lower_before(size) + i - lower_before(i);
  }
  /// Of the sum of a range that is not empty.
  [[nodiscard]] __device__ double lower_sum(index_t first, index_t last) const {
    const lower_items& all = lower[last - 1];
    return all.first < first ? all.sum - lower[first - 1].sum : all.sum;
  }
};

struct write_lower_items {
  wavelet_level level;
  lower_items* to;
  __device__ void operator()(index_t i) const {
    const wavelet_item& own = level.item[i];
    const wavelet_item& before = level.item[i == 0 ? 0 : i - 1];
    const bool begins =
        i == 0 || before.segment != own.segment || before.symbol >> level.bit >> 1 != own.symbol >> level.bit >> 1;
    const bool lower = level.is_lower(own.symbol);
    to[i] = {lower ? 1 : 0, begins ? i : -1, lower ? own.value : 0};
  }
};
template <class Take>
struct enter_next_level {
  wavelet_level level;
  wavelet_item* next;
  wavelet_query* query;
  Take take;

  __device__ void operator()(index_t i) const {
    const wavelet_item own = level.item[i];
    next[level.place(i, level.is_lower(own.symbol))] = own;
    const wavelet_query q = query[i];
    if (q.first >= q.last) return;
    const bool lower = level.is_lower(q.threshold);
    const index_t count = level.lower_before(q.last) - level.lower_before(q.first);
    if (!lower && count > 0) take(i, level.bit, count, level.lower_sum(q.first, q.last));
    query[i] = {level.place(q.first, lower), level.place(q.last, lower), q.threshold};
  }
};

template <class Question>
struct write_question {
  Question of;
  wavelet_item* item;
  wavelet_query* query;
  __device__ void operator()(index_t i) const {
    item[i] = of.item(i);
    query[i] = of.query(i);
  }
};

/// question.item(i) and question.query(i), i = 0 .. n - 1, are what the sequence holds and what is asked; no threshold
/// exceeds `largest`, no symbol is negative. The answer to i comes in parts, one for every bit at most, from the
/// highest: take(i, bit, count, sum) with the number of items and the sum of their values. Symbols of the last part
/// differ from the threshold in the lowest bit alone.
template <class Question, class Take>
void sum_lower(cuda_context& ctx, index_t n, index_t largest, const Question& question, const Take& take) {
  if (n <= 0) return;
  auto scratch = ctx.workspace().open();
  auto* item = scratch.template take<wavelet_item>(n);
  auto* next = scratch.template take<wavelet_item>(n);
  auto* const query = scratch.template take<wavelet_query>(n);
  auto* const lower = scratch.template take<lower_items>(n);
  each(ctx, n, write_question<Question>{question, item, query});
  for (int bit = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(largest))); bit-- > 0;) {
    const wavelet_level level{item, lower, n, bit};
    each(ctx, n, write_lower_items{level, lower});
    inclusive_scan(ctx, n, lower, join_lower_items{});
    each(ctx, n, enter_next_level<Take>{level, next, query, take});
    std::swap(item, next);
  }
}

/// Thresholds are found once, by a search: the first of first .. last - 1 that `is_before` denies, or last.
template <class Before>
[[nodiscard]] __device__ index_t partition_point(index_t first, index_t last, const Before& is_before) {
  while (first < last) {
    const index_t middle = first + (last - first) / 2;
    if (is_before(middle)) first = middle + 1;
    else last = middle;
  }
  return first;
}

}  // namespace stroma::detail
