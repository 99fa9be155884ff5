#pragma once
#include <concepts>
#include <string_view>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/checks.hpp>
#include <stroma/backend/cpu/primitives.hpp>

namespace stroma {

struct top_k_options {
  bool check_values = true;  ///< finite scores
};

/// The largest first; of equal ones the first of the row first. Where a row has less than k: index -1, value -infinity.
template <class T, class Space = host_space>
struct top_k_output {
  matrix_view<index_t, Space> indices;  ///< [rows, k] overwritten; its columns say k
  matrix_view<T, Space> values{};       ///< [rows, k] overwritten; empty: not wanted
};

namespace detail {

template <class Backend>
struct top_k_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/top_k.cuh> and compile with nvcc");

  /// Indices count from the start of a row, or where d_scores is one column of segments, from its first row.
  template <class T>
  static void backward(cpu_context&, matrix_view<const index_t> indices, matrix_view<const T> d_values, bool segments,
                       matrix_view<T> d_scores) {
    for (index_t r = 0; r < indices.rows; ++r)
      for (index_t j = 0; j < indices.cols; ++j) {
        const index_t at = indices(r, j);
        if (at < 0 || at >= (segments ? d_scores.rows : d_scores.cols)) continue;
        d_scores(segments ? at : r, segments ? 0 : at) += d_values(r, j);
      }
  }
};

template <class T, class Space>
void check_top_k(std::string_view function, index_t rows, const top_k_output<T, Space>& out) {
  check::shape(function, "out.indices", out.indices, rows, out.indices.cols);
  if (out.values.data != nullptr) check::shape(function, "out.values", out.values, rows, out.indices.cols);
}
template <class Backend, class T, class Space>
void run_top_k_backward(context_of<Backend>& ctx, std::string_view function, matrix_view<const index_t, Space> indices,
                        matrix_view<const T, Space> d_values, bool segments, matrix_view<T, Space> d_scores) {
  check::shape(function, "d_values", d_values, indices.rows, indices.cols);
  top_k_kernel<Backend>::backward(ctx, indices, d_values, segments, d_scores);
}

}  // namespace detail

/// The k largest of each row of scores: indices(i, 0) is where the largest of row i stands, indices(i, 1) the second.
/// @param scores [N, C] float or double   @param out [N, k], k of any size: a row has min(k, C) of them
/// Cost: O(C + k log k) a row and scratch for all scores; a device takes O(C + k log^2 k) a row in one launch of a
/// block a row, and scratch of 2 k a row. Equal scores are taken in the order of their columns: the same on every
/// backend.
/// @throws shape_error, value_error
template <execution_context Context, matrix_like Scores>
  requires same_space<Context, Scores>
void top_k(Context& ctx, const Scores& scores, const top_k_output<scalar_of<Scores>, space_of<Scores>>& out,
           const top_k_options& options = {}) {
  using backend = typename Context::backend;
  const auto s = as_const_view(scores);
  detail::check_top_k("top_k", s.rows, out);
  if (options.check_values) value_checks<backend>::finite(ctx, "top_k", "scores", s);
  primitives<backend>::top_k(ctx, s, {}, out.values, out.indices);
}
/// Adds the derivative: d_scores(i, indices(i, j)) += d_values(i, j).
/// @param indices [N, k] as top_k gave them   @param d_values [N, k]   @param d_scores [N, C]
template <execution_context Context, matrix_like Indices, matrix_like D, matrix_like Gradients>
  requires same_space<Context, Indices, D, Gradients> && std::same_as<scalar_of<Indices>, index_t>
void top_k_backward(Context& ctx, const Indices& indices, const D& d_values, Gradients&& d_scores) {
  const matrix_view<scalar_of<Gradients>, typename Context::space> d = as_view(d_scores);
  const auto at = as_const_view(indices);
  check::shape("top_k_backward", "d_scores", d, at.rows, d.cols);
  detail::run_top_k_backward<typename Context::backend>(ctx, "top_k_backward", at, as_const_view(d_values), false, d);
}

/// The k largest scores of each segment (bag): the instances that stand out. Indices are rows of all segments together.
/// @param scores [N]   @param offsets [segments + 1] from 0 to N, never falling   @param out [segments, k]
/// Cost, order of equal scores and errors: as top_k, for rows that are segments.
template <execution_context Context, vector_like Scores, vector_like Offsets>
  requires same_space<Context, Scores, Offsets> && std::same_as<scalar_of<Offsets>, index_t>
void segmented_top_k(Context& ctx, const Scores& scores, const Offsets& offsets,
                     const top_k_output<scalar_of<Scores>, space_of<Scores>>& out, const top_k_options& options = {}) {
  using backend = typename Context::backend;
  const auto s = as_const_view(scores);
  const auto o = as_const_view(offsets);
  value_checks<backend>::offsets(ctx, "segmented_top_k", "offsets", o, s.size);
  detail::check_top_k("segmented_top_k", o.size - 1, out);
  if (options.check_values) value_checks<backend>::finite(ctx, "segmented_top_k", "scores", s);
  primitives<backend>::top_k(ctx,
                             matrix_view<const scalar_of<Scores>, space_of<Scores>>(s.data, s.size, 1, s.stride, 1), o,
                             out.values, out.indices);
}
/// Adds the derivative: d_scores(indices(b, j)) += d_values(b, j).
/// @param indices [segments, k] as segmented_top_k gave them   @param d_values [segments, k]   @param d_scores [N]
template <execution_context Context, matrix_like Indices, matrix_like D, vector_like Gradients>
  requires same_space<Context, Indices, D, Gradients> && std::same_as<scalar_of<Indices>, index_t>
void segmented_top_k_backward(Context& ctx, const Indices& indices, const D& d_values, Gradients&& d_scores) {
  const vector_view<scalar_of<Gradients>, typename Context::space> d = as_view(d_scores);
  detail::run_top_k_backward<typename Context::backend>(
      ctx, "segmented_top_k_backward", as_const_view(indices), as_const_view(d_values), true,
      matrix_view<scalar_of<Gradients>, typename Context::space>(d.data, d.size, 1, d.stride, 1));
}

/// What the selections give on a graph.
template <class Space>
struct selected {
  node values;                                ///< [rows, k]
  matrix_view<const index_t, Space> indices;  ///< [rows, k], until the graph's reset
};

namespace detail {

template <class T, class Backend>
selected<typename Backend::space> record_top_k(graph<T, Backend>& g, node scores, index_t k, index_t rows,
                                               vector_view<const index_t, typename Backend::space> offsets) {
  using space = typename Backend::space;
  check::require(k >= 0, "top_k", "k", std::to_string(k), "0 or more");
  const auto [values, v] = g.emit(rows, k, {scores});
  const matrix_view<index_t, space> indices(g.template take<index_t>(rows * k), rows, k);
  primitives<Backend>::top_k(g.context(), g.value(scores), offsets, v, indices);
  g.on_backward(values, [=, values = values](graph<T, Backend>& r) {
    top_k_kernel<Backend>::backward(r.context(), matrix_view<const index_t, space>(indices), r.gradient(values),
                                    offsets.size > 0, r.gradient_of(scores));
  });
  return {values, indices};
}

}  // namespace detail

/// Recorded on a graph: of each row of [N, C]. Values are those of the graph, which are not checked.
template <class T, class Backend>
selected<typename Backend::space> top_k(graph<T, Backend>& g, node scores, index_t k) {
  return detail::record_top_k(g, scores, k, g.shape(scores).rows, {});
}
/// Recorded on a graph: scores [N, 1] with the offsets of their bags, or one bag.
template <class T, class Backend>
selected<typename Backend::space> segmented_top_k(graph<T, Backend>& g, node scores, index_t k) {
  const auto extents = g.shape(scores);
  check::columns("segmented_top_k", "scores", extents.cols, 1, "one score a row");
  auto offsets = g.offsets(scores);
  if (offsets.size == 0) {
    index_t* const ends = g.template take<index_t>(2);
    primitives<Backend>::write_ends(g.context(), extents.rows, ends);
    offsets = {ends, 2};
  }
  return detail::record_top_k(g, scores, k, offsets.size - 1, offsets);
}

}  // namespace stroma
