#pragma once
#include <cmath>
#include <string_view>
#include <utility>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/optim/clip.hpp>
#include <stroma/optim/parameter_update.cuh>

namespace stroma::detail {

template <class T>
struct squared_tensor {
  using scalar = T;
  static constexpr int sums = 1;
  const T* x;
  __device__ void add(index_t i, double* sum) const { sum[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]); }
};

struct clipped_norm {
  double norm, factor;
};
/// The norm, what elements are multiplied by, and whether both are numbers.
struct finish_norm {
  double limit;
  clipped_norm* result;
  double* norm;  // may be null
  device_fault* slot;
  __device__ void operator()(double sum) const {
    const double n = std::sqrt(sum);
    const bool finite = is_finite(n);
    *result = {n, finite && n > limit ? limit / n : 1};
    if (norm != nullptr) *norm = n;
    if (finite || slot == nullptr || slot->unrecorded == 0) return;
    *slot = {0, n, 0, no_block};
  }
};
template <class T>
struct scaled_tensor {
  using scalar = T;
  T* x;
  const clipped_norm* by;
  __device__ void operator()(index_t i) const {
    if (by->factor != 1) x[i] *= static_cast<T>(by->factor);
  }
};

template <>
struct clip_kernel<backend::cuda> {
  template <class Model>
  static double norm(cuda_context& ctx, const Model& gradient) {
    auto frame = ctx.workspace().open();
    auto* const result = frame.template take<clipped_norm>(1);
    measure(ctx, gradient, {HUGE_VAL, result, nullptr, nullptr});
    return read(ctx, &result->norm);
  }
  template <class Model>
  static void clip(cuda_context& ctx, Model& gradient, double limit, double* norm) {
    const fault_log::entry e{
        "clip_global_norm", "gradient",
        [](const fault_log::entry& f, index_t, double) {
          throw value_error(error_message(f.function, f.argument, "an infinite norm or NaN", "finite elements"));
        },
        1};
    auto frame = ctx.workspace().open();
    auto* const result = frame.template take<clipped_norm>(1);
    measure(ctx, std::as_const(gradient), {limit, result, norm, ctx.faults().slot(ctx.memory(), e)});
    const auto scale_all = [&]<class T>(T) {
      for_each_table<scaled_tensor<T>>(
          [&](auto& d) {
            return scaled_tensor<T>{d.data(), result};
          },
          [&](const auto& table) { update_tensors(ctx, table); }, gradient);
    };
    scale_all(0.0f);
    scale_all(0.0);
  }
  static double read(cuda_context& ctx, const double* norm) { return primitives<backend::cuda>::read(ctx, norm); }

 private:
  template <class Model>
  static void measure(cuda_context& ctx, const Model& gradient, const finish_norm& finish) {
    index_t pieces = 0, next = 0;
    for_each_parameter([&](std::string_view, const auto& d) { pieces += pieces_of(d.size()); }, gradient);
    auto frame = ctx.workspace().open();
    double* const sums = frame.template take<double>(pieces);
    const auto sum_all = [&]<class T>(T) {
      using tensor = squared_tensor<T>;
      for_each_table<tensor>([](const auto& d) { return tensor{d.data()}; },
                             [&](const auto& table) {
                               sum_tensors(ctx, table, sums + next);
                               next += table.pieces();
                             },
                             gradient);
    };
    sum_all(0.0f);
    sum_all(0.0);
    launch(&finish_sum_kernel<finish_norm>, dim3(1), dim3(block_threads), 0, ctx.stream(), pieces,
           static_cast<const double*>(sums), finish);
  }
};

}  // namespace stroma::detail
