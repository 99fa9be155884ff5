#pragma once
#include <string>

#include <stroma/survival/detail/cox_lasso.hpp>

namespace stroma {

struct cox_elastic_net_options {
  ties tie_method = ties::efron;
  double mixing = 1;         ///< alpha: 1 lasso, 0 ridge
  number_view<> lambda{};    ///< [L] penalties to solve for, best from large to small; absent: a path of them
  index_t path = 100;        ///< penalties of a path, in equal ratios from the largest at which a coefficient is not 0
  double smallest = 0.01;    ///< the last of a path, as a part of the first
  number_view<> offset{};    ///< [N] a part of the score that is not penalised; absent: 0
  double tolerance = 1e-9;   ///< of the conditions of a minimum, as a part of the largest penalty
  index_t iterations = 100;  ///< Newton steps for one penalty and choice of columns
  bool check_values = true;  ///< finite covariates and offset
};

struct cox_path {
  array<double, 1> lambda;          ///< [L]
  array<double, 2> coefficient;     ///< [L, p] log hazard ratio of one unit of the covariate
  array<double, 1> log_likelihood;  ///< [L] without the penalty
  array<index_t, 1> nonzero;        ///< [L] coefficients that are not 0
  double null_log_likelihood{};
  bool converged{};  ///< at every penalty
};

namespace detail {

inline void check_elastic_net(const cox_elastic_net_options& options) {
  constexpr auto name = "cox_elastic_net";
  check::in_range(name, "mixing", options.mixing, 0.0, 1.0);
  check::require(options.path > 0, name, "path", std::to_string(options.path), "1 or more");
  check::require(options.smallest > 0 && options.smallest < 1, name, "smallest", number_text(options.smallest),
                 "a number between 0 and 1");
  check::positive(name, "tolerance", options.tolerance);
  for (index_t l = 0; l < options.lambda.size; ++l)
    check::require(options.lambda[l] > 0 && std::isfinite(options.lambda[l]), name, "lambda",
                   number_text(options.lambda[l]) + " at " + std::to_string(l), "finite numbers above 0");
}

/// A path of penalised models. Columns take part once their slope asks for it: what is solved is as large as the
/// number of coefficients that are not 0, whatever the number of columns.
template <class T>
class penalised_path {
 public:
  template <class Frame>
  penalised_path(matrix_view<const T> x, const risk_plan<host_space>& plan, const cox_elastic_net_options& options,
                 Frame& scratch)
      : x_(x), plan_(plan), options_(options), sets_(plan, scratch) {
    moments_ = scratch.template take<column_moments>(x.cols);
    for (double** const piece : {&centre_, &scale_, &b_, &slope_}) *piece = scratch.template take<double>(x.cols);
    for (double** const piece : {&score_, &gradient_}) *piece = scratch.template take<double>(x.rows);
    active_ = scratch.template take<index_t>(x.cols);
    chosen_ = scratch.template take<bool>(x.cols);
    std::fill_n(b_, x.cols, 0.0);
    std::fill_n(chosen_, x.cols, false);
    measure_columns();
  }

  void solve(cpu_context& ctx, cox_path& path) {
    path.null_log_likelihood = find_slopes(ctx);
    double largest = 0;
    for (index_t j = 0; j < x_.cols; ++j) largest = std::max(largest, std::abs(slope_[j]));
    largest /= std::max(options_.mixing, 1e-3);  // a ridge never makes them all 0
    path.converged = true;
    lasso_before_ = largest * options_.mixing;
    for (index_t l = 0; l < path.lambda.size(); ++l) {
      const double steps = static_cast<double>(std::max<index_t>(options_.path - 1, 1));
      path.lambda[l] = options_.lambda.size != 0
                           ? options_.lambda[l]
                           : largest * std::pow(options_.smallest, static_cast<double>(l) / steps);
      const double lambda = path.lambda[l];
      const elastic_penalty penalty{total_, lambda * options_.mixing, lambda * (1 - options_.mixing)};
      path.log_likelihood[l] = path.null_log_likelihood;
      if (!solve_one(ctx, penalty, options_.tolerance * largest, path.log_likelihood[l])) path.converged = false;
      path.nonzero[l] = 0;
      for (index_t j = 0; j < x_.cols; ++j) {
        path.coefficient(l, j) = b_[j] / scale_[j];
        path.nonzero[l] += b_[j] != 0 ? 1 : 0;
      }
    }
  }

 private:
  /// With each row read once.
  void measure_columns() {
    std::fill_n(moments_, x_.cols, column_moments{});
    for (index_t k = 0; k < plan_.rows; ++k) {
      const double w = plan_.weight == nullptr ? 1 : plan_.weight[k];
      total_ += w;
      for (index_t j = 0; j < x_.cols; ++j) moments_[j].add(static_cast<double>(x_(plan_.row[k], j)), w, total_);
    }
    for (index_t j = 0; j < x_.cols; ++j) {
      centre_[j] = moments_[j].mean;
      scale_[j] = moments_[j].scale(total_);
    }
  }

  /// slope = that of the log likelihood over total along every column, at b; returns the log likelihood.
  double find_slopes(cpu_context& ctx) {
    const index_t count = list_active([&](index_t j) { return b_[j] != 0; });
    for (index_t i = 0; i < x_.rows; ++i) {
      score_[i] = options_.offset.size != 0 ? options_.offset[i] : 0;
      for (index_t a = 0; a < count; ++a) score_[i] += centred(i, active_[a]) / scale_[active_[a]] * b_[active_[a]];
    }
    double loss = 0;
    cox_kernel<backend::cpu>::run(ctx, vector_view<const double>(score_, x_.rows), plan_,
                                  {.tie_method = options_.tie_method},
                                  cox_output<double>{&loss, {gradient_, x_.rows}, {}});
    std::fill_n(slope_, x_.cols, 0.0);
    for (index_t i = 0; i < x_.rows; ++i)
      for (index_t j = 0; j < x_.cols; ++j) slope_[j] -= gradient_[i] * centred(i, j);
    for (index_t j = 0; j < x_.cols; ++j) slope_[j] /= scale_[j] * total_;
    return -loss;
  }
  [[nodiscard]] double centred(index_t i, index_t j) const { return static_cast<double>(x_(i, j)) - centre_[j]; }

  /// Chooses columns that take part from now on: of a slope above the threshold.
  bool choose(double threshold) {
    bool more = false;
    for (index_t j = 0; j < x_.cols; ++j) {
      if (chosen_[j] || std::abs(slope_[j]) <= threshold) continue;
      chosen_[j] = more = true;
    }
    return more;
  }

  /// From the coefficients and slopes of the penalty before. The columns that are tried first are those whose slope may
  /// pass the penalty if it changes as fast as the penalty does (Tibshirani and others' strong rule); then those that
  /// were left out are checked.
  bool solve_one(cpu_context& ctx, const elastic_penalty& penalty, double tolerance, double& log_likelihood) {
    for (index_t j = 0; j < x_.cols; ++j) chosen_[j] = b_[j] != 0;
    (void)choose(std::min(penalty.lasso, 2 * penalty.lasso - lasso_before_) + tolerance);
    lasso_before_ = penalty.lasso;
    bool converged = true;
    do converged = minimise_chosen(ctx, penalty, tolerance, log_likelihood);
    while (choose(penalty.lasso + tolerance));
    return converged;
  }
  bool minimise_chosen(cpu_context& ctx, const elastic_penalty& penalty, double tolerance, double& log_likelihood) {
    const index_t count = list_active([&](index_t j) { return chosen_[j]; });
    if (count == 0) return true;
    bool converged = false;
    {
      auto scratch = ctx.workspace().open();
      auto design = cox_design::in(scratch, plan_, count);
      design.set_columns(x_, active_, plan_);
      design.set_offset(scratch, options_.offset, plan_);
      cox_lasso lasso(sets_, design, options_.tie_method, scratch);
      for (index_t a = 0; a < count; ++a) lasso.coefficient()[a] = b_[active_[a]];
      converged = lasso.minimise(ctx, penalty, tolerance, options_.iterations);
      for (index_t a = 0; a < count; ++a) b_[active_[a]] = lasso.coefficient()[a];
      log_likelihood = lasso.log_likelihood();
    }
    (void)find_slopes(ctx);
    return converged;
  }
  template <class Choice>
  index_t list_active(const Choice& choice) {
    index_t count = 0;
    for (index_t j = 0; j < x_.cols; ++j)
      if (choice(j)) active_[count++] = j;
    return count;
  }

  matrix_view<const T> x_;
  const risk_plan<host_space>& plan_;
  const cox_elastic_net_options& options_;
  risk_sets sets_;
  double total_ = 0;  ///< of the weights
  column_moments* moments_;
  double *centre_, *scale_, *b_, *slope_, *score_, *gradient_;
  index_t* active_;
  bool* chosen_;
  double lasso_before_ = 0;
};

template <class T>
void fit_path(cpu_context& ctx, matrix_view<const T> x, const risk_order<>& order, cox_path& path,
              const cox_elastic_net_options& options) {
  constexpr auto name = "cox_elastic_net";
  check_elastic_net(options);
  check_cox_data(ctx, name, x, order.plan(), options.tie_method, options.offset, options.check_values);
  const index_t penalties = options.lambda.size != 0 ? options.lambda.size : options.path;
  if (path.coefficient.rows() != penalties || path.coefficient.cols() != x.cols || path.lambda.size() != penalties) {
    path.lambda = path.log_likelihood = array<double, 1>(penalties);
    path.nonzero = array<index_t, 1>(penalties);
    path.coefficient = array<double, 2>(penalties, x.cols);
  }
  const auto plan = order.plan();
  auto scratch = ctx.workspace().open();
  penalised_path<T>(x, plan, options, scratch).solve(ctx, path);
}

}  // namespace detail

/// Cox's model with an elastic net, for a penalty or a path of them: many covariates, of which few matter. Minimises
///
/// - log partial likelihood / W + lambda sum over j of [ alpha |b_j| + (1 - alpha) / 2 b_j^2 ],   b_j = sd_j beta_j
///
/// where W sums the weights (without any: N), sd_j is the weighted standard deviation of covariate j, and beta are the
/// coefficients of the covariates as they are. (Simon and others take twice the likelihood: their lambda is two of
/// ours.)
///
/// Each penalty starts from the one before. Newton's model of the likelihood over the columns in play is minimised by
/// coordinate descent, the step halved where the objective would rise, until the conditions of a minimum hold to
/// `tolerance`; then the slopes of all columns are checked, and those that ask for it join.
///
/// `const cox_path path = cox_elastic_net(ctx, genes, order, {.mixing = 0.5});`
///
/// @param covariates [N, p]   @param order the cohort, with its weights, strata, late entry
/// @param path overwritten; takes memory when its size changes
/// Cost, with a the columns in play (with alpha 0 all): a Newton step O(N a^2), a check O(N p); scratch O(N a + a^2 +
/// p). Same bits from run to run.
/// @throws shape_error, value_error
/// Reference: Simon, Friedman, Hastie and Tibshirani 2011; Tibshirani and others 2012; Lee, Sun and Saunders 2014.
template <execution_context Context, matrix_like X>
  requires same_space<Context, X> && std::same_as<typename Context::space, host_space>
void cox_elastic_net(Context& ctx, const X& covariates, const risk_order<>& order, cox_path& path,
                     const cox_elastic_net_options& options = {}) {
  detail::fit_path(ctx, as_const_view(covariates), order, path, options);
}
template <execution_context Context, matrix_like X>
  requires same_space<Context, X> && std::same_as<typename Context::space, host_space>
[[nodiscard]] cox_path cox_elastic_net(Context& ctx, const X& covariates, const risk_order<>& order,
                                       const cox_elastic_net_options& options = {}) {
  cox_path path;
  cox_elastic_net(ctx, covariates, order, path, options);
  return path;
}

}  // namespace stroma
