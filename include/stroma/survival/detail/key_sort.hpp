#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

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

/// Sorts by key; equal keys keep their order. By the highest 33 bits in which keys differ, in digits of 11 from the
/// lowest, each pass from one array into the other; what these leave together is sorted by comparisons. A digit that
/// all keys share costs no pass. Returns the array that holds the result. `counts` has room for 3 x 2048.
inline keyed_row* sort_by_key(keyed_row* rows, keyed_row* spare, index_t n, index_t* counts) {
  constexpr int passes = 3, bits = 11;
  constexpr index_t digits = index_t{1} << bits;
  if (n <= 512) {  // clearing the counts would take longer
    for (index_t i = 0; i < n; ++i) spare[i] = {rows[i].key, i};
    std::sort(spare, spare + n);
    for (index_t i = 0; i < n; ++i) spare[i].row = rows[spare[i].row].row;
    return spare;
  }
  std::uint64_t differing = 0;
  for (index_t i = 0; i < n; ++i) differing |= rows[i].key ^ rows[0].key;
  const int low = std::max(static_cast<int>(std::bit_width(differing)) - passes * bits, 0);
  const auto digit = [low](std::uint64_t key, int pass) {
    return static_cast<index_t>((key >> (low + bits * pass)) % digits);
  };
  std::fill(counts, counts + passes * digits, index_t{0});
  for (index_t i = 0; i < n; ++i)
    for (int p = 0; p < passes; ++p) ++counts[p * digits + digit(rows[i].key, p)];
  for (int p = 0; p < passes; ++p) {
    index_t* const to = counts + p * digits;
    if (to[digit(rows[0].key, p)] == n) continue;
    index_t begin = 0;
    for (index_t d = 0; d < digits; ++d) begin += std::exchange(to[d], begin);
    for (index_t i = 0; i < n; ++i) spare[to[digit(rows[i].key, p)]++] = rows[i];
    std::swap(rows, spare);
  }
  if (low > 0) sort_within_runs(rows, spare, n, low);
  return rows;
}

}  // namespace stroma::detail
