#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/taskvector/mixing_weight.hpp>

namespace stroma::detail {

template <class F, class T>
struct apply_mixing_function {
  F f;
  matrix_view<const T, device_space> x;
  matrix_view<T, device_space> out;
  __device__ void operator()(index_t i) const {
    const index_t row = i / x.cols, col = i % x.cols;
    out(row, col) = f.value(x(row, col));
  }
};
template <class F, class T>
struct add_mixing_slopes {
  F f;
  matrix_view<const T, device_space> x, d_out;
  matrix_view<T, device_space> d_x;
  __device__ void operator()(index_t i) const {
    const index_t row = i / x.cols, col = i % x.cols;
    d_x(row, col) += d_out(row, col) * f.slope(x(row, col));
  }
};

template <>
struct mixing_kernel<backend::cuda> {
  template <class T, class F>
  static void forward(cuda_context& ctx, const F& f, matrix_view<const T, device_space> x,
                      matrix_view<T, device_space> out) {
    each(ctx, x.rows * x.cols, apply_mixing_function<F, T>{f, x, out});
  }
  template <class T, class F>
  static void backward(cuda_context& ctx, const F& f, matrix_view<const T, device_space> x,
                       matrix_view<const T, device_space> d_out, matrix_view<T, device_space> d_x) {
    each(ctx, x.rows * x.cols, add_mixing_slopes<F, T>{f, x, d_out, d_x});
  }
  template <class F>
  static void for_each_row(cuda_context& ctx, index_t rows, const F& f) {
    each(ctx, rows, f);
  }
};

}  // namespace stroma::detail
