#pragma once
#include <stroma/survival/detail/cholesky.hpp>
#include <stroma/survival/detail/cox_exact.hpp>
#include <stroma/survival/detail/risk_sets.hpp>

namespace stroma::detail {

/// Log partial likelihood as a function of the coefficients, with its derivatives.
struct cox_derivatives {
  double log_likelihood{};
  double* score{};        ///< [p] gradient in the coefficients
  double* information{};  ///< [p (p + 1) / 2] minus the second derivatives, a lower triangle
};

/// Adds an event time of Breslow's or Efron's likelihood: with W and f of tied_terms and the moments of those who
/// count, score += sum of w (x - mean), information += sum over the terms of w_D / d scatter / W, all sums of squares.
/// `others` and `tied` are brought to the same units; `between` has room for p.
inline void add_event_time(const risk_plan<host_space>& plan, const scored_rows& rows, ties method, index_t g,
                           risk_moments& others, risk_moments& tied, double* between, cox_derivatives& to) {
  const index_t p = rows.width, triangle = risk_moments::triangle(p);
  others.align(tied);
  double died = 0, died_score = 0;
  for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) {
    const double w = rows.weight_at(k);
    if (!(w > 0)) continue;
    died += w;
    died_score += w * (rows.score[k] - others.peak);
  }
  const tied_terms t = terms_of(method, others.count, tied.count, died, tied.rows);
  to.log_likelihood += died_score - t.logs;

  const double share = tied.count * t.dying / died;  // of the dying in the mean over the terms
  for (index_t j = 0; j < p; ++j) between[j] = tied.mean[j] - others.mean[j];
  for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) {
    const double w = rows.weight_at(k);
    const double* const x = rows.covariates(k);
    for (index_t j = 0; j < p; ++j) to.score[j] += w * (x[j] - (others.mean[j] + share * between[j]));
  }
  for (index_t i = 0; i < triangle && others.rows > 1; ++i) to.information[i] += t.rest * others.scatter[i];
  for (index_t i = 0; i < triangle && tied.rows > 1; ++i) to.information[i] += t.dying * tied.scatter[i];
  if (others.rows > 0) risk_moments::add_square(others.count * t.rest_share, between, p, to.information);
}

/// Adds the times of several deaths under the exact likelihood. The chance P_k of a row to be among the dead is the
/// derivative of log e_d in its score: score = sum of x over the dead - sum of P x, and information = sum of x times
/// the derivative of P along each column.
inline void add_exact_ties(cpu_context& ctx, const risk_plan<host_space>& plan, const scored_rows& rows,
                           cox_derivatives& to) {
  auto scratch = ctx.workspace().open();
  const index_t p = rows.width;
  for (index_t g = 0; g < plan.groups; ++g)
    for (index_t k = plan.deaths[g]; k < plan.first[g + 1] && plan.first[g + 1] - plan.deaths[g] > 1; ++k)
      for (index_t j = 0; j < p; ++j) to.score[j] += rows.covariates(k)[j];
  for_each_exact_chain(scratch, plan, false, [&](const index_t* at, const exact_tie* tie, index_t count) {
    {
      auto frame = ctx.workspace().open();
      const exact_chain<wide_number> chain(tie, count);
      const auto risk = [&](index_t i) { return wide_exp(rows.score[at[i]]); };
      to.log_likelihood -= chain.loss(frame, risk);
      chain.differentiate(frame, risk, [&](index_t i, const wide_number& chance) {
        const double* const x = rows.covariates(at[i]);
        for (index_t j = 0; j < p; ++j) to.score[j] -= to_double(chance) * x[j];
      });
    }
    for (index_t column = 0; column < p; ++column) {
      auto frame = ctx.workspace().open();
      const exact_chain<wide_dual> chain(tie, count);
      const auto risk = [&](index_t i) {
        const wide_number r = wide_exp(rows.score[at[i]]);
        return wide_dual{r, r * rows.covariates(at[i])[column]};
      };
      chain.differentiate(frame, risk, [&](index_t i, const wide_dual& chance) {
        const double slope = to_double(chance.tangent);
        const double* const x = rows.covariates(at[i]);
        for (index_t j = 0; j <= column; ++j) to.information[in_triangle(column, j)] += slope * x[j];
      });
    }
  });
}

/// The likelihood at the rows' scores. O(N p^2), with late entry O(N p^2 log N); exact ties of d deaths O(N p (d + p))
/// for all times of a stratum together, with late entry for each.
inline void differentiate_cox(cpu_context& ctx, const risk_sets& sets, const scored_rows& rows, ties method,
                              cox_derivatives& to) {
  to.log_likelihood = 0;
  std::fill_n(to.score, rows.width, 0.0);
  std::fill_n(to.information, risk_moments::triangle(rows.width), 0.0);
  auto scratch = ctx.workspace().open();
  auto* const between = scratch.template take<double>(rows.width);
  sets.walk(rows, true, scratch, [&](index_t g, risk_moments& others, risk_moments& tied) {
    if (method == ties::exact && tied.rows > 1) return;
    add_event_time(sets.plan(), rows, method, g, others, tied, between, to);
  });
  if (method == ties::exact) add_exact_ties(ctx, sets.plan(), rows, to);
}

}  // namespace stroma::detail
