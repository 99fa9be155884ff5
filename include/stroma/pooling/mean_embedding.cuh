#pragma once
#include <stroma/nn/linear.cuh>
#include <stroma/pooling/mean_embedding.hpp>
#include <stroma/pooling/mean_pool.cuh>

namespace stroma::detail {

template <class T>
struct add_scaled_row_elements {
  T factor;
  matrix_view<const T, device_space> d_out, slopes;
  matrix_view<T, device_space> d_weight;
  __device__ void operator()(index_t i) const {
    const index_t h = i / d_weight.cols, j = i % d_weight.cols;
    d_weight(h, j) += factor * d_out(0, h) * slopes(h, j);
  }
};

template <>
struct mean_embedding_kernel<backend::cuda> {
  template <class T>
  static void add_scaled_rows(cuda_context& ctx, T factor, matrix_view<const T, device_space> d_out,
                              matrix_view<const T, device_space> slopes, matrix_view<T, device_space> d_weight) {
    each(ctx, d_weight.rows * d_weight.cols, add_scaled_row_elements<T>{factor, d_out, slopes, d_weight});
  }
};

}  // namespace stroma::detail
