#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/nn/dropout.hpp>

namespace stroma::detail {

/// What an element of a bag is multiplied by: 0 or 1 / (1 - rate), by the numbers that the host draws too.
struct dropout_mask {
  random_key key;
  std::uint32_t threshold;
  double scale;

  dropout_mask(const random_key& k, double rate)
      : key(k), threshold(static_cast<std::uint32_t>(std::ceil(rate * 0x1p24))), scale(1 / (1 - rate)) {}
  template <class T>
  __device__ T apply(index_t bag, index_t element, T x) const {
    random_key of_bag = key;
    of_bag.step += static_cast<std::uint32_t>(bag);
    const auto e = static_cast<std::uint64_t>(element);
    return (of_bag.words(e / 4)[e % 4] >> 8) >= threshold ? x * static_cast<T>(scale) : T(0);
  }
};

template <class S, class T>
struct dropout_rows {
  matrix_view<const S, device_space> x;
  device_offsets offsets;  // empty: one bag
  matrix_view<T, device_space> out;
  dropout_mask mask;
  bool add;

  __device__ void operator()(index_t row, index_t lane) const {
    const index_t bag = offsets.size > 0 ? segment_of_row(offsets, row) : 0;
    const index_t first = offsets.size > 0 ? row - offsets[bag] : row;
    for (index_t j = lane; j < x.cols; j += warp_threads) {
      const T value = mask.apply(bag, first * x.cols + j, widen<T>(x(row, j)));
      out(row, j) = add ? out(row, j) + value : value;
    }
  }
};

template <>
struct dropout_kernel<backend::cuda> {
  template <class S, class T>
  static void forward(cuda_context& ctx, matrix_view<const S, device_space> x, device_offsets offsets,
                      matrix_view<T, device_space> out, const dropout_options& options) {
    each_row(ctx, x.rows, dropout_rows<S, T>{x, offsets, out, {options.key, options.rate}, false});
  }
  template <class T>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> d_out, device_offsets offsets,
                       matrix_view<T, device_space> d_x, const dropout_options& options) {
    each_row(ctx, d_out.rows, dropout_rows<T, T>{d_out, offsets, d_x, {options.key, options.rate}, true});
  }
};

}  // namespace stroma::detail
