#pragma once
#include <string>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/pooling/detail/device_bags.cuh>
#include <stroma/pooling/max_pool.hpp>

namespace stroma::detail {

/// A candidate for the maximum; row -1: none yet.
template <class T>
struct found_maximum {
  T value;
  index_t row;
  /// Of two in order the later, where it is larger, or the first NaN.
  __device__ void take(T x, index_t at) {
    if (row >= 0 && !(value < x || (x != x && value == value))) return;
    value = x;
    row = at;
  }
};
template <class S, class T>
struct max_pool_parts {
  matrix_view<const S, device_space> x;
  device_parts parts;
  device_mask mask;
  found_maximum<T>* found;  // [parts, features]
  __device__ void operator()(index_t i) const {
    const segment_part part = parts.part[i / x.cols];
    const index_t j = i % x.cols;
    found_maximum<T> best{T(0), -1};
    for (index_t n = part.first; n < part.first + part.count; ++n)
      if (takes_part(mask, n)) best.take(widen<T>(x(n, j)), n);
    found[i] = best;
  }
};
/// The parts of a bag, in order.
template <class T>
struct max_pool_join {
  device_parts parts;
  const found_maximum<T>* found;
  max_pool_output<T, device_space> out;
  __device__ void operator()(index_t i) const {
    const index_t cols = out.value.cols, b = i / cols, j = i % cols;
    found_maximum<T> best{T(0), -1};
    for (index_t p = parts.first_of_segment[b]; p < parts.first_of_segment[b + 1]; ++p) {
      const found_maximum<T> next = found[p * cols + j];
      if (next.row >= 0) best.take(next.value, next.row);
    }
    out.value(b, j) = best.value;
    if (out.first.data != nullptr) out.first(b, j) = best.row;
  }
};

struct first_check {
  matrix_view<const index_t, device_space> first;
  index_t rows;
  __device__ bool wrong(index_t i) const {
    const index_t row = first(i / first.cols, i % first.cols);
    return row < 0 || row >= rows;
  }
  __device__ double value(index_t i) const { return static_cast<double>(first(i / first.cols, i % first.cols)); }
};
/// One thread for each column: two bags that name one row, which max_pool never gives, are added one after another.
template <class T>
struct max_pool_derivative {
  matrix_view<const index_t, device_space> first;
  matrix_view<const T, device_space> d_out;
  matrix_view<T, device_space> d_x;
  __device__ void operator()(index_t j) const {
    for (index_t b = 0; b < first.rows; ++b) {
      const index_t row = first(b, j);
      if (row >= 0 && row < d_x.rows) d_x(row, j) += d_out(b, j);
    }
  }
};

template <>
struct max_pool_kernel<backend::cuda> {
  template <class Rows, class T>
  static void forward(cuda_context& ctx, const Rows& source, device_offsets offsets,
                      const max_pool_output<T, device_space>& out, const pool_request_in<device_space>& request) {
    tile_scratch<T> none(nullptr, nullptr, 0);
    source.visit(0, source.rows, none, [&](auto x) {
      using S = typename decltype(x)::value_type;
      check_instances<S>(ctx, x, request);
      auto frame = ctx.workspace().open();
      const auto parts = parts_of_segments(ctx, frame, offsets, x.rows);
      auto* const found = frame.template take<found_maximum<T>>(parts.most * x.cols);
      each(ctx, parts.most * x.cols, max_pool_parts<S, T>{x, parts, request.mask, found});
      each(ctx, out.value.rows * out.value.cols, max_pool_join<T>{parts, found, out});
    });
  }
  static void check_first(cuda_context& ctx, matrix_view<const index_t, device_space> first, index_t rows) {
    check_each(ctx, first.rows * first.cols, first_check{first, rows},
               {"max_pool_backward", "first",
                [](const fault_log::entry& f, index_t, double found) {
                  throw value_error(error_message(f.function, f.argument, number_text(found),
                                                  "0 to " + std::to_string(f.extent - 1)));
                },
                rows});
  }
  template <class T>
  static void backward(cuda_context& ctx, matrix_view<const index_t, device_space> first,
                       matrix_view<const T, device_space> d_out, matrix_view<T, device_space> d_x) {
    each(ctx, first.cols, max_pool_derivative<T>{first, d_out, d_x});
  }
};

}  // namespace stroma::detail
