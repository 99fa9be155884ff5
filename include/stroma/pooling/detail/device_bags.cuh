#pragma once
#include <string>
#include <string_view>

#include <stroma/backend/cuda/checks.cuh>
#include <stroma/backend/cuda/kernels.cuh>
#include <stroma/pooling/detail/reduce.hpp>

/// What the poolings without parameters share on a device: the check of their features, and how many instances of a
/// bag take part.
namespace stroma::detail {

using device_mask = vector_view<const std::uint8_t, device_space>;

/// Features of the instances that take part, in the order of rows.
template <class S>
struct instance_check {
  matrix_view<const S, device_space> x;
  device_mask mask;
  __device__ bool wrong(index_t i) const { return takes_part(mask, i / x.cols) && !is_finite(value(i)); }
  __device__ double value(index_t i) const { return widen<double>(x(i / x.cols, i % x.cols)); }
};
template <class S>
void check_instances(cuda_context& ctx, matrix_view<const S, device_space> x,
                     const pool_request_in<device_space>& request) {
  if (!request.check_values) return;
  check_each(ctx, x.rows * x.cols, instance_check<S>{x, request.mask},
             {request.function, "instances",
              [](const fault_log::entry& f, index_t at, double found) {
                throw value_error(error_message(f.function, f.argument,
                                                number_text(found) + " at instance " + std::to_string(at / f.extent) +
                                                    " of all bags together, column " + std::to_string(at % f.extent),
                                                "finite features"));
              },
              x.cols});
}

/// One block for each bag.
template <int = 0>
__global__ void __launch_bounds__(block_threads)
    count_taking_part_kernel(device_offsets offsets, index_t rows, device_mask mask, index_t* counted) {
  __shared__ index_t room[block_threads / warp_threads];
  const segment_rows bag = rows_of_segment(offsets, blockIdx.x, rows);
  index_t sum = 0;
  for (index_t i = threadIdx.x; i < bag.count; i += block_threads) sum += takes_part(mask, bag.first + i) ? 1 : 0;
  sum = block_join(sum, add_values{}, room);
  if (threadIdx.x == 0) counted[blockIdx.x] = sum;
}
/// How many instances of a bag take part: counted where there is a mask, else its rows.
struct bag_counts {
  device_offsets offsets;
  index_t rows;
  const index_t* counted;
  __device__ index_t operator()(index_t bag) const {
    return counted != nullptr ? counted[bag] : rows_of_segment(offsets, bag, rows).count;
  }
};
template <class Frame>
[[nodiscard]] bag_counts count_bags(cuda_context& ctx, Frame& frame, const device_offsets& offsets, index_t rows,
                                    const device_mask& mask) {
  const index_t bags = offsets.size - 1;
  if (mask.size == 0 || bags == 0) return {offsets, rows, nullptr};
  index_t* const counted = frame.template take<index_t>(bags);
  launch(&count_taking_part_kernel<0>, dim3(static_cast<unsigned>(bags)), dim3(block_threads), 0, ctx.stream(), offsets,
         rows, mask, counted);
  return {offsets, rows, counted};
}

}  // namespace stroma::detail
