#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/nn/mean_squared_error.hpp>

namespace stroma::detail {

template <class T, class Targets>
struct misses {
  matrix_view<const T, device_space> prediction;
  matrix_view<const Targets, device_space> target;
  __device__ double miss(index_t i) const {
    const index_t row = i / prediction.cols, col = i % prediction.cols;
    return static_cast<double>(prediction(row, col)) - static_cast<double>(target(row, col));
  }
  __device__ double operator()(index_t i) const { return miss(i) * miss(i); }
};
template <class T, class Targets>
struct add_misses {
  misses<T, Targets> of;
  const T* d_value;
  double scale;
  matrix_view<T, device_space> d_prediction;
  __device__ void operator()(index_t i) const {
    const double factor = 2 * static_cast<double>(*d_value) * scale;
    d_prediction(i / d_prediction.cols, i % d_prediction.cols) += static_cast<T>(factor * of.miss(i));
  }
};

template <>
struct mean_squared_error_kernel<backend::cuda> {
  template <class T, class Targets>
  static void forward(cuda_context& ctx, matrix_view<const T, device_space> prediction,
                      matrix_view<const Targets, device_space> target, T* value,
                      const mean_squared_error_options& options) {
    const index_t count = prediction.rows * prediction.cols;
    sum_each(ctx, count, misses<T, Targets>{prediction, target},
             scaled_into<T>{reduction_scale(options.reduce, count), value});
  }
  template <class T, class Targets>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> prediction,
                       matrix_view<const Targets, device_space> target, const T* d_value,
                       matrix_view<T, device_space> d_prediction, const mean_squared_error_options& options) {
    const index_t count = prediction.rows * prediction.cols;
    each(ctx, count,
         add_misses<T, Targets>{{prediction, target}, d_value, reduction_scale(options.reduce, count), d_prediction});
  }
};

}  // namespace stroma::detail
