#pragma once
#include <cmath>
#include <numbers>

#include <stroma/survival/concordance.hpp>

namespace stroma {

struct concordance_difference_result {
  concordance_result first, second;
  double difference;  ///< first.value - second.value; NaN without a comparable pair
  double variance;    ///< of the difference, by the infinitesimal jackknife

  [[nodiscard]] double standard_error() const { return std::sqrt(variance); }
  /// difference / standard_error; 0 where both are 0
  [[nodiscard]] double z() const { return difference == 0 ? 0 : difference / standard_error(); }
  /// Of a difference at least as large either way, were there none: two-sided, by the normal distribution.
  [[nodiscard]] double p_value() const { return std::erfc(std::abs(z()) / std::numbers::sqrt2); }
  /// difference -+ z standard_error. @param level above 0, below 1
  [[nodiscard]] confidence_interval interval(double level = 0.95) const {
    check::require(level > 0 && level < 1, "concordance_difference_result::interval", "level", number_text(level),
                   "a number between 0 and 1");
    const double reach = detail::two_sided_normal_quantile(level) * standard_error();
    return {difference - reach, difference + reach};
  }
};

namespace detail {

template <class Backend>
struct concordance_difference_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/concordance_difference.cuh> and compile with nvcc");

  /// sum of (a - b)^2
  static double squared_distance(cpu_context&, vector_view<const double> a, vector_view<const double> b) {
    double sum = 0;
    for (index_t i = 0; i < a.size; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
  }
};

}  // namespace detail

/// Whether one score orders patients better than another: the difference of their concordances on the same patients.
///
/// variance = sum over patients of (influence on the first concordance - influence on the second)^2
///
/// So what both scores have in common, the patients, cancels; two separate standard errors would not say that.
///
/// @param first, second [N] risks, larger is worse   @param order [N] the cohort, sorted before
/// @param options as of concordance
/// Cost: two concordances with standard errors. Same bits from run to run and for any number of threads.
/// @throws shape_error, value_error   Reference: R's survival, concordance of several models.
template <execution_context Context, vector_like First, vector_like Second>
  requires same_space<Context, First, Second>
[[nodiscard]] concordance_difference_result concordance_difference(Context& ctx, const First& first,
                                                                   const Second& second,
                                                                   const risk_order<typename Context::backend>& order,
                                                                   const concordance_options& options = {}) {
  constexpr auto name = "concordance_difference";
  using space = typename Context::space;
  const index_t n = order.size();
  check::length(name, "first", as_const_view(first).size, n, "the length of order");
  check::length(name, "second", as_const_view(second).size, n, "the length of order");
  concordance_options with_error = options;
  with_error.standard_error = true;
  auto scratch = ctx.workspace().open();
  const vector_view<double, space> a{scratch.template take<double>(n), n}, b{scratch.template take<double>(n), n};
  concordance_difference_result r{concordance(ctx, first, order, {.influence = a}, with_error),
                                  concordance(ctx, second, order, {.influence = b}, with_error),
                                  concordance_result::none, concordance_result::none};
  if (!(r.first.comparable() > 0)) return r;
  r.difference = r.first.value - r.second.value;
  r.variance = detail::concordance_difference_kernel<typename Context::backend>::squared_distance(
      ctx, vector_view<const double, space>(a), vector_view<const double, space>(b));
  return r;
}

}  // namespace stroma
