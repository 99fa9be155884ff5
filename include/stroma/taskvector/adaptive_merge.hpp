#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>

#include <stroma/core/array.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>
#include <stroma/taskvector/detail/for_each_tensor.hpp>
#include <stroma/taskvector/similarity.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

/// Whether a task has one coefficient, or one in each tensor.
enum class coefficients_of { task, tensor };

struct merge_coefficients_options {
  coefficients_of each = coefficients_of::tensor;
  double initial = 0.3;
  double low = 0, high = 1;  ///< a coefficient beyond counts as the limit and has no derivative
};

/// Trainable coefficients of task vectors: an object of parameters, for any optimiser, checkpoint or gradient. They are
/// few and stay on the host, also where the models are on a device.
template <class T>
struct merge_coefficients {
  array<T, 2> value;  ///< [1 or tensors, tasks]
  T low{}, high{};

  merge_coefficients() = default;
  /// @throws value_error  an option
  template <class Model>
  merge_coefficients(const Model& model, index_t tasks, const merge_coefficients_options& options = {}) {
    constexpr auto name = "merge_coefficients";
    check::require(tasks > 0, name, "tasks", std::to_string(tasks), "1 or more");
    check::require(std::isfinite(options.low) && std::isfinite(options.high) && options.low <= options.high, name,
                   "options.low", number_text(options.low), "a finite number up to options.high");
    check::in_range(name, "options.initial", options.initial, options.low, options.high);
    value = array<T, 2>(options.each == coefficients_of::task ? 1 : detail::tensor_count(model), tasks);
    value.fill(static_cast<T>(options.initial));
    low = static_cast<T>(options.low);
    high = static_cast<T>(options.high);
  }
  static auto members(auto& self) { return std::tuple{member{"value", self.value}}; }
};

namespace detail {

/// f(index of the tensor's row of coefficients, ...) beside what for_each_tensor gives.
template <class Context, class Model, class T, class F, class... Objects>
void for_each_coefficient_row(Context& ctx, std::string_view function, const merge_coefficients<T>& coefficients,
                              std::span<const Model> vectors, F&& f, Objects&... objects) {
  check::columns(function, "coefficients", coefficients.value.cols(), static_cast<index_t>(vectors.size()),
                 "the number of task vectors");
  const bool shared = coefficients.value.rows() == 1;
  if (!shared)
    (check::length(function, "coefficients", coefficients.value.rows(), tensor_count(objects),
                   "the tensors of the model"),
     ...);
  index_t tensor = 0;
  for_each_tensor(
      ctx, function, "vectors", vectors,
      [&](std::string_view, auto x, auto&... of_objects) { f(shared ? 0 : tensor++, x, of_objects...); }, objects...);
}

}  // namespace detail

/// A model at a base plus task vectors, each times a trainable coefficient of its own in each tensor:
/// out = base + sum over t of clamp(lambda_t, low, high) v_t.
/// Train the coefficients on `prediction_entropy` of unlabelled data and it is AdaMerging; on vectors that were trimmed
/// and made to agree, AdaMerging++; on labels, a supervised mixture.
/// @param vectors  one for each column of the coefficients   @param out  the same extents, overwritten
/// Cost: one pass. Sums are in double. @throws shape_error
/// Reference: Yang et al., "AdaMerging: adaptive model merging for multi-task learning", ICLR 2024.
template <execution_context Context, class T, class Model>
void adaptive_merge(Context& ctx, const merge_coefficients<T>& coefficients, const std::type_identity_t<Model>& base,
                    std::span<const std::type_identity_t<Model>> vectors, Model& out) {
  const auto tasks = static_cast<index_t>(vectors.size());
  auto scratch = ctx.host_workspace().open();
  double* const weights = scratch.template take<double>(tasks);
  detail::for_each_coefficient_row(
      ctx, "adaptive_merge", coefficients, vectors,
      [&]<class Array>(index_t row, auto x, Array& o, const auto& b) {
        using S = typename Array::value_type;
        for (index_t t = 0; t < tasks; ++t)
          weights[t] = static_cast<double>(std::clamp(coefficients.value(row, t), coefficients.low, coefficients.high));
        detail::weighted_sum_kernel<typename Context::backend>::template run<S>(ctx, o.size(), b.data(), x,
                                                                                {weights, vectors.size()}, o.data());
      },
      out, base);
}

/// Adds the derivative in the coefficients, <d_out, v_t> in each tensor (all tensors together where they share one),
/// to `d_coefficients`; 0 beyond the limits. Cost: one pass over d_out for each task vector; on a device one wait.
template <execution_context Context, class T, class Model>
void adaptive_merge_backward(Context& ctx, const merge_coefficients<T>& coefficients,
                             std::span<const std::type_identity_t<Model>> vectors, const Model& d_out,
                             merge_coefficients<T>& d_coefficients) {
  check::shape("adaptive_merge_backward", "d_coefficients", as_const_view(d_coefficients.value),
               coefficients.value.rows(), coefficients.value.cols());
  const index_t most = detail::tensor_count(d_out) * static_cast<index_t>(vectors.size());
  auto scratch = ctx.host_workspace().open();
  T** const targets = scratch.template take<T*>(most);
  detail::dot_kernel<typename Context::backend> products(ctx, most);
  T** next = targets;
  detail::for_each_coefficient_row(
      ctx, "adaptive_merge_backward", coefficients, vectors,
      [&](index_t row, auto x, const auto& d) {
        for (index_t t = 0; t < static_cast<index_t>(x.size()); ++t) {
          const T at = coefficients.value(row, t);
          if (at < coefficients.low || at > coefficients.high) continue;
          products.add(d.size(), d.data(), x[static_cast<std::size_t>(t)]);
          *next++ = &d_coefficients.value(row, t);
        }
      },
      d_out);
  next = targets;
  for (const inner_products& p : products.finish()) **next++ += static_cast<T>(p.ab);
}

}  // namespace stroma
