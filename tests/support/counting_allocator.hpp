#pragma once
#include <cstddef>
#include <utility>

/// How often this program has taken memory so far, on all threads: every operator new, and every malloc, calloc,
/// realloc, aligned_alloc and posix_memalign of the program itself and of headers compiled into it (Eigen's matrices).
/// Calls of malloc inside shared libraries are not counted. doctest's assertions allocate too: count around the call
/// alone, then compare.
std::size_t allocation_count() noexcept;

/// How often `f()` takes memory.
/// `CHECK(allocations_in([&] { cox_partial_likelihood(ctx, score, time, event, out); }) == 0);`
template <class F>
std::size_t allocations_in(F&& f) {
  const std::size_t before = allocation_count();
  std::forward<F>(f)();
  return allocation_count() - before;
}
