#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cuda_emulator {

/// What the program has asked of the device so far.
struct counters {
  std::uint64_t kernels = 0;           ///< launched
  std::uint64_t synchronisations = 0;  ///< of streams and the device, and copies that wait
  std::uint64_t allocations = 0;       ///< of device memory, that succeeded and were not empty
  std::size_t live_allocations = 0;
  std::size_t live_bytes = 0;
};

namespace detail {

struct shared_counters {
  std::atomic<std::uint64_t> kernels{0}, synchronisations{0}, allocations{0};
  std::atomic<std::size_t> live_allocations{0}, live_bytes{0};
  /// The allocation that fails, counted down. 0: none.
  std::atomic<std::uint64_t> failing{0};
};
inline shared_counters& counts() {
  static shared_counters all;
  return all;
}

}  // namespace detail

[[nodiscard]] inline counters count() {
  const auto& c = detail::counts();
  return {c.kernels, c.synchronisations, c.allocations, c.live_allocations, c.live_bytes};
}

/// The n-th allocation of device or pinned memory from now on fails, once: 1 is the next. 0: none will.
inline void fail_allocation(std::uint64_t n) { detail::counts().failing = n; }

}  // namespace cuda_emulator
