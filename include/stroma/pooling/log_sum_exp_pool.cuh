#pragma once
#include <cmath>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/pooling/detail/device_bags.cuh>
#include <stroma/pooling/log_sum_exp_pool.hpp>

namespace stroma::detail {

/// sum = sum over the part's instances of exp(r (x - top)); top is their maximum, or 0 where that is not finite.
template <class T>
struct sharp_sum {
  T top, sum;
};
template <class S, class T>
struct log_sum_exp_parts {
  matrix_view<const S, device_space> x;
  device_parts parts;
  device_mask mask;
  T sharpness;
  sharp_sum<T>* sums;  // [parts, features]
  __device__ void operator()(index_t i) const {
    const segment_part part = parts.part[i / x.cols];
    const index_t j = i % x.cols, last = part.first + part.count;
    T top = -infinity<T>, sum = 0;
    for (index_t n = part.first; n < last; ++n)
      if (takes_part(mask, n)) {
        const T v = widen<T>(x(n, j));
        top = v > top ? v : top;
      }
    if (!is_finite(top)) top = 0;
    for (index_t n = part.first; n < last; ++n)
      if (takes_part(mask, n)) sum += std::exp(sharpness * (widen<T>(x(n, j)) - top));
    sums[i] = {top, sum};
  }
};
/// The parts of a bag, in order.
template <class T>
struct log_sum_exp_join {
  device_parts parts;
  const sharp_sum<T>* sums;
  bag_counts counts;
  double sharpness;
  matrix_view<T, device_space> out;
  __device__ void operator()(index_t i) const {
    const index_t b = i / out.cols, j = i % out.cols;
    const index_t first = parts.first_of_segment[b], last = parts.first_of_segment[b + 1];
    double top = -infinity<double>, total = 0;
    for (index_t p = first; p < last; ++p) {
      const sharp_sum<T> part = sums[p * out.cols + j];
      if (part.sum != T(0)) top = std::fmax(top, static_cast<double>(part.top));
    }
    for (index_t p = first; p < last; ++p) {
      const sharp_sum<T> part = sums[p * out.cols + j];
      if (part.sum != T(0))
        total += static_cast<double>(part.sum) * std::exp(sharpness * (static_cast<double>(part.top) - top));
    }
    const auto count = static_cast<double>(counts(b));
    out(b, j) = static_cast<T>(total == 0 ? -infinity<double> : top + std::log(total / count) / sharpness);
  }
};
template <class S, class T>
struct log_sum_exp_derivative {
  matrix_view<const S, device_space> x;
  device_offsets offsets;
  device_mask mask;
  bag_counts counts;
  T sharpness;
  matrix_view<const T, device_space> out, d_out;
  matrix_view<T, device_space> d_x;
  __device__ void operator()(index_t n, index_t lane) const {
    if (!takes_part(mask, n)) return;
    const index_t bag = segment_of_row(offsets, n);
    const auto count = static_cast<T>(counts(bag));
    for (index_t j = lane; j < d_x.cols; j += warp_threads)
      d_x(n, j) += d_out(bag, j) / count * std::exp(sharpness * (widen<T>(x(n, j)) - out(bag, j)));
  }
};

template <>
struct log_sum_exp_pool_kernel<backend::cuda> {
  template <class Rows, class T>
  static void forward(cuda_context& ctx, const Rows& source, device_offsets offsets, matrix_view<T, device_space> out,
                      double sharpness, const pool_request_in<device_space>& request) {
    tile_scratch<T> none(nullptr, nullptr, 0);
    source.visit(0, source.rows, none, [&](auto x) {
      using S = typename decltype(x)::value_type;
      check_instances<S>(ctx, x, request);
      auto frame = ctx.workspace().open();
      const auto parts = parts_of_segments(ctx, frame, offsets, x.rows);
      const auto counts = count_bags(ctx, frame, offsets, x.rows, request.mask);
      auto* const sums = frame.template take<sharp_sum<T>>(parts.most * x.cols);
      each(ctx, parts.most * x.cols, log_sum_exp_parts<S, T>{x, parts, request.mask, static_cast<T>(sharpness), sums});
      each(ctx, out.rows * out.cols, log_sum_exp_join<T>{parts, sums, counts, sharpness, out});
    });
  }
  template <class Rows, class T>
  static void backward(cuda_context& ctx, const Rows& source, device_offsets offsets,
                       matrix_view<const T, device_space> out, matrix_view<const T, device_space> d_out,
                       matrix_view<T, device_space> d_x, double sharpness, device_mask mask) {
    tile_scratch<T> none(nullptr, nullptr, 0);
    source.visit(0, source.rows, none, [&](auto x) {
      using S = typename decltype(x)::value_type;
      auto frame = ctx.workspace().open();
      const auto counts = count_bags(ctx, frame, offsets, x.rows, mask);
      each_row(ctx, x.rows,
               log_sum_exp_derivative<S, T>{x, offsets, mask, counts, static_cast<T>(sharpness), out, d_out, d_x});
    });
  }
};

}  // namespace stroma::detail
