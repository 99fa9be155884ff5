#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/taskvector/sparse_mixup.hpp>
#include <stroma/taskvector/vector_stack.cuh>

namespace stroma::detail {

/// By one warp.
template <class T>
struct mix_coefficients {
  vector_view<const T, device_space> weight, share;
  sparse_mixup_output<T, device_space> out;
  __device__ void operator()(index_t, index_t lane) const {
    for (index_t j = lane; j < weight.size; j += warp_threads) out.coefficient[j] = T(0);
    __syncwarp();  // a selected source's may be another lane's
    T target = 0;
    for (index_t i = lane; i < out.selected.size; i += warp_threads) {
      const index_t s = out.selected[i];
      out.coefficient[s] = weight[s] * (T(1) - share[s]);
      target += weight[s] * share[s];
    }
    target = warp_join(target, add_values{});
    if (lane == 0) out.coefficient[weight.size] = target;
  }
};

/// Elements that a thread merges, apart by a block: so many loads of each row are under way at once.
inline constexpr index_t merged_each = 4;

template <class T, class Storage>
__global__ void __launch_bounds__(block_threads)
    merge_rows_kernel(matrix_view<const Storage, device_space> rows, vector_view<const T, device_space> base,
                      sparse_mixup_output<T, device_space> out) {
  constexpr index_t tile = merged_each * block_threads;
  const index_t step = static_cast<index_t>(gridDim.x) * tile;
  for (index_t first = static_cast<index_t>(blockIdx.x) * tile + threadIdx.x; first < base.size; first += step) {
    T sum[merged_each] = {};  // the small differences meet each other before they meet the base
    for (index_t j = 0; j <= out.selected.size; ++j) {
      const index_t row = j < out.selected.size ? out.selected[j] : rows.rows - 1;
      const T c = out.coefficient[row];
      if (c == T(0)) continue;
      for (index_t u = 0; u < merged_each; ++u)
        if (const index_t at = first + u * block_threads; at < base.size) sum[u] += c * widen<T>(rows(row, at));
    }
    for (index_t u = 0; u < merged_each; ++u)
      if (const index_t at = first + u * block_threads; at < base.size) out.merged[at] = base[at] + sum[u];
  }
}

/// Elements that a warp multiplies with every row, and that it keeps in registers meanwhile. Fixed, so that a sum's
/// order depends on its length alone.
inline constexpr index_t dotted_each = 16, dotted_piece = dotted_each * warp_threads;

/// The products of one piece of the gradient with the selected rows and the target's.
template <class T, class Storage>
struct dot_with_rows {
  vector_view<const T, device_space> d_merged;
  matrix_view<const Storage, device_space> rows;
  vector_view<const index_t, device_space> selected;
  index_t pieces;
  double* sums;  // [selected + 1][pieces]

  __device__ void operator()(index_t piece, index_t lane) const {
    const index_t first = piece * dotted_piece + lane;
    T d[dotted_each] = {};
    for (index_t u = 0; u < dotted_each; ++u)
      if (const index_t at = first + u * warp_threads; at < d_merged.size) d[u] = d_merged[at];
    for (index_t j = 0; j <= selected.size; ++j) {
      const index_t row = j < selected.size ? selected[j] : rows.rows - 1;
      T sum = 0;
      for (index_t u = 0; u < dotted_each; ++u)
        if (const index_t at = first + u * warp_threads; at < d_merged.size) sum += d[u] * widen<T>(rows(row, at));
      const double of_warp = warp_join(static_cast<double>(sum), add_values{});
      if (lane == 0) sums[j * pieces + piece] = of_warp;
    }
  }
};

/// A block for each selected source.
template <class T>
__global__ void __launch_bounds__(block_threads)
    add_mixup_derivatives_kernel(index_t pieces, const double* sums, vector_view<const T, device_space> weight,
                                 vector_view<const T, device_space> share,
                                 vector_view<const index_t, device_space> selected,
                                 vector_view<T, device_space> d_weight, vector_view<T, device_space> d_share) {
  __shared__ double room[block_threads / warp_threads];
  const double* const own = sums + static_cast<index_t>(blockIdx.x) * pieces;
  const double* const last = sums + selected.size * pieces;
  double source = 0, target = 0;
  for (index_t p = threadIdx.x; p < pieces; p += block_threads) {
    source += own[p];
    target += last[p];
  }
  source = block_join(source, add_values{}, room);
  target = block_join(target, add_values{}, room);
  if (threadIdx.x != 0) return;
  const index_t s = selected[blockIdx.x];
  const auto l = static_cast<double>(share[s]);
  if (d_weight.size != 0) d_weight[s] += static_cast<T>((1 - l) * source + l * target);
  if (d_share.size != 0) d_share[s] += static_cast<T>(static_cast<double>(weight[s]) * (target - source));
}

template <>
struct sparse_mixup_kernel<backend::cuda> {
  template <class T, class Storage>
  static void forward(cuda_context& ctx, vector_view<const T, device_space> weight,
                      vector_view<const T, device_space> share, matrix_view<const Storage, device_space> rows,
                      vector_view<const T, device_space> base, const sparse_mixup_output<T, device_space>& out) {
    const matrix_view<index_t, device_space> selected(out.selected.data, 1, out.selected.size, 0, out.selected.stride);
    select(ctx, as_column(weight).transposed(), selected);
    each_row(ctx, 1, mix_coefficients<T>{weight, share, out});
    if (base.size == 0) return;
    launch(&merge_rows_kernel<T, Storage>, dim3(blocks_for(ctx, base.size, merged_each * block_threads)),
           dim3(block_threads), 0, ctx.stream(), rows, base, out);
  }

  template <class T, class Storage>
  static void backward(cuda_context& ctx, vector_view<const T, device_space> d_merged,
                       matrix_view<const Storage, device_space> rows, vector_view<const T, device_space> weight,
                       vector_view<const T, device_space> share, vector_view<const index_t, device_space> selected,
                       vector_view<T, device_space> d_weight, vector_view<T, device_space> d_share) {
    const index_t k = selected.size, pieces = (d_merged.size + dotted_piece - 1) / dotted_piece;
    if (k == 0) return;
    auto frame = ctx.workspace().open();
    double* const sums = frame.template take<double>((k + 1) * pieces);
    each_row(ctx, pieces, dot_with_rows<T, Storage>{d_merged, rows, selected, pieces, sums});
    launch(&add_mixup_derivatives_kernel<T>, dim3(static_cast<unsigned>(k)), dim3(block_threads), 0, ctx.stream(),
           pieces, static_cast<const double*>(sums), weight, share, selected, d_weight, d_share);
  }

  /// The columns of the largest weights of each row, in falling order; of equal ones the first.
  template <class T>
  static void select(cuda_context& ctx, matrix_view<const T, device_space> weight,
                     matrix_view<index_t, device_space> selected) {
    primitives<backend::cuda>::top_k<T>(ctx, weight, {}, {}, selected);
  }
};

}  // namespace stroma::detail
