#pragma once
#include <concepts>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>

namespace stroma {
namespace detail {

template <class Backend>
struct expected_lifetime_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/expected_lifetime.cuh> and compile with nvcc");

  template <class T>
  static void risk(cpu_context&, matrix_view<const T> survival, vector_view<T> out) {
    for (index_t r = 0; r < survival.rows; ++r) {
      double lifetime = 0;
      for (index_t k = 0; k < survival.cols; ++k) lifetime += static_cast<double>(survival(r, k));
      out[r] = static_cast<T>(-lifetime);
    }
  }
};

}  // namespace detail

/// Minus the expected lifetime in bins, - sum over k of S_k: a risk, larger is worse, in -bins .. 0.
/// @param survival [B, bins] chances to outlive each bin, of discrete_hazard_survival or discrete_incidence_survival
/// @param risk [B], overwritten
/// Cost: O(B bins).   @throws shape_error
template <execution_context Context, matrix_like Curves, vector_like Risks>
  requires same_space<Context, Curves, Risks>
void expected_lifetime_risk(Context& ctx, const Curves& survival, Risks&& risk) {
  const auto s = as_const_view(survival);
  const vector_view<scalar_of<Curves>, typename Context::space> r = as_view(risk);
  check::length("expected_lifetime_risk", "risk", r.size, s.rows, "the rows of survival");
  detail::expected_lifetime_kernel<typename Context::backend>::risk(ctx, s, r);
}

}  // namespace stroma
