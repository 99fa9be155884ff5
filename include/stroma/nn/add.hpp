#pragma once
#include <concepts>
#include <string>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>

namespace stroma {
namespace detail {

/// b as a matrix of a's rows: itself, or its only row again and again.
template <class T, class Space>
[[nodiscard]] matrix_view<const T, Space> spread_rows(std::string_view function, matrix_view<const T, Space> b,
                                                      index_t rows, index_t cols) {
  if (b.cols != cols || (b.rows != rows && b.rows != 1))
    throw shape_error(
        error_message(function, "b", "shape " + std::to_string(b.rows) + " x " + std::to_string(b.cols),
                      std::to_string(rows) + " x " + std::to_string(cols) + " or 1 x " + std::to_string(cols)));
  if (b.rows == rows) return b;
  return {b.data, rows, cols, 0, b.col_stride};
}
template <class T, class Space>
[[nodiscard]] matrix_view<T, Space> one_row(const vector_view<T, Space>& v) {
  return {v.data, 1, v.size, v.size, v.stride};
}
template <class T, class Space>
[[nodiscard]] matrix_view<T, Space> one_row(const matrix_view<T, Space>& m) {
  return m;
}

/// d += d_out, or its column sums where d is one row and d_out is not.
template <class Context, class T, class Space>
void add_rows_back(std::string_view function, std::string_view argument, Context& ctx,
                   matrix_view<const T, Space> d_out, matrix_view<T, Space> d) {
  using ops = primitives<typename Context::backend>;
  if (d.data == nullptr) return;
  if (d.rows == d_out.rows) {
    check::shape(function, argument, d, d_out.rows, d_out.cols);
    return ops::axpy(ctx, T(1), d_out, d);
  }
  check::shape(function, argument, d, 1, d_out.cols);
  if (d.col_stride == 1 || d.cols < 2) return ops::add_column_sums(ctx, d_out, d.row(0));
  auto scratch = ctx.workspace().open();
  const matrix_view<T, Space> sums(scratch.template take<T>(d.cols), 1, d.cols);
  ops::fill(ctx, sums, T(0));
  ops::add_column_sums(ctx, d_out, sums.row(0));
  ops::axpy(ctx, T(1), matrix_view<const T, Space>(sums), d);
}

template <class X>
concept row_or_rows = vector_like<X> || matrix_like<X>;

}  // namespace detail

/// out = a + b, element by element; a b of one row is added to every row of a.
/// @param a [N, D] in the scalar of out, half or bfloat16   @param b [N, D], [1, D] or [D]
/// @param out [N, D] overwritten; may be a, not b
/// Cost: O(N D), no scratch.   @throws shape_error
template <execution_context Context, matrix_like A, detail::row_or_rows B, matrix_like Y>
  requires same_space<Context, A, B, Y> && (std::same_as<scalar_of<A>, scalar_of<Y>> || is_narrow<scalar_of<A>>) &&
           std::same_as<scalar_of<B>, scalar_of<Y>>
void add(Context& ctx, const A& a, const B& b, Y&& out) {
  using T = scalar_of<Y>;
  using ops = primitives<typename Context::backend>;
  const auto v = as_const_view(a);
  const matrix_view<T, typename Context::space> y = as_view(out);
  const auto w = detail::spread_rows("add", detail::one_row(as_const_view(b)), v.rows, v.cols);
  check::shape("add", "out", y, v.rows, v.cols);
  const bool in_place = static_cast<const void*>(v.data) == static_cast<const void*>(y.data);
  if (!in_place) ops::copy(ctx, v, y);
  ops::axpy(ctx, T(1), w, y);
}

/// d_a += d_out; d_b += d_out, or the column sums of d_out (in a fixed order) where d_b is one row.
/// @param d_out [N, D]   @param d_a [N, D] or an empty view   @param d_b [N, D], [1, D] or [D], or an empty view
template <execution_context Context, matrix_like D, matrix_like GradientsA, detail::row_or_rows GradientsB>
  requires same_space<Context, D, GradientsA, GradientsB>
void add_backward(Context& ctx, const D& d_out, GradientsA&& d_a, GradientsB&& d_b) {
  using T = scalar_of<D>;
  const auto d = as_const_view(d_out);
  const matrix_view<T, typename Context::space> to_a = as_view(d_a), to_b = detail::one_row(as_view(d_b));
  if (to_a.data != nullptr) check::shape("add_backward", "d_a", to_a, d.rows, d.cols);
  if (to_b.data != nullptr) check::columns("add_backward", "d_b", to_b.cols, d.cols, "the columns of d_out");
  detail::add_rows_back("add_backward", "d_a", ctx, d, to_a);
  detail::add_rows_back("add_backward", "d_b", ctx, d, to_b);
}

/// Recorded on a graph: a [N, D], b [N, D] or [1, D]. In inference the rows of a are left to the consumer, tile by
/// tile.
template <class T, class Backend>
node add(graph<T, Backend>& g, node a, node b) {
  using ops = primitives<Backend>;
  const auto extents = g.shape(a);
  const auto w = detail::spread_rows("add", g.value(b), extents.rows, extents.cols);
  const auto sum = [w](auto& ctx, auto rows, index_t first, auto out) {
    ops::copy(ctx, rows, out);
    ops::axpy(ctx, T(1), w.middle_rows(first, out.rows), out);
  };
  if constexpr (ops::evaluates_by_rows)
    if (!g.recording())
      return g.emit_by_rows(
          a, extents.cols, [=](const graph<T, Backend>& from, index_t first, auto tile, tile_scratch<T>& scratch) {
            from.visit_rows(a, first, tile.rows, scratch, [&](auto rows) { sum(from.context(), rows, first, tile); });
          });
  const auto emitted = g.emit_rows_of(a, extents.cols, {a, b});
  const node out = emitted.first;
  g.visit(a, [&](auto rows) { sum(g.context(), rows, index_t{0}, emitted.second); });
  g.on_backward(out, [=](graph<T, Backend>& r) {
    for (const node parent : {a, b})
      if (r.needs_gradient(parent))
        detail::add_rows_back("add", "gradient", r.context(), r.gradient(out), r.gradient_of(parent));
  });
  return out;
}

}  // namespace stroma
