#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <string>
#include <string_view>

#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>
#include <stroma/optim/parameter_update.hpp>

namespace stroma {

namespace detail {

template <class Backend>
struct clip_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/optim/clip.cuh> and compile with nvcc");

  template <class Model>
  static double norm(cpu_context& ctx, const Model& gradient) {
    double sum = 0;
    for_each_parameter([&](std::string_view, const auto& d) { sum += sum_of_squares(ctx, d.size(), d.data()); },
                       gradient);
    return std::sqrt(sum);
  }
  template <class Model>
  static void clip(cpu_context& ctx, Model& gradient, double limit, double* found) {
    const double n = norm(ctx, gradient);
    check::require(std::isfinite(n), "clip_global_norm", "gradient", "an infinite norm or NaN", "finite elements");
    if (found != nullptr) *found = n;
    if (n <= limit) return;
    for_each_parameter(
        [&](std::string_view, auto& d) {
          using T = typename std::remove_reference_t<decltype(d)>::value_type;
          scale_by<T, native_lanes<T>>(ctx, d.size(), static_cast<T>(limit / n), d.data());
        },
        gradient);
  }
  static double read(cpu_context&, const double* p) { return *p; }

 private:
  /// The sum of squares, in an order that depends on the count alone.
  template <class T>
  static double sum_of_squares(cpu_context& ctx, index_t count, const T* x) {
    auto scratch = ctx.workspace().open();
    const index_t pieces = (count + update_piece - 1) / update_piece;
    double* const sums = scratch.template take<double>(pieces);
    for_each_piece(ctx, count,
                   [&](index_t first, index_t part) { sums[first / update_piece] = of_piece(part, x + first); });
    double sum = 0;
    for (index_t i = 0; i < pieces; ++i) sum += sums[i];
    return sum;
  }
  /// Blocks so short that their sums in T lose nothing, added up in double.
  template <class T>
  static double of_piece(index_t count, const T* x) {
    constexpr index_t block = 512;
    double sum = 0;
    for (index_t i = 0; i < count; i += block) {
      const index_t n = std::min(block, count - i);
      const auto squares = static_cast<double>(dot(n, x + i, x + i));
      sum += std::isfinite(squares) ? squares : one_by_one(n, x + i);
    }
    return sum;
  }
  /// For squares beyond the range of T.
  template <class T>
  static double one_by_one(index_t count, const T* x) {
    double sum = 0;
    for (index_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return sum;
  }
  template <class T, int Lanes>
  static void scale_by(cpu_context& ctx, index_t count, T factor, T* x) {
    using s = update_simd<T, Lanes>;
    update_elements<T, Lanes>(
        ctx, count, [by = s::set(factor)](auto& v) { v = s::mul(v, by); }, x);
  }
};

}  // namespace detail

/// The Euclidean norm of all parameters of a gradient together, in double.
/// Cost: one pass. The same bits for any number of threads. Waits for the device.
template <execution_context Context, class Model>
[[nodiscard]] double global_norm(Context& ctx, const Model& gradient) {
  return detail::clip_kernel<typename Context::backend>::norm(ctx, gradient);
}

/// Scales a gradient by limit / norm where its global norm exceeds the limit.
/// (PyTorch adds 1e-6 to the norm; this does not.)
/// @param limit  above 0; infinity never clips
/// @param norm   where the context's data lies: the norm that the gradient had; null: not wanted
/// Cost: one pass to measure, one to scale. @throws value_error  the limit, or a gradient that is not finite
template <execution_context Context, class Model>
void clip_global_norm(Context& ctx, Model& gradient, double limit, double* norm) {
  check::positive("clip_global_norm", "limit", limit);
  detail::clip_kernel<typename Context::backend>::clip(ctx, gradient, limit, norm);
}

/// The same, and returns the norm that the gradient had, for which it waits for the device.
template <execution_context Context, class Model>
double clip_global_norm(Context& ctx, Model& gradient, double limit) {
  auto scratch = ctx.workspace().open();
  double* const norm = scratch.template take<double>(1);
  clip_global_norm(ctx, gradient, limit, norm);
  return detail::clip_kernel<typename Context::backend>::read(ctx, norm);
}

}  // namespace stroma
