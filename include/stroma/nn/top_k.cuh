#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/nn/top_k.hpp>

namespace stroma::detail {

/// No element is named twice: each is added to by one thread.
template <class T>
struct add_selected {
  matrix_view<const index_t, device_space> indices;
  matrix_view<const T, device_space> d_values;
  bool segments;
  matrix_view<T, device_space> d_scores;
  __device__ void operator()(index_t i) const {
    const index_t r = i / indices.cols, j = i % indices.cols, at = indices(r, j);
    if (at < 0 || at >= (segments ? d_scores.rows : d_scores.cols)) return;
    d_scores(segments ? at : r, segments ? 0 : at) += d_values(r, j);
  }
};

template <>
struct top_k_kernel<backend::cuda> {
  template <class T>
  static void backward(cuda_context& ctx, matrix_view<const index_t, device_space> indices,
                       matrix_view<const T, device_space> d_values, bool segments,
                       matrix_view<T, device_space> d_scores) {
    each(ctx, indices.rows * indices.cols, add_selected<T>{indices, d_values, segments, d_scores});
  }
};

}  // namespace stroma::detail
