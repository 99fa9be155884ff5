#pragma once
#include <string>

#include <stroma/survival/detail/chi_square.hpp>
#include <stroma/survival/detail/cox_newton.hpp>

namespace stroma {

/// What to do with a covariate that is constant in every risk set, or a combination of the columns before it.
enum class collinear_columns { refuse, drop };

struct cox_regression_options {
  ties tie_method = ties::efron;
  number_view<> offset{};  ///< [N] a part of the score whose coefficient is 1; absent: 0
  number_view<> start{};   ///< [p] coefficients to begin with; absent: 0
  double ridge = 0;        ///< ridge / 2 sum of coefficient^2 is taken off the log likelihood
  collinear_columns collinear = collinear_columns::refuse;
  index_t iterations = 50;   ///< at most
  double tolerance = 1e-9;   ///< ends after a step of this length in standard errors: the error left is its square
  bool check_values = true;  ///< finite covariates, offset and start
};

enum class coefficient_status : std::uint8_t {
  estimated,
  /// The likelihood is monotone: it rises for ever as this coefficient goes on in the direction of its sign, with
  /// others that say so. The coefficient is where the likelihood had come to rest, its standard error is infinite.
  diverging,
  /// Collinear with columns before it: left out of the model. The coefficient is 0, its standard error NaN.
  dropped
};

struct cox_fit {
  array<double, 1> coefficient;                    ///< [p] log hazard ratio of one unit of the covariate
  array<double, 1> standard_error;                 ///< [p] square roots of the covariance's diagonal
  array<double, 2> covariance;                     ///< [p, p] inverse of the information (with the ridge)
  array<coefficient_status, 1> status;             ///< [p]
  array<double, 1> centre;                         ///< [p] weighted means of the covariates
  double null_log_likelihood{}, log_likelihood{};  ///< with coefficients 0, and as estimated (without the ridge)
  /// That all coefficients are 0. Without p-value where a ridge makes the distribution another; Wald's is NaN where a
  /// coefficient diverges.
  chi_square_test score_test{}, wald_test{}, likelihood_ratio_test{};
  index_t iterations{};
  bool converged{};  ///< false: out of iterations, or a coefficient diverges
  ties tie_method{};
};

namespace detail {

template <class T>
void check_cox_regression(cpu_context& ctx, matrix_view<const T> x, const risk_plan<host_space>& plan,
                          const cox_regression_options& options) {
  constexpr auto name = "cox_regression";
  if (options.start.size != 0) check::length(name, "start", options.start.size, x.cols, "the columns of covariates");
  check::require(options.ridge >= 0 && std::isfinite(options.ridge), name, "ridge", number_text(options.ridge),
                 "a finite number of 0 or more");
  check::require(options.iterations >= 0, name, "iterations", std::to_string(options.iterations), "0 or more");
  check::positive(name, "tolerance", options.tolerance);
  check_cox_data(ctx, name, x, plan, options.tie_method, options.offset, options.check_values);
  if (options.check_values) value_checks<backend::cpu>::finite(ctx, name, "start", options.start);
}

/// Estimates that belong to one model: which columns of the covariates are in it.
template <class T>
class cox_model {
 public:
  template <class Frame>
  cox_model(matrix_view<const T> x, const risk_plan<host_space>& plan, const cox_regression_options& options,
            Frame& scratch)
      : x_(x), options_(options), design_(cox_design::in(scratch, plan, x.cols)), sets_(plan, scratch) {
    kept_ = scratch.template take<bool>(x.cols);
    column_ = scratch.template take<index_t>(x.cols);
    ridge_ = scratch.template take<double>(x.cols);
    std::fill_n(kept_, x.cols, true);
    design_.set_offset(scratch, options.offset, plan);
  }

  void fit(cpu_context& ctx, cox_fit& fit) {
    set_columns();
    for (index_t j = 0; j < x_.cols; ++j) fit.centre[j] = design_.centre[j];
    {
      auto scratch = ctx.workspace().open();
      cox_newton newton(sets_, design_, newton_how(), scratch);
      newton.evaluate(ctx);
      if (options_.ridge > 0 || find_independent(newton)) return fit_from(ctx, newton, scratch, fit);
    }
    set_columns();
    auto scratch = ctx.workspace().open();
    cox_newton newton(sets_, design_, newton_how(), scratch);
    newton.evaluate(ctx);
    fit_from(ctx, newton, scratch, fit);
  }

 private:
  [[nodiscard]] newton_options newton_how() const {
    return {options_.tie_method, options_.iterations, options_.tolerance, options_.ridge > 0 ? ridge_ : nullptr};
  }

  /// `newton` has been evaluated at 0.
  template <class Frame>
  void fit_from(cpu_context& ctx, cox_newton& newton, Frame& scratch, cox_fit& fit) {
    fit.null_log_likelihood = newton.at.log_likelihood;
    const index_t p = design_.rows.width;
    auto* const x = scratch.template take<double>(p);
    fit.score_test = test(score_statistic(newton, x));
    if (options_.start.size != 0) {
      for (index_t j = 0; j < p; ++j) newton.coefficient[j] = options_.start[column_[j]] * design_.scale[j];
      newton.evaluate(ctx);
    }
    newton.climb(ctx);
    fit.iterations = newton.iterations;
    fit.converged = newton.converged;
    fit.log_likelihood = newton.at.log_likelihood;
    fit.likelihood_ratio_test = test(2 * (fit.log_likelihood - fit.null_log_likelihood));
    write(newton, x, fit);
  }

  void set_columns() {
    index_t p = 0;
    for (index_t j = 0; j < x_.cols; ++j)
      if (kept_[j]) column_[p++] = j;
    design_.rows.width = p;
    design_.set_columns(x_, column_, sets_.plan());
    for (index_t j = 0; j < p; ++j) ridge_[j] = options_.ridge / (design_.scale[j] * design_.scale[j]);
  }

  /// A column of which what the others leave has variance below epsilon^(3/4) of its own, in the risk sets, cannot be
  /// told from a combination of them (R's survival has the same bound).
  bool find_independent(cox_newton& newton) {
    const double tolerance = std::pow(std::numeric_limits<double>::epsilon(), 0.75);
    if (newton.rank(tolerance, tolerance * weight_of_deaths(sets_.plan()), kept_) == x_.cols) return true;
    if (options_.collinear == collinear_columns::refuse) {
      const auto column = static_cast<index_t>(std::find(kept_, kept_ + x_.cols, false) - kept_);
      throw value_error(error_message(
          "cox_regression", "covariates",
          "column " + std::to_string(column) + " constant in every risk set, or a combination of the columns before it",
          "independent columns (or options.collinear drop)"));
    }
    return false;
  }

  [[nodiscard]] chi_square_test test(double statistic) const {
    if (options_.ridge == 0) return chi_square(statistic, design_.rows.width);
    return {statistic, design_.rows.width, std::numeric_limits<double>::quiet_NaN()};
  }
  [[nodiscard]] static double score_statistic(cox_newton& newton, double* x, index_t p) {
    const double* const l = newton.factorise();
    if (l == nullptr) return std::numeric_limits<double>::quiet_NaN();
    std::copy_n(newton.at.score, p, x);
    solve(l, p, x);
    double sum = 0;
    for (index_t j = 0; j < p; ++j) sum += newton.at.score[j] * x[j];
    return sum;
  }
  [[nodiscard]] double score_statistic(cox_newton& newton, double* x) const {
    return score_statistic(newton, x, design_.rows.width);
  }

  /// The estimates, from scaled columns of the model to those of the covariates.
  void write(cox_newton& newton, double* x, cox_fit& fit) const {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const index_t p = design_.rows.width;
    fit.coefficient.fill(0);
    fit.standard_error.fill(nan);
    fit.covariance.fill(nan);
    fit.status.fill(coefficient_status::dropped);
    double longest = 0;
    for (index_t j = 0; j < p; ++j) longest = std::max(longest, std::abs(newton.step[j]));
    for (index_t j = 0; j < p; ++j) {
      const bool diverges = newton.separated && std::abs(newton.step[j]) > 1e-3 * longest;
      fit.status[column_[j]] = diverges ? coefficient_status::diverging : coefficient_status::estimated;
      fit.coefficient[column_[j]] = newton.coefficient[j] / design_.scale[j];
    }
    const double* const l = newton.factorise();
    for (index_t j = 0; j < p && l != nullptr; ++j) {
      std::fill_n(x, p, 0.0);
      x[j] = 1;
      solve(l, p, x);
      for (index_t i = 0; i <= j; ++i)
        fit.covariance(column_[i], column_[j]) = fit.covariance(column_[j], column_[i]) =
            x[i] / (design_.scale[i] * design_.scale[j]);
    }
    for (index_t j = 0; j < p; ++j) {
      const index_t c = column_[j];
      fit.standard_error[c] = fit.status[c] == coefficient_status::diverging ? std::numeric_limits<double>::infinity()
                                                                             : std::sqrt(fit.covariance(c, c));
    }
    double wald = newton.separated ? nan : quadratic_form(newton.at.information, p, newton.coefficient);
    for (index_t j = 0; j < p; ++j)
      if (options_.ridge > 0) wald += ridge_[j] * newton.coefficient[j] * newton.coefficient[j];
    fit.wald_test = test(wald);
  }

  matrix_view<const T> x_;
  const cox_regression_options& options_;
  cox_design design_;
  risk_sets sets_;
  bool* kept_;
  index_t* column_;
  double* ridge_;
};

template <class T>
void fit_cox(cpu_context& ctx, matrix_view<const T> x, const risk_plan<host_space>& plan,
             const cox_regression_options& options, cox_fit& fit) {
  check_cox_regression(ctx, x, plan, options);
  const index_t p = x.cols;
  if (fit.coefficient.size() != p || fit.covariance.rows() != p) {
    fit.coefficient = fit.standard_error = fit.centre = array<double, 1>(p);
    fit.covariance = array<double, 2>(p, p);
    fit.status = array<coefficient_status, 1>(p);
  }
  fit.tie_method = options.tie_method;
  auto scratch = ctx.workspace().open();
  cox_model<T>(x, plan, options, scratch).fit(ctx, fit);
}

}  // namespace detail

/// Fits Cox's model: coefficients b that maximise the log partial likelihood of the scores covariates b + offset,
/// less ridge / 2 sum of b^2.
///
/// Newton's method with halved steps on covariates that are centred and scaled inside. Each step is one sweep over the
/// risk sets, whose mean and scatter are kept by adding rows alone: the information is a sum of squares, accurate for
/// covariates of any shift and unit, scores of any size, and patients that enter late. Ties and weights are
/// those of cox_partial_likelihood; strata, weights and late entry belong to the order.
///
/// `const cox_fit fit = cox_regression(ctx, covariates, order, {.tie_method = ties::efron});`
///
/// @param covariates [N, p]  @param time [N] any unit   @param event [N] 1 observed, 0 censored
/// @param order [N] or, in place of both, the cohort sorted before
/// @param fit overwritten; takes memory when p changes
/// Cost: an iteration O(N p^2), with late entry O(N p^2 log N); scratch O(N p + p^2 log N). Same bits from run to run.
/// @throws shape_error; value_error: values, no event, and collinear columns unless they are to be dropped. A
/// likelihood that is monotone in a coefficient is no error: see coefficient_status.
/// Reference: Cox 1972; Therneau and Grambsch 2000 (R's survival).
template <execution_context Context, matrix_like X>
  requires same_space<Context, X> && std::same_as<typename Context::space, host_space>
void cox_regression(Context& ctx, const X& covariates, const risk_order<>& order, cox_fit& fit,
                    const cox_regression_options& options = {}) {
  detail::fit_cox(ctx, as_const_view(covariates), order.plan(), options, fit);
}
template <execution_context Context, matrix_like X, vector_like Times, vector_like Events>
  requires same_space<Context, X, Times, Events> && std::same_as<typename Context::space, host_space>
[[nodiscard]] cox_fit cox_regression(Context& ctx, const X& covariates, const Times& time, const Events& event,
                                     const cox_regression_options& options = {}) {
  const auto t = as_const_view(time);
  const auto e = as_const_view(event);
  detail::check_follow_up(ctx, "cox_regression", t, e, {.check_values = options.check_values});
  auto scratch = ctx.workspace().open();
  cox_fit fit;
  detail::fit_cox(ctx, as_const_view(covariates), detail::scratch_plan(ctx, scratch, t, e), options, fit);
  return fit;
}
template <execution_context Context, matrix_like X>
  requires same_space<Context, X> && std::same_as<typename Context::space, host_space>
[[nodiscard]] cox_fit cox_regression(Context& ctx, const X& covariates, const risk_order<>& order,
                                     const cox_regression_options& options = {}) {
  cox_fit fit;
  cox_regression(ctx, covariates, order, fit, options);
  return fit;
}

}  // namespace stroma
