#pragma once
#include <stroma/survival/detail/cox_derivatives.hpp>
#include <stroma/survival/detail/cox_design.hpp>

namespace stroma::detail {

/// What is minimised, in the scaled coefficients b: - log likelihood / total + lasso sum |b| + ridge / 2 sum b^2.
struct elastic_penalty {
  double total, lasso, ridge;

  [[nodiscard]] double of(const double* b, index_t p) const {
    double sum = 0;
    for (index_t j = 0; j < p; ++j) sum += lasso * std::abs(b[j]) + ridge / 2 * b[j] * b[j];
    return sum;
  }
  /// How far the conditions of a minimum are from holding for one coefficient; `slope` is the likelihood's, over total.
  [[nodiscard]] double violation(double slope, double b) const {
    if (b == 0) return std::max(std::abs(slope) - lasso, 0.0);
    return std::abs(slope - ridge * b - std::copysign(lasso, b));
  }
};

/// The minimum over a few columns: Newton's quadratic model of the likelihood is minimised with the penalty by
/// coordinate descent, and the way there is halved until the objective does not rise.
class cox_lasso {
 public:
  template <class Frame>
  cox_lasso(const risk_sets& sets, cox_design& design, ties method, Frame& scratch)
      : sets_(sets), design_(design), method_(method), p_(design.rows.width) {
    for (double** const piece : {&b_, &from_, &target_, &slope_, &at_.score})
      *piece = scratch.template take<double>(p_);
    at_.information = scratch.template take<double>(risk_moments::triangle(p_));
  }
  [[nodiscard]] double* coefficient() { return b_; }
  [[nodiscard]] double log_likelihood() const { return at_.log_likelihood; }

  /// From `coefficient` until no condition is violated by more than `tolerance`; false if steps or digits run out.
  bool minimise(cpu_context& ctx, const elastic_penalty& penalty, double tolerance, index_t steps) {
    evaluate(ctx);
    for (index_t step = 0;; ++step) {
      const double worst = worst_violation(penalty);
      if (worst <= tolerance) return true;
      if (step == steps) return false;
      minimise_model(penalty, std::min(0.01, worst) * worst);
      if (!advance(ctx, penalty)) return false;
    }
  }

 private:
  void evaluate(cpu_context& ctx) {
    design_.predict(b_);
    differentiate_cox(ctx, sets_, design_.rows, method_, at_);
  }
  [[nodiscard]] double worst_violation(const elastic_penalty& penalty) const {
    double worst = 0;
    for (index_t j = 0; j < p_; ++j) worst = std::max(worst, penalty.violation(at_.score[j] / penalty.total, b_[j]));
    return worst;
  }

  /// target = the model's minimum; slope is that of the modelled likelihood at target, kept up to date.
  void minimise_model(const elastic_penalty& penalty, double tolerance) {
    std::copy_n(b_, p_, target_);
    for (index_t j = 0; j < p_; ++j) slope_[j] = at_.score[j] / penalty.total;
    for (index_t sweep = 0; sweep < 10000; ++sweep) {
      double worst = 0;
      for (index_t j = 0; j < p_; ++j) {
        worst = std::max(worst, penalty.violation(slope_[j], target_[j]));
        const double curvature = at_.information[in_triangle(j, j)] / penalty.total;
        if (!(curvature + penalty.ridge > 0)) continue;
        const double pull = slope_[j] + curvature * target_[j];  // the slope where this coefficient is 0
        const double left = std::max(std::abs(pull) - penalty.lasso, 0.0);
        move(j, std::copysign(left, pull) / (curvature + penalty.ridge), penalty.total);
      }
      if (worst <= tolerance) return;
    }
  }
  void move(index_t j, double to, double total) {
    const double change = (to - target_[j]) / total;
    if (change == 0) return;
    target_[j] = to;
    const double* const row = at_.information + in_triangle(j, 0);
    for (index_t i = 0; i <= j; ++i) slope_[i] -= change * row[i];
    for (index_t i = j + 1; i < p_; ++i) slope_[i] -= change * at_.information[in_triangle(i, j)];
  }

  bool advance(cpu_context& ctx, const elastic_penalty& penalty) {
    const auto objective = [&] { return penalty.of(b_, p_) - at_.log_likelihood / penalty.total; };
    const double before = objective();
    const double rounding = 16 * std::numeric_limits<double>::epsilon() *
                            (1 + std::abs(before) + static_cast<double>(design_.count) / penalty.total);
    std::copy_n(b_, p_, from_);
    for (double part = 1; part > 1e-10; part /= 2) {
      for (index_t j = 0; j < p_; ++j) b_[j] = part == 1 ? target_[j] : from_[j] + part * (target_[j] - from_[j]);
      evaluate(ctx);
      if (objective() <= before + rounding) return true;
    }
    std::copy_n(from_, p_, b_);
    evaluate(ctx);
    return false;
  }

  const risk_sets& sets_;
  cox_design& design_;
  ties method_;
  index_t p_;
  double *b_, *from_, *target_, *slope_;
  cox_derivatives at_{};
};

}  // namespace stroma::detail
