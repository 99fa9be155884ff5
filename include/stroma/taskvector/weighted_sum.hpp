#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>
#include <stroma/optim/parameter_update.hpp>
#include <stroma/taskvector/detail/for_each_tensor.hpp>

namespace stroma {

namespace detail {

template <class Backend>
struct weighted_sum_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/taskvector/weighted_sum.cuh> and compile with nvcc");

  /// out = base + sum over j of weight_j x_j, without base where it is null. `out` may be any of the inputs.
  template <class T>
  static void run(cpu_context& ctx, index_t count, const T* base, std::span<const T* const> x,
                  std::span<const double> weight, T* out) {
    for_each_tile(ctx, count, [=](index_t at, index_t n, double* sum) {
      for (std::size_t j = 0; j < x.size(); ++j)
        if (weight[j] != 0) accumulate(n, weight[j], x[j] + at, sum);
      if (base != nullptr) accumulate(n, 1.0, base + at, sum);  // last: small numbers meet each other first
      for (index_t i = 0; i < n; ++i) out[at + i] = static_cast<T>(sum[i]);
    });
  }
  /// out = base + sum over j of weight_j (x_j - base): where no model differs, the base's own bits.
  template <class T>
  static void run_differences(cpu_context& ctx, index_t count, const T* base, std::span<const T* const> x,
                              std::span<const double> weight, T* out) {
    for_each_tile(ctx, count, [=](index_t at, index_t n, double* sum) {
      for (std::size_t j = 0; j < x.size(); ++j)
        if (weight[j] != 0)
          for (index_t i = 0; i < n; ++i)
            sum[i] += weight[j] * (static_cast<double>(x[j][at + i]) - static_cast<double>(base[at + i]));
      for (index_t i = 0; i < n; ++i) out[at + i] = static_cast<T>(static_cast<double>(base[at + i]) + sum[i]);
    });
  }

 private:
  /// f(first, count, sums that are 0): tiles whose sums the first-level cache holds beside their terms.
  template <class F>
  static void for_each_tile(cpu_context& ctx, index_t count, F&& f) {
    constexpr index_t tile = 512;
    for_each_piece(ctx, count, [&](index_t first, index_t part) {
      for (index_t i = 0; i < part; i += tile) {
        std::array<double, tile> sum{};
        f(first + i, std::min(tile, part - i), sum.data());
      }
    });
  }
  template <class T>
  static void accumulate(index_t n, double weight, const T* x, double* sum) {
    for (index_t i = 0; i < n; ++i) sum[i] += weight * static_cast<double>(x[i]);
  }
};

inline void check_weights(std::string_view function, std::span<const double> weights, std::size_t models) {
  check::length(function, "weights", static_cast<index_t>(weights.size()), static_cast<index_t>(models),
                "the number of models");
  for (std::size_t j = 0; j < weights.size(); ++j)
    check::require(std::isfinite(weights[j]), function, "weights[" + std::to_string(j) + "]", number_text(weights[j]),
                   "a finite number");
}

/// With one base or none.
template <class Context, class Model, class... Base>
void sum_models(Context& ctx, std::span<const Model> vectors, std::span<const double> weights, Model& out,
                const Base&... base) {
  using kernel = weighted_sum_kernel<typename Context::backend>;
  check_weights("weighted_sum", weights, vectors.size());
  (check_same_extents("weighted_sum", "base", base, out), ...);
  for_each_tensor(
      ctx, "weighted_sum", "vectors", vectors,
      [&]<class Array>(std::string_view, auto x, Array& o, const auto&... b) {
        using T = typename Array::value_type;
        const T* from = nullptr;
        ((from = b.data()), ...);
        kernel::template run<T>(ctx, o.size(), from, x, weights, o.data());
      },
      out, base...);
}

}  // namespace detail

/// Objects of one struct, each with its weight, added up: out = sum over j of w_j v_j.
/// Sums are in double and rounded once. A vector of weight 0 is not read, so a sparse mixture costs what it uses.
/// @param weights  one for each vector, any finite numbers
/// @param out      same extents, overwritten; may be one of the vectors
/// Cost: one pass over all of them, on a device one launch a tensor; no memory after the first call. The same bits for
/// any number of threads.
/// @throws shape_error  extents or the number of weights   @throws value_error  a weight that is not finite
template <execution_context Context, class Model>
void weighted_sum(Context& ctx, std::span<const std::type_identity_t<Model>> vectors, std::span<const double> weights,
                  Model& out) {
  detail::sum_models<Context, Model>(ctx, vectors, weights, out);
}

/// A model moved along task vectors: out = base + sum over j of w_j v_j. With w_j of STEPH's hypernetwork, or the same
/// for all, this is its merge, and task arithmetic. Reference: Ilharco et al., "Editing models with task arithmetic",
/// ICLR 2023.
/// @param out  same extents, overwritten; may be the base or one of the vectors
template <execution_context Context, class Model>
void weighted_sum(Context& ctx, const std::type_identity_t<Model>& base,
                  std::span<const std::type_identity_t<Model>> vectors, std::span<const double> weights, Model& out) {
  detail::sum_models<Context, Model>(ctx, vectors, weights, out, base);
}

}  // namespace stroma
