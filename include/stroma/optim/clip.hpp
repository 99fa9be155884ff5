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
  template <class T>
  static void scale(cpu_context& ctx, index_t count, T factor, T* x) {
    scale_by<T, native_lanes<T>>(ctx, count, factor, x);
  }

 private:
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
/// Cost: one pass. The same bits for any number of threads.
template <execution_context Context, class Model>
[[nodiscard]] double global_norm(Context& ctx, const Model& gradient) {
  double sum = 0;
  for_each_parameter(
      [&](std::string_view, const auto& d) {
        sum += detail::clip_kernel<typename Context::backend>::sum_of_squares(ctx, d.size(), d.data());
      },
      gradient);
  return std::sqrt(sum);
}

/// Scales a gradient by limit / norm where its global norm exceeds the limit, and returns the norm that it had.
/// (PyTorch adds 1e-6 to the norm; this does not.)
/// @param limit  above 0; infinity never clips
/// Cost: one pass to measure, one to scale. @throws value_error  the limit, or a gradient that is not finite
template <execution_context Context, class Model>
double clip_global_norm(Context& ctx, Model& gradient, double limit) {
  check::positive("clip_global_norm", "limit", limit);
  const double norm = global_norm(ctx, gradient);
  check::require(std::isfinite(norm), "clip_global_norm", "gradient", "an infinite norm or NaN", "finite elements");
  if (norm <= limit) return norm;
  for_each_parameter(
      [&](std::string_view, auto& d) {
        using T = typename std::remove_reference_t<decltype(d)>::value_type;
        detail::clip_kernel<typename Context::backend>::scale(ctx, d.size(), static_cast<T>(limit / norm), d.data());
      },
      gradient);
  return norm;
}

}  // namespace stroma
