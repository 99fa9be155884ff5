#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include <stroma/core/context.hpp>
#include <stroma/core/sort_key.hpp>
#include <stroma/core/view.hpp>

namespace stroma::detail {

struct keyed_row {
  std::uint64_t key;
  index_t row;
  friend constexpr bool operator<(const keyed_row& a, const keyed_row& b) {
    return a.key != b.key ? a.key < b.key : a.row < b.row;
  }
};

/// Of rows whose keys agree in all but the lowest `low` bits, which are few: each such run is sorted by the whole key.
/// Equal keys keep their order.
inline void sort_within_runs(keyed_row* rows, keyed_row* spare, index_t n, int low) {
  for (index_t first = 0, last = 0; first < n; first = last) {
    bool equal = true;
    while (++last < n && rows[last].key >> low == rows[first].key >> low)
      equal = equal && rows[last].key == rows[first].key;
    if (equal) continue;
    for (index_t i = first; i < last; ++i) spare[i] = {rows[i].key, i};
    std::sort(spare + first, spare + last);
    for (index_t i = first; i < last; ++i) spare[i].row = rows[spare[i].row].row;
    std::copy(spare + first, spare + last, rows + first);
  }
}

/// What sort_by_key counts in, for each thread.
inline constexpr int sort_passes = 3, sort_bits = 11;
inline constexpr index_t sort_digits = index_t{1} << sort_bits, sort_counts = sort_passes * sort_digits;

/// Sorts by key; equal keys keep their order. By the highest 33 bits in which keys differ, in digits of 11 from the
/// lowest, each pass from one array into the other; what these leave together is sorted by comparisons. A digit that
/// all keys share costs no pass. The rows are cut into pieces, which keep their order under every digit; `each(f)`
/// calls f(piece) for all, at the same time if it likes. Returns the array that holds the result. `counts` has room for
/// sort_counts times the pieces.
template <class Each>
keyed_row* sort_by_key(keyed_row* rows, keyed_row* spare, index_t n, index_t* counts, index_t pieces,
                       const Each& each) {
  if (n <= 512) {  // clearing the counts would take longer
    for (index_t i = 0; i < n; ++i) spare[i] = {rows[i].key, i};
    std::sort(spare, spare + n);
    for (index_t i = 0; i < n; ++i) spare[i].row = rows[spare[i].row].row;
    return spare;
  }
  std::uint64_t differing = 0;
  for (index_t i = 0; i < n; ++i) differing |= rows[i].key ^ rows[0].key;
  const int low = std::max(static_cast<int>(std::bit_width(differing)) - sort_passes * sort_bits, 0);
  const auto digit = [](std::uint64_t key, int shift) { return static_cast<index_t>((key >> shift) % sort_digits); };
  const auto begin_of = [n, pieces](index_t piece) { return n * piece / pieces; };
  each([&, from = rows](index_t piece) {
    index_t* const to = counts + piece * sort_counts;
    const index_t end = begin_of(piece + 1);
    const int shift = low;
    std::fill(to, to + sort_counts, index_t{0});
    for (index_t i = begin_of(piece); i < end; ++i)
      for (int p = 0; p < sort_passes; ++p) ++to[p * sort_digits + digit(from[i].key, shift + sort_bits * p)];
  });
  bool moved = false;
  for (int p = 0; p < sort_passes; ++p) {
    const int shift = low + sort_bits * p;
    const auto counts_of = [counts, p](index_t piece) { return counts + piece * sort_counts + p * sort_digits; };
    // What a piece holds changes with every pass; what all hold does not.
    if (moved && pieces > 1)
      each([=, from = rows](index_t piece) {
        index_t* const to = counts_of(piece);
        const index_t end = begin_of(piece + 1);
        std::fill(to, to + sort_digits, index_t{0});
        for (index_t i = begin_of(piece); i < end; ++i) ++to[digit(from[i].key, shift)];
      });
    index_t same = 0, begin = 0;
    for (index_t piece = 0; piece < pieces; ++piece) same += counts_of(piece)[digit(rows[0].key, shift)];
    if (same == n) continue;
    for (index_t d = 0; d < sort_digits; ++d)
      for (index_t piece = 0; piece < pieces; ++piece) begin += std::exchange(counts_of(piece)[d], begin);
    each([=, from = rows, to = spare](index_t piece) {
      index_t* const at = counts_of(piece);
      const index_t end = begin_of(piece + 1);
      for (index_t i = begin_of(piece); i < end; ++i) to[at[digit(from[i].key, shift)]++] = from[i];
    });
    std::swap(rows, spare);
    moved = true;
  }
  if (low > 0) sort_within_runs(rows, spare, n, low);
  return rows;
}
inline keyed_row* sort_by_key(keyed_row* rows, keyed_row* spare, index_t n, index_t* counts) {
  return sort_by_key(rows, spare, n, counts, 1, [](const auto& f) { f(0); });
}
/// By the context's threads; `counts` has room for sort_counts times these.
inline keyed_row* sort_by_key(cpu_context& ctx, keyed_row* rows, keyed_row* spare, index_t n, index_t* counts) {
  const index_t pieces = n < 100000 ? 1 : ctx.threads();
  return sort_by_key(rows, spare, n, counts, pieces,
                     [&](const auto& f) { ctx.parallel(pieces, [&](index_t piece, int) { f(piece); }); });
}

}  // namespace stroma::detail
