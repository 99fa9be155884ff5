#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/backend/cuda/context.cuh>
#include <stroma/core/segments.hpp>
#include <stroma/core/view.hpp>

/// Shapes of kernels that algorithms fill with a function object: one for each element, sums in a fixed order, one
/// block for each tile of a ragged segment. A function object is a struct at namespace scope whose operator() is
/// __device__: unlike a lambda it needs no compiler flag.
namespace stroma::detail {

template <class T>
using device_matrix = matrix_view<T, device_space>;

inline constexpr unsigned block_threads = 256;
inline constexpr unsigned warp_threads = 32;
inline constexpr unsigned all_lanes = 0xffffffffu;
/// A constant where device code may not call the host's numeric_limits.
template <class T>
inline constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
inline constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

[[nodiscard]] inline unsigned blocks_for(cuda_context& ctx, index_t items, index_t each = block_threads) {
  const index_t wanted = (items + each - 1) / each;
  return static_cast<unsigned>(std::clamp<index_t>(wanted, 1, index_t{16} * ctx.multiprocessors()));
}

template <class F>
__global__ void __launch_bounds__(block_threads) each_kernel(index_t count, F f) {
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  for (index_t i = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) f(i);
}
/// f(i) for i = 0 .. count - 1, in no order.
template <class F>
void each(cuda_context& ctx, index_t count, const F& f) {
  if (count <= 0) return;
  launch(&each_kernel<F>, dim3(blocks_for(ctx, count)), dim3(block_threads), 0, ctx.stream(), count, f);
}

struct add_values {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct larger_value {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b || a != a ? (a != a ? a : b) : a;  // NaN wins
  }
};

/// The join of a value of every lane, in all lanes; always in the same order.
template <class T, class Join>
__device__ T warp_join(T value, Join join) {
  for (int step = warp_threads / 2; step > 0; step /= 2) value = join(value, __shfl_xor_sync(all_lanes, value, step));
  return value;
}
/// The same over a block of `block_threads`; every thread calls it. `room`: shared, a T for each warp.
template <class T, class Join>
__device__ T block_join(T value, Join join, T* room) {
  const unsigned lane = threadIdx.x % warp_threads, warp = threadIdx.x / warp_threads;
  value = warp_join(value, join);
  __syncthreads();  // who read the room before is done
  if (lane == 0) room[warp] = value;
  __syncthreads();
  value = room[0];
  for (unsigned w = 1; w < block_threads / warp_threads; ++w) value = join(value, room[w]);
  return value;
}

template <class F>
__global__ void __launch_bounds__(block_threads) each_row_kernel(index_t rows, F f) {
  constexpr index_t warps = block_threads / warp_threads;
  const index_t step = static_cast<index_t>(gridDim.x) * warps;
  const auto lane = static_cast<index_t>(threadIdx.x % warp_threads);
  for (index_t r = static_cast<index_t>(blockIdx.x) * warps + threadIdx.x / warp_threads; r < rows; r += step)
    f(r, lane);
}
/// f(row, lane) for rows 0 .. rows - 1 by the 32 lanes of a warp, which may join values: warp_join.
template <class F>
void each_row(cuda_context& ctx, index_t rows, const F& f) {
  if (rows <= 0) return;
  launch(&each_row_kernel<F>, dim3(blocks_for(ctx, rows, block_threads / warp_threads)), dim3(block_threads), 0,
         ctx.stream(), rows, f);
}

/// Elements that one block sums. Fixed, so that a sum's order depends on its length alone.
inline constexpr index_t sum_piece = 4096;

/// The sum of one piece, in every thread of its block.
template <class Term>
__device__ double sum_of_piece(index_t number, index_t count, const Term& term, double* room) {
  const index_t first = number * sum_piece, last = first + sum_piece < count ? first + sum_piece : count;
  double sum = 0;
  for (index_t i = first + threadIdx.x; i < last; i += block_threads) sum += term(i);
  return block_join(sum, add_values{}, room);
}
template <class Term>
__global__ void __launch_bounds__(block_threads) sum_pieces_kernel(index_t count, Term term, double* pieces) {
  __shared__ double room[block_threads / warp_threads];
  const double sum = sum_of_piece(blockIdx.x, count, term, room);
  if (threadIdx.x == 0) pieces[blockIdx.x] = sum;
}
template <class Finish>
__global__ void __launch_bounds__(block_threads) finish_sum_kernel(index_t pieces, const double* piece, Finish finish) {
  __shared__ double room[block_threads / warp_threads];
  double sum = 0;
  for (index_t i = threadIdx.x; i < pieces; i += block_threads) sum += piece[i];
  sum = block_join(sum, add_values{}, room);
  if (threadIdx.x == 0) finish(sum);
}
template <class Term, class Finish>
__global__ void __launch_bounds__(block_threads) sum_one_piece_kernel(index_t count, Term term, Finish finish) {
  __shared__ double room[block_threads / warp_threads];
  const double sum = sum_of_piece(0, count, term, room);
  if (threadIdx.x == 0) finish(sum);
}
/// finish(sum of term(i) for i = 0 .. count - 1), in double and in a fixed order, by one thread of the device. One
/// launch for up to sum_piece elements, else two.
template <class Term, class Finish>
void sum_each(cuda_context& ctx, index_t count, const Term& term, const Finish& finish) {
  if (count <= sum_piece)
    return launch(&sum_one_piece_kernel<Term, Finish>, dim3(1), dim3(block_threads), 0, ctx.stream(), count, term,
                  finish);
  const index_t pieces = (count + sum_piece - 1) / sum_piece;
  auto frame = ctx.workspace().open();
  double* const piece = frame.template take<double>(pieces);
  launch(&sum_pieces_kernel<Term>, dim3(static_cast<unsigned>(pieces)), dim3(block_threads), 0, ctx.stream(), count,
         term, piece);
  launch(&finish_sum_kernel<Finish>, dim3(1), dim3(block_threads), 0, ctx.stream(), pieces,
         static_cast<const double*>(piece), finish);
}

// ---- ragged segments ------------------------------------------------------------------------------------------------

using device_offsets = vector_view<const index_t, device_space>;

/// Segment b as rows first .. first + count - 1, within 0 .. rows whatever the offsets say.
struct segment_rows {
  index_t first, count;
};
[[nodiscard]] __device__ inline segment_rows rows_of_segment(const device_offsets& offsets, index_t b, index_t rows) {
  const index_t from = offsets[b], to = offsets[b + 1];
  const index_t first = from < 0 ? 0 : from > rows ? rows : from;
  const index_t last = to < first ? first : to > rows ? rows : to;
  return {first, last - first};
}

/// The parts of all segments in order, made on the device: their number is not known to the host, but at most `most`.
/// Beyond the last, parts are empty.
struct device_parts {
  segment_part* part;
  index_t* first_of_segment;  // [segments + 1] number of a segment's first part
  index_t most;
};

template <int = 0>
__global__ void __launch_bounds__(block_threads)
    count_parts_kernel(device_offsets offsets, index_t rows, index_t most, index_t* first_of_segment) {
  // One block: segments are few. A running sum over strips of block_threads segments.
  __shared__ index_t strip[block_threads];
  const index_t segments = offsets.size - 1;
  index_t before = 0;
  for (index_t start = 0; start < segments; start += block_threads) {
    const index_t b = start + threadIdx.x;
    index_t mine = b < segments ? (rows_of_segment(offsets, b, rows).count + tile_rows - 1) / tile_rows : 0;
    const index_t own = mine;
    strip[threadIdx.x] = mine;
    __syncthreads();
    for (unsigned step = 1; step < block_threads; step *= 2) {
      const index_t left = threadIdx.x >= step ? strip[threadIdx.x - step] : 0;
      __syncthreads();
      mine += left;
      strip[threadIdx.x] = mine;
      __syncthreads();
    }
    // Offsets that fall name rows twice: what is beyond the list is left out.
    if (b < segments) first_of_segment[b] = before + mine - own < most ? before + mine - own : most;
    before += strip[block_threads - 1];
    __syncthreads();
  }
  if (threadIdx.x == 0) first_of_segment[segments] = before < most ? before : most;
}
struct list_parts {
  device_offsets offsets;
  index_t rows;
  device_parts parts;

  __device__ void operator()(index_t p) const {
    const index_t segments = offsets.size - 1;
    if (p >= parts.first_of_segment[segments]) {
      parts.part[p] = {segments, 0, 0};
      return;
    }
    index_t low = 0, high = segments;  // the last segment whose first part is p or less, and that has parts
    while (high - low > 1) {
      const index_t middle = (low + high) / 2;
      if (parts.first_of_segment[middle] <= p) low = middle;
      else high = middle;
    }
    const segment_rows all = rows_of_segment(offsets, low, rows);
    const index_t skipped = (p - parts.first_of_segment[low]) * tile_rows;
    parts.part[p] = {low, all.first + skipped, all.count - skipped < tile_rows ? all.count - skipped : tile_rows};
  }
};
/// Cuts segments into parts of at most tile_rows rows, counted from a segment's own first row.
template <class Frame>
[[nodiscard]] device_parts parts_of_segments(cuda_context& ctx, Frame& frame, const device_offsets& offsets,
                                             index_t rows) {
  const index_t segments = offsets.size - 1;
  // A segment's last part may be short: one more for each.
  const index_t most = rows / tile_rows + segments;
  const device_parts parts{frame.template take<segment_part>(most), frame.template take<index_t>(segments + 1), most};
  launch(&count_parts_kernel<0>, dim3(1), dim3(block_threads), 0, ctx.stream(), offsets, rows, most,
         parts.first_of_segment);
  each(ctx, most, list_parts{offsets, rows, parts});
  return parts;
}

/// The segment that holds a row.
[[nodiscard]] __device__ inline index_t segment_of_row(const device_offsets& offsets, index_t row) {
  index_t low = 0, high = offsets.size - 1;
  while (high - low > 1) {
    const index_t middle = (low + high) / 2;
    if (offsets[middle] <= row) low = middle;
    else high = middle;
  }
  return low;
}

}  // namespace stroma::detail
