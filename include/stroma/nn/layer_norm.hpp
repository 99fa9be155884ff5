#pragma once
#include <array>
#include <cmath>
#include <concepts>
#include <tuple>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/core/array.hpp>
#include <stroma/core/members.hpp>

namespace stroma {

struct layer_norm_options {
  double epsilon = 1e-5;  ///< added to the variance; above 0
};

/// Where layer_norm_backward adds; an empty view leaves that gradient out.
template <class T, class Space = host_space>
struct layer_norm_gradients {
  matrix_view<T, Space> x{};
  vector_view<T, Space> gain{}, bias{};
};

namespace detail {

template <class Backend>
struct layer_norm_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/layer_norm.cuh> and compile with nvcc");

  /// Sum of x, in an order that depends on the count alone.
  template <class T>
  static T sum(index_t count, const T* x) {
    using s = simd<T>;
    auto total = s::set(T(0));
    index_t i = 0;
    for (; i + s::lanes <= count; i += s::lanes) total = s::add(total, s::load(x + i));
    if (i < count) total = s::add(total, s::load_part(x + i, count - i));
    return s::sum(total);
  }
  /// row = (x - mean x) / sqrt(variance x + epsilon), by two passes; returns 1 / sqrt(..).
  template <class S, class T>
  static T normalise(vector_view<const S> x, double epsilon, T* row) {
    using s = simd<T>;
    for (index_t j = 0; j < x.size; ++j) row[j] = widen<T>(x[j]);
    const auto count = static_cast<T>(x.size);
    const auto mean = s::set(sum(x.size, row) / count);
    map_packets(x.size, row, row, [&](const auto& v) { return s::sub(v, mean); });
    const T scale = 1 / std::sqrt(dot(x.size, row, row) / count + static_cast<T>(epsilon));
    const auto factor = s::set(scale);
    map_packets(x.size, row, row, [&](const auto& v) { return s::mul(v, factor); });
    return scale;
  }
  /// Rows on one worker; `room` has x.cols elements and is used where out's columns are apart.
  template <class S, class T>
  static void rows(matrix_view<const S> x, vector_view<const T> gain, vector_view<const T> bias,
                   const layer_norm_options& options, matrix_view<T> out, T* room) {
    for (index_t r = 0; r < x.rows; ++r) {
      T* const row = out.col_stride == 1 ? out.data + r * out.row_stride : room;
      normalise(x.row(r), options.epsilon, row);
      if (gain.size > 0)
        for (index_t j = 0; j < x.cols; ++j) row[j] = row[j] * gain[j];
      if (bias.size > 0)
        for (index_t j = 0; j < x.cols; ++j) row[j] = row[j] + bias[j];
      if (row != room) continue;
      for (index_t j = 0; j < x.cols; ++j) out(r, j) = row[j];
    }
  }
  template <class S, class T>
  static void forward(cpu_context& ctx, matrix_view<const S> x, vector_view<const T> gain, vector_view<const T> bias,
                      matrix_view<T> out, const layer_norm_options& options) {
    for_each_tile<T>(
        ctx, x.rows, tile_scratch<T>::padded(x.cols), [&](index_t first, index_t count, tile_scratch<T>& scratch) {
          rows(x.middle_rows(first, count), gain, bias, options, out.middle_rows(first, count), scratch.take(x.cols));
        });
  }

  /// One row: d_x += (v - mean v - x' mean(v x')) / sqrt(..) with x' the normalised row and v = d_out gain; adds
  /// d_out x' and d_out to `sums`. `row` and `v` are scratch of x.cols elements.
  template <class S, class T>
  static void row_backward(vector_view<const S> x, vector_view<const T> gain, vector_view<const T> d_out,
                           double epsilon, matrix_view<T> d_x, T* row, T* v, T* sums) {
    const index_t cols = x.size;
    const T scale = normalise(x, epsilon, row);
    for (index_t j = 0; j < cols; ++j) {
      v[j] = d_out[j];
      sums[j] += v[j] * row[j];
      sums[cols + j] += v[j];
    }
    if (d_x.data == nullptr) return;
    if (gain.size > 0)
      for (index_t j = 0; j < cols; ++j) v[j] *= gain[j];
    const T mean = sum(cols, v) / static_cast<T>(cols), along = dot(cols, v, row) / static_cast<T>(cols);
    for (index_t j = 0; j < cols; ++j) d_x(0, j) += scale * (v[j] - mean - row[j] * along);
  }
  template <class S, class T>
  static void backward(cpu_context& ctx, matrix_view<const S> x, vector_view<const T> gain, matrix_view<const T> d_out,
                       const layer_norm_gradients<T>& gradients, const layer_norm_options& options) {
    const index_t cols = x.cols, step = tile_scratch<T>::padded(cols);
    auto frame = ctx.workspace().open();
    T* const room = frame.template take<T>(2 * step * ctx.threads());
    const matrix_view<T> sums(frame.template take<T>(2 * cols), 1, 2 * cols);
    const std::array<index_t, 2> all{0, x.rows};
    sum_over_segments(ctx, vector_view<const index_t>(all.data(), 2), sums, false,
                      [&](const segment_part& part, T* partial, int worker) {
                        T* const own = room + 2 * step * worker;
                        for (index_t r = part.first; r < part.first + part.count; ++r)
                          row_backward(x.row(r), gain, d_out.row(r), options.epsilon,
                                       gradients.x.data == nullptr ? matrix_view<T>{} : gradients.x.middle_rows(r, 1),
                                       own, own + step, partial);
                      });
    for (index_t j = 0; j < gradients.gain.size; ++j) gradients.gain[j] += sums(0, j);
    for (index_t j = 0; j < gradients.bias.size; ++j) gradients.bias[j] += sums(0, cols + j);
  }
};

template <class T, class Space>
void check_layer_norm(std::string_view function, index_t cols, vector_view<const T, Space> gain, index_t bias_size,
                      const layer_norm_options& options) {
  if (gain.size != 0) check::length(function, "gain", gain.size, cols, "the columns of x");
  if (bias_size != 0) check::length(function, "bias", bias_size, cols, "the columns of x");
  check::positive(function, "epsilon", options.epsilon);
}

}  // namespace detail

/// Normalises each row: out = gain (x - mean) / sqrt(variance + epsilon) + bias, with the row's own mean and (biased)
/// variance, found in two passes.
/// @param x    [N, D] in the scalar of out, half or bfloat16
/// @param gain [D] or empty: 1   @param bias [D] or empty: 0   @param out [N, D] overwritten; may be x
/// Cost: O(N D), scratch of one row a thread. A row's bits depend on that row alone.   @throws shape_error, value_error
/// Reference: Ba, Kiros, Hinton 2016.
template <execution_context Context, matrix_like X, vector_like Gain, vector_like Bias, matrix_like Y>
  requires same_space<Context, X, Gain, Bias, Y> &&
           (std::same_as<scalar_of<X>, scalar_of<Y>> || is_narrow<scalar_of<X>>)
void layer_norm(Context& ctx, const X& x, const Gain& gain, const Bias& bias, Y&& out,
                const layer_norm_options& options = {}) {
  const auto v = as_const_view(x);
  const auto w = as_const_view(gain);
  const auto b = as_const_view(bias);
  const matrix_view<scalar_of<Y>, typename Context::space> y = as_view(out);
  detail::check_layer_norm("layer_norm", v.cols, w, b.size, options);
  check::shape("layer_norm", "out", y, v.rows, v.cols);
  detail::layer_norm_kernel<typename Context::backend>::forward(ctx, v, w, b, y, options);
}

/// Adds the gradients of layer_norm. With x' the normalised row and v = d_out gain:
///   d_x += (v - mean v - x' mean(v x')) / sqrt(variance + epsilon)
///   d_gain += column sums of d_out x'   d_bias += column sums of d_out
/// @param x [N, D]   @param gain [D] or empty   @param d_out [N, D]
/// Cost: O(N D); rows are normalised again instead of stored. Sums over rows run in a fixed order.
/// @throws shape_error, value_error
template <execution_context Context, matrix_like X, vector_like Gain, matrix_like D>
  requires same_space<Context, X, Gain, D>
void layer_norm_backward(Context& ctx, const X& x, const Gain& gain, const D& d_out,
                         layer_norm_gradients<scalar_of<D>, typename Context::space> gradients,
                         const layer_norm_options& options = {}) {
  constexpr auto name = "layer_norm_backward";
  const auto v = as_const_view(x);
  const auto w = as_const_view(gain);
  const auto d = as_const_view(d_out);
  detail::check_layer_norm(name, v.cols, w, 0, options);
  check::shape(name, "d_out", d, v.rows, v.cols);
  if (gradients.x.data != nullptr) check::shape(name, "gradients.x", gradients.x, v.rows, v.cols);
  if (gradients.gain.data != nullptr)
    check::length(name, "gradients.gain", gradients.gain.size, v.cols, "the columns of x");
  if (gradients.bias.data != nullptr)
    check::length(name, "gradients.bias", gradients.bias.size, v.cols, "the columns of x");
  detail::layer_norm_kernel<typename Context::backend>::backward(ctx, v, w, d, gradients, options);
}

/// Recorded on a graph; gain and bias are [1, D] or the empty node. In inference it is left to its consumer, tile by
/// tile.
template <class T, class Backend>
node layer_norm(graph<T, Backend>& g, node x, node gain, node bias, const layer_norm_options& options = {}) {
  using kernel = detail::layer_norm_kernel<Backend>;
  using vector = vector_view<const T, typename Backend::space>;
  const index_t cols = g.shape(x).cols;
  const auto row_of = [&](node n, std::string_view argument) {
    if (n.id < 0) return vector{};
    check::shape("layer_norm", argument, g.shape(n), 1, cols);
    return g.value(n).row(0);
  };
  const vector w = row_of(gain, "gain"), b = row_of(bias, "bias");
  detail::check_layer_norm("layer_norm", cols, w, b.size, options);
  if constexpr (primitives<Backend>::evaluates_by_rows)
    if (!g.recording())
      return g.emit_by_rows(
          x, cols, [=](const graph<T, Backend>& from, index_t first, auto tile, tile_scratch<T>& scratch) {
            from.visit_rows(x, first, tile.rows, scratch,
                            [&](auto rows) { kernel::rows(rows, w, b, options, tile, static_cast<T*>(nullptr)); });
          });
  const auto emitted = g.emit_rows_of(x, cols, {x, gain, bias});
  const node out = emitted.first;
  g.visit(x, [&](auto rows) { kernel::forward(g.context(), rows, w, b, emitted.second, options); });
  g.on_backward(out, [=](graph<T, Backend>& r) {
    layer_norm_gradients<T, typename Backend::space> gradients;
    if (r.needs_gradient(x)) gradients.x = r.gradient_of(x);
    if (r.needs_gradient(gain)) gradients.gain = r.gradient_of(gain).row(0);
    if (r.needs_gradient(bias)) gradients.bias = r.gradient_of(bias).row(0);
    r.visit(x, [&](auto rows) { kernel::backward(r.context(), rows, w, r.gradient(out), gradients, options); });
  });
  return out;
}

/// Layer normalisation with learned gain and bias. Parameters as in PyTorch: weight [D], at first 1, and bias [D].
template <class T, class Backend = backend::cpu>
struct layer_norm_layer {
  array<T, 1, typename Backend::space> weight, bias;

  layer_norm_layer() = default;
  explicit layer_norm_layer(index_t width) : weight(width), bias(width) { weight.fill(T(1)); }
  static auto members(auto& self) { return std::tuple{member{"weight", self.weight}, member{"bias", self.bias}}; }

  node operator()(graph<T, Backend>& g, node x, const layer_norm_options& options = {}) const {
    return layer_norm(g, x, weight.size() > 0 ? g.parameter(weight) : node{},
                      bias.size() > 0 ? g.parameter(bias) : node{}, options);
  }
};

}  // namespace stroma
