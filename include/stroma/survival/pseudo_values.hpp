#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include <stroma/survival/detail/leave_one_out.hpp>

namespace stroma {

/// What pseudo-values are of.
enum class pseudo_quantity {
  survival,         ///< S(t), Kaplan-Meier's
  restricted_mean,  ///< time lived up to t
  hazard            ///< H(t), Nelson-Aalen's
};
enum class pseudo_method {
  jackknife,     ///< n F - (n - 1) F without the patient; of cohorts without weights
  infinitesimal  ///< F + n dF / dweight of the patient: R's pseudo(); n the sum of weights
};

struct pseudo_values_options {
  pseudo_quantity quantity = pseudo_quantity::survival;
  pseudo_method method = pseudo_method::jackknife;
};

namespace detail {

/// Pseudo-values of one stratum at one time.
class pseudo_value_at {
 public:
  pseudo_value_at(const leave_one_out& curves, const pseudo_values_options& options, double size, double t,
                  double* suffix)
      : curves_(curves),
        options_(options),
        size_(size),
        t_(t),
        count_(std::upper_bound(curves.time, curves.time + curves.times, t) - curves.time),
        suffix_(suffix),
        area_(curves.area(curves.survival_area, curves.survival, count_, t, 1)) {
    // From each time up to t: the product of later factors, or its integral.
    const bool mean = options.quantity == pseudo_quantity::restricted_mean;
    double product = mean ? 0 : 1, until = t;
    for (index_t i = count_; i-- > 0;) {
      if (mean) product += until - curves.time[i];
      until = curves.time[i];
      suffix[i] = product;
      product *= (curves.at_risk[i] - curves.events[i]) / curves.at_risk[i];
    }
  }

  [[nodiscard]] double operator()(const time_span& at) const {
    const bool jackknife = options_.method == pseudo_method::jackknife;
    switch (options_.quantity) {
      case pseudo_quantity::survival:
        return value(leave_one_out::after(curves_.survival, count_, 1), jackknife ? survival_lost(at) : more(at));
      case pseudo_quantity::restricted_mean:
        return value(area_, jackknife ? area_lost(at) : more_area(at));
      case pseudo_quantity::hazard:
        break;
    }
    return value(leave_one_out::after(curves_.hazard, count_),
                 jackknife ? curves_.hazard_left(at, count_) : curves_.more(at, count_).death);
  }

 private:
  [[nodiscard]] double value(double whole, double change) const {
    return whole + (options_.method == pseudo_method::jackknife ? size_ - 1 : size_) * change;
  }
  [[nodiscard]] double survival_lost(const time_span& at) const {
    return at.last < count_ ? curves_.left(at) * suffix_[at.last] : curves_.living(at.first, count_).difference;
  }
  [[nodiscard]] double area_lost(const time_span& at) const {
    if (at.last >= count_) return curves_.living_area(at.first, count_, t_);
    return curves_.living_area(at.first, at.last, curves_.time[at.last]) + curves_.left(at) * suffix_[at.last];
  }
  [[nodiscard]] double more(const time_span& at) const {
    return leave_one_out::after(curves_.survival, count_, 1) * curves_.more(at, count_).at_risk;
  }
  [[nodiscard]] double more_area(const time_span& at) const {
    if (count_ <= at.first) return 0;
    const bool leaves = at.last < count_;
    const index_t k = leaves ? at.last : count_ - 1;
    double influence = curves_.influence_area[k] - curves_.influence_area[at.first];
    double area = curves_.survival_area[k] - curves_.survival_area[at.first];
    if (!leaves) {
      const double tail = curves_.survival[k] * (t_ - curves_.time[k]);
      influence += curves_.log_influence[k] * tail;
      area += tail;
    }
    const double living = influence - leave_one_out::after(curves_.log_influence, at.first) * area;
    return leaves ? living + curves_.more(at, count_).at_risk * (area_ - curves_.survival_area[k]) : living;
  }

  const leave_one_out& curves_;
  const pseudo_values_options& options_;
  double size_, t_;
  index_t count_;
  const double* suffix_;
  double area_;
};

template <class T>
void pseudo_values(cpu_context& ctx, const number_view<>& at, const risk_plan<host_space>& plan, matrix_view<T> out,
                   const pseudo_values_options& options) {
  auto scratch = ctx.workspace().open();
  auto* const counts = scratch.template take<risk_count>(plan.groups);
  auto* const suffix = scratch.template take<double>(plan.groups);
  auto curves = leave_one_out::in(scratch, plan.groups);
  count_at_risk(plan, counts);
  const auto weight = [&](index_t k) { return plan.weight == nullptr ? 1.0 : plan.weight[k]; };
  for (index_t s = 0; s < plan.strata; ++s) {
    const index_t end = plan.stratum[s + 1], first = plan.first[plan.stratum[s]], last = plan.first[end];
    curves.make(plan, s, counts);
    double size = 0;
    for (index_t k = first; k < last; ++k) size += weight(k);
    for (index_t c = 0; c < at.size; ++c) {
      const pseudo_value_at value(curves, options, size, at[c], suffix);
      for (index_t k = first; k < last; ++k) {
        const index_t g = plan.group[k];
        const time_span span{plan.until == nullptr ? 0 : end - plan.until[k], end - 1 - g, k >= plan.deaths[g]};
        out(plan.row[k], c) = static_cast<T>(weight(k) > 0 ? value(span) : std::numeric_limits<double>::quiet_NaN());
      }
    }
  }
}

}  // namespace detail

/// Pseudo-values: what a patient adds to an estimate for all, a number that is there for the censored too. Regressed
/// on covariates, or taken for the outcome by a network, it stands for the patient's own S(t), time lived or H(t).
///
/// jackknife:      n F - (n - 1) F without patient i
/// infinitesimal:  F + n dF / dw_i
///
/// F and n are those of the patient's stratum. A patient of weight 0 has no pseudo-value: NaN.
/// @param at [times] 0 or more   @param order [N] the cohort; late entry counts as everywhere
/// @param out [N x times] is overwritten
/// Cost: O(N) a time; the N curves without a patient are not made. A difference F - F without i is computed as such
/// and known to a few epsilon of its own size while nobody enters late, so that N of it are too. Same bits from run to
/// run.
/// @throws shape_error, value_error   Reference: Andersen, Klein and Rosthoj 2003; Andersen and Perme 2010.
template <execution_context Context, vector_like Times, matrix_like Out>
  requires std::same_as<typename Context::backend, backend::cpu> && same_space<Context, Times, Out>
void pseudo_values(Context& ctx, const Times& at, const risk_order<>& order, Out&& out,
                   const pseudo_values_options& options = {}) {
  constexpr auto name = "pseudo_values";
  const auto times = as_const_view(at);
  const auto view = as_view(out);
  check::shape(name, "out", view, order.size(), times.size);
  check::follow_up(name, "at", times);
  if (options.method == pseudo_method::jackknife && order.weighted())
    throw value_error(error_message(name, "order", "weights", "none for the jackknife, or the infinitesimal method"));
  detail::pseudo_values(ctx, times, order.plan(), view, options);
}

}  // namespace stroma
