#pragma once
#include <stroma/backend/cuda/kernels.cuh>

namespace stroma::detail {

/// Rows that one block sums. Fixed, so that a sum's order depends on the number of rows alone.
inline constexpr index_t sum_row_piece = 32;

template <class Term>
__global__ void __launch_bounds__(block_threads) sum_row_pieces_kernel(index_t rows, Term term, double* pieces) {
  constexpr unsigned warps = block_threads / warp_threads;
  __shared__ double room[warps];
  const unsigned warp = threadIdx.x / warp_threads;
  const auto lane = static_cast<index_t>(threadIdx.x % warp_threads);
  const index_t first = static_cast<index_t>(blockIdx.x) * sum_row_piece;
  const index_t last = first + sum_row_piece < rows ? first + sum_row_piece : rows;
  double sum = 0;
  for (index_t r = first + warp; r < last; r += warps) sum += term(r, lane);
  if (lane == 0) room[warp] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned w = 1; w < warps; ++w) sum += room[w];
  pieces[blockIdx.x] = sum;
}

/// finish(sum of term(row, lane) over the rows), as sum_each; a row's term is made by the 32 lanes of a warp, all of
/// which return it.
template <class Term, class Finish>
void sum_rows(cuda_context& ctx, index_t rows, const Term& term, const Finish& finish) {
  const index_t pieces = (rows + sum_row_piece - 1) / sum_row_piece;
  auto frame = ctx.workspace().open();
  double* const piece = frame.template take<double>(pieces);
  if (pieces > 0)
    launch(&sum_row_pieces_kernel<Term>, dim3(static_cast<unsigned>(pieces)), dim3(block_threads), 0, ctx.stream(),
           rows, term, piece);
  launch(&finish_sum_kernel<Finish>, dim3(1), dim3(block_threads), 0, ctx.stream(), pieces,
         static_cast<const double*>(piece), finish);
}

}  // namespace stroma::detail
