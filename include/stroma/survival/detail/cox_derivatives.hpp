#pragma once
#include <stroma/survival/detail/risk_sets.hpp>

namespace stroma::detail {

/// Log partial likelihood as a function of the coefficients, with its derivatives.
struct cox_derivatives {
  double log_likelihood{};
  double* score{};        ///< [p] gradient in the coefficients
  double* information{};  ///< [p (p + 1) / 2] minus the second derivatives, a lower triangle; null: not computed
};

/// Breslow's and Efron's likelihood: with the moments of those at risk and W, f as in tied_terms,
/// information = sum over the terms of w_D / d scatter / W, each a sum of squares.
template <class Frame>
void differentiate_cox(const risk_sets& sets, const scored_rows& rows, ties method, Frame& scratch,
                       cox_derivatives& out) {
  const auto& plan = sets.plan();
  const index_t p = rows.width;
  auto* const between = scratch.template take<double>(p);
  out.log_likelihood = 0;
  std::fill_n(out.score, p, 0.0);
  if (out.information != nullptr) std::fill_n(out.information, risk_moments::triangle(p), 0.0);

  sets.walk(rows, out.information != nullptr, scratch, [&](index_t g, risk_moments& others, risk_moments& tied) {
    others.align(tied);
    double died = 0, died_score = 0;
    for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) {
      const double w = rows.weight_at(k);
      died += w;
      if (w > 0) died_score += w * (rows.score[k] - others.peak);
    }
    const tied_terms t = terms_of(method, others.count, tied.count, died, tied.rows);
    out.log_likelihood += died_score - t.logs;

    const double share = tied.count * t.dying / died;  // of the dying in the mean of the d terms
    for (index_t j = 0; j < p; ++j) between[j] = tied.mean[j] - others.mean[j];
    for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) {
      const double w = rows.weight_at(k);
      const double* const x = rows.covariates(k);
      for (index_t j = 0; j < p; ++j) out.score[j] += w * (x[j] - (others.mean[j] + share * between[j]));
    }
    if (out.information == nullptr) return;
    if (others.rows > 1)
      for (index_t i = 0; i < risk_moments::triangle(p); ++i) out.information[i] += t.rest * others.scatter[i];
    if (tied.rows > 1)
      for (index_t i = 0; i < risk_moments::triangle(p); ++i) out.information[i] += t.dying * tied.scatter[i];
    if (others.rows > 0) risk_moments::add_square(others.count * t.rest_share, between, p, out.information);
  });
}

}  // namespace stroma::detail
