#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/backend/cpu/simd.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/segments.hpp>

#if STROMA_HOST_KERNELS

/// Sums over the rows of ragged segments. Every segment is cut into tiles counted from its own first row, and tiles
/// are added in order, so that a segment's result depends neither on its neighbours nor on the threads.
namespace stroma::detail {

/// Runs part(which part, segment_part, sums [width]) in parallel, each on zeroed sums of its own, and adds the sums of
/// a segment's parts in order: out(segment, :) = or += total.
template <class T, class Part>
void sum_over_segments(cpu_context& ctx, vector_view<const index_t> offsets, matrix_view<T> out, bool add,
                       Part&& part) {
  const index_t count = segment_part_count(offsets), width = out.cols;
  auto frame = ctx.workspace().open();
  auto* parts = frame.template take<segment_part>(count);
  T* sums = frame.template take<T>(count * width);
  list_segment_parts(offsets, parts);
  ctx.parallel(count, [&](index_t p, int worker) {
    std::fill_n(sums + p * width, width, T(0));
    part(parts[p], sums + p * width, worker);
  });
  if (!add)
    for (index_t b = 0; b < out.rows; ++b) std::fill_n(out.data + b * out.row_stride, width, T(0));
  for (index_t p = 0; p < count; ++p) {
    T* total = out.data + parts[p].segment * out.row_stride;
    map_packets(width, total, sums + p * width, total, [](const auto& x, const auto& y) { return simd<T>::add(x, y); });
  }
}

/// y[i] += alpha x[i]
template <class T>
void add_scaled(index_t count, T alpha, const T* x, T* y) {
  using s = simd<T>;
  const auto factor = s::set(alpha);
  map_packets(count, x, y, y, [&](const auto& a, const auto& b) { return s::fma(factor, a, b); });
}

/// In place: x[i] = exp(x[i] - max x) / sum; -infinity becomes 0. Returns the maximum.
template <class T>
T softmax_in_place(index_t count, T* x) {
  using s = simd<T>;
  T top = -std::numeric_limits<T>::infinity();
  for (index_t i = 0; i < count; ++i) top = x[i] > top ? x[i] : top;
  const auto shift = s::set(top);
  map_packets(count, x, x, [&](const auto& v) { return s::exp(s::sub(v, shift)); });
  double sum = 0;
  for (index_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]);
  const auto factor = s::set(static_cast<T>(1 / sum));
  map_packets(count, x, x, [&](const auto& v) { return s::mul(v, factor); });
  return top;
}

}  // namespace stroma::detail

#endif
