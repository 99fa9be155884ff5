#pragma once
#include <array>
#include <cmath>
#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

#include <stroma/core/check.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

namespace detail {

/// out = sum over j of weight_j x_j for a number of objects that is known when compiling.
template <class Context, class Model, class... Models>
void combine(Context& ctx, std::string_view function, const std::array<double, sizeof...(Models)>& weight, Model& out,
             const Models&... x) {
  static_assert((std::same_as<Model, Models> && ...));
  using kernel = weighted_sum_kernel<typename Context::backend>;
  for (const double w : weight)
    check::require(std::isfinite(w), function, "a factor", number_text(w), "a finite number");
  (check_same_extents(function, "an operand", x, out), ...);
  for_each_parameter(
      [&]<class Array>(std::string_view, Array& o, const auto&... p) {
        using T = typename Array::value_type;
        const std::array<const T*, sizeof...(Models)> from{p.data()...};
        kernel::template run<T>(ctx, o.size(), nullptr, from, weight, o.data());
      },
      out, x...);
}

}  // namespace detail

// Task vectors are objects of the model's own struct. In all of these, `out` has the extents of the operands, is
// overwritten and may be one of them; elements are computed in double and rounded once; a large tensor is shared among
// the context's threads, and the bits do not depend on their number. Cost: one pass, no memory.
// @throws shape_error  extents   @throws value_error  a factor that is not finite

/// The task vector of a model tuned from a base: out = tuned - base. That the base is the right one is for
/// `require_base` to say: subtracting another one gives a plausible vector that means nothing.
/// Reference: Ilharco et al., "Editing models with task arithmetic", ICLR 2023.
template <execution_context Context, class Model>
void difference(Context& ctx, const std::type_identity_t<Model>& tuned, const std::type_identity_t<Model>& base,
                Model& out) {
  detail::combine(ctx, "difference", {1, -1}, out, tuned, base);
}

/// A model moved along a task vector: out = base + factor vector. A factor below 0 forgets the task.
template <execution_context Context, class Model>
void add_scaled(Context& ctx, const std::type_identity_t<Model>& base, double factor,
                const std::type_identity_t<Model>& vector, Model& out) {
  detail::combine(ctx, "add_scaled", {factor, 1}, out, vector, base);
}

/// out = factor vector; -1 negates.
template <execution_context Context, class Model>
void scale(Context& ctx, double factor, const std::type_identity_t<Model>& vector, Model& out) {
  detail::combine(ctx, "scale", {factor}, out, vector);
}

/// `a` is to `b` as `c` is to the result: out = c + (b - a).
template <execution_context Context, class Model>
void analogy(Context& ctx, const std::type_identity_t<Model>& a, const std::type_identity_t<Model>& b,
             const std::type_identity_t<Model>& c, Model& out) {
  detail::combine(ctx, "analogy", {-1, 1, 1}, out, a, b, c);
}

/// The mixture of a target's and a source's task vector: out = share target + (1 - share) source.
/// Reference: STEPH, CVPR 2026.   @param share  the target's, 0 to 1
template <execution_context Context, class Model>
void mixup(Context& ctx, const std::type_identity_t<Model>& target, const std::type_identity_t<Model>& source,
           double share, Model& out) {
  check::in_range("mixup", "share", share, 0.0, 1.0);
  detail::combine(ctx, "mixup", {share, 1 - share}, out, target, source);
}

}  // namespace stroma
