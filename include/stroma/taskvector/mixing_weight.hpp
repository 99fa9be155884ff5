#pragma once
#include <cmath>
#include <concepts>
#include <limits>
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

/// Softmax over the top_k largest numbers of a row, of equal ones the first; the others have no part.
template <class T, class Space>
struct top_softmax {
  matrix_view<const T, Space> x;
  index_t top_k;
  [[nodiscard]] STROMA_HOST_DEVICE bool takes_part(index_t r, index_t j) const {
    index_t before = 0;
    for (index_t i = 0; i < x.cols; ++i) before += x(r, i) > x(r, j) || (x(r, i) == x(r, j) && i < j) ? 1 : 0;
    return before < top_k;
  }
  [[nodiscard]] STROMA_HOST_DEVICE T largest(index_t r) const {
    T most = x(r, 0);
    for (index_t j = 1; j < x.cols; ++j) most = x(r, j) > most ? x(r, j) : most;
    return most;
  }
  [[nodiscard]] STROMA_HOST_DEVICE T part(index_t r, index_t j, T most) const {
    return takes_part(r, j) ? std::exp(x(r, j) - most) : T(0);
  }
  [[nodiscard]] STROMA_HOST_DEVICE T total(index_t r, T most) const {
    T sum = 0;
    for (index_t j = 0; j < x.cols; ++j) sum += part(r, j, most);
    return sum;
  }
};
template <class T, class Space>
struct write_top_softmax {
  top_softmax<T, Space> of;
  const T* scale;
  matrix_view<T, Space> out;
  STROMA_HOST_DEVICE void operator()(index_t r) const {
    if (of.x.cols == 0) return;
    const T most = of.largest(r), total = of.total(r, most);
    for (index_t j = 0; j < of.x.cols; ++j) out(r, j) = *scale * (of.part(r, j, most) / total);
  }
};
/// d x_j += scale p_j (d_j - sum of p d), d scale += sum of p d; all rows at once, for they share the scale.
template <class T, class Space>
struct add_top_softmax_derivatives {
  top_softmax<T, Space> of;
  const T* scale;
  matrix_view<const T, Space> d_out;
  matrix_view<T, Space> d_x;  // empty: not asked for
  T* d_scale;                 // null: the same
  STROMA_HOST_DEVICE void operator()(index_t) const {
    for (index_t r = 0; r < of.x.rows && of.x.cols > 0; ++r) {
      const T most = of.largest(r), total = of.total(r, most);
      T mean = 0;
      for (index_t j = 0; j < of.x.cols; ++j) mean += of.part(r, j, most) / total * d_out(r, j);
      if (d_scale != nullptr) *d_scale += mean;
      for (index_t j = 0; j < of.x.cols && d_x.data != nullptr; ++j)
        d_x(r, j) += *scale * (of.part(r, j, most) / total) * (d_out(r, j) - mean);
    }
  }
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
  /// f(r) for the rows 0 .. rows - 1
  template <class F>
  static void for_each_row(cpu_context&, index_t rows, const F& f) {
    for (index_t r = 0; r < rows; ++r) f(r);
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

/// Weights that say apart how much is mixed in and from which sources: the softmax over the top_k largest of x, of
/// equal ones the first, times a scale that may be learned. The others weigh 0.
/// @param x, out [B, sources]; out is overwritten   @param scale [1]
/// Cost: O(B sources^2), for sources are few.   @throws shape_error
template <execution_context Context, matrix_like X, vector_like Scale, matrix_like Y>
  requires same_space<Context, X, Scale, Y> && std::same_as<scalar_of<X>, scalar_of<Y>>
void mixing_softmax(Context& ctx, const X& x, const Scale& scale, Y&& out, index_t top_k) {
  using T = scalar_of<X>;
  using space = typename Context::space;
  const matrix_view<const T, space> from = as_const_view(x);
  const vector_view<const T, space> factor = as_const_view(scale);
  const matrix_view<T, space> to = as_view(out);
  check::length("mixing_softmax", "scale", factor.size, 1, "one number");
  check::shape("mixing_softmax", "out", to, from.rows, from.cols);
  check::in_range("mixing_softmax", "top_k", top_k, index_t{1}, std::numeric_limits<index_t>::max());
  detail::mixing_kernel<typename Context::backend>::for_each_row(
      ctx, from.rows, detail::write_top_softmax<T, space>{{from, top_k}, factor.data, to});
}
/// Recorded on a graph: scale is [1, 1].
template <class T, class Backend>
node mixing_softmax(graph<T, Backend>& g, node x, node scale, index_t top_k) {
  using kernel = detail::mixing_kernel<Backend>;
  using space = typename Backend::space;
  const auto from = g.value(x), factor = g.value(scale);
  check::shape("mixing_softmax", "scale", factor, 1, 1);
  check::in_range("mixing_softmax", "top_k", top_k, index_t{1}, std::numeric_limits<index_t>::max());
  const auto emitted = g.emit(from.rows, from.cols, {x, scale});
  const node out = emitted.first;
  const detail::top_softmax<T, space> of{from, top_k};
  kernel::for_each_row(g.context(), from.rows, detail::write_top_softmax<T, space>{of, factor.data, emitted.second});
  g.on_backward(out, [=](graph<T, Backend>& r) {
    const auto d_x = r.needs_gradient(x) ? r.gradient_of(x) : matrix_view<T, space>{};
    T* const d_scale = r.needs_gradient(scale) ? r.gradient_of(scale).data : nullptr;
    kernel::for_each_row(r.context(), 1,
                         detail::add_top_softmax_derivatives<T, space>{of, factor.data, r.gradient(out), d_x, d_scale});
  });
  return out;
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
