#pragma once
#include <algorithm>
#include <array>
#include <cassert>

#include <stroma/backend/primitives.hpp>
#include <stroma/core/segments.hpp>
#include <stroma/core/view.hpp>

namespace stroma {

/// Memory of one worker for one tile, handed out front to back and taken back as a whole.
template <class T>
class tile_scratch {
 public:
  tile_scratch(T* buffer, T* first, index_t count) : buffer_(buffer), at_(first), end_(first + count) {}
  /// Of primitives::tile_buffer_size elements; whoever calls may use it until it calls somebody else.
  [[nodiscard]] T* buffer() const { return buffer_; }
  [[nodiscard]] T* take(index_t count) {
    // Every piece starts on a cache line, as for_each_tile has reckoned.
    const index_t step = padded(count);
    assert(at_ + step <= end_);
    T* p = at_;
    at_ += step;
    return p;
  }
  [[nodiscard]] static constexpr index_t padded(index_t count) {
    constexpr index_t line = static_cast<index_t>(storage_alignment / sizeof(T));
    return (count + line - 1) / line * line;
  }

 private:
  T* buffer_;
  T* at_;
  T* end_;
};

/// body(part, number of the part, scratch) for all parts of all segments, in parallel. The scratch of a part has
/// scratch_cols columns of at most tile_rows rows, each piece's columns counted as padded() by whoever will take it.
template <class T, class Context, class Body>
void for_each_part(Context& ctx, vector_view<const index_t> offsets, index_t scratch_cols, Body&& body) {
  const index_t count = detail::segment_part_count(offsets);
  const index_t buffer = primitives<typename Context::backend>::template tile_buffer_size<T>();
  auto frame = ctx.workspace().open();
  auto* parts = frame.template take<detail::segment_part>(count);
  detail::list_segment_parts(offsets, parts);
  index_t longest = 0;
  for (index_t p = 0; p < count; ++p) longest = std::max(longest, parts[p].count);
  const index_t each = buffer + longest * scratch_cols;
  T* memory = frame.template take<T>(each * ctx.threads());
  ctx.parallel(count, [&](index_t p, int worker) {
    T* const own = memory + worker * each;
    tile_scratch<T> scratch(own, own + buffer, each - buffer);
    body(parts[p], p, scratch);
  });
}
/// body(first row, rows, scratch) for tiles of the rows 0 .. rows - 1.
template <class T, class Context, class Body>
void for_each_tile(Context& ctx, index_t rows, index_t scratch_cols, Body&& body) {
  const std::array<index_t, 2> ends{0, rows};
  for_each_part<T>(ctx, vector_view<const index_t>(ends.data(), 2), scratch_cols,
                   [&](const detail::segment_part& part, index_t, tile_scratch<T>& scratch) {
                     body(part.first, part.count, scratch);
                   });
}

}  // namespace stroma
