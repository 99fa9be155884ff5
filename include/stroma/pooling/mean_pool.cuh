#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/pooling/detail/device_bags.cuh>
#include <stroma/pooling/mean_pool.hpp>

namespace stroma::detail {

/// The sum of one feature over the instances of a part that take part.
template <class S, class T>
struct mean_pool_parts {
  matrix_view<const S, device_space> x;
  device_parts parts;
  device_mask mask;
  T* sums;  // [parts, features]
  __device__ void operator()(index_t i) const {
    const segment_part part = parts.part[i / x.cols];
    const index_t j = i % x.cols;
    T sum = 0;
    for (index_t n = part.first; n < part.first + part.count; ++n)
      if (takes_part(mask, n)) sum += widen<T>(x(n, j));
    sums[i] = sum;
  }
};
/// The parts of a bag, in order.
template <class T>
struct mean_pool_join {
  device_parts parts;
  const T* sums;
  bag_counts counts;
  matrix_view<T, device_space> out;
  __device__ void operator()(index_t i) const {
    const index_t b = i / out.cols, j = i % out.cols;
    double sum = 0;
    for (index_t p = parts.first_of_segment[b]; p < parts.first_of_segment[b + 1]; ++p)
      sum += static_cast<double>(sums[p * out.cols + j]);
    out(b, j) = static_cast<T>(sum / static_cast<double>(counts(b)));
  }
};
template <class T>
struct mean_pool_derivative {
  matrix_view<const T, device_space> d_out;
  device_offsets offsets;
  device_mask mask;
  bag_counts counts;
  matrix_view<T, device_space> d_x;
  __device__ void operator()(index_t n, index_t lane) const {
    if (!takes_part(mask, n)) return;
    const index_t bag = segment_of_row(offsets, n);
    const auto count = static_cast<T>(counts(bag));
    for (index_t j = lane; j < d_x.cols; j += warp_threads) d_x(n, j) += d_out(bag, j) / count;
  }
};

template <>
struct mean_pool_kernel<backend::cuda> {
  template <class Rows, class T>
  static void forward(cuda_context& ctx, const Rows& source, device_offsets offsets, matrix_view<T, device_space> out,
                      const pool_request_in<device_space>& request) {
    tile_scratch<T> none(nullptr, nullptr, 0);
    source.visit(0, source.rows, none, [&](auto x) {
      using S = typename decltype(x)::value_type;
      check_instances<S>(ctx, x, request);
      auto frame = ctx.workspace().open();
      const auto parts = parts_of_segments(ctx, frame, offsets, x.rows);
      const auto counts = count_bags(ctx, frame, offsets, x.rows, request.mask);
      T* const sums = frame.template take<T>(parts.most * x.cols);
      each(ctx, parts.most * x.cols, mean_pool_parts<S, T>{x, parts, request.mask, sums});
      each(ctx, out.rows * out.cols, mean_pool_join<T>{parts, sums, counts, out});
    });
  }
  template <class T>
  static void backward(cuda_context& ctx, device_offsets offsets, matrix_view<const T, device_space> d_out,
                       matrix_view<T, device_space> d_x, device_mask mask) {
    auto frame = ctx.workspace().open();
    const auto counts = count_bags(ctx, frame, offsets, d_x.rows, mask);
    each_row(ctx, d_x.rows, mean_pool_derivative<T>{d_out, offsets, mask, counts, d_x});
  }
};

}  // namespace stroma::detail
