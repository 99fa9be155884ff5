#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/segments.hpp>

using stroma::index_t;
using stroma::tile_rows;

TEST_CASE("segments: parts cover every row once, in order, and none crosses a bag") {
  const std::vector<index_t> lengths{0, 1, tile_rows - 1, tile_rows, 0, tile_rows + 1, 5 * tile_rows + 3, 0};
  std::vector<index_t> offsets{0};
  for (const index_t n : lengths) offsets.push_back(offsets.back() + n);
  const stroma::vector_view<const index_t> view(offsets.data(), static_cast<index_t>(offsets.size()));

  const index_t count = stroma::detail::segment_part_count(view);
  CHECK(count == 0 + 1 + 1 + 1 + 0 + 2 + 6 + 0);
  std::vector<stroma::detail::segment_part> parts(static_cast<std::size_t>(count) + 1, {-1, -1, -1});
  stroma::detail::list_segment_parts(view, parts.data());
  CHECK(parts.back().segment == -1);  // nothing beyond the room asked for
  index_t next = 0;
  for (index_t k = 0; k < count; ++k) {
    const auto& p = parts[static_cast<std::size_t>(k)];
    CHECK(p.first == next);
    CHECK(p.count > 0);
    CHECK(p.count <= tile_rows);
    const index_t begin = view[p.segment], end = view[p.segment + 1];
    CHECK((p.first - begin) % tile_rows == 0);  // tiles are counted from the bag's own first row
    CHECK(p.first + p.count <= end);
    CHECK((p.count == tile_rows || p.first + p.count == end));
    next += p.count;
  }
  CHECK(next == offsets.back());
}

TEST_CASE("segments: no bag, empty bags") {
  const std::vector<index_t> empty{0, 0, 0};
  CHECK(stroma::detail::segment_part_count({}) == 0);
  CHECK(stroma::detail::segment_part_count({empty.data(), 1}) == 0);
  CHECK(stroma::detail::segment_part_count({empty.data(), 3}) == 0);
  stroma::detail::list_segment_parts({empty.data(), 3}, nullptr);
}
