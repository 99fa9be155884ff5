#pragma once
#include <stroma/backend/cuda/kernels.cuh>
#include <stroma/survival/expected_lifetime.hpp>

namespace stroma::detail {

/// A thread for each row: bins are few.
template <class T>
struct sum_lifetimes {
  matrix_view<const T, device_space> survival;
  vector_view<T, device_space> out;
  __device__ void operator()(index_t r) const {
    double lifetime = 0;
    for (index_t k = 0; k < survival.cols; ++k) lifetime += static_cast<double>(survival(r, k));
    out[r] = static_cast<T>(-lifetime);
  }
};

template <>
struct expected_lifetime_kernel<backend::cuda> {
  template <class T>
  static void risk(cuda_context& ctx, matrix_view<const T, device_space> survival, vector_view<T, device_space> out) {
    each(ctx, survival.rows, sum_lifetimes<T>{survival, out});
  }
};

}  // namespace stroma::detail
