#pragma once
#include <doctest/doctest.h>

#include <stroma/backend/cuda/array.cuh>
#include <stroma/core/array.hpp>

#include "matrices.hpp"

// Sanitizers look at accesses, not at digits: one scalar is enough for them, and costs half the time.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STROMA_DEVICE_SCALARS float
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STROMA_DEVICE_SCALARS float
#endif
#endif
#ifndef STROMA_DEVICE_SCALARS
#define STROMA_DEVICE_SCALARS float, double
#endif

/// Both sides of a test that compares a device with the host. Where the tests are built by a host compiler the device
/// is emulated; where nvcc builds them and there is none, they say that they were skipped.
namespace stroma_test {

template <class T>
using device_array = stroma::array<T, 2, stroma::device_space>;
template <class T>
using device_vector = stroma::array<T, 1, stroma::device_space>;

/// A copy of a host array on the device.
template <class T, int Rank>
stroma::array<T, Rank, stroma::device_space> on_device(stroma::cuda_context& ctx, const stroma::array<T, Rank>& host) {
  stroma::array<T, Rank, stroma::device_space> copy;
  if constexpr (Rank == 1) copy = stroma::array<T, 1, stroma::device_space>(host.extents()[0]);
  else copy = stroma::array<T, 2, stroma::device_space>(host.extents()[0], host.extents()[1]);
  stroma::transfer(ctx, host, copy);
  return copy;
}
template <class T>
device_vector<T> on_device(stroma::cuda_context& ctx, const std::vector<T>& host) {
  stroma::array<T, 1> copy(static_cast<index_t>(host.size()));
  std::copy(host.begin(), host.end(), copy.begin());
  return on_device(ctx, copy);
}
/// A copy of a device array on the host; waits, and throws what the checks have found.
template <class T, int Rank>
stroma::array<T, Rank> on_host(stroma::cuda_context& ctx, const stroma::array<T, Rank, stroma::device_space>& device) {
  stroma::array<T, Rank> copy;
  if constexpr (Rank == 1) copy = stroma::array<T, 1>(device.extents()[0]);
  else copy = stroma::array<T, 2>(device.extents()[0], device.extents()[1]);
  stroma::transfer(ctx, device, copy);
  return copy;
}

/// Largest |device - host| in units of `allowed`: 1 or less passes. NaN on one side alone is infinity.
template <class T, int Rank>
double device_error(stroma::cuda_context& ctx, const stroma::array<T, Rank, stroma::device_space>& device,
                    const stroma::array<T, Rank>& host, double allowed) {
  const auto found = on_host(ctx, device);
  if (found.extents() != host.extents()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (index_t i = 0; i < host.size(); ++i) {
    const auto a = static_cast<double>(found.data()[i]), b = static_cast<double>(host.data()[i]);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double ratio = std::abs(a - b) / allowed;
    worst = std::isnan(ratio) ? std::numeric_limits<double>::infinity() : std::max(worst, ratio);
  }
  return worst;
}
/// The same for what an error of a sum of `terms` terms of size up to `size` may be: eps (terms + 8) size.
template <class T, int Rank>
double device_error_of_sum(stroma::cuda_context& ctx, const stroma::array<T, Rank, stroma::device_space>& device,
                           const stroma::array<T, Rank>& host, index_t terms, double size) {
  return device_error(ctx, device, host,
                      static_cast<double>(std::numeric_limits<T>::epsilon()) * (static_cast<double>(terms) + 8) * size);
}

/// What f() throws on the device, where it waits at the latest.
#define CHECK_THROWS_ON_DEVICE(context, expression, exception) \
  CHECK_THROWS_AS(                                             \
      [&] {                                                    \
        expression;                                            \
        (context).synchronize();                               \
      }(),                                                     \
      exception)

}  // namespace stroma_test
