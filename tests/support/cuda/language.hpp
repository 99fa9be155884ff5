#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "scheduler.hpp"

// CUDA's words and what they stand for here.
#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __constant__ __attribute__((unused)) static
// One thread of the host runs one block at a time. Of the shared memory, only the dynamic part is poisoned for every
// block and guarded by AddressSanitizer: where such variables lie is not known to a program.
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

/// T* name: the shared memory whose size the launch says.
#define STROMA_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(::cuda_emulator::dynamic_shared())

namespace cuda_emulator {

[[nodiscard]] inline void* dynamic_shared() {
  const detail::unseen hidden;
  return detail::current_thread("dynamic shared memory").on->owner->dynamic_shared();
}

namespace detail {

inline int block_barrier(barrier_kind kind, bool vote, place where) {
  block_runner* runner = nullptr;
  {
    const unseen hidden;
    runner = current_thread("__syncthreads").on->owner;
  }
  return runner->barrier(kind, vote, where);
}
inline std::uint64_t warp_call_of(call_kind kind, unsigned mask, std::uint64_t value, unsigned source, place where) {
  block_runner* runner = nullptr;
  {
    const unseen hidden;
    runner = current_thread("warp operation").on->owner;
  }
  return runner->call(kind, mask, value, source, where);
}
inline unsigned this_lane() {
  const unseen hidden;
  return current_thread("warp operation").rank % warp_lanes;
}

/// Shuffles `value`; `source`: the lane that is read.
template <class T>
T shuffle(unsigned mask, T value, unsigned source, place where) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "shuffles carry up to 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_call_of(call_kind::shuffle, mask, bits, source, where);
  std::memcpy(static_cast<void*>(&value), &bits, sizeof(T));
  return value;
}
/// The first lane of the section of `width` lanes that `lane` is in.
inline unsigned section(unsigned lane, int width) { return lane & ~(static_cast<unsigned>(width) - 1); }

}  // namespace detail
}  // namespace cuda_emulator

#define CUDA_EMULATOR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDA_EMULATOR_HERE) {
  cuda_emulator::detail::block_barrier(cuda_emulator::detail::barrier_kind::plain, false, {file, line});
}
inline int __syncthreads_or(int predicate, CUDA_EMULATOR_HERE) {
  return cuda_emulator::detail::block_barrier(cuda_emulator::detail::barrier_kind::any, predicate != 0, {file, line});
}
inline int __syncthreads_and(int predicate, CUDA_EMULATOR_HERE) {
  return cuda_emulator::detail::block_barrier(cuda_emulator::detail::barrier_kind::all, predicate != 0, {file, line});
}
inline int __syncthreads_count(int predicate, CUDA_EMULATOR_HERE) {
  return cuda_emulator::detail::block_barrier(cuda_emulator::detail::barrier_kind::count, predicate != 0, {file, line});
}

inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_EMULATOR_HERE) {
  cuda_emulator::detail::warp_call_of(cuda_emulator::detail::call_kind::sync, mask, 0, 0, {file, line});
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, CUDA_EMULATOR_HERE) {
  const unsigned first = cuda_emulator::detail::section(cuda_emulator::detail::this_lane(), width);
  const unsigned source = first + (static_cast<unsigned>(lane) & (static_cast<unsigned>(width) - 1));
  return cuda_emulator::detail::shuffle(mask, value, source, {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize, CUDA_EMULATOR_HERE) {
  const unsigned lane = cuda_emulator::detail::this_lane();
  const unsigned other = lane ^ static_cast<unsigned>(lane_mask);
  // Sections before the own may be read, those behind it not.
  const bool readable = cuda_emulator::detail::section(other, width) <= cuda_emulator::detail::section(lane, width);
  return cuda_emulator::detail::shuffle(mask, value, readable ? other : lane, {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, CUDA_EMULATOR_HERE) {
  const unsigned lane = cuda_emulator::detail::this_lane();
  const bool inside = lane - cuda_emulator::detail::section(lane, width) >= delta;
  return cuda_emulator::detail::shuffle(mask, value, inside ? lane - delta : lane, {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, CUDA_EMULATOR_HERE) {
  const unsigned lane = cuda_emulator::detail::this_lane();
  const unsigned left = cuda_emulator::detail::section(lane, width) + static_cast<unsigned>(width) - 1 - lane;
  return cuda_emulator::detail::shuffle(mask, value, delta <= left ? lane + delta : lane, {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATOR_HERE) {
  return static_cast<unsigned>(cuda_emulator::detail::warp_call_of(cuda_emulator::detail::call_kind::vote, mask,
                                                                   predicate != 0 ? 1 : 0, 0, {file, line}));
}
inline int __any_sync(unsigned mask, int predicate, CUDA_EMULATOR_HERE) {
  return __ballot_sync(mask, predicate, file, line) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_EMULATOR_HERE) {
  return __ballot_sync(mask, predicate != 0 ? 0 : 1, file, line) == 0 ? 1 : 0;
}

#undef CUDA_EMULATOR_HERE
