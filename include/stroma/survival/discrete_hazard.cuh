#pragma once
#include <cmath>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/survival/discrete_hazard.hpp>

namespace stroma::detail {

template <class T, class Bins, class Events>
struct hazard_rows {
  matrix_view<const T, device_space> logit;
  vector_view<const Bins, device_space> bin;
  vector_view<const Events, device_space> event;
  double alpha;
  __device__ hazard_row<T, device_space> at(index_t r) const {
    return {logit.row(r), clamped_label(bin[r], logit.cols), event[r] != Events(0), alpha};
  }
  __device__ double operator()(index_t r) const { return at(r).loss(); }
};
template <class T, class Bins, class Events>
struct add_hazard_derivatives {
  hazard_rows<T, Bins, Events> rows;
  const T* d_value;
  double scale;
  matrix_view<T, device_space> d_logit;
  __device__ void operator()(index_t i) const {
    const index_t r = i / d_logit.cols, k = i % d_logit.cols;
    const auto row = rows.at(r);
    const double factor = static_cast<double>(*d_value) * scale * row.share;
    if (k <= row.last) d_logit(r, k) += static_cast<T>(factor * row.derivative(k));
  }
};

/// A thread for each row: bins are few.
template <class T>
struct hazard_curves {
  matrix_view<const T, device_space> logit;
  matrix_view<T, device_space> out;
  __device__ void operator()(index_t r) const {
    double cumulative = 0;
    for (index_t k = 0; k < logit.cols; ++k) {
      cumulative += softplus(static_cast<double>(logit(r, k)));
      out(r, k) = static_cast<T>(std::exp(-cumulative));
    }
  }
};
template <>
struct discrete_hazard_kernel<backend::cuda> {
  template <class T, class Bins, class Events>
  static void forward(cuda_context& ctx, matrix_view<const T, device_space> logit,
                      vector_view<const Bins, device_space> bin, vector_view<const Events, device_space> event,
                      T* value, const discrete_hazard_options& options) {
    const index_t rows = logit.cols > 0 ? logit.rows : 0;  // without a bin, every patient's is a fault
    sum_each(ctx, rows, hazard_rows<T, Bins, Events>{logit, bin, event, options.alpha},
             scaled_into<T>{reduction_scale(options.reduce, logit.rows), value});
  }
  template <class T, class Bins, class Events>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> logit,
                       vector_view<const Bins, device_space> bin, vector_view<const Events, device_space> event,
                       const T* d_value, matrix_view<T, device_space> d_logit, const discrete_hazard_options& options) {
    each(ctx, logit.rows * logit.cols,
         add_hazard_derivatives<T, Bins, Events>{
             {logit, bin, event, options.alpha}, d_value, reduction_scale(options.reduce, logit.rows), d_logit});
  }
  template <class T>
  static void curve(cuda_context& ctx, matrix_view<const T, device_space> logit, matrix_view<T, device_space> out) {
    each(ctx, logit.rows, hazard_curves<T>{logit, out});
  }
};

}  // namespace stroma::detail
