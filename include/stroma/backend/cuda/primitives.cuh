#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include <stroma/backend/cuda/checks.cuh>
#include <stroma/backend/cuda/kernels.cuh>
#include <stroma/backend/cuda/product.cuh>
#include <stroma/backend/cuda/top_k.cuh>

namespace stroma {
namespace detail {

/// f(x) and f'(x), from x and y = f(x) (gelu alone looks at x), for one element of a device.
template <class T>
__device__ T device_activated(activation f, T x) {
  switch (f) {
    case activation::identity:
      return x;
    case activation::relu:
      return x < T(0) ? T(0) : x;  // NaN stays
    case activation::tanh:
      return std::tanh(x);
    case activation::sigmoid: {
      const T e = std::exp(-std::fabs(x));
      return (x < T(0) ? e : T(1)) / (T(1) + e);
    }
    case activation::gelu:
      return x * T(0.5) * std::erfc(-x * T(0.7071067811865476));
    case activation::elu:
      return x < T(0) ? std::expm1(x) : x;
  }
  return x;
}
template <class T>
__device__ T device_derivative(activation f, T x, T y) {
  switch (f) {
    case activation::identity:
      return T(1);
    case activation::relu:
      return y > T(0) ? T(1) : T(0);
    case activation::tanh:
      return T(1) - y * y;
    case activation::sigmoid:
      return y * (T(1) - y);
    case activation::gelu:
      return T(0.5) * std::erfc(-x * T(0.7071067811865476)) + x * T(0.3989422804014327) * std::exp(T(-0.5) * x * x);
    case activation::elu:
      return y < T(0) ? y + T(1) : T(1);
  }
  return T(1);
}

template <class T>
struct axpy_elements {
  T alpha;
  const T* times;  // null: 1
  matrix_view<const T, device_space> a;
  matrix_view<T, device_space> c;
  __device__ void operator()(index_t i) const {
    const index_t row = i / c.cols, col = i % c.cols;
    c(row, col) += (times == nullptr ? alpha : alpha * *times) * a(row, col);
  }
};
/// c = f(c + bias)
template <class T>
struct finish_product {
  matrix_view<T, device_space> c;
  vector_view<const T, device_space> bias;
  activation f;
  __device__ void operator()(index_t i) const {
    const index_t row = i / c.cols, col = i % c.cols;
    const T x = bias.size > 0 ? c(row, col) + bias[col] : c(row, col);
    c(row, col) = device_activated(f, x);
  }
};
template <class T>
struct activate_elements {
  activation f;
  matrix_view<const T, device_space> a;
  matrix_view<T, device_space> c;
  __device__ void operator()(index_t i) const {
    const index_t row = i / c.cols, col = i % c.cols;
    c(row, col) = device_activated(f, a(row, col));
  }
};
template <class T>
struct differentiate_elements {
  activation f;
  matrix_view<const T, device_space> in, out, d_out;
  matrix_view<T, device_space> d_in;
  bool add;
  __device__ void operator()(index_t i) const {
    const index_t row = i / d_in.cols, col = i % d_in.cols;
    const T x = f == activation::gelu ? in(row, col) : T(0);
    const T d = d_out(row, col) * device_derivative(f, x, out(row, col));
    d_in(row, col) = add ? d_in(row, col) + d : d;
  }
};

/// Column sums of a tile of rows, and their sum over the tiles.
template <class T>
struct sum_tile_columns {
  matrix_view<const T, device_space> a;
  T* sums;  // [tiles, cols]
  __device__ void operator()(index_t i) const {
    const index_t tile = i / a.cols, col = i % a.cols, first = tile * tile_rows;
    const index_t last = first + tile_rows < a.rows ? first + tile_rows : a.rows;
    T sum = 0;
    for (index_t r = first; r < last; ++r) sum += a(r, col);
    sums[i] = sum;
  }
};
template <class T>
struct add_tile_sums {
  const T* sums;
  index_t tiles;
  vector_view<T, device_space> w;
  __device__ void operator()(index_t col) const {
    double sum = 0;
    for (index_t t = 0; t < tiles; ++t) sum += static_cast<double>(sums[t * w.size + col]);
    w[col] += static_cast<T>(sum);
  }
};

/// One block for each column of each segment.
template <class T>
__global__ void __launch_bounds__(block_threads)
    segmented_softmax_kernel(matrix_view<const T, device_space> e, device_offsets offsets,
                             matrix_view<T, device_space> p) {
  __shared__ T tops[block_threads / warp_threads];
  __shared__ double sums[block_threads / warp_threads];
  const index_t segment = blockIdx.x / e.cols, col = blockIdx.x % e.cols;
  const segment_rows rows = rows_of_segment(offsets, segment, e.rows);
  T top = -infinity<T>;
  for (index_t i = threadIdx.x; i < rows.count; i += block_threads) {
    const T x = e(rows.first + i, col);
    top = x > top ? x : top;
  }
  top = block_join(top, larger_value{}, tops);
  double sum = 0;
  for (index_t i = threadIdx.x; i < rows.count; i += block_threads)
    sum += static_cast<double>(std::exp(e(rows.first + i, col) - top));
  sum = block_join(sum, add_values{}, sums);
  for (index_t i = threadIdx.x; i < rows.count; i += block_threads)
    p(rows.first + i, col) = static_cast<T>(static_cast<double>(std::exp(e(rows.first + i, col) - top)) / sum);
}

/// Sums of a part's rows, each times its weight, heads side by side.
template <class T>
struct sum_weighted_part {
  matrix_view<const T, device_space> weight, a;
  device_parts parts;
  T* sums;  // [parts, heads x cols]
  __device__ void operator()(index_t i) const {
    const index_t width = weight.cols * a.cols, p = i / width, head = i % width / a.cols, col = i % a.cols;
    const segment_part part = parts.part[p];
    T sum = 0;
    for (index_t r = part.first; r < part.first + part.count; ++r) sum += weight(r, head) * a(r, col);
    sums[i] = sum;
  }
};
/// The parts of a segment, in order.
template <class T>
struct join_parts {
  device_parts parts;
  const T* sums;
  matrix_view<T, device_space> out;
  __device__ void operator()(index_t i) const {
    const index_t segment = i / out.cols, col = i % out.cols;
    double sum = 0;
    for (index_t p = parts.first_of_segment[segment]; p < parts.first_of_segment[segment + 1]; ++p)
      sum += static_cast<double>(sums[p * out.cols + col]);
    out(segment, col) = static_cast<T>(sum);
  }
};
struct write_ends {
  index_t rows;
  index_t* ends;
  __device__ void operator()(index_t) const {
    ends[0] = 0;
    ends[1] = rows;
  }
};

}  // namespace detail

/// A device's fill of the primitives. The same bits from run to run.
template <>
struct primitives<backend::cuda> {
  using context = cuda_context;
  using space = device_space;
  template <class T>
  using matrix = matrix_view<T, device_space>;
  template <class T>
  using vector = vector_view<T, device_space>;
  /// Kernels are started on whole matrices: intermediate results are stored.
  static constexpr bool evaluates_by_rows = false;

  /// Waits for the device.
  template <class T>
  static T read(context& ctx, const T* p) {
    T value;
    detail::cuda_check(cudaMemcpyAsync(&value, p, sizeof(T), cudaMemcpyDeviceToHost, ctx.stream()), "read",
                       "cudaMemcpyAsync");
    ctx.synchronize();
    return value;
  }
  /// The offsets of one bag: 0 and rows.
  static void write_ends(context& ctx, index_t rows, index_t* ends) {
    detail::each(ctx, 1, detail::write_ends{rows, ends});
  }
  template <class T>
  static void fill(context& ctx, matrix<T> c, T value) {
    detail::each(ctx, c.rows * c.cols, detail::fill_elements<T>{c, value});
  }
  template <class S, class T>
  static void copy(context& ctx, matrix<const S> a, matrix<T> c) {
    detail::each(ctx, c.rows * c.cols, detail::copy_elements<S, T>{a, c});
  }
  template <class T>
  static void axpy(context& ctx, T alpha, matrix<const T> a, matrix<T> c) {
    detail::each(ctx, c.rows * c.cols, detail::axpy_elements<T>{alpha, nullptr, a, c});
  }
  template <class T>
  static void axpy(context& ctx, const T* alpha, matrix<const T> a, matrix<T> c) {
    detail::each(ctx, c.rows * c.cols, detail::axpy_elements<T>{T(1), alpha, a, c});
  }
  /// c = f(a b + bias)
  template <class SA, class SB, class T>
  static void gemm(context& ctx, matrix<const SA> a, matrix<const SB> b, matrix<T> c, vector<const T> bias = {},
                   activation f = activation::identity) {
    detail::product(ctx, a, b, c, false);
    if (bias.size > 0 || f != activation::identity)
      detail::each(ctx, c.rows * c.cols, detail::finish_product<T>{c, bias, f});
  }
  /// c += a b
  template <class SA, class SB, class T>
  static void gemm_add(context& ctx, matrix<const SA> a, matrix<const SB> b, matrix<T> c) {
    detail::product(ctx, a, b, c, true);
  }
  template <class T>
  static void activate(context& ctx, activation f, matrix<const T> a, matrix<T> c) {
    detail::each(ctx, c.rows * c.cols, detail::activate_elements<T>{f, a, c});
  }
  /// d_in += d_out f'(in), where out = f(in); `in` is read for gelu only.
  template <class T>
  static void activate_backward(context& ctx, activation f, matrix<const T> in, matrix<const T> out,
                                matrix<const T> d_out, matrix<T> d_in) {
    detail::each(ctx, d_in.rows * d_in.cols, detail::differentiate_elements<T>{f, in, out, d_out, d_in, true});
  }
  /// d_in = d_out f'(in); d_in may be d_out.
  template <class T>
  static void scale_by_derivative(context& ctx, activation f, matrix<const T> in, matrix<const T> out,
                                  matrix<const T> d_out, matrix<T> d_in) {
    detail::each(ctx, d_in.rows * d_in.cols, detail::differentiate_elements<T>{f, in, out, d_out, d_in, false});
  }
  template <class T>
  static void add_column_sums(context& ctx, matrix<const T> a, vector<T> w) {
    const index_t tiles = (a.rows + tile_rows - 1) / tile_rows;
    auto frame = ctx.workspace().open();
    T* const sums = frame.template take<T>(tiles * a.cols);
    detail::each(ctx, tiles * a.cols, detail::sum_tile_columns<T>{a, sums});
    detail::each(ctx, a.cols, detail::add_tile_sums<T>{sums, tiles, w});
  }
  template <class T>
  static void segmented_softmax(context& ctx, matrix<const T> e, vector<const index_t> offsets, matrix<T> p) {
    const index_t blocks = (offsets.size - 1) * e.cols;
    if (blocks == 0) return;
    detail::launch(&detail::segmented_softmax_kernel<T>, dim3(static_cast<unsigned>(blocks)),
                   dim3(detail::block_threads), 0, ctx.stream(), e, offsets, p);
  }
  template <class T>
  static void segmented_weighted_sum(context& ctx, matrix<const T> weight, matrix<const T> a,
                                     vector<const index_t> offsets, matrix<T> out) {
    auto frame = ctx.workspace().open();
    const auto parts = detail::parts_of_segments(ctx, frame, offsets, a.rows);
    T* const sums = frame.template take<T>(parts.most * out.cols);
    detail::each(ctx, parts.most * out.cols, detail::sum_weighted_part<T>{weight, a, parts, sums});
    detail::each(ctx, out.rows * out.cols, detail::join_parts<T>{parts, sums, out});
  }
  template <class T>
  static void top_k(context& ctx, matrix<const T> a, vector<const index_t> offsets, matrix<T> values,
                    matrix<index_t> indices) {
    detail::top_k(ctx, detail::top_k_rows<T>{a, offsets}, values, indices);
  }
};

static_assert(primitive_set<primitives<backend::cuda>, float>);
static_assert(primitive_set<primitives<backend::cuda>, double>);

}  // namespace stroma
