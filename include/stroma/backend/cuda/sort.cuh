#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <stroma/backend/cuda/kernels.cuh>

#if defined(__CUDACC__)
#include <cub/device/device_radix_sort.cuh>
#else
#include <algorithm>
#endif

namespace stroma::detail {

#if !defined(__CUDACC__)

struct sorted_position {
  std::uint64_t key;
  index_t from;
  friend bool operator<(const sorted_position& a, const sorted_position& b) {
    return a.key != b.key ? a.key < b.key : a.from < b.from;
  }
};
/// The emulated device's sort: its one thread may call the standard library.
template <class V>
__global__ void sort_pairs_kernel(index_t n, std::uint64_t* keys, V* values, sorted_position* order, V* copy) {
  for (index_t i = 0; i < n; ++i) {
    order[i] = {keys[i], i};
    copy[i] = values[i];
  }
  std::sort(order, order + n);
  for (index_t i = 0; i < n; ++i) {
    keys[i] = order[i].key;
    values[i] = copy[order[i].from];
  }
}

#endif

/// Sorts by key, ascending, in place; equal keys keep their order. Nothing waits. O(n) scratch.
template <class V>
void sort_by_key(cuda_context& ctx, index_t n, std::uint64_t* keys, V* values) {
  static_assert(std::is_trivially_copyable_v<V>);
  if (n < 2) return;
  auto scratch = ctx.workspace().open();
#if defined(__CUDACC__)
  cub::DoubleBuffer<std::uint64_t> key(keys, scratch.template take<std::uint64_t>(n));
  cub::DoubleBuffer<V> value(values, scratch.template take<V>(n));
  std::size_t bytes = 0;
  const auto sort = [&](void* room) {
    cuda_check(cub::DeviceRadixSort::SortPairs(room, bytes, key, value, n, 0, 64, ctx.stream()), "sort_by_key",
               "cub::DeviceRadixSort::SortPairs");
  };
  sort(nullptr);  // asks for the size of the room
  sort(scratch.template take<std::byte>(static_cast<index_t>(bytes)));
  const auto bring_back = [&](auto* to, const auto* from) {
    if (to == from) return;
    cuda_check(
        cudaMemcpyAsync(to, from, static_cast<std::size_t>(n) * sizeof(*to), cudaMemcpyDeviceToDevice, ctx.stream()),
        "sort_by_key", "cudaMemcpyAsync");
  };
  bring_back(keys, key.Current());
  bring_back(values, value.Current());
#else
  auto* const order = scratch.template take<sorted_position>(n);
  V* const copy = scratch.template take<V>(n);
  launch(&sort_pairs_kernel<V>, dim3(1), dim3(1), 0, ctx.stream(), n, keys, values, order, copy);
#endif
}

}  // namespace stroma::detail
