#pragma once
#include <concepts>
#include <string_view>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>

namespace stroma {
namespace detail {

/// A matrix that packets can read: itself if its columns are neighbours, else a copy in the scratch.
template <class Context, class Frame, class T, class Space>
matrix_view<const T, Space> with_unit_columns(Context& ctx, Frame& scratch, matrix_view<const T, Space> m) {
  if (m.col_stride == 1 || m.cols < 2) return m;
  const matrix_view<T, Space> copy(scratch.template take<T>(m.rows * m.cols), m.rows, m.cols);
  primitives<typename Context::backend>::copy(ctx, m, copy);
  return copy;
}
/// A matrix that packets can write: itself, or room in the scratch whose content the caller copies back.
template <class Frame, class T, class Space>
matrix_view<T, Space> room_with_unit_columns(Frame& scratch, matrix_view<T, Space> m) {
  if (m.col_stride == 1 || m.cols < 2) return m;
  return {scratch.template take<T>(m.rows * m.cols), m.rows, m.cols};
}

/// out = f(x); out has unit column stride. May run on a worker, with a tile.
template <class Context, class S, class T, class Space>
void activate_rows(Context& ctx, activation f, matrix_view<const S, Space> x, matrix_view<T, Space> out) {
  using ops = primitives<typename Context::backend>;
  if constexpr (std::same_as<S, T>)
    if (x.col_stride == 1 || x.cols < 2) return ops::activate(ctx, f, x, out);
  ops::copy(ctx, x, out);
  ops::activate(ctx, f, matrix_view<const T, Space>(out), out);
}

template <class Context, class X, class Y>
void activate(std::string_view name, Context& ctx, activation f, const X& x, Y&& out) {
  using T = scalar_of<Y>;
  using Space = typename Context::space;
  const auto v = as_const_view(x);
  const matrix_view<T, Space> y = as_view(out);
  check::shape(name, "out", y, v.rows, v.cols);
  auto scratch = ctx.workspace().open();
  const auto room = room_with_unit_columns(scratch, y);
  activate_rows(ctx, f, v, room);
  if (room.data != y.data) primitives<typename Context::backend>::copy(ctx, matrix_view<const T, Space>(room), y);
}

/// `saved` is x for gelu and f(x) for the others.
template <class Context, class X, class D, class Gradients>
void activate_backward(std::string_view name, std::string_view saved_name, Context& ctx, activation f, const X& saved,
                       const D& d_out, Gradients&& d_x) {
  using T = scalar_of<Gradients>;
  using Space = typename Context::space;
  using ops = primitives<typename Context::backend>;
  const auto s = as_const_view(saved);
  const auto d = as_const_view(d_out);
  const matrix_view<T, Space> target = as_view(d_x);
  check::shape(name, saved_name, s, d.rows, d.cols);
  check::shape(name, "d_x", target, d.rows, d.cols);
  auto scratch = ctx.workspace().open();
  const auto s_unit = with_unit_columns(ctx, scratch, s), d_unit = with_unit_columns(ctx, scratch, d);
  const auto room = room_with_unit_columns(scratch, target);
  const bool apart = room.data != target.data;
  if (apart) ops::copy(ctx, matrix_view<const T, Space>(target), room);
  ops::activate_backward(ctx, f, s_unit, s_unit, d_unit, room);
  if (apart) ops::copy(ctx, matrix_view<const T, Space>(room), target);
}

template <class X, class Y>
concept activates_to = matrix_like<X> && matrix_like<Y> && std::floating_point<scalar_of<Y>> &&
                       (std::same_as<scalar_of<X>, scalar_of<Y>> || is_narrow<scalar_of<X>>);
template <class X, class D, class Gradients>
concept differentiates_to =
    matrix_like<X> && matrix_like<D> && matrix_like<Gradients> && std::same_as<scalar_of<X>, scalar_of<Gradients>> &&
    std::same_as<scalar_of<D>, scalar_of<Gradients>>;

}  // namespace detail

/// out = f(x) for each element, f chosen at run time: relu, tanh, sigmoid, gelu, elu or identity. NaN stays NaN.
/// @param x    [N, D] in the scalar of out, half or bfloat16 (widened)
/// @param out  [N, D] overwritten; may be x
/// Cost: O(N D); no scratch where out has unit column stride, else O(N D) for a copy.   @throws shape_error
template <execution_context Context, class X, class Y>
  requires detail::activates_to<X, Y> && same_space<Context, X, Y>
void activate(Context& ctx, activation f, const X& x, Y&& out) {
  detail::activate("activate", ctx, f, x, out);
}
/// d_x += d_out f'(x). `saved` is what the derivative is computed from: x for gelu, f(x) for all others.
template <execution_context Context, class X, class D, class Gradients>
  requires detail::differentiates_to<X, D, Gradients> && same_space<Context, X, D, Gradients>
void activate_backward(Context& ctx, activation f, const X& saved, const D& d_out, Gradients&& d_x) {
  detail::activate_backward("activate_backward", "saved", ctx, f, saved, d_out, d_x);
}
/// Recorded on a graph. In inference it is left to its consumer, tile by tile.
template <class T, class Backend>
node activate(graph<T, Backend>& g, activation f, node x) {
  using ops = primitives<Backend>;
  const index_t cols = g.shape(x).cols;
  if constexpr (ops::evaluates_by_rows)
    if (!g.recording())
      return g.emit_by_rows(x, cols,
                            [=](const graph<T, Backend>& from, index_t first, auto tile, tile_scratch<T>& scratch) {
                              from.visit_rows(x, first, tile.rows, scratch,
                                              [&](auto rows) { detail::activate_rows(from.context(), f, rows, tile); });
                            });
  const auto emitted = g.emit_rows_of(x, cols, {x});
  const node out = emitted.first;
  g.visit(x, [&](auto rows) { detail::activate_rows(g.context(), f, rows, emitted.second); });
  g.on_backward(out, [=](graph<T, Backend>& r) {
    activate_backward(r.context(), f, f == activation::gelu ? r.value(x) : r.value(out), r.gradient(out),
                      r.gradient_of(x));
  });
  return out;
}

/// out = max(x, 0); NaN stays NaN. Arguments, cost and errors as for activate; the same holds for all below.
template <execution_context Context, class X, class Y>
  requires detail::activates_to<X, Y> && same_space<Context, X, Y>
void relu(Context& ctx, const X& x, Y&& out) {
  detail::activate("relu", ctx, activation::relu, x, out);
}
/// d_x += d_out where `out`, the value of relu, is above 0.
template <execution_context Context, class X, class D, class Gradients>
  requires detail::differentiates_to<X, D, Gradients> && same_space<Context, X, D, Gradients>
void relu_backward(Context& ctx, const X& out, const D& d_out, Gradients&& d_x) {
  detail::activate_backward("relu_backward", "out", ctx, activation::relu, out, d_out, d_x);
}
template <class T, class Backend>
node relu(graph<T, Backend>& g, node x) {
  return activate(g, activation::relu, x);
}

/// out = tanh(x), within 6 ulp.
template <execution_context Context, class X, class Y>
  requires detail::activates_to<X, Y> && same_space<Context, X, Y>
void tanh(Context& ctx, const X& x, Y&& out) {
  detail::activate("tanh", ctx, activation::tanh, x, out);
}
/// d_x += d_out (1 - out^2), `out` the value of tanh.
template <execution_context Context, class X, class D, class Gradients>
  requires detail::differentiates_to<X, D, Gradients> && same_space<Context, X, D, Gradients>
void tanh_backward(Context& ctx, const X& out, const D& d_out, Gradients&& d_x) {
  detail::activate_backward("tanh_backward", "out", ctx, activation::tanh, out, d_out, d_x);
}
template <class T, class Backend>
node tanh(graph<T, Backend>& g, node x) {
  return activate(g, activation::tanh, x);
}

/// out = 1 / (1 + exp(-x)), within 3 ulp, for x of any size.
template <execution_context Context, class X, class Y>
  requires detail::activates_to<X, Y> && same_space<Context, X, Y>
void sigmoid(Context& ctx, const X& x, Y&& out) {
  detail::activate("sigmoid", ctx, activation::sigmoid, x, out);
}
/// d_x += d_out out (1 - out), `out` the value of sigmoid.
template <execution_context Context, class X, class D, class Gradients>
  requires detail::differentiates_to<X, D, Gradients> && same_space<Context, X, D, Gradients>
void sigmoid_backward(Context& ctx, const X& out, const D& d_out, Gradients&& d_x) {
  detail::activate_backward("sigmoid_backward", "out", ctx, activation::sigmoid, out, d_out, d_x);
}
template <class T, class Backend>
node sigmoid(graph<T, Backend>& g, node x) {
  return activate(g, activation::sigmoid, x);
}

/// out = x Phi(x), Phi the normal distribution function (the erf form, PyTorch's default). At -infinity it is NaN.
/// Reference: Hendrycks and Gimpel 2016.
template <execution_context Context, class X, class Y>
  requires detail::activates_to<X, Y> && same_space<Context, X, Y>
void gelu(Context& ctx, const X& x, Y&& out) {
  detail::activate("gelu", ctx, activation::gelu, x, out);
}
/// d_x += d_out (Phi(x) + x phi(x)): alone of all from the argument `x`, not from the value.
template <execution_context Context, class X, class D, class Gradients>
  requires detail::differentiates_to<X, D, Gradients> && same_space<Context, X, D, Gradients>
void gelu_backward(Context& ctx, const X& x, const D& d_out, Gradients&& d_x) {
  detail::activate_backward("gelu_backward", "x", ctx, activation::gelu, x, d_out, d_x);
}
template <class T, class Backend>
node gelu(graph<T, Backend>& g, node x) {
  return activate(g, activation::gelu, x);
}

/// out = x above 0, exp(x) - 1 below.   Reference: Clevert, Unterthiner, Hochreiter 2016 (alpha = 1).
template <execution_context Context, class X, class Y>
  requires detail::activates_to<X, Y> && same_space<Context, X, Y>
void elu(Context& ctx, const X& x, Y&& out) {
  detail::activate("elu", ctx, activation::elu, x, out);
}
/// d_x += d_out (out + 1) where `out`, the value of elu, is below 0, else d_out.
template <execution_context Context, class X, class D, class Gradients>
  requires detail::differentiates_to<X, D, Gradients> && same_space<Context, X, D, Gradients>
void elu_backward(Context& ctx, const X& out, const D& d_out, Gradients&& d_x) {
  detail::activate_backward("elu_backward", "out", ctx, activation::elu, out, d_out, d_x);
}
template <class T, class Backend>
node elu(graph<T, Backend>& g, node x) {
  return activate(g, activation::elu, x);
}

}  // namespace stroma
