#pragma once
#include <stroma/autodiff/row_mean.hpp>
#include <stroma/backend/cuda/checks.cuh>
#include <stroma/backend/cuda/kernels.cuh>

namespace stroma::detail {

/// A thread for each row: bins and classes are few.
template <class Term, class T>
struct row_terms {
  matrix_view<const T, device_space> x;
  __device__ double operator()(index_t r) const { return Term::value(x.row(r)); }
};
template <class Term, class T>
struct add_row_derivatives {
  matrix_view<const T, device_space> x;
  const T* d_value;
  double scale;
  matrix_view<T, device_space> d_x;
  __device__ void operator()(index_t r) const {
    Term::add_derivative(x.row(r), static_cast<double>(*d_value) * scale, d_x.row(r));
  }
};

template <>
struct row_mean_kernel<backend::cuda> {
  template <class Term, class T>
  static void forward(cuda_context& ctx, matrix_view<const T, device_space> x, T* value) {
    sum_each(ctx, x.rows, row_terms<Term, T>{x}, scaled_into<T>{reduction_scale(reduction::mean, x.rows), value});
  }
  template <class Term, class T>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> x, const T* d_value,
                       matrix_view<T, device_space> d_x) {
    each(ctx, x.rows, add_row_derivatives<Term, T>{x, d_value, reduction_scale(reduction::mean, x.rows), d_x});
  }
};

}  // namespace stroma::detail
