#pragma once
#include <cstdint>

#include <doctest/doctest.h>

#include <stroma/backend/cuda/array.cuh>

namespace stroma_test {

/// f() runs twice; the third time it takes no memory of the device, starts at most so many kernels and waits at most so
/// often. Counted on the emulator.
template <class F>
void check_cost(F&& f, std::uint64_t kernels, std::uint64_t waits) {
  f();
  f();
#if !defined(__CUDACC__)
  const auto before = cuda_emulator::count();
  f();
  const auto after = cuda_emulator::count();
  CHECK(after.allocations == before.allocations);
  CHECK(after.kernels - before.kernels <= kernels);
  CHECK(after.synchronisations - before.synchronisations <= waits);
#else
  static_cast<void>(kernels);
  static_cast<void>(waits);
#endif
}

}  // namespace stroma_test
