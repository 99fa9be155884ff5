#pragma once
#include <tuple>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/core/array.hpp>
#include <stroma/core/members.hpp>

namespace stroma {

struct linear_options {
  activation activate = activation::identity;  ///< applied to the product as it is stored
};

namespace detail {

/// What a product is stored to, and its bias: read and written by whole packets.
inline void check_unit_columns(std::string_view function, std::string_view argument, index_t stride, index_t count) {
  if (stride == 1 || count < 2) return;
  throw shape_error(error_message(function, argument, "elements " + std::to_string(stride) + " apart", "neighbours"));
}

}  // namespace detail

/// out = f(x W^T + b): a fully connected layer with its bias and activation fused into the product.
/// @param x       [N, in]    rows in the scalar of the weights, half or bfloat16 (widened as they are read)
/// @param weight  [out, in]  @param bias [out] or empty
/// @param out     [N, out]   overwritten; unit column stride
/// Cost: 2 N in out flops; scratch for a packed slab of the weights. A row's bits depend on that row alone.
/// @throws shape_error
template <execution_context Context, matrix_like X, matrix_like W, vector_like B, matrix_like Y>
  requires same_space<Context, X, W, B, Y>
void linear(Context& ctx, const X& x, const W& weight, const B& bias, Y&& out, const linear_options& options = {}) {
  const auto w = as_const_view(weight);
  const auto v = as_const_view(x);
  const auto b = as_const_view(bias);
  const auto y = as_view(out);
  check::columns("linear", "x", v.cols, w.cols, "the width of weight");
  if (b.size != 0) check::length("linear", "bias", b.size, w.rows, "the rows of weight");
  check::shape("linear", "out", y, v.rows, w.rows);
  detail::check_unit_columns("linear", "out", y.col_stride, y.cols);
  detail::check_unit_columns("linear", "bias", b.stride, b.size);
  primitives<typename Context::backend>::gemm(ctx, v, w.transposed(), y, b, options.activate);
}

/// Where linear_backward adds; an empty view leaves that gradient out.
template <class T, class Space = host_space>
struct linear_gradients {
  matrix_view<T, Space> x{}, weight{};
  vector_view<T, Space> bias{};
};

/// Adds the gradients of linear without an activation: d_x += d_out W, d_W += d_out^T x, d_b += column sums of d_out.
/// @param x [N, in]  @param weight [out, in]  @param d_out [N, out]
/// Cost: 2 N in out flops for each of the two products. Sums over rows run in a fixed order.
/// @throws shape_error
template <execution_context Context, matrix_like X, matrix_like W, matrix_like D>
  requires same_space<Context, X, W, D>
void linear_backward(Context& ctx, const X& x, const W& weight, const D& d_out,
                     linear_gradients<scalar_of<W>, space_of<W>> gradients) {
  using ops = primitives<typename Context::backend>;
  const auto v = as_const_view(x);
  const auto w = as_const_view(weight);
  const auto d = as_const_view(d_out);
  check::columns("linear_backward", "x", v.cols, w.cols, "the width of weight");
  check::shape("linear_backward", "d_out", d, v.rows, w.rows);
  if (gradients.x.data != nullptr) {
    check::shape("linear_backward", "gradients.x", gradients.x, v.rows, v.cols);
    detail::check_unit_columns("linear_backward", "gradients.x", gradients.x.col_stride, v.cols);
    ops::gemm_add(ctx, d, w, gradients.x);
  }
  if (gradients.weight.data != nullptr) {
    check::shape("linear_backward", "gradients.weight", gradients.weight, w.rows, w.cols);
    detail::check_unit_columns("linear_backward", "gradients.weight", gradients.weight.col_stride, w.cols);
    ops::gemm_add(ctx, d.transposed(), v, gradients.weight);
  }
  if (gradients.bias.data != nullptr) {
    check::length("linear_backward", "gradients.bias", gradients.bias.size, w.rows, "the rows of weight");
    detail::check_unit_columns("linear_backward", "gradients.bias", gradients.bias.stride, w.rows);
    ops::add_column_sums(ctx, d, gradients.bias);
  }
}

namespace detail {

/// linear as part of a chain that is evaluated by rows: the weights are packed once.
template <class T, class Backend>
node linear_by_rows(graph<T, Backend>& g, node x, matrix_view<const T, typename Backend::space> weight,
                    vector_view<const T, typename Backend::space> bias, activation f) {
  using ops = primitives<Backend>;
  T* packed = g.template take<T>(ops::template packed_size<T>(weight.cols, weight.rows));
  ops::pack(g.context(), weight.transposed(), packed);
  return g.emit_by_rows(x, weight.rows,
                        [=](const graph<T, Backend>& from, index_t first, auto tile, tile_scratch<T>& scratch) {
                          from.visit_rows(x, first, tile.rows, scratch, [&](auto rows) {
                            ops::gemm_tile(rows, static_cast<const T*>(packed), tile, bias, f, scratch.buffer());
                          });
                        });
}

}  // namespace detail

/// The same on a graph; `bias` may be the empty node.
template <class T, class Backend>
node linear(graph<T, Backend>& g, node x, node weight, node bias, const linear_options& options = {}) {
  using ops = primitives<Backend>;
  const auto w = g.value(weight);
  const vector_view<const T, typename Backend::space> b =
      bias.id < 0 ? vector_view<const T, typename Backend::space>{} : g.value(bias).row(0);
  check::columns("linear", "x", g.shape(x).cols, w.cols, "the width of weight");
  if (bias.id >= 0) {
    check::shape("linear", "bias", g.value(bias), 1, w.rows);
    detail::check_unit_columns("linear", "bias", g.value(bias).col_stride, w.rows);
  }
  const activation f = options.activate;
  if constexpr (ops::evaluates_by_rows)
    if (!g.recording()) return detail::linear_by_rows(g, x, w, b, f);

  const auto emitted = g.emit_rows_of(x, w.rows, {x, weight, bias});
  const node out = emitted.first;
  const auto y = emitted.second;
  auto before = y;  // what goes into the activation; gelu alone needs it again
  if (f == activation::gelu && g.needs_gradient(out)) before = {g.template take<T>(y.rows * y.cols), y.rows, y.cols};
  g.visit(x, [&](auto rows) {
    if (before.data == y.data) return ops::gemm(g.context(), rows, w.transposed(), y, b, f);
    ops::gemm(g.context(), rows, w.transposed(), before, b, activation::identity);
    ops::activate(g.context(), f, matrix_view<const T, typename Backend::space>(before), y);
  });
  g.on_backward(out, [=](graph<T, Backend>& r) {
    auto& ctx = r.context();
    // The node's own gradient is not needed after this, so the activation's derivative is multiplied in place.
    const auto d = r.gradient_of(out);
    if (f != activation::identity)
      ops::scale_by_derivative(ctx, f, r.value_of(before), r.value_of(y), r.value_of(d), d);
    const auto d_const = r.value_of(d);
    if (r.needs_gradient(x)) {
      const auto target = r.gradient_target_of(x);
      if (target.fresh) ops::gemm(ctx, d_const, w, target.gradient);
      else ops::gemm_add(ctx, d_const, w, target.gradient);
    }
    if (r.needs_gradient(weight))
      r.visit(x, [&](auto rows) { ops::gemm_add(ctx, d_const.transposed(), rows, r.gradient_of(weight)); });
    if (r.needs_gradient(bias)) ops::add_column_sums(ctx, d_const, r.gradient_of(bias).row(0));
  });
  return out;
}

/// A fully connected layer. Parameters as in PyTorch: weight [out, in], bias [out].
template <class T, class Backend = backend::cpu>
struct linear_layer {
  array<T, 2, typename Backend::space> weight;
  array<T, 1, typename Backend::space> bias;

  linear_layer() = default;
  linear_layer(index_t in, index_t out) : weight(out, in), bias(out) {}
  static auto members(auto& self) { return std::tuple{member{"weight", self.weight}, member{"bias", self.bias}}; }

  node operator()(graph<T, Backend>& g, node x, const linear_options& options = {}) const {
    return linear(g, x, g.parameter(weight), bias.size() > 0 ? g.parameter(bias) : node{}, options);
  }
};

}  // namespace stroma
