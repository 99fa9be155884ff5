#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/nn/binary_cross_entropy.hpp>

namespace stroma::detail {

template <class T, class Targets>
struct binary_cross_entropy_terms {
  matrix_view<const T, device_space> logit;
  matrix_view<const Targets, device_space> target;
  double positive_weight;
  __device__ binary_cross_entropy_term at(index_t i) const {
    const index_t row = i / logit.cols, col = i % logit.cols;
    return {static_cast<double>(logit(row, col)), static_cast<double>(target(row, col)), positive_weight};
  }
  __device__ double operator()(index_t i) const { return at(i).value(); }
};
template <class T, class Targets>
struct add_binary_cross_entropy {
  binary_cross_entropy_terms<T, Targets> terms;
  const T* d_value;
  double scale;
  matrix_view<T, device_space> d_logit;
  __device__ void operator()(index_t i) const {
    const double seed = static_cast<double>(*d_value) * scale;
    d_logit(i / d_logit.cols, i % d_logit.cols) += static_cast<T>(seed * terms.at(i).derivative());
  }
};

template <>
struct binary_cross_entropy_kernel<backend::cuda> {
  template <class T, class Targets>
  static void forward(cuda_context& ctx, matrix_view<const T, device_space> logit,
                      matrix_view<const Targets, device_space> target, T* value,
                      const binary_cross_entropy_options& options) {
    const index_t count = logit.rows * logit.cols;
    sum_each(ctx, count, binary_cross_entropy_terms<T, Targets>{logit, target, options.positive_weight},
             scaled_into<T>{reduction_scale(options.reduce, count), value});
  }
  template <class T, class Targets>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> logit,
                       matrix_view<const Targets, device_space> target, const T* d_value,
                       matrix_view<T, device_space> d_logit, const binary_cross_entropy_options& options) {
    const index_t count = logit.rows * logit.cols;
    each(ctx, count,
         add_binary_cross_entropy<T, Targets>{
             {logit, target, options.positive_weight}, d_value, reduction_scale(options.reduce, count), d_logit});
  }
};

}  // namespace stroma::detail
