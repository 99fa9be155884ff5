#pragma once
#include <array>
#include <concepts>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>

namespace stroma {
namespace detail {

template <class Backend>
struct softmax_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/softmax.cuh> and compile with nvcc");

  /// Rows on one worker; `room` has x.cols elements and is used where out's columns are apart.
  template <class S, class T>
  static void rows(matrix_view<const S> x, matrix_view<T> out, T* room) {
    for (index_t r = 0; r < x.rows; ++r) {
      T* const row = out.col_stride == 1 ? out.data + r * out.row_stride : room;
      for (index_t j = 0; j < x.cols; ++j) row[j] = widen<T>(x(r, j));
      softmax_in_place(x.cols, row);
      if (row != room) continue;
      for (index_t j = 0; j < x.cols; ++j) out(r, j) = row[j];
    }
  }
  template <class S, class T>
  static void forward(cpu_context& ctx, matrix_view<const S> x, matrix_view<T> out) {
    for_each_tile<T>(ctx, x.rows, tile_scratch<T>::padded(x.cols),
                     [&](index_t first, index_t count, tile_scratch<T>& scratch) {
                       rows(x.middle_rows(first, count), out.middle_rows(first, count), scratch.take(x.cols));
                     });
  }
  template <class T>
  static void backward(cpu_context& ctx, matrix_view<const T> p, matrix_view<const T> d_out, matrix_view<T> d_x) {
    for_each_tile<T>(ctx, p.rows, 0, [&](index_t first, index_t count, tile_scratch<T>&) {
      for (index_t r = first; r < first + count; ++r) {
        double mean = 0;
        for (index_t j = 0; j < p.cols; ++j) mean += static_cast<double>(p(r, j)) * static_cast<double>(d_out(r, j));
        for (index_t j = 0; j < p.cols; ++j) d_x(r, j) += p(r, j) * (d_out(r, j) - static_cast<T>(mean));
      }
    });
  }
  template <class T>
  static void segmented_backward(cpu_context& ctx, matrix_view<const T> p, vector_view<const index_t> offsets,
                                 matrix_view<const T> d_out, matrix_view<T> d_x) {
    ctx.parallel(offsets.size - 1, [&](index_t b, int) {
      for (index_t h = 0; h < p.cols; ++h) {
        double mean = 0;
        for (index_t i = offsets[b]; i < offsets[b + 1]; ++i)
          mean += static_cast<double>(p(i, h)) * static_cast<double>(d_out(i, h));
        for (index_t i = offsets[b]; i < offsets[b + 1]; ++i)
          d_x(i, h) += p(i, h) * (d_out(i, h) - static_cast<T>(mean));
      }
    });
  }
};

}  // namespace detail

/// out(i, j) = exp(x(i, j)) / sum over the row of exp(x(i, k)): softmax of each row, for x of any finite size.
/// -infinity has weight 0; a row of nothing else is NaN, and so is a row with NaN.
/// @param x    [N, C] in the scalar of out, half or bfloat16   @param out [N, C] overwritten; may be x
/// Cost: O(N C), scratch of one row a thread. A row's bits depend on that row alone.   @throws shape_error
template <execution_context Context, matrix_like X, matrix_like Y>
  requires same_space<Context, X, Y> && (std::same_as<scalar_of<X>, scalar_of<Y>> || is_narrow<scalar_of<X>>)
void softmax(Context& ctx, const X& x, Y&& out) {
  const auto v = as_const_view(x);
  const matrix_view<scalar_of<Y>, typename Context::space> y = as_view(out);
  check::shape("softmax", "out", y, v.rows, v.cols);
  detail::softmax_kernel<typename Context::backend>::forward(ctx, v, y);
}

/// d_x += p (d_out - sum over the row of p d_out), where `out` = p is the value of softmax.
template <execution_context Context, matrix_like P, matrix_like D, matrix_like Gradients>
  requires same_space<Context, P, D, Gradients>
void softmax_backward(Context& ctx, const P& out, const D& d_out, Gradients&& d_x) {
  const auto p = as_const_view(out);
  const auto d = as_const_view(d_out);
  const matrix_view<scalar_of<Gradients>, typename Context::space> target = as_view(d_x);
  check::shape("softmax_backward", "d_out", d, p.rows, p.cols);
  check::shape("softmax_backward", "d_x", target, p.rows, p.cols);
  detail::softmax_kernel<typename Context::backend>::backward(ctx, p, d, target);
}

/// Recorded on a graph. In inference it is left to its consumer, tile by tile.
template <class T, class Backend>
node softmax(graph<T, Backend>& g, node x) {
  using kernel = detail::softmax_kernel<Backend>;
  const index_t cols = g.shape(x).cols;
  if constexpr (primitives<Backend>::evaluates_by_rows)
    if (!g.recording())
      return g.emit_by_rows(x, cols,
                            [=](const graph<T, Backend>& from, index_t first, auto tile, tile_scratch<T>& scratch) {
                              from.visit_rows(x, first, tile.rows, scratch,
                                              [&](auto rows) { kernel::rows(rows, tile, static_cast<T*>(nullptr)); });
                            });
  const auto emitted = g.emit_rows_of(x, cols, {x});
  const node out = emitted.first;
  g.visit(x, [&](auto rows) { kernel::forward(g.context(), rows, emitted.second); });
  g.on_backward(out, [=](graph<T, Backend>& r) {
    kernel::backward(r.context(), r.value(out), r.gradient(out), r.gradient_of(x));
  });
  return out;
}

/// Softmax over the rows of each segment (bag), column by column:
///   p(i, h) = exp(e(i, h)) / sum over rows k of i's segment of exp(e(k, h))
/// -infinity has weight 0: a row that takes no part. An empty segment has no rows to fill.
/// @param e [N, H] scores   @param offsets [segments + 1] from 0 to N, never falling   @param out [N, H]; may be e
/// Cost: O(N H) time and scratch. A segment's bits depend on that segment alone.   @throws shape_error
template <execution_context Context, matrix_like E, vector_like Offsets, matrix_like P>
  requires same_space<Context, E, Offsets, P> && std::same_as<scalar_of<Offsets>, index_t> &&
           std::same_as<scalar_of<E>, scalar_of<P>>
void segmented_softmax(Context& ctx, const E& e, const Offsets& offsets, P&& out) {
  const auto v = as_const_view(e);
  const auto o = as_const_view(offsets);
  const matrix_view<scalar_of<P>, typename Context::space> p = as_view(out);
  value_checks<typename Context::backend>::offsets(ctx, "segmented_softmax", "offsets", o, v.rows);
  check::shape("segmented_softmax", "out", p, v.rows, v.cols);
  primitives<typename Context::backend>::segmented_softmax(ctx, v, o, p);
}

/// d_e += p (d_out - sum over the segment of p d_out), where `out` = p is the value of segmented_softmax.
template <execution_context Context, matrix_like P, vector_like Offsets, matrix_like D, matrix_like Gradients>
  requires same_space<Context, P, Offsets, D, Gradients> && std::same_as<scalar_of<Offsets>, index_t>
void segmented_softmax_backward(Context& ctx, const P& out, const Offsets& offsets, const D& d_out, Gradients&& d_e) {
  const auto p = as_const_view(out);
  const auto o = as_const_view(offsets);
  const auto d = as_const_view(d_out);
  const matrix_view<scalar_of<Gradients>, typename Context::space> target = as_view(d_e);
  value_checks<typename Context::backend>::offsets(ctx, "segmented_softmax_backward", "offsets", o, p.rows);
  check::shape("segmented_softmax_backward", "d_out", d, p.rows, p.cols);
  check::shape("segmented_softmax_backward", "d_e", target, p.rows, p.cols);
  detail::softmax_kernel<typename Context::backend>::segmented_backward(ctx, p, o, d, target);
}

/// Recorded on a graph: over the bags of the node, or over all its rows.
template <class T, class Backend>
node segmented_softmax(graph<T, Backend>& g, node e) {
  using ops = primitives<Backend>;
  const auto [rows, cols] = g.shape(e);
  auto offsets = g.offsets(e);
  if (offsets.size == 0) {
    index_t* const ends = g.template take<index_t>(2);
    ops::write_ends(g.context(), rows, ends);
    offsets = {ends, 2};
  }
  const auto v = g.value(e);
  const auto emitted = g.emit_rows_of(e, cols, {e});
  const node out = emitted.first;
  ops::segmented_softmax(g.context(), v, offsets, emitted.second);
  g.on_backward(out, [=](graph<T, Backend>& r) {
    detail::softmax_kernel<Backend>::segmented_backward(r.context(), r.value(out), offsets, r.gradient(out),
                                                        r.gradient_of(e));
  });
  return out;
}

}  // namespace stroma
