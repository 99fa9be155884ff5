#pragma once
#include <concepts>

#include <stroma/survival/detail/cohort_checks.hpp>
#include <stroma/survival/detail/product_limit.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma {

/// A function of time in steps: 1 before the first time, value[k] from time[k] on, the last value for ever. A view.
template <class Space = host_space>
struct step_curve {
  vector_view<const double, Space> time{};   ///< [steps], never falling
  vector_view<const double, Space> value{};  ///< [steps]

  [[nodiscard]] constexpr bool absent() const { return time.size == 0; }
  /// At t.
  [[nodiscard]] STROMA_HOST_DEVICE double at(double t) const { return after_steps(steps_until(t, true)); }
  /// Just before t.
  [[nodiscard]] STROMA_HOST_DEVICE double before(double t) const { return after_steps(steps_until(t, false)); }

  /// How many steps lie before t, or until it.
  [[nodiscard]] STROMA_HOST_DEVICE index_t steps_until(double t, bool inclusive) const {
    index_t low = 0, high = time.size;
    while (low < high) {
      const index_t middle = low + (high - low) / 2;
      if (time[middle] < t || (inclusive && time[middle] == t)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  [[nodiscard]] STROMA_HOST_DEVICE double after_steps(index_t steps) const { return steps == 0 ? 1 : value[steps - 1]; }
};

/// A quantity at evaluation times, for which patients weigh by the inverse of their chance to be uncensored.
template <class T, class Space = host_space>
struct estimate_at_times {
  vector_view<T, Space> value{};            ///< [times]; NaN where a patient's weight is not defined, or nobody counts
  vector_view<index_t, Space> undefined{};  ///< [times] patients whose chance to be uncensored is 0; empty: not told
};

namespace detail {

/// What a product-limit curve is about: who dies, or who is censored.
enum class curve_of { survival, censoring };

template <class Backend>
struct step_curve_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/censoring_curve.cuh> and compile with nvcc");

  /// Writes the curve of one stratum; time and value have room for as many steps as rows.
  static step_curve<> run(cpu_context& ctx, const risk_plan<host_space>& plan, curve_of what, double* time,
                          double* value) {
    auto scratch = ctx.workspace().open();
    auto* const counts = scratch.template take<risk_count>(plan.groups);
    auto* const steps = scratch.template take<survival_step>(plan.groups);
    count_at_risk(plan, counts);
    if (what == curve_of::survival) product_limit(plan, counts, surviving_deaths, steps);
    else product_limit(plan, counts, surviving_censoring, steps);
    for (index_t k = 0; k < plan.groups; ++k) {
      time[k] = plan.time[plan.groups - 1 - k];
      value[k] = steps[plan.groups - 1 - k].after;
    }
    return {{time, plan.groups}, {value, plan.groups}};
  }
};

/// A curve of the plan's patients in scratch memory.
template <class Context, class Frame>
[[nodiscard]] step_curve<typename Context::space> scratch_curve(Context& ctx, Frame& scratch,
                                                                const plan_of<Context>& plan, curve_of what) {
  auto* const time = scratch.template take<double>(plan.rows);
  auto* const value = scratch.template take<double>(plan.rows);
  return step_curve_kernel<typename Context::backend>::run(ctx, plan, what, time, value);
}

template <class Space>
void check_step_curve(std::string_view function, std::string_view argument, const step_curve<Space>& curve) {
  check::same_length(function, std::string(argument) + ".value", curve.value, std::string(argument) + ".time",
                     curve.time);
}

}  // namespace detail

/// The chance to be uncensored, G: Kaplan-Meier of the censored, for whom the deaths of a time leave before. Estimated
/// on one cohort, say the patients a model was trained on, it weighs those of another: Brier scores, AUC.
///
/// G(t) = product over times s <= t of (1 - censored(s) / (at risk(s) - died(s)))
///
/// @param order a cohort; with weights and late entry, without strata
/// Cost: O(N) time, O(N) memory, taken again only when N grows.
/// @throws value_error   Reference: Graf et al. 1999.
template <class Backend = backend::cpu>
class censoring_curve {
 public:
  using space = typename Backend::space;

  censoring_curve() = default;
  template <execution_context Context>
    requires std::same_as<typename Context::backend, Backend>
  censoring_curve(Context& ctx, const risk_order<Backend>& order) {
    remake(ctx, order);
  }

  template <execution_context Context>
    requires std::same_as<typename Context::backend, Backend>
  void remake(Context& ctx, const risk_order<Backend>& order) {
    detail::check_one_stratum("censoring_curve", order);
    rows_ = order.size();
    if (memory_.size() < 2 * rows_) memory_ = array<double, 1, space>(2 * rows_);
    double* const time = memory_.data();
    steps_ = detail::step_curve_kernel<Backend>::run(ctx, order.plan(), detail::curve_of::censoring, time, time + rows_)
                 .time.size;
  }

  /// Valid as long as this is, and not remade.
  [[nodiscard]] step_curve<space> steps() const noexcept {
    return {{memory_.data(), steps_}, {memory_.data() + rows_, steps_}};
  }

 private:
  array<double, 1, space> memory_;
  index_t rows_ = 0, steps_ = 0;
};

template <execution_context Context>
censoring_curve(Context&, const risk_order<typename Context::backend>&) -> censoring_curve<typename Context::backend>;

}  // namespace stroma
