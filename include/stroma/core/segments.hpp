#pragma once
#include <algorithm>

#include <stroma/core/view.hpp>

namespace stroma {

/// Rows that are computed together, counted from the first row of their bag. Fixed, so that no result depends on the
/// number of threads or on the other bags of a batch. 252 is a whole number of register tiles (14 and 6 rows), and
/// 252 rows of 512 floats stay in the second-level cache.
inline constexpr index_t tile_rows = 252;

namespace detail {

/// The part of a segment (a bag) that one worker handles.
struct segment_part {
  index_t segment, first, count;
};

/// The number of parts of all segments together.
inline index_t segment_part_count(vector_view<const index_t> offsets) {
  index_t sum = 0;
  for (index_t b = 0; b + 1 < offsets.size; ++b) sum += (offsets[b + 1] - offsets[b] + tile_rows - 1) / tile_rows;
  return sum;
}
/// All parts in order; `parts` has room for segment_part_count of them.
inline void list_segment_parts(vector_view<const index_t> offsets, segment_part* parts) {
  for (index_t b = 0; b + 1 < offsets.size; ++b)
    for (index_t first = offsets[b]; first < offsets[b + 1]; first += tile_rows)
      *parts++ = {b, first, std::min(tile_rows, offsets[b + 1] - first)};
}

}  // namespace detail
}  // namespace stroma
