#pragma once
#include <cmath>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/backend/cuda/sum_rows.cuh>
#include <stroma/nn/scaled_cosine.hpp>

namespace stroma::detail {

/// A warp for each row: rows of genes are long.
template <class T, class Targets>
struct cosine_rows {
  matrix_view<const T, device_space> prediction;
  matrix_view<const Targets, device_space> target;
  double floor, exponent;

  __device__ row_angle angle(index_t r, index_t lane) const {
    double pp = 0, tt = 0;
    for (index_t c = lane; c < prediction.cols; c += warp_threads) {
      const auto p = static_cast<double>(prediction(r, c)), t = static_cast<double>(target(r, c));
      pp += p * p;
      tt += t * t;
    }
    row_angle a(warp_join(pp, add_values{}), warp_join(tt, add_values{}), floor);
    for (index_t c = lane; c < prediction.cols; c += warp_threads)
      a.add(static_cast<double>(prediction(r, c)), static_cast<double>(target(r, c)));
    a.cosine = warp_join(a.cosine, add_values{});
    a.apart = warp_join(a.apart, add_values{});
    return a;
  }
  __device__ double operator()(index_t r, index_t lane) const { return std::pow(angle(r, lane).distance(), exponent); }
};
template <class T, class Targets>
struct add_cosine_derivatives {
  cosine_rows<T, Targets> rows;
  const T* d_value;
  double scale;
  matrix_view<T, device_space> d_prediction;
  __device__ void operator()(index_t r, index_t lane) const {
    const row_angle a = rows.angle(r, lane);
    const double factor = a.factor(static_cast<double>(*d_value) * scale, rows.exponent);
    for (index_t c = lane; c < d_prediction.cols; c += warp_threads)
      d_prediction(r, c) += static_cast<T>(
          a.derivative(factor, static_cast<double>(rows.prediction(r, c)), static_cast<double>(rows.target(r, c))));
  }
};

template <>
struct scaled_cosine_kernel<backend::cuda> {
  template <class T, class Targets>
  static void forward(cuda_context& ctx, matrix_view<const T, device_space> prediction,
                      matrix_view<const Targets, device_space> target, T* value, const scaled_cosine_options& options) {
    sum_rows(ctx, prediction.rows, cosine_rows<T, Targets>{prediction, target, options.norm_floor, options.exponent},
             scaled_into<T>{reduction_scale(options.reduce, prediction.rows), value});
  }
  template <class T, class Targets>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> prediction,
                       matrix_view<const Targets, device_space> target, const T* d_value,
                       matrix_view<T, device_space> d_prediction, const scaled_cosine_options& options) {
    each_row(ctx, prediction.rows,
             add_cosine_derivatives<T, Targets>{{prediction, target, options.norm_floor, options.exponent},
                                                d_value,
                                                reduction_scale(options.reduce, prediction.rows),
                                                d_prediction});
  }
};

}  // namespace stroma::detail
