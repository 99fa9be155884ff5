#pragma once
#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <string>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>

namespace stroma {
namespace detail {

/// Columns first .. first + count - 1 of m.
template <class T, class Space>
[[nodiscard]] matrix_view<T, Space> middle_columns(const matrix_view<T, Space>& m, index_t first, index_t count) {
  return {m.data + first * m.col_stride, m.rows, count, m.row_stride, m.col_stride};
}
/// All parts have `rows` rows and together `cols` columns.
template <class Parts>
void check_parts(std::string_view function, const Parts& parts, index_t rows, index_t cols) {
  index_t sum = 0, k = 0;
  for (const auto& part : parts) {
    if (part.rows != rows)
      throw shape_error(error_message(function, "part " + std::to_string(k), std::to_string(part.rows) + " rows",
                                      std::to_string(rows)));
    sum += part.cols;
    ++k;
  }
  check::columns(function, "parts", sum, cols, "the columns of out");
}

}  // namespace detail

/// out = [part 0 | part 1 | ..]: matrices of the same rows side by side. `concatenate(ctx, {a, b, c}, out)` with views.
/// @param parts [N, D_k] views   @param out [N, sum of D_k] overwritten
/// Cost: O(N D), no scratch.   @throws shape_error
template <execution_context Context, matrix_like Y>
  requires same_space<Context, Y>
void concatenate(Context& ctx, std::initializer_list<matrix_view<const scalar_of<Y>, space_of<Y>>> parts, Y&& out) {
  const matrix_view<scalar_of<Y>, space_of<Y>> y = as_view(out);
  detail::check_parts("concatenate", parts, y.rows, y.cols);
  index_t first = 0;
  for (const auto& part : parts) {
    primitives<typename Context::backend>::copy(ctx, part, detail::middle_columns(y, first, part.cols));
    first += part.cols;
  }
}
/// The same for two containers.
template <execution_context Context, matrix_like A, matrix_like B, matrix_like Y>
  requires same_space<Context, A, B, Y> && std::same_as<scalar_of<A>, scalar_of<Y>> &&
           std::same_as<scalar_of<B>, scalar_of<Y>>
void concatenate(Context& ctx, const A& a, const B& b, Y&& out) {
  concatenate(ctx, {as_const_view(a), as_const_view(b)}, out);
}

/// d_part_k += its columns of d_out. A view without data, but with its extents, leaves that part out.
/// @param d_out [N, sum of D_k]   @param d_parts [N, D_k] views   @throws shape_error
template <execution_context Context, matrix_like D>
  requires same_space<Context, D>
void concatenate_backward(Context& ctx, const D& d_out,
                          std::initializer_list<matrix_view<scalar_of<D>, space_of<D>>> d_parts) {
  using T = scalar_of<D>;
  const auto d = as_const_view(d_out);
  detail::check_parts("concatenate_backward", d_parts, d.rows, d.cols);
  index_t first = 0;
  for (const auto& part : d_parts) {
    if (part.data != nullptr)
      primitives<typename Context::backend>::axpy(ctx, T(1), detail::middle_columns(d, first, part.cols), part);
    first += part.cols;
  }
}

/// Recorded on a graph: up to 16 parts of the same rows side by side. In inference the rows of the first part are left
/// to the consumer, tile by tile.
template <class T, class Backend>
node concatenate(graph<T, Backend>& g, std::initializer_list<node> parts) {
  using ops = primitives<Backend>;
  constexpr std::size_t most = 16;
  check::require(parts.size() > 0 && parts.size() <= most, "concatenate", "parts", std::to_string(parts.size()),
                 "1 to 16");
  struct piece {
    node from;
    matrix_view<const T, typename Backend::space> value;  // of the first: left out, it may not exist as a whole
  };
  std::array<piece, most> pieces{};
  const std::size_t count = parts.size();
  const node lead = *parts.begin();
  index_t cols = 0;
  for (std::size_t k = 0; k < count; ++k) {
    const node part = parts.begin()[k];
    const auto extents = g.shape(part);
    if (extents.rows != g.shape(lead).rows)
      throw shape_error(error_message("concatenate", "part " + std::to_string(k),
                                      std::to_string(extents.rows) + " rows", std::to_string(g.shape(lead).rows)));
    pieces[k] = {part, k == 0 ? matrix_view<const T, typename Backend::space>(nullptr, extents.rows, extents.cols)
                              : g.value(part)};
    cols += extents.cols;
  }
  const auto join = [=](auto& ctx, auto rows_of_lead, index_t first, auto out) {
    index_t at = rows_of_lead.cols;
    ops::copy(ctx, rows_of_lead, detail::middle_columns(out, 0, at));
    for (std::size_t k = 1; k < count; at += pieces[k].value.cols, ++k)
      ops::copy(ctx, pieces[k].value.middle_rows(first, out.rows),
                detail::middle_columns(out, at, pieces[k].value.cols));
  };
  if constexpr (ops::evaluates_by_rows)
    if (!g.recording())
      return g.emit_by_rows(lead, cols,
                            [=](const graph<T, Backend>& from, index_t first, auto tile, tile_scratch<T>& scratch) {
                              from.visit_rows(lead, first, tile.rows, scratch,
                                              [&](auto rows) { join(from.context(), rows, first, tile); });
                            });
  const auto emitted = g.emit_rows_of(lead, cols, parts);
  const node out = emitted.first;
  g.visit(lead, [&](auto rows) { join(g.context(), rows, index_t{0}, emitted.second); });
  g.on_backward(out, [=](graph<T, Backend>& r) {
    const auto d = r.gradient(out);
    index_t at = 0;
    for (std::size_t k = 0; k < count; at += pieces[k].value.cols, ++k)
      if (r.needs_gradient(pieces[k].from))
        ops::axpy(r.context(), T(1), detail::middle_columns(d, at, pieces[k].value.cols),
                  r.gradient_of(pieces[k].from));
  });
  return out;
}

}  // namespace stroma
