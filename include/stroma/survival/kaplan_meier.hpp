#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include <stroma/survival/detail/curve_errors.hpp>
#include <stroma/survival/detail/normal_quantile.hpp>
#include <stroma/survival/detail/product_limit.hpp>
#include <stroma/survival/survival_curve.hpp>

namespace stroma {

/// How far a curve of survival may be from the truth: with the confidence c and z its normal quantile,
enum class curve_interval {
  log,      ///< exp(log S -+ z error), at most 1
  log_log,  ///< exp(-exp(log(-log S) -+ z error / log S)), inside 0 .. 1; not defined where S is 1
  plain,    ///< S -+ z S error, inside 0 .. 1
  none      ///< no limits: saves their time and memory
};

struct kaplan_meier_options {
  curve_estimate estimate = curve_estimate::kaplan_meier;
  curve_error error = curve_error::greenwood;
  curve_interval interval = curve_interval::log;
  double confidence = 0.95;  ///< of the interval, between 0 and 1
};

namespace detail {

/// Where curves are written, one after another.
struct curve_memory {
  double *time, *at_risk, *events, *censored, *survival, *log_error, *hazard, *hazard_error, *lower, *upper;

  static constexpr index_t columns(curve_interval interval) { return interval == curve_interval::none ? 8 : 10; }
  static curve_memory in(double* base, index_t rows, curve_interval interval) {
    const auto at = [&](index_t column) { return column < columns(interval) ? base + column * rows : nullptr; };
    return {at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9)};
  }
};

struct curve_limits {
  double lower, upper;
};
inline constexpr double undefined_limit = std::numeric_limits<double>::quiet_NaN();
/// Not defined at S = 0, and on the scale of log(-log S) neither at S = 1.
[[nodiscard]] STROMA_HOST_DEVICE inline curve_limits limits_of(double survival, double log_error, double z,
                                                               curve_interval interval) {
  const auto inside = [](double x) { return x < 0 ? 0 : x > 1 ? 1 : x; };
  if (!(survival > 0) || (interval == curve_interval::log_log && survival == 1))
    return {undefined_limit, undefined_limit};
  if (interval == curve_interval::plain)
    return {inside(survival - z * survival * log_error), inside(survival + z * survival * log_error)};
  if (interval == curve_interval::log)
    return {survival * std::exp(-z * log_error), inside(survival * std::exp(z * log_error))};
  const double log_survival = std::log(survival), factor = std::exp(z * log_error / log_survival);
  return {std::exp(log_survival / factor), std::exp(log_survival * factor)};
}

template <class Backend>
struct kaplan_meier_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/kaplan_meier.cuh> and compile with nvcc");

  /// Where each stratum begins, [strata + 1], and then one of its patients, [strata].
  static void read_strata(cpu_context&, const risk_plan<host_space>& plan, index_t strata, index_t* to) {
    to[0] = 0;
    for (index_t s = 0; s < strata; ++s) {
      to[s + 1] = plan.stratum[s + 1];
      to[strata + 1 + s] = plan.row[plan.first[plan.stratum[s]]];
    }
  }

  static void run(cpu_context& ctx, const risk_plan<host_space>& plan, index_t, const kaplan_meier_options& options,
                  double z, const curve_memory& to) {
    auto scratch = ctx.workspace().open();
    auto* const late = scratch.template take<late_entries>(plan.until == nullptr ? 0 : plan.groups);
    if (plan.until != nullptr) std::fill_n(late, plan.groups, late_entries{0, 0});
    for_each_late_entry(plan, [&](index_t g, double weight) {
      late[g].weight += weight;
      ++late[g].rows;
    });
    for (index_t s = 0; s < plan.strata; ++s) {
      const index_t first = plan.stratum[s], last = plan.stratum[s + 1];
      for_each_count(
          plan, s, [&](index_t g) { return late[g]; },
          [&](index_t g, const risk_count& count) {
            const index_t i = first + last - 1 - g;
            to.time[i] = plan.time[g];
            to.at_risk[i] = count.at_risk;
            to.events[i] = count.died;
            to.censored[i] = count.censored;
          });
      if (options.estimate == curve_estimate::kaplan_meier) estimate<curve_estimate::kaplan_meier>(plan, s, to);
      else estimate<curve_estimate::fleming_harrington>(plan, s, to);
      if (options.error == curve_error::robust) robust_errors(ctx, plan, s, options.estimate, to);
      if (options.interval != curve_interval::none) write_limits(first, last, z, options.interval, to);
    }
  }

 private:
  template <curve_estimate Estimate>
  static void estimate(const risk_plan<host_space>& plan, index_t stratum, const curve_memory& to) {
    const index_t first = plan.stratum[stratum], last = plan.stratum[stratum + 1];
    double survival = 1, log_variance = 0, log_error = 0, hazard = 0, hazard_variance = 0, hazard_error = 0;
    for (index_t i = first; i < last; ++i) {
      if (to.events[i] > 0) {
        const auto step = curve_step_of<Estimate>(
            to.at_risk[i], to.events[i],
            Estimate == curve_estimate::kaplan_meier ? 0 : rows_died(plan, first + last - 1 - i));
        hazard += step.hazard;
        hazard_error = std::sqrt(hazard_variance += step.hazard_variance);
        if constexpr (Estimate == curve_estimate::kaplan_meier) {
          survival *= step.survival;
          log_error = std::sqrt(log_variance += step.log_variance);
        } else {
          survival = std::exp(-hazard);
          log_error = hazard_error;
        }
      }
      to.survival[i] = survival;
      to.log_error[i] = log_error;
      to.hazard[i] = hazard;
      to.hazard_error[i] = hazard_error;
    }
  }

  static void write_limits(index_t first, index_t last, double z, curve_interval interval, const curve_memory& to) {
    curve_limits now{};
    for (index_t i = first; i < last; ++i) {
      if (i == first || to.events[i] > 0) now = limits_of(to.survival[i], to.log_error[i], z, interval);
      to.lower[i] = now.lower;
      to.upper[i] = now.upper;
    }
  }

  static index_t rows_died(const risk_plan<host_space>& plan, index_t g) {
    if (plan.weight == nullptr) return plan.first[g + 1] - plan.deaths[g];
    return std::count_if(plan.weight + plan.deaths[g], plan.weight + plan.first[g + 1], [](double w) { return w > 0; });
  }

  /// Influences on log S and on H, of all patients squared and added up as time goes on.
  static void robust_errors(cpu_context& ctx, const risk_plan<host_space>& plan, index_t stratum,
                            curve_estimate estimate, const curve_memory& to) {
    const index_t first = plan.stratum[stratum], last = plan.stratum[stratum + 1];
    auto scratch = ctx.workspace().open();
    const bool late = plan.until != nullptr;
    // What has been added up when a group's time is over, and the squared weights that enter after it.
    auto* const log_after = scratch.template take<double>(late ? last - first : 0);
    auto* const hazard_after = scratch.template take<double>(late ? last - first : 0);
    auto* const entering = scratch.template take<double>(late ? last - first + 1 : 0);
    const auto weight = [&](index_t k) { return plan.weight == nullptr ? 1.0 : plan.weight[k]; };
    squared_influences of_log, of_hazard;
    if (late) std::fill_n(entering, last - first + 1, 0.0);
    for (index_t k = plan.first[first]; k < plan.first[last]; ++k) {
      if (late) entering[plan.until[k] - first] += weight(k) * weight(k);
      else of_log.enter(weight(k) * weight(k));
    }
    if (late) of_log.enter(entering[last - first]);
    of_hazard = of_log;
    bool lives = true;
    for (index_t g = last; g-- > first;) {
      const index_t i = first + last - 1 - g;
      const auto step = influences_of(estimate, to.at_risk[i], to.events[i],
                                      estimate == curve_estimate::kaplan_meier ? 0 : rows_died(plan, g));
      const auto leave = [&](index_t k, const influence& on_log, const influence& on_hazard) {
        const double w2 = weight(k) * weight(k);
        const bool entered = late && plan.until[k] < last;
        of_log.leave(w2, entered ? log_after[plan.until[k] - first] : 0, on_log.death);
        of_hazard.leave(w2, entered ? hazard_after[plan.until[k] - first] : 0, on_hazard.death);
      };
      for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) leave(k, step.log_survival, step.hazard);
      of_log.pass(step.log_survival.at_risk);
      of_hazard.pass(step.hazard.at_risk);
      for (index_t k = plan.first[g]; k < plan.deaths[g]; ++k) leave(k, {0, 0}, {0, 0});
      if (to.at_risk[i] == to.events[i] + to.censored[i]) {  // what rounding left
        of_log.nobody_left();
        of_hazard.nobody_left();
      }
      lives = lives && to.survival[i] > 0;
      to.log_error[i] = lives ? std::sqrt(of_log.sum()) : std::numeric_limits<double>::infinity();
      to.hazard_error[i] = std::sqrt(of_hazard.sum());
      if (!late) continue;
      log_after[g - first] = of_log.passed;
      hazard_after[g - first] = of_hazard.passed;
      of_log.enter(entering[g - first]);
      of_hazard.enter(entering[g - first]);
    }
  }
};

inline void check_curve_options(std::string_view function, const kaplan_meier_options& options) {
  check::require(options.confidence > 0 && options.confidence < 1, function, "confidence",
                 number_text(options.confidence), "a number between 0 and 1");
}

}  // namespace detail

/// Survival curves of a cohort, one for each stratum, with numbers at risk, standard errors and confidence limits.
///
/// With d events among n at risk, weights counting as so many patients,
/// Kaplan-Meier:        S(t) = product over times s <= t of (1 - d / n), H(t) = sum of d / n (Nelson-Aalen)
/// Greenwood:           error of log S = sqrt(sum of d / (n (n - d))), error of H = sqrt(sum of d / n^2)
/// Fleming-Harrington:  S = exp(-H), H(t) = sum of d / n over deaths, of which those of one time come one by one
/// robust:              error = sqrt(sum over patients of (weight x influence)^2), the infinitesimal jackknife
///
/// `kaplan_meier_curves curves(ctx, risk_order(ctx, time, event, {.stratum = arm}), {.interval =
/// curve_interval::log_log});` `curves[0].survival[k]` at `curves[0].time[k]`; `median(curves[0])`;
/// `restricted_mean(curves[0], 60)`
///
/// S is exactly 0 from a time on at which all at risk die; there the error of log S is infinite and the limits are NaN.
/// A patient of weight 0 is at risk nowhere, but his time has a row. With late entry S is the chance to live on, given
/// that everybody's risk is that of those under observation.
/// Cost: O(N) after the order's sort, 10 numbers a distinct time, taken again only when more are needed. Same bits from
/// run to run. On a device the number of times is waited for.
/// @throws value_error   Reference: Kaplan and Meier 1958; Greenwood 1926; Fleming and Harrington 1984; as R's survfit.
template <class Backend = backend::cpu>
class kaplan_meier_curves {
 public:
  using space = typename Backend::space;

  kaplan_meier_curves() = default;
  template <execution_context Context>
    requires std::same_as<typename Context::backend, Backend>
  kaplan_meier_curves(Context& ctx, const risk_order<Backend>& order, const kaplan_meier_options& options = {}) {
    remake(ctx, order, options);
  }

  /// Another cohort's, or the same one's with other options, in the same memory.
  template <execution_context Context>
    requires std::same_as<typename Context::backend, Backend>
  void remake(Context& ctx, const risk_order<Backend>& order, const kaplan_meier_options& options = {}) {
    detail::check_curve_options("kaplan_meier_curves", options);
    using kernel = detail::kaplan_meier_kernel<Backend>;
    const index_t rows = order.groups(ctx), curves = order.strata(ctx);
    const index_t numbers = rows * detail::curve_memory::columns(options.interval);
    if (numbers_.size() < numbers) numbers_ = array<double, 1, space>(numbers);
    if (first_.size() < 2 * curves + 1) first_ = array<index_t, 1>(2 * curves + 1);
    rows_ = rows;
    curves_ = curves;
    interval_ = options.interval;
    kernel::read_strata(ctx, order.plan(), curves, first_.data());
    kernel::run(ctx, order.plan(), rows, options, detail::two_sided_normal_quantile(options.confidence), memory());
  }

  /// How many curves: the strata of the order, by their labels' size.
  [[nodiscard]] index_t size() const noexcept { return curves_; }
  /// Valid as long as this is, and not remade.
  [[nodiscard]] survival_curve<space> operator[](index_t curve) const {
    return rows_of(first_.data()[curve], first_.data()[curve + 1] - first_.data()[curve]);
  }
  /// A patient of the curve's stratum, by row: whose label names it.
  [[nodiscard]] index_t patient(index_t curve) const { return first_.data()[curves_ + 1 + curve]; }
  /// All curves, one after another.
  [[nodiscard]] survival_curve<space> stacked() const { return rows_of(0, rows_); }

 private:
  [[nodiscard]] detail::curve_memory memory() const {
    return detail::curve_memory::in(const_cast<double*>(numbers_.data()), rows_, interval_);
  }
  [[nodiscard]] survival_curve<space> rows_of(index_t first, index_t count) const {
    const auto m = memory();
    const auto column = [&](const double* of) {
      return of == nullptr ? vector_view<const double, space>() : vector_view<const double, space>(of + first, count);
    };
    return {column(m.time),      column(m.at_risk), column(m.events),       column(m.censored), column(m.survival),
            column(m.log_error), column(m.hazard),  column(m.hazard_error), column(m.lower),    column(m.upper)};
  }

  array<double, 1, space> numbers_;
  array<index_t, 1> first_;  ///< [curves + 1] rows at which they begin, then [curves] patients
  index_t rows_ = 0, curves_ = 0;
  curve_interval interval_ = curve_interval::none;
};

template <execution_context Context>
kaplan_meier_curves(Context&, const risk_order<typename Context::backend>&, const kaplan_meier_options& = {})
    -> kaplan_meier_curves<typename Context::backend>;

}  // namespace stroma
