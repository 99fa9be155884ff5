#pragma once
#include <limits>

#include <stroma/survival/detail/cholesky.hpp>
#include <stroma/survival/detail/cox_derivatives.hpp>
#include <stroma/survival/detail/cox_design.hpp>

namespace stroma::detail {

struct newton_options {
  ties tie_method;
  index_t iterations;   ///< at most
  double tolerance;     ///< length of the last step, in standard errors
  const double* ridge;  ///< [p] with b the coefficients, ridge b^2 / 2 is taken off the likelihood; null: nothing
};

/// Newton's method with halved steps, from the scaled coefficients to the maximum of the likelihood.
class cox_newton {
 public:
  template <class Frame>
  cox_newton(const risk_sets& sets, cox_design& design, const newton_options& options, Frame& scratch)
      : coefficient(scratch.template take<double>(design.rows.width)),
        step(scratch.template take<double>(design.rows.width)),
        sets_(sets),
        design_(design),
        options_(options),
        p_(design.rows.width) {
    at.score = scratch.template take<double>(p_);
    at.information = scratch.template take<double>(risk_moments::triangle(p_));
    gradient_ = scratch.template take<double>(p_);
    from_ = scratch.template take<double>(p_);
    factor_ = scratch.template take<double>(risk_moments::triangle(p_));
    independent_ = scratch.template take<bool>(p_);
    along_ = scratch.template take<double>(design.count);
    std::fill_n(coefficient, p_, 0.0);
    std::fill_n(step, p_, 0.0);
  }

  double* coefficient;   ///< [p]
  double* step;          ///< [p] the last one, before halving
  cox_derivatives at{};  ///< at the coefficients, without the ridge
  index_t iterations = 0;
  bool converged = false;
  bool separated = false;  ///< along `step` the likelihood rises for ever

  void evaluate(cpu_context& ctx) {
    design_.predict(coefficient);
    differentiate_cox(ctx, sets_, design_.rows, options_.tie_method, at);
  }
  /// Of the information, and which columns have it: see factor().
  [[nodiscard]] index_t rank(double tolerance, double least, bool* independent) {
    std::copy_n(at.information, risk_moments::triangle(p_), factor_);
    return factor(factor_, p_, tolerance, least, independent);
  }
  /// The factor of the information, with the ridge; null where it is singular.
  [[nodiscard]] const double* factorise() {
    std::copy_n(at.information, risk_moments::triangle(p_), factor_);
    for (index_t j = 0; j < p_; ++j) factor_[in_triangle(j, j)] += ridge(j);
    return factor(factor_, p_, std::numeric_limits<double>::epsilon(), 0, independent_) == p_ ? factor_ : nullptr;
  }

  /// From the coefficients at which the likelihood was evaluated last.
  void climb(cpu_context& ctx) {
    while (iterations < options_.iterations) {
      if (factorise() == nullptr) {
        separated = iterations > 0 && rises_for_ever(ctx);
        return;
      }
      for (index_t j = 0; j < p_; ++j) step[j] = gradient_[j] = at.score[j] - ridge(j) * coefficient[j];
      solve(factor_, p_, step);
      double squared_length = 0;
      for (index_t j = 0; j < p_; ++j) squared_length += gradient_[j] * step[j];
      const double length = std::sqrt(std::max(squared_length, 0.0));
      // Where the likelihood has come to rest and the scores have not.
      if (length < 1e-4 && rises_for_ever(ctx)) {
        separated = true;
        return;
      }
      if (!advance(ctx)) return;
      ++iterations;
      if (length <= options_.tolerance) {
        converged = true;
        return;
      }
    }
  }

 private:
  [[nodiscard]] double ridge(index_t j) const { return options_.ridge == nullptr ? 0 : options_.ridge[j]; }
  [[nodiscard]] double objective() const {
    double penalty = 0;
    for (index_t j = 0; j < p_; ++j) penalty += ridge(j) * coefficient[j] * coefficient[j];
    return at.log_likelihood - penalty / 2;
  }

  /// A step, halved until the likelihood does not fall by more than its sum is rounded.
  bool advance(cpu_context& ctx) {
    const double before = objective();
    const double rounding =
        16 * std::numeric_limits<double>::epsilon() * (static_cast<double>(design_.count) + std::abs(before));
    std::copy_n(coefficient, p_, from_);
    for (double part = 1; part > 1e-10; part /= 2) {
      for (index_t j = 0; j < p_; ++j) coefficient[j] = from_[j] + part * step[j];
      evaluate(ctx);
      if (objective() >= before - rounding) return true;
    }
    std::copy_n(from_, p_, coefficient);
    evaluate(ctx);
    return false;
  }

  /// Whether along the step every death has the highest score of all at risk: then no finite coefficients are best.
  [[nodiscard]] bool rises_for_ever(cpu_context& ctx) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (index_t k = 0; k < design_.count; ++k) {
      along_[k] = 0;
      for (index_t j = 0; j < p_; ++j) along_[k] += design_.rows.covariates(k)[j] * step[j];
      if (!(design_.rows.weight_at(k) > 0)) continue;
      low = std::min(low, along_[k]);
      high = std::max(high, along_[k]);
    }
    if (options_.ridge != nullptr || high - low < 0.1) return false;
    const double slack = 1e-6 * (high - low);
    const auto& plan = sets_.plan();
    auto scratch = ctx.workspace().open();
    bool rises = true;
    sets_.walk({0, nullptr, along_, design_.rows.weight}, false, scratch,
               [&](index_t g, risk_moments& others, risk_moments& tied) {
                 // The exact likelihood does not tell apart who dies at one time.
                 const bool apart = options_.tie_method != ties::exact;
                 const double highest = apart ? std::max(others.peak, tied.peak) : others.peak;
                 for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k)
                   if (design_.rows.weight_at(k) > 0 && along_[k] < highest - slack) rises = false;
               });
    return rises;
  }

  const risk_sets& sets_;
  cox_design& design_;
  newton_options options_;
  index_t p_;
  double *gradient_, *from_, *factor_, *along_;
  bool* independent_;
};

}  // namespace stroma::detail
