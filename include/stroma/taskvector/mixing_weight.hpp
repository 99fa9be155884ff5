#pragma once
#include <cmath>
#include <concepts>
#include <type_traits>

#include <stroma/autodiff/graph.hpp>

namespace stroma {

/// How a number of any sign becomes one of 0 or more. relu: max(x, 0), which starves where x stays below 0;
/// softplus: log(1 + exp(x)); sigmoid: 1 / (1 + exp(-x)).
enum class positive_map { relu, softplus, sigmoid };

namespace detail {

template <class T>
[[nodiscard]] STROMA_HOST_DEVICE T map_positive(positive_map f, T x) {
  if (f == positive_map::relu) return x > T(0) ? x : T(0);
  const T small = std::exp(-(x < T(0) ? -x : x));  // exp of a positive number could overflow
  if (f == positive_map::softplus) return (x > T(0) ? x : T(0)) + std::log1p(small);
  return x < T(0) ? small / (T(1) + small) : T(1) / (T(1) + small);
}
template <class T>
[[nodiscard]] STROMA_HOST_DEVICE T positive_slope(positive_map f, T x) {
  if (f == positive_map::relu) return x > T(0) ? T(1) : T(0);
  const T s = map_positive(positive_map::sigmoid, x);
  return f == positive_map::softplus ? s : s * (T(1) - s);
}

/// Value and slope at x of what a mixing_kernel applies.
template <class T>
struct weight_function {
  positive_map f;
  [[nodiscard]] STROMA_HOST_DEVICE T value(T x) const { return map_positive(f, x); }
  [[nodiscard]] STROMA_HOST_DEVICE T slope(T x) const { return positive_slope(f, x); }
};
template <class T>
struct share_function {
  positive_map f;
  [[nodiscard]] STROMA_HOST_DEVICE T value(T x) const { return T(1) / (T(1) + map_positive(f, x)); }
  [[nodiscard]] STROMA_HOST_DEVICE T slope(T x) const { return -value(x) * value(x) * positive_slope(f, x); }
};

template <class Backend>
struct mixing_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/taskvector/mixing_weight.cuh> and compile with nvcc");

  template <class T, class F>
  static void forward(cpu_context&, const F& f, matrix_view<const T> x, matrix_view<T> out) {
    for (index_t r = 0; r < x.rows; ++r)
      for (index_t c = 0; c < x.cols; ++c) out(r, c) = f.value(x(r, c));
  }
  /// d_x += d_out f'(x)
  template <class T, class F>
  static void backward(cpu_context&, const F& f, matrix_view<const T> x, matrix_view<const T> d_out,
                       matrix_view<T> d_x) {
    for (index_t r = 0; r < x.rows; ++r)
      for (index_t c = 0; c < x.cols; ++c) d_x(r, c) += d_out(r, c) * f.slope(x(r, c));
  }
};

template <class F, class T, class Backend>
node record_mixing(graph<T, Backend>& g, node x, const F& f) {
  using kernel = mixing_kernel<Backend>;
  const auto from = g.value(x);
  const auto emitted = g.emit_rows_of(x, from.cols, {x});
  const node out = emitted.first;
  kernel::template forward<T>(g.context(), f, from, emitted.second);
  g.on_backward(out, [=](graph<T, Backend>& r) {
    kernel::template backward<T>(r.context(), f, from, r.gradient(out), r.gradient_of(x));
  });
  return out;
}

}  // namespace detail

/// Weights of task vectors from the outputs of a hypernetwork: weight = f(x), element by element.
/// @param x, out [B, sources]; out is overwritten and may be x   @throws shape_error
template <execution_context Context, matrix_like X, matrix_like Y>
  requires same_space<Context, X, Y> && std::same_as<scalar_of<X>, scalar_of<Y>>
void mixing_weight(Context& ctx, const X& x, Y&& out, positive_map f = positive_map::relu) {
  using T = scalar_of<X>;
  const auto from = as_const_view(x);
  const matrix_view<T, typename Context::space> to = as_view(out);
  check::shape("mixing_weight", "out", to, from.rows, from.cols);
  detail::mixing_kernel<typename Context::backend>::template forward<T>(ctx, detail::weight_function<T>{f}, from, to);
}
/// Recorded on a graph.
template <class T, class Backend>
node mixing_weight(graph<T, Backend>& g, node x, positive_map f = positive_map::relu) {
  return detail::record_mixing(g, x, detail::weight_function<T>{f});
}

/// The target's share in mixtures with other task vectors: share = 1 / (1 + f(x)), above 0 and at most 1. f(x) is the
/// ratio of the source's share to the target's.
/// @param x, out [B, sources]; out is overwritten and may be x   @throws shape_error   Reference: STEPH, CVPR 2026.
template <execution_context Context, matrix_like X, matrix_like Y>
  requires same_space<Context, X, Y> && std::same_as<scalar_of<X>, scalar_of<Y>>
void mixing_share(Context& ctx, const X& x, Y&& out, positive_map f = positive_map::relu) {
  using T = scalar_of<X>;
  const auto from = as_const_view(x);
  const matrix_view<T, typename Context::space> to = as_view(out);
  check::shape("mixing_share", "out", to, from.rows, from.cols);
  detail::mixing_kernel<typename Context::backend>::template forward<T>(ctx, detail::share_function<T>{f}, from, to);
}
/// Recorded on a graph.
template <class T, class Backend>
node mixing_share(graph<T, Backend>& g, node x, positive_map f = positive_map::relu) {
  return detail::record_mixing(g, x, detail::share_function<T>{f});
}

}  // namespace stroma
