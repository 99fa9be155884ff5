#pragma once
#include <cmath>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/nn/softmax.hpp>

namespace stroma::detail {

/// A lane reads and writes its own columns only, so that out may be x.
template <class S, class T>
struct softmax_rows {
  matrix_view<const S, device_space> x;
  matrix_view<T, device_space> out;
  __device__ void operator()(index_t r, index_t lane) const {
    T top = -infinity<T>;
    for (index_t j = lane; j < x.cols; j += warp_threads) {
      const T v = widen<T>(x(r, j));
      top = v > top ? v : top;
    }
    top = warp_join(top, larger_value{});
    double sum = 0;
    for (index_t j = lane; j < x.cols; j += warp_threads) {
      const T e = std::exp(widen<T>(x(r, j)) - top);
      out(r, j) = e;
      sum += static_cast<double>(e);
    }
    const auto factor = static_cast<T>(1 / warp_join(sum, add_values{}));
    for (index_t j = lane; j < x.cols; j += warp_threads) out(r, j) *= factor;
  }
};
template <class T>
struct softmax_rows_derivative {
  matrix_view<const T, device_space> p, d_out;
  matrix_view<T, device_space> d_x;
  __device__ void operator()(index_t r, index_t lane) const {
    double sum = 0;
    for (index_t j = lane; j < p.cols; j += warp_threads)
      sum += static_cast<double>(p(r, j)) * static_cast<double>(d_out(r, j));
    const auto mean = static_cast<T>(warp_join(sum, add_values{}));
    for (index_t j = lane; j < p.cols; j += warp_threads) d_x(r, j) += p(r, j) * (d_out(r, j) - mean);
  }
};
/// One block for each column of each segment. Without `add` d_x is overwritten, and may be d_out.
template <class T>
__global__ void __launch_bounds__(block_threads)
    segmented_softmax_backward_kernel(matrix_view<const T, device_space> p, device_offsets offsets,
                                      matrix_view<const T, device_space> d_out, matrix_view<T, device_space> d_x,
                                      bool add) {
  __shared__ double room[block_threads / warp_threads];
  const index_t segment = blockIdx.x / p.cols, h = blockIdx.x % p.cols;
  const segment_rows rows = rows_of_segment(offsets, segment, p.rows);
  double sum = 0;
  for (index_t i = threadIdx.x; i < rows.count; i += block_threads)
    sum += static_cast<double>(p(rows.first + i, h)) * static_cast<double>(d_out(rows.first + i, h));
  const auto mean = static_cast<T>(block_join(sum, add_values{}, room));
  for (index_t i = threadIdx.x; i < rows.count; i += block_threads) {
    const index_t n = rows.first + i;
    const T d = p(n, h) * (d_out(n, h) - mean);
    d_x(n, h) = add ? d_x(n, h) + d : d;
  }
}

template <>
struct softmax_kernel<backend::cuda> {
  template <class S, class T>
  static void forward(cuda_context& ctx, matrix_view<const S, device_space> x, matrix_view<T, device_space> out) {
    each_row(ctx, x.rows, softmax_rows<S, T>{x, out});
  }
  template <class T>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> p,
                       matrix_view<const T, device_space> d_out, matrix_view<T, device_space> d_x) {
    each_row(ctx, p.rows, softmax_rows_derivative<T>{p, d_out, d_x});
  }
  template <class T>
  static void segmented_backward(cuda_context& ctx, matrix_view<const T, device_space> p, device_offsets offsets,
                                 matrix_view<const T, device_space> d_out, matrix_view<T, device_space> d_x) {
    const index_t blocks = (offsets.size - 1) * p.cols;
    if (blocks == 0) return;
    launch(&segmented_softmax_backward_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(block_threads), 0,
           ctx.stream(), p, offsets, d_out, d_x, true);
  }
};

}  // namespace stroma::detail
