#pragma once
#include <algorithm>
#include <limits>

#include <stroma/core/context.hpp>
#include <stroma/core/sort_key.hpp>

namespace stroma::detail {

/// An element of a row and where it stands; before: larger, or of equal ones the earlier.
template <class Key>
struct ranked_element {
  Key key;
  index_t at;
  friend constexpr bool operator<(const ranked_element& a, const ranked_element& b) {
    return a.key != b.key ? a.key > b.key : a.at < b.at;
  }
};

/// The largest of each row, or with offsets of each segment of the one column: O(n + k log k) a row of n.
template <class T>
void top_k(cpu_context& ctx, matrix_view<const T> a, vector_view<const index_t> offsets, matrix_view<T> values,
           matrix_view<index_t> indices) {
  using element = ranked_element<decltype(sort_key(T{}))>;
  auto frame = ctx.workspace().open();
  auto* const room = frame.template take<element>(a.rows * a.cols);
  ctx.parallel(indices.rows, [&](index_t r, int) {
    const index_t first = offsets.size > 0 ? offsets[r] : r * a.cols;
    const index_t count = offsets.size > 0 ? offsets[r + 1] - first : a.cols;
    const index_t wanted = std::min(indices.cols, count);
    element* const row = room + first;
    for (index_t i = 0; i < count; ++i)
      row[i] = offsets.size > 0 ? element{sort_key(a(first + i, 0)), first + i} : element{sort_key(a(r, i)), i};
    if (wanted < count) std::nth_element(row, row + wanted, row + count);
    std::sort(row, row + wanted);
    for (index_t j = 0; j < indices.cols; ++j) indices(r, j) = j < wanted ? row[j].at : -1;
    for (index_t j = 0; j < values.cols; ++j)
      values(r, j) = j >= wanted        ? -std::numeric_limits<T>::infinity()
                     : offsets.size > 0 ? a(row[j].at, 0)
                                        : a(r, row[j].at);
  });
}

}  // namespace stroma::detail
