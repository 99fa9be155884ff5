#pragma once
#include <concepts>
#include <string_view>
#include <type_traits>

#include <stroma/backend/cuda/kernels.cuh>
#include <stroma/optim/parameter_update.hpp>

/// One launch for many parameters: models have dozens, most of them too small to fill a device.
namespace stroma::detail {

/// A table of so many tensors is a kernel's argument, for which there are 4 KB.
inline constexpr int tensors_a_launch = 32;
/// Elements of one tensor that a block takes at a time. Fixed, so that sums do not depend on the device.
inline constexpr index_t elements_a_piece = index_t{8} * block_threads;

[[nodiscard]] inline index_t pieces_of(index_t count) { return (count + elements_a_piece - 1) / elements_a_piece; }

/// Tensor: a parameter's pointers and numbers, and what is done to element i: operator()(i).
template <class Tensor>
struct tensor_table {
  Tensor tensor[tensors_a_launch];
  index_t count[tensors_a_launch];
  index_t first_piece[tensors_a_launch + 1];
  int tensors;

  struct piece {
    int tensor;
    index_t first, last;  ///< elements
  };
  [[nodiscard]] __device__ piece find(index_t number) const {
    int low = 0, high = tensors;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first_piece[middle] <= number) low = middle;
      else high = middle;
    }
    const index_t first = (number - first_piece[low]) * elements_a_piece, left = count[low] - first;
    return {low, first, first + (left < elements_a_piece ? left : elements_a_piece)};
  }
  [[nodiscard]] STROMA_HOST_DEVICE index_t pieces() const { return first_piece[tensors]; }
  [[nodiscard]] bool full() const { return tensors == tensors_a_launch; }
  void append(const Tensor& entry, index_t elements) {
    tensor[tensors] = entry;
    count[tensors] = elements;
    first_piece[tensors + 1] = first_piece[tensors] + pieces_of(elements);
    ++tensors;
  }
};

template <class Tensor>
__global__ void __launch_bounds__(block_threads) update_tensors_kernel(tensor_table<Tensor> table) {
  for (index_t p = blockIdx.x; p < table.pieces(); p += gridDim.x) {
    const auto piece = table.find(p);
    const Tensor tensor = table.tensor[piece.tensor];
    for (index_t i = piece.first + threadIdx.x; i < piece.last; i += block_threads) tensor(i);
  }
}
template <class Tensor>
void update_tensors(cuda_context& ctx, const tensor_table<Tensor>& table) {
  static_assert(sizeof(tensor_table<Tensor>) <= 4096);
  launch(&update_tensors_kernel<Tensor>, dim3(blocks_for(ctx, table.pieces(), 1)), dim3(block_threads), 0, ctx.stream(),
         table);
}

/// The sums of each piece of a table, Tensor::sums numbers: add(i, sum) adds what element i brings to them.
template <class Tensor>
__global__ void __launch_bounds__(block_threads) sum_tensors_kernel(tensor_table<Tensor> table, double* sums) {
  __shared__ double room[block_threads / warp_threads];
  for (index_t p = blockIdx.x; p < table.pieces(); p += gridDim.x) {
    const auto piece = table.find(p);
    const Tensor tensor = table.tensor[piece.tensor];
    double sum[Tensor::sums] = {};
    for (index_t i = piece.first + threadIdx.x; i < piece.last; i += block_threads) tensor.add(i, sum);
    for (int k = 0; k < Tensor::sums; ++k) {
      const double of_piece = block_join(sum[k], add_values{}, room);
      if (threadIdx.x == 0) sums[p * Tensor::sums + k] = of_piece;
    }
  }
}
/// @param sums  [pieces, Tensor::sums], overwritten
template <class Tensor>
void sum_tensors(cuda_context& ctx, const tensor_table<Tensor>& table, double* sums) {
  static_assert(sizeof(tensor_table<Tensor>) <= 4000);
  launch(&sum_tensors_kernel<Tensor>, dim3(blocks_for(ctx, table.pieces(), 1)), dim3(block_threads), 0, ctx.stream(),
         table, sums);
}

/// start(table) for the parameters whose elements are Tensor::scalar, up to 32 at a time, in their order;
/// make(parameter of the first model, of the second, ...) gives a table's entry.
template <class Tensor, class Make, class Start, class... Models>
void for_each_table(const Make& make, const Start& start, Models&... models) {
  tensor_table<Tensor> table{};
  const auto flush = [&] {
    if (table.tensors > 0) start(table);
    table.tensors = 0;
  };
  for_each_parameter(
      [&](std::string_view, auto& first, auto&... rest) {
        using scalar = typename std::remove_cvref_t<decltype(first)>::value_type;
        if constexpr (std::same_as<scalar, typename Tensor::scalar>) {
          if (first.size() == 0) return;
          if (table.full()) flush();
          table.append(make(first, rest...), first.size());
        }
      },
      models...);
  flush();
}

}  // namespace stroma::detail
