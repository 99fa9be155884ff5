#pragma once
#include <type_traits>

#include <stroma/backend/cuda/kernels.cuh>

/// Running joins of an array, in an order that depends on its length alone: pieces of fixed size are scanned, then the
/// pieces' totals, and these are joined to what follows them. CUB's scan looks back at whichever piece is ready, so
/// that its sums of floating-point numbers differ from run to run.
namespace stroma::detail {

/// Neighbours that one thread joins, and elements of a block.
inline constexpr index_t scan_items = 8, scan_piece = scan_items * block_threads;

/// An array, or an array from its end.
template <class T>
struct scan_range {
  T* x;
  index_t size;
  bool from_end;
  __device__ T& operator[](index_t i) const { return x[from_end ? size - 1 - i : i]; }
};

template <class T, class Join>
__global__ void __launch_bounds__(block_threads) scan_pieces_kernel(scan_range<T> x, Join join, T* totals) {
  __shared__ T room[2][block_threads];
  const unsigned t = threadIdx.x;
  const index_t first = static_cast<index_t>(blockIdx.x) * scan_piece + static_cast<index_t>(t) * scan_items;
  const index_t last = first + scan_items < x.size ? first + scan_items : x.size;
  const bool works = first < x.size;
  if (works) {
    T running = x[first];
    for (index_t i = first + 1; i < last; ++i) x[i] = running = join(running, x[i]);
    room[0][t] = running;
  }
  __syncthreads();
  unsigned now = 0;
  for (unsigned step = 1; step < block_threads; step *= 2) {
    if (works) room[1 - now][t] = t >= step ? join(room[now][t - step], room[now][t]) : room[now][t];
    now = 1 - now;
    __syncthreads();
  }
  if (!works) return;
  if (t > 0) {
    const T before = room[now][t - 1];
    for (index_t i = first; i < last; ++i) x[i] = join(before, x[i]);
  }
  if (totals != nullptr && (last == x.size || t == block_threads - 1)) totals[blockIdx.x] = room[now][t];
}
/// i counts from the second piece.
template <class T, class Join>
struct join_earlier_pieces {
  scan_range<T> x;
  Join join;
  const T* totals;
  __device__ void operator()(index_t i) const { x[i + scan_piece] = join(totals[i / scan_piece], x[i + scan_piece]); }
};

template <class T, class Join>
void scan(cuda_context& ctx, const scan_range<T>& x, const Join& join) {
  static_assert(std::is_trivial_v<T>, "shared memory is not initialised");
  if (x.size <= 0) return;
  const index_t pieces = (x.size + scan_piece - 1) / scan_piece;
  auto frame = ctx.workspace().open();
  T* const totals = pieces > 1 ? frame.template take<T>(pieces) : nullptr;
  launch(&scan_pieces_kernel<T, Join>, dim3(static_cast<unsigned>(pieces)), dim3(block_threads), 0, ctx.stream(), x,
         join, totals);
  if (pieces == 1) return;
  scan(ctx, scan_range<T>{totals, pieces, false}, join);
  each(ctx, x.size - scan_piece, join_earlier_pieces<T, Join>{x, join, totals});
}

/// x[i] = x[0] joined with x[1] .. x[i]. `join(earlier, later)` is associative; it need not commute.
template <class T, class Join>
void inclusive_scan(cuda_context& ctx, index_t n, T* x, const Join& join) {
  scan(ctx, scan_range<T>{x, n, false}, join);
}
/// The same from the end: x[i] = x[n - 1] joined with x[n - 2] .. x[i].
template <class T, class Join>
void reversed_inclusive_scan(cuda_context& ctx, index_t n, T* x, const Join& join) {
  scan(ctx, scan_range<T>{x, n, true}, join);
}

template <class Count>
struct write_counts {
  Count count;
  index_t* sums;
  __device__ void operator()(index_t i) const { sums[i] = i == 0 ? 0 : count(i - 1); }
};
/// sums[i] = count(0) + .. + count(i - 1) for i = 0 .. n: where each of the elements that are kept goes, and how many
/// there are.
template <class Count>
void exclusive_sum(cuda_context& ctx, index_t n, const Count& count, index_t* sums) {
  each(ctx, n + 1, write_counts<Count>{count, sums});
  inclusive_scan(ctx, n + 1, sums, add_values{});
}

/// An element of a scan that starts anew where a segment begins.
template <class V>
struct segment_sum {
  V sum;
  bool begins;
};
struct join_segment_sums {
  template <class V>
  __device__ segment_sum<V> operator()(const segment_sum<V>& a, const segment_sum<V>& b) const {
    return {b.begins ? b.sum : a.sum + b.sum, a.begins || b.begins};
  }
};

}  // namespace stroma::detail
