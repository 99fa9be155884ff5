#pragma once
#include <atomic>
#include <bit>
#include <concepts>
#include <type_traits>

#include "sanitizer.hpp"

// Atomic operations and operations on bits, with the types that CUDA has them for.
//
// CUDA's atomics order nothing; order is made by fences. ThreadSanitizer does not know fences, so here the atomics make
// it: nothing that is right is reported, but a forgotten __threadfence is not found.
namespace cuda_emulator::detail {

template <class T, class... U>
concept one_of = (std::same_as<T, U> || ...);

template <class T>
concept addable = one_of<T, int, unsigned, unsigned long long, float, double>;
template <class T>
concept ordered = one_of<T, int, unsigned, long long, unsigned long long>;
template <class T>
concept exchangeable = one_of<T, int, unsigned, unsigned long long>;

/// *p = f(*p) at once. @returns what was there
template <class T, class F>
T update(T* p, const F& f) {
  const std::atomic_ref<T> at(*p);
  T old = at.load();
  while (!at.compare_exchange_weak(old, f(old))) {
  }
  return old;
}

}  // namespace cuda_emulator::detail

template <cuda_emulator::detail::addable T>
T atomicAdd(T* p, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*p).fetch_add(value);
}
template <cuda_emulator::detail::ordered T>
T atomicMin(T* p, std::type_identity_t<T> value) {
  return cuda_emulator::detail::update(p, [&](T old) { return value < old ? value : old; });
}
template <cuda_emulator::detail::ordered T>
T atomicMax(T* p, std::type_identity_t<T> value) {
  return cuda_emulator::detail::update(p, [&](T old) { return old < value ? value : old; });
}
template <cuda_emulator::detail::exchangeable T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  std::atomic_ref<T>(*p).compare_exchange_strong(expected, value);
  return expected;
}
template <class T>
  requires(cuda_emulator::detail::exchangeable<T> || std::same_as<T, float>)
T atomicExch(T* p, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*p).exchange(value);
}
template <cuda_emulator::detail::exchangeable T>
T atomicOr(T* p, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*p).fetch_or(value);
}

inline void __threadfence() {
#if !defined(CUDA_EMULATOR_TSAN)
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}
inline void __threadfence_block() { __threadfence(); }

template <class T>
T __ldg(const T* p) {
  return *p;
}
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
/// The number of the lowest bit that is set, from 1; 0 for none.
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
