#pragma once
#include <cstdint>
#include <type_traits>

#include <stroma/backend/cuda/kernels.cuh>
#include <stroma/core/sort_key.hpp>

/// The largest elements of rows or segments: one block finds the smallest key that is wanted digit by digit, collects
/// what is not below it, and sorts that. Whatever order its threads take, the result is the one of (key, position).
namespace stroma::detail {

/// Threads of a block: for long rows as many as there can be, for an element each where rows are short.
inline constexpr unsigned top_k_threads = 1024, top_k_threads_of_short_rows = 128;
inline constexpr int key_digits = 256;

template <class T>
struct top_k_rows {
  matrix_view<const T, device_space> a;
  device_offsets offsets;  // empty: the rows of a
  [[nodiscard]] __device__ segment_rows row(index_t r) const {
    return offsets.size > 0 ? rows_of_segment(offsets, r, a.rows) : segment_rows{0, a.cols};
  }
  /// Element `at` of a, counted from the first row of all segments or from the start of row r.
  [[nodiscard]] __device__ T operator()(index_t r, index_t at) const { return offsets.size > 0 ? a(at, 0) : a(r, at); }
};

template <class Key>
struct selected_element {
  Key key;
  index_t at;  // below 0: none
  [[nodiscard]] __device__ bool before(const selected_element& other) const {
    if (at < 0 || other.at < 0) return at >= 0 && other.at < 0;
    return key != other.key ? key > other.key : at < other.at;
  }
};

/// The digit of the key that is looked for, and how many keys with a larger one there are: in every lane of a warp.
struct digit_found {
  unsigned digit;
  index_t above;
};
[[nodiscard]] __device__ inline digit_found find_digit(const int* bins, index_t wanted) {
  constexpr unsigned each = key_digits / warp_threads;
  const unsigned lane = threadIdx.x % warp_threads,
                 last = key_digits - 1 - lane * each;  // lanes from the largest digit
  int own = 0;
  for (unsigned d = 0; d < each; ++d) own += bins[last - d];
  int sum = own;  // of the lanes up to this one
  for (unsigned step = 1; step < warp_threads; step *= 2) {
    const int other = __shfl_up_sync(all_lanes, sum, step);
    sum += lane >= step ? other : 0;
  }
  const bool holds = sum >= wanted && sum - own < wanted;
  const auto source = static_cast<int>(__ffs(static_cast<int>(__ballot_sync(all_lanes, holds)))) - 1;
  unsigned digit = last;
  int above = sum - own;
  while (holds && above + bins[digit] < wanted) above += bins[digit--];
  return {__shfl_sync(all_lanes, digit, source), __shfl_sync(all_lanes, above, source)};
}

/// In place, by the whole block; size: a power of 2.
template <class Element>
__device__ void sort_block(Element* x, index_t size) {
  for (index_t run = 2; run <= size; run *= 2)
    for (index_t apart = run / 2; apart > 0; apart /= 2) {
      for (index_t i = threadIdx.x; i < size; i += blockDim.x) {
        const index_t other = i ^ apart;
        if (other < i || x[other].before(x[i]) != ((i & run) == 0)) continue;
        const Element moved = x[i];
        x[i] = x[other];
        x[other] = moved;
      }
      __syncthreads();
    }
}

/// room: `size` elements a row, a power of 2 that is k or more.
template <class T, class Key>
__global__ void __launch_bounds__(top_k_threads)
    select_top_k_kernel(top_k_rows<T> rows, selected_element<Key>* room, index_t size,
                        matrix_view<T, device_space> values, matrix_view<index_t, device_space> indices) {
  __shared__ int bins[key_digits];
  __shared__ digit_found found;
  __shared__ unsigned placed;
  __shared__ unsigned ties[top_k_threads / warp_threads];
  const index_t r = blockIdx.x;
  const segment_rows row = rows.row(r);
  const index_t wanted = row.count < indices.cols ? row.count : indices.cols;
  const unsigned lane = threadIdx.x % warp_threads, warp = threadIdx.x / warp_threads;
  selected_element<Key>* const best = room + r * size;
  if (threadIdx.x == 0) placed = 0;

  Key threshold = 0, known = 0;  // the digits found so far, and their bits
  index_t left = wanted;         // of the keys that have these digits
  for (int shift = 8 * static_cast<int>(sizeof(Key)) - 8; shift >= 0 && wanted > 0; shift -= 8) {
    for (unsigned d = threadIdx.x; d < key_digits; d += blockDim.x) bins[d] = 0;
    __syncthreads();
    for (index_t i = threadIdx.x; i < row.count; i += blockDim.x) {
      const Key key = sort_key(rows(r, row.first + i));
      if ((key & known) == threshold) atomicAdd(&bins[(key >> shift) & (key_digits - 1)], 1);
    }
    __syncthreads();
    if (warp == 0) {
      const digit_found mine = find_digit(bins, left);
      if (lane == 0) found = mine;
    }
    __syncthreads();
    threshold |= static_cast<Key>(found.digit) << shift;
    known |= static_cast<Key>(key_digits - 1) << shift;
    left -= found.above;
  }

  // All above the threshold, in any order, and of those at it the first `left`.
  index_t taken = 0;
  for (index_t first = 0; first < row.count && wanted > 0; first += blockDim.x) {
    const index_t i = first + threadIdx.x;
    const Key key = i < row.count ? sort_key(rows(r, row.first + i)) : Key(0);
    const bool tied = i < row.count && key == threshold;
    if (i < row.count && key > threshold) best[atomicAdd(&placed, 1u)] = {key, row.first + i};
    if (__syncthreads_or(tied && taken < left) == 0) continue;
    const unsigned votes = __ballot_sync(all_lanes, tied);
    if (lane == 0) ties[warp] = static_cast<unsigned>(__popc(votes));
    __syncthreads();
    index_t before = taken + __popc(votes & ((1u << lane) - 1));
    for (unsigned w = 0; w < blockDim.x / warp_threads; ++w) {
      before += w < warp ? ties[w] : 0;
      taken += ties[w];
    }
    if (tied && before < left) best[wanted - left + before] = {key, row.first + i};
    __syncthreads();  // who reads the ties is done
  }
  for (index_t i = wanted + threadIdx.x; i < size; i += blockDim.x) best[i] = {0, -1};
  __syncthreads();
  sort_block(best, size);
  for (index_t j = threadIdx.x; j < indices.cols; j += blockDim.x) indices(r, j) = j < wanted ? best[j].at : -1;
  for (index_t j = threadIdx.x; j < values.cols; j += blockDim.x)
    values(r, j) = j < wanted ? rows(r, best[j].at) : -infinity<T>;
}

template <class T>
void top_k(cuda_context& ctx, const top_k_rows<T>& rows, matrix_view<T, device_space> values,
           matrix_view<index_t, device_space> indices) {
  using key = decltype(sort_key(T{}));
  if (indices.rows == 0 || indices.cols == 0) return;
  index_t size = 1;
  while (size < indices.cols) size *= 2;
  const index_t longest = rows.offsets.size > 0 ? rows.a.rows : rows.a.cols;
  auto frame = ctx.workspace().open();
  auto* const room = frame.template take<selected_element<key>>(indices.rows * size);
  launch(&select_top_k_kernel<T, key>, dim3(static_cast<unsigned>(indices.rows)),
         dim3(longest <= 4096 ? top_k_threads_of_short_rows : top_k_threads), 0, ctx.stream(), rows, room, size, values,
         indices);
}

}  // namespace stroma::detail
