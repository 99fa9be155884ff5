#pragma once
#include <stroma/survival/concordance.cuh>
#include <stroma/survival/concordance_difference.hpp>

namespace stroma::detail {

struct squared_difference {
  vector_view<const double, device_space> a, b;
  __device__ double operator()(index_t i) const { return (a[i] - b[i]) * (a[i] - b[i]); }
};
struct write_number {
  double* to;
  __device__ void operator()(double x) const { *to = x; }
};

template <>
struct concordance_difference_kernel<backend::cuda> {
  /// Waits for the device.
  static double squared_distance(cuda_context& ctx, vector_view<const double, device_space> a,
                                 vector_view<const double, device_space> b) {
    auto scratch = ctx.workspace().open();
    auto* const sum = scratch.template take<double>(1);
    sum_each(ctx, a.size, squared_difference{a, b}, write_number{sum});
    return primitives<backend::cuda>::read(ctx, static_cast<const double*>(sum));
  }
};

}  // namespace stroma::detail
