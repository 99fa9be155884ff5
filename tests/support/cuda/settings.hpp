#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "sanitizer.hpp"

namespace cuda_emulator {

struct options {
  /// Threads of the host that run blocks, the caller among them. 1: it alone, blocks one after the other.
  int workers = 1;
  /// Not 0: blocks, warps and lanes take their turns in another order for every seed, anew after every barrier; and so
  /// do streams whose work is deferred.
  std::uint64_t order_seed = 0;
  /// Of one CUDA thread.
  std::size_t stack_bytes = (detail::has_asan || detail::has_tsan ? 256 : 64) * 1024;
  /// The device's memory.
  std::size_t device_bytes = std::size_t{4} << 30;
  /// What is asked of a stream is done when the host waits, not when it asks. Of several streams then only the one
  /// that is waited for runs, and what it depends on; or, with an order_seed, all take turns.
  bool deferred = false;
};

/// What launches and allocations go by. CUDA_EMULATOR_WORKERS, CUDA_EMULATOR_ORDER_SEED and CUDA_EMULATOR_DEFERRED in
/// the environment set the first values, so that any test program can be run in another order. To change them for a
/// while: settings_scope.
inline options& settings() {
  static options all = [] {
    options o;
    if (const char* const workers = std::getenv("CUDA_EMULATOR_WORKERS")) o.workers = std::max(1, std::atoi(workers));
    if (const char* const seed = std::getenv("CUDA_EMULATOR_ORDER_SEED"))
      o.order_seed = std::strtoull(seed, nullptr, 10);
    if (const char* const deferred = std::getenv("CUDA_EMULATOR_DEFERRED")) o.deferred = std::atoi(deferred) != 0;
    return o;
  }();
  return all;
}

}  // namespace cuda_emulator
