#pragma once
#include <stroma/survival/cox_regression.hpp>
#include <stroma/survival/detail/risk_residuals.hpp>

namespace stroma {

struct cox_residual_options {
  number_view<> offset{};    ///< [N] as in the fit
  bool check_values = true;  ///< finite covariates and offset
};

/// What is computed; empty views are left out.
struct cox_residual_output {
  vector_view<double> martingale{};  ///< [N] observed less expected events
  vector_view<double> deviance{};    ///< [N] the same on a scale where few events are not so skew
  matrix_view<double> score{};       ///< [N, p] a patient's part of the likelihood's gradient, without its weight
  matrix_view<double> dfbeta{};      ///< [N, p] weight x score x covariance: what the patient moves each coefficient
  matrix_view<double> schoenfeld{};  ///< [events, p] covariates of who dies less their mean at risk
  /// [events] whose row of schoenfeld it is: by stratum, then from the earliest time, then by row
  vector_view<index_t> schoenfeld_row{};
};

namespace detail {

/// The residuals of a fit by position, in the units of the covariates.
template <class T>
class fitted_residuals {
 public:
  template <class Frame>
  fitted_residuals(matrix_view<const T> x, const risk_plan<host_space>& plan, const cox_fit& fit,
                   const number_view<>& offset, Frame& scratch)
      : plan_(plan), fit_(fit), sets_(plan, scratch), design_(cox_design::in(scratch, plan, x.cols)) {
    auto* const coefficient = scratch.template take<double>(x.cols);
    design_.set_columns(x, nullptr, plan);
    for (index_t j = 0; j < x.cols; ++j) coefficient[j] = fit.coefficient[j] * design_.scale[j];
    design_.set_offset(scratch, offset, plan);
    design_.predict(coefficient);
  }

  void run(cpu_context& ctx, const risk_residuals& to) const {
    find_residuals(ctx, sets_, design_.rows, fit_.tie_method, to);
    const index_t p = design_.rows.width;
    for (double* const m : {to.score, to.schoenfeld})
      for (index_t i = 0; i < plan_.rows * p && m != nullptr; ++i) m[i] *= design_.scale[i % p];
  }

  /// Of position k, from its score residual.
  void dfbeta(index_t k, const double* score, vector_view<double> to) const {
    for (index_t c = 0; c < to.size; ++c) {
      if (fit_.status[c] == coefficient_status::dropped) {
        to[c] = std::numeric_limits<double>::quiet_NaN();
        continue;
      }
      double sum = 0;
      for (index_t j = 0; j < to.size; ++j)
        if (fit_.status[j] != coefficient_status::dropped) sum += score[j] * fit_.covariance(j, c);
      to[c] = design_.rows.weight_at(k) * sum;
    }
  }

 private:
  const risk_plan<host_space>& plan_;
  const cox_fit& fit_;
  risk_sets sets_;
  cox_design design_;
};

/// sign(m) sqrt(2 (observed log(observed / expected) - m)), with m = observed - expected
[[nodiscard]] inline double deviance_residual(double martingale, bool died) {
  const double gain = died ? -std::log1p(-martingale) - martingale : -martingale;
  return std::copysign(std::sqrt(2 * std::max(gain, 0.0)), martingale);
}

template <class T>
void check_fit(cpu_context& ctx, std::string_view name, matrix_view<const T> x, const risk_order<>& order,
               const cox_fit& fit, const cox_residual_options& options) {
  check::length(name, "covariates", x.rows, order.size(), "the length of order");
  check::length(name, "fit", fit.coefficient.size(), x.cols, "the columns of covariates");
  check::require(fit.tie_method != ties::exact, name, "fit", "exact ties", "Breslow's or Efron's");
  if (options.offset.size != 0) check::length(name, "offset", options.offset.size, x.rows, "the rows of covariates");
  if (!options.check_values) return;
  value_checks<backend::cpu>::finite(ctx, name, "covariates", x);
  value_checks<backend::cpu>::finite(ctx, name, "offset", options.offset);
}

}  // namespace detail

/// Residuals of a fitted Cox model.
///
/// martingale  m = event - exp(score) sum of hazards over the times at risk        deviance  see deviance_residual
/// score       event (x - mean) - exp(score) sum of hazards x (x - mean there)     schoenfeld  x - mean, at deaths
///
/// where mean is that of the covariates at risk at a time, each weighing w exp(score), and with Efron's ties hazards
/// and means are those of his terms. Weighted sums of martingale and score residuals are 0.
///
/// @param covariates [N, p]   @param order the cohort, both as in the fit   @param out what is wanted
/// Cost: O(N p), with late entry O(N p log N); O(N p) scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Therneau, Grambsch and Fleming 1990; Schoenfeld 1982.
template <execution_context Context, matrix_like X>
  requires same_space<Context, X> && std::same_as<typename Context::space, host_space>
void cox_residuals(Context& ctx, const X& covariates, const risk_order<>& order, const cox_fit& fit,
                   const cox_residual_output& out, const cox_residual_options& options = {}) {
  constexpr auto name = "cox_residuals";
  const auto x = as_const_view(covariates);
  const index_t n = order.size(), p = x.cols;
  detail::check_fit(ctx, name, x, order, fit, options);
  const auto wanted = [](const auto& v) { return v.data != nullptr; };
  if (wanted(out.martingale)) check::length(name, "martingale", out.martingale.size, n, "the length of order");
  if (wanted(out.deviance)) check::length(name, "deviance", out.deviance.size, n, "the length of order");
  if (wanted(out.score)) check::shape(name, "score", out.score, n, p);
  if (wanted(out.dfbeta)) check::shape(name, "dfbeta", out.dfbeta, n, p);
  if (wanted(out.schoenfeld)) check::shape(name, "schoenfeld", out.schoenfeld, order.events(), p);
  if (wanted(out.schoenfeld_row))
    check::length(name, "schoenfeld_row", out.schoenfeld_row.size, order.events(), "the events");

  const auto plan = order.plan();
  auto scratch = ctx.workspace().open();
  detail::risk_residuals found{};
  if (wanted(out.martingale) || wanted(out.deviance)) found.martingale = scratch.template take<double>(n);
  if (wanted(out.score) || wanted(out.dfbeta)) found.score = scratch.template take<double>(n * p);
  if (wanted(out.schoenfeld)) found.schoenfeld = scratch.template take<double>(n * p);
  const detail::fitted_residuals residuals(x, plan, fit, options.offset, scratch);
  residuals.run(ctx, found);

  index_t event = 0;
  for (index_t s = 0; s < plan.strata; ++s)
    for (index_t g = plan.stratum[s + 1]; g-- > plan.stratum[s];)
      for (index_t k = plan.first[g]; k < plan.first[g + 1]; ++k) {
        const index_t i = plan.row[k];
        const bool died = k >= plan.deaths[g];
        if (wanted(out.martingale)) out.martingale[i] = found.martingale[k];
        if (wanted(out.deviance)) out.deviance[i] = detail::deviance_residual(found.martingale[k], died);
        for (index_t j = 0; j < p && wanted(out.score); ++j) out.score(i, j) = found.score[k * p + j];
        if (wanted(out.dfbeta)) residuals.dfbeta(k, found.score + k * p, out.dfbeta.row(i));
        if (!died) continue;
        for (index_t j = 0; j < p && wanted(out.schoenfeld); ++j)
          out.schoenfeld(event, j) = found.schoenfeld[k * p + j];
        if (wanted(out.schoenfeld_row)) out.schoenfeld_row[event] = i;
        ++event;
      }
}

struct robust_covariance_options {
  number_view<> offset{};   ///< [N] as in the fit
  number_view<> cluster{};  ///< [N] label, any finite number, of patients that depend on one another; absent: on nobody
  bool check_values = true;  ///< finite covariates, offset and cluster
};

/// Covariance of the coefficients that holds although the model does not, or patients depend on one another: the sum
/// over clusters of d d', where d sums dfbeta over a cluster's patients (the sandwich, an infinitesimal jackknife).
/// @param covariates [N, p]   @param order the cohort, both as in the fit   @param out [p, p] overwritten
/// Cost: O(N p^2 + N log N), with late entry O(N p (p + log N)); O(N p) scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Lin and Wei 1989.
template <execution_context Context, matrix_like X, matrix_like Out>
  requires same_space<Context, X, Out> && std::same_as<typename Context::space, host_space>
void robust_covariance(Context& ctx, const X& covariates, const risk_order<>& order, const cox_fit& fit, Out&& out,
                       const robust_covariance_options& options = {}) {
  constexpr auto name = "robust_covariance";
  const auto x = as_const_view(covariates);
  const auto to = as_view(out);
  const index_t n = order.size(), p = x.cols;
  detail::check_fit(ctx, name, x, order, fit, {options.offset, options.check_values});
  check::shape(name, "out", to, p, p);
  if (options.cluster.size != 0) check::length(name, "cluster", options.cluster.size, n, "the length of order");
  if (options.check_values) value_checks<backend::cpu>::finite(ctx, name, "cluster", options.cluster);

  const auto plan = order.plan();
  auto scratch = ctx.workspace().open();
  auto* const score = scratch.template take<double>(n * p);
  auto* const rows = scratch.template take<detail::keyed_row>(n);
  auto* const spare = scratch.template take<detail::keyed_row>(n);
  auto* const counts = scratch.template take<index_t>(detail::sort_counts * ctx.threads());
  auto* const sum = scratch.template take<double>(p);
  auto* const one = scratch.template take<double>(p);
  const detail::fitted_residuals residuals(x, plan, fit, options.offset, scratch);
  residuals.run(ctx, {nullptr, score, nullptr});

  for (index_t k = 0; k < n; ++k)
    rows[k] = {options.cluster.size == 0 ? static_cast<std::uint64_t>(k) : sort_key(options.cluster[plan.row[k]]), k};
  const auto* const sorted = detail::sort_by_key(ctx, rows, spare, n, counts);
  for (index_t i = 0; i < p; ++i)
    for (index_t j = 0; j < p; ++j) to(i, j) = 0;
  for (index_t k = 0; k < n;) {
    std::fill_n(sum, p, 0.0);
    const std::uint64_t label = sorted[k].key;
    for (; k < n && sorted[k].key == label; ++k) {
      residuals.dfbeta(sorted[k].row, score + sorted[k].row * p, {one, p});
      for (index_t j = 0; j < p; ++j) sum[j] += one[j];
    }
    for (index_t i = 0; i < p; ++i)
      for (index_t j = 0; j < p; ++j) to(i, j) += static_cast<scalar_of<Out>>(sum[i] * sum[j]);
  }
}

}  // namespace stroma
