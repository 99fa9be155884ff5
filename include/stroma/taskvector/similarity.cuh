#pragma once
#include <cstddef>
#include <span>
#include <type_traits>

#include <stroma/backend/cuda/array.cuh>
#include <stroma/backend/cuda/kernels.cuh>
#include <stroma/optim/parameter_update.cuh>
#include <stroma/taskvector/similarity.hpp>

namespace stroma::detail {

template <class T>
struct tensor_pair {
  static constexpr int sums = 3;
  const T *a, *b;
  inner_products* products;
  __device__ void add(index_t i, double* sum) const {
    const auto x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    sum[0] += x * y;
    sum[1] += x * x;
    sum[2] += y * y;
  }
};

/// A block for each pair: its products from the sums of its pieces.
template <class T>
__global__ void __launch_bounds__(block_threads)
    join_products_kernel(tensor_table<tensor_pair<T>> table, const double* sums) {
  constexpr int numbers = tensor_pair<T>::sums;
  __shared__ double room[block_threads / warp_threads];
  double sum[numbers] = {};
  for (index_t p = table.first_piece[blockIdx.x] + threadIdx.x; p < table.first_piece[blockIdx.x + 1];
       p += block_threads)
    for (int k = 0; k < numbers; ++k) sum[k] += sums[p * numbers + k];
  for (int k = 0; k < numbers; ++k) sum[k] = block_join(sum[k], add_values{}, room);
  if (threadIdx.x == 0) *table.tensor[blockIdx.x].products = {sum[0], sum[1], sum[2]};
}

/// Two launches for 32 pairs, and one wait for all.
template <>
class dot_kernel<backend::cuda> {
 public:
  dot_kernel(cuda_context& ctx, index_t most)
      : ctx_(ctx),
        frame_(ctx.workspace().open()),
        host_frame_(ctx.host_workspace().open()),
        products_(frame_.template take<inner_products>(most)),
        found_(host_frame_.template take<inner_products>(most)) {}

  template <class T>
  void add(index_t count, const T* a, const T* b) {
    auto& table = table_of<T>();
    if (table.full()) start(table);
    table.append({a, b, products_ + pairs_++}, count);
  }
  [[nodiscard]] std::span<const inner_products> finish() {
    if (pairs_ == 0) return {};
    start(singles_);
    start(doubles_);
    transfer(ctx_, vector_view<const inner_products, device_space>(products_, pairs_),
             vector_view<inner_products>(found_, pairs_));
    return {found_, static_cast<std::size_t>(pairs_)};
  }

 private:
  template <class T>
  [[nodiscard]] auto& table_of() {
    if constexpr (std::is_same_v<T, float>) return singles_;
    else return doubles_;
  }
  template <class T>
  void start(tensor_table<tensor_pair<T>>& table) {
    if (table.tensors == 0) return;
    double* const sums = frame_.template take<double>(table.pieces() * tensor_pair<T>::sums);
    sum_tensors(ctx_, table, sums);
    launch(&join_products_kernel<T>, dim3(static_cast<unsigned>(table.tensors)), dim3(block_threads), 0, ctx_.stream(),
           table, static_cast<const double*>(sums));
    table.tensors = 0;
  }

  cuda_context& ctx_;
  basic_workspace<device_resource>::frame frame_;
  workspace::frame host_frame_;
  inner_products *products_, *found_;  // on the device, on the host
  index_t pairs_ = 0;
  tensor_table<tensor_pair<float>> singles_{};
  tensor_table<tensor_pair<double>> doubles_{};
};

}  // namespace stroma::detail
