#pragma once
#include <stroma/backend/cuda/checks.cuh>
#include <stroma/survival/piecewise_hazard.hpp>

namespace stroma::detail {

template <class Rows>
struct piecewise_losses {
  Rows rows;
  __device__ double operator()(index_t r) const { return rows.at(r).loss(); }
};
template <class Rows, class T>
struct add_piecewise_derivatives {
  Rows rows;
  const T* d_value;
  double scale;
  matrix_view<T, device_space> d_logit;
  __device__ void operator()(index_t i) const {
    const index_t r = i / d_logit.cols, k = i % d_logit.cols;
    const auto row = rows.at(r);
    if (k <= row.last) d_logit(r, k) += static_cast<T>(static_cast<double>(*d_value) * scale * row.derivative(k));
  }
};

template <>
struct piecewise_hazard_kernel<backend::cuda> {
  template <class Rows, class T>
  static void forward(cuda_context& ctx, const Rows& rows, T* value, reduction reduce) {
    const index_t count = rows.logit.cols > 0 ? rows.logit.rows : 0;  // without a bin, every patient's is a fault
    sum_each(ctx, count, piecewise_losses<Rows>{rows}, scaled_into<T>{reduction_scale(reduce, rows.logit.rows), value});
  }
  template <class Rows, class T>
  static void backward(cuda_context& ctx, const Rows& rows, const T* d_value, matrix_view<T, device_space> d_logit,
                       reduction reduce) {
    each(ctx, d_logit.rows * d_logit.cols,
         add_piecewise_derivatives<Rows, T>{rows, d_value, reduction_scale(reduce, rows.logit.rows), d_logit});
  }
};

}  // namespace stroma::detail
