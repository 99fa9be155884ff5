#pragma once
#include <cmath>

#include <stroma/backend/cuda/array.cuh>
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/nn/layer_norm.hpp>

namespace stroma::detail {

/// What normalises a row: x' = (x - mean) scale.
template <class T>
struct row_moments {
  T mean, scale;
  [[nodiscard]] __device__ T apply(T x) const { return (x - mean) * scale; }
};
/// By two passes of the warp that has the row.
template <class S, class T>
[[nodiscard]] __device__ row_moments<T> moments_of_row(const matrix_view<const S, device_space>& x, index_t r,
                                                       index_t lane, T epsilon) {
  T sum = 0, square = 0;
  for (index_t j = lane; j < x.cols; j += warp_threads) sum += widen<T>(x(r, j));
  const auto count = static_cast<T>(x.cols);
  const T mean = warp_join(sum, add_values{}) / count;
  for (index_t j = lane; j < x.cols; j += warp_threads) {
    const T apart = widen<T>(x(r, j)) - mean;
    square += apart * apart;
  }
  return {mean, 1 / std::sqrt(warp_join(square, add_values{}) / count + epsilon)};
}

/// A lane reads and writes its own columns only, so that out may be x.
template <class S, class T>
struct layer_norm_rows {
  matrix_view<const S, device_space> x;
  vector_view<const T, device_space> gain, bias;
  T epsilon;
  matrix_view<T, device_space> out;
  __device__ void operator()(index_t r, index_t lane) const {
    const auto moments = moments_of_row(x, r, lane, epsilon);
    for (index_t j = lane; j < x.cols; j += warp_threads) {
      T y = moments.apply(widen<T>(x(r, j)));
      if (gain.size > 0) y *= gain[j];
      if (bias.size > 0) y += bias[j];
      out(r, j) = y;
    }
  }
};
/// d_x += (v - mean v - x' mean(v x')) scale with v = d_out gain. The moments are kept for the gains' gradients.
template <class S, class T>
struct layer_norm_derivative {
  matrix_view<const S, device_space> x;
  vector_view<const T, device_space> gain;
  matrix_view<const T, device_space> d_out;
  T epsilon;
  matrix_view<T, device_space> d_x;  // or without data
  row_moments<T>* kept;              // or null
  __device__ void operator()(index_t r, index_t lane) const {
    const auto moments = moments_of_row(x, r, lane, epsilon);
    if (kept != nullptr && lane == 0) kept[r] = moments;
    if (d_x.data == nullptr) return;
    T sum = 0, along = 0;
    for (index_t j = lane; j < x.cols; j += warp_threads) {
      const T v = derivative(r, j);
      sum += v;
      along += v * moments.apply(widen<T>(x(r, j)));
    }
    const auto count = static_cast<T>(x.cols);
    sum = warp_join(sum, add_values{}) / count;
    along = warp_join(along, add_values{}) / count;
    for (index_t j = lane; j < x.cols; j += warp_threads)
      d_x(r, j) += moments.scale * (derivative(r, j) - sum - moments.apply(widen<T>(x(r, j))) * along);
  }
  [[nodiscard]] __device__ T derivative(index_t r, index_t j) const {
    return gain.size > 0 ? d_out(r, j) * gain[j] : d_out(r, j);
  }
};
/// The share of a tile of rows in d_gain.
template <class S, class T>
struct layer_norm_gain_tiles {
  matrix_view<const S, device_space> x;
  matrix_view<const T, device_space> d_out;
  const row_moments<T>* kept;
  T* sums;  // [tiles, cols]
  __device__ void operator()(index_t i) const {
    const index_t tile = i / x.cols, j = i % x.cols, first = tile * tile_rows;
    const index_t last = first + tile_rows < x.rows ? first + tile_rows : x.rows;
    T sum = 0;
    for (index_t r = first; r < last; ++r) sum += d_out(r, j) * kept[r].apply(widen<T>(x(r, j)));
    sums[i] = sum;
  }
};

template <>
struct layer_norm_kernel<backend::cuda> {
  template <class S, class T>
  static void forward(cuda_context& ctx, matrix_view<const S, device_space> x, vector_view<const T, device_space> gain,
                      vector_view<const T, device_space> bias, matrix_view<T, device_space> out,
                      const layer_norm_options& options) {
    each_row(ctx, x.rows, layer_norm_rows<S, T>{x, gain, bias, static_cast<T>(options.epsilon), out});
  }
  template <class S, class T>
  static void backward(cuda_context& ctx, matrix_view<const S, device_space> x, vector_view<const T, device_space> gain,
                       matrix_view<const T, device_space> d_out, const layer_norm_gradients<T, device_space>& gradients,
                       const layer_norm_options& options) {
    const bool for_gain = gradients.gain.data != nullptr;
    auto frame = ctx.workspace().open();
    auto* const kept = for_gain ? frame.template take<row_moments<T>>(x.rows) : nullptr;
    if (for_gain || gradients.x.data != nullptr)
      each_row(ctx, x.rows,
               layer_norm_derivative<S, T>{x, gain, d_out, static_cast<T>(options.epsilon), gradients.x, kept});
    if (for_gain) {
      const index_t tiles = (x.rows + tile_rows - 1) / tile_rows;
      T* const sums = frame.template take<T>(tiles * x.cols);
      each(ctx, tiles * x.cols, layer_norm_gain_tiles<S, T>{x, d_out, kept, sums});
      each(ctx, x.cols, add_tile_sums<T>{sums, tiles, gradients.gain});
    }
    if (gradients.bias.data != nullptr) primitives<backend::cuda>::add_column_sums(ctx, d_out, gradients.bias);
  }
};

}  // namespace stroma::detail
