#pragma once
#include <cstddef>
#include <span>

#include <stroma/backend/cuda/kernels.cuh>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma::detail {

/// A table of so many terms is a kernel's argument, for which there are 4 KB.
inline constexpr int terms_a_launch = 128;

/// Adds up one table; the sums of those before it, if there were any, wait in `sums`.
template <class T>
struct sum_terms {
  const T* x[terms_a_launch];
  double weight[terms_a_launch];
  int terms;
  bool first, last;
  double* sums;
  const T* base;
  T* out;

  __device__ void operator()(index_t i) const {
    double sum = first ? 0 : sums[i];
    for (int j = 0; j < terms; ++j) sum += weight[j] * static_cast<double>(x[j][i]);
    if (!last) {
      sums[i] = sum;
      return;
    }
    if (base != nullptr) sum += static_cast<double>(base[i]);  // last: small numbers meet each other first
    out[i] = static_cast<T>(sum);
  }
};

template <>
struct weighted_sum_kernel<backend::cuda> {
  /// The models' tensors are on the device; the weights and the list of tensors are on the host.
  template <class T>
  static void run(cuda_context& ctx, index_t count, const T* base, std::span<const T* const> x,
                  std::span<const double> weight, T* out) {
    static_assert(sizeof(sum_terms<T>) <= 4000);
    std::size_t used = 0;
    for (const double w : weight) used += w != 0 ? 1 : 0;
    auto frame = ctx.workspace().open();
    double* const sums = used > terms_a_launch ? frame.template take<double>(count) : nullptr;
    sum_terms<T> table{};
    table.first = true;
    table.sums = sums;
    table.base = base;
    table.out = out;
    const auto run_table = [&](bool last) {
      table.last = last;
      each(ctx, count, table);
      table.first = false;
      table.terms = 0;
    };
    for (std::size_t j = 0; j < x.size(); ++j) {
      if (weight[j] == 0) continue;
      if (table.terms == terms_a_launch) run_table(false);
      table.x[table.terms] = x[j];
      table.weight[table.terms++] = weight[j];
    }
    run_table(true);
  }
};

}  // namespace stroma::detail
