#pragma once
#include <cstdint>
#include <utility>

#include <stroma/backend/cuda/scan.cuh>
#include <stroma/survival/risk_order.cuh>

/// Positions of a plan sorted by a key in runs that double: level by level a merge sort, bottom up. At the level of
/// width w a run holds the positions m w .. m w + w - 1. All positions before p are the runs of those widths that are
/// set bits of p, and so are found by one search a level; all from p on are found alike.
namespace stroma::detail {

struct sorted_runs {
  const std::uint64_t* key;
  const index_t* position;  // equal keys stand by position
  index_t size, width;      // the last run may be short
};
struct run_range {
  index_t first, last;
};
/// The run of this level that is a part of 0 .. p - 1, or none.
[[nodiscard]] __device__ inline run_range run_before(const sorted_runs& runs, index_t p) {
  if ((p & runs.width) == 0) return {0, 0};
  const index_t first = p / (2 * runs.width) * (2 * runs.width);
  return {first, first + runs.width};
}
/// The run of this level that is a part of p .. size - 1, or none.
[[nodiscard]] __device__ inline run_range run_from(const sorted_runs& runs, index_t p) {
  const index_t first = (p + runs.width - 1) / runs.width * runs.width;
  if ((first & runs.width) == 0 || first >= runs.size) return {0, 0};
  return {first, first + runs.width < runs.size ? first + runs.width : runs.size};
}

/// The first of range's elements that `is_before` denies, or its end.
template <class Before>
[[nodiscard]] __device__ index_t partition_point(const run_range& range, const Before& is_before) {
  index_t low = range.first, high = range.last;
  while (low < high) {
    const index_t middle = low + (high - low) / 2;
    if (is_before(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
[[nodiscard]] __device__ inline index_t first_not_below(const sorted_runs& runs, const run_range& range,
                                                        std::uint64_t key) {
  return partition_point(range, [&](index_t i) { return runs.key[i] < key; });
}
[[nodiscard]] __device__ inline index_t first_above(const sorted_runs& runs, const run_range& range,
                                                    std::uint64_t key) {
  return partition_point(range, [&](index_t i) { return runs.key[i] <= key; });
}

/// One level: every element finds its place in the doubled run by a search in the other half.
struct merge_runs {
  sorted_runs from;
  std::uint64_t* key;
  index_t* position;
  __device__ void operator()(index_t i) const {
    const index_t pair = i / (2 * from.width) * (2 * from.width);
    const index_t middle = pair + from.width < from.size ? pair + from.width : from.size;
    const index_t end = pair + 2 * from.width < from.size ? pair + 2 * from.width : from.size;
    const std::uint64_t own = from.key[i];
    const index_t to = i < middle ? i + (first_not_below(from, {middle, end}, own) - middle)
                                  : i - middle + first_above(from, {pair, middle}, own);
    key[to] = own;
    position[to] = from.position[i];
  }
};

/// Sorts, and calls level(runs) with the runs of widths 1, 2, 4 .. below n before they are merged. `key` and
/// `position`: 2 n each, of which the first n are filled in the order of positions. Returns the one run of all.
template <class Level>
sorted_runs sort_by_levels(cuda_context& ctx, index_t n, std::uint64_t* key, index_t* position, const Level& level) {
  std::uint64_t* spare_key = key + n;
  index_t* spare_position = position + n;
  sorted_runs runs{key, position, n, 1};
  for (; runs.width < n; runs.width *= 2) {
    level(runs);
    each(ctx, n, merge_runs{runs, spare_key, spare_position});
    runs.key = spare_key;
    runs.position = spare_position;
    std::swap(key, spare_key);
    std::swap(position, spare_position);
  }
  return runs;
}

}  // namespace stroma::detail
