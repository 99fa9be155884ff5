#pragma once
#include <stroma/survival/detail/risk_ranges.hpp>
#include <stroma/survival/detail/risk_sets.hpp>
#include <stroma/survival/detail/wide_number.hpp>

namespace stroma::detail {

/// By position, for scored rows: what was observed of a row less what the model expected of it.
struct risk_residuals {
  double* martingale{};  ///< [rows]
  double* score{};       ///< [rows, width] the row's part, without its weight, of the likelihood's gradient
  double* schoenfeld{};  ///< [rows, width] at deaths alone: covariates less their mean at risk
};

/// What the terms of each event time say (tied_terms): hazards, and hazards times means of the covariates, each for the
/// rows that do not die at the time and for those that do. Hazards are in units of exp(-peak).
struct event_hazards {
  double *peak, *rest, *dying;
  double *mean, *rest_mean, *dying_mean;  ///< [width, groups]; mean: of the terms' means
};

template <class Frame>
[[nodiscard]] event_hazards hazards_of(const risk_sets& sets, const scored_rows& rows, ties method, Frame& scratch) {
  const auto& plan = sets.plan();
  const index_t groups = plan.groups, p = rows.width;
  event_hazards h{};
  for (double** const piece : {&h.peak, &h.rest, &h.dying}) {
    *piece = scratch.template take<double>(groups);
    std::fill_n(*piece, groups, 0.0);
  }
  for (double** const piece : {&h.mean, &h.rest_mean, &h.dying_mean}) {
    *piece = scratch.template take<double>(groups * p);
    std::fill_n(*piece, groups * p, 0.0);
  }
  sets.walk(rows, false, scratch, [&](index_t g, risk_moments& others, risk_moments& tied) {
    others.align(tied);
    double died = 0;
    for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) died += rows.weight_at(k);
    const tied_terms t = terms_of(method, others.count, tied.count, died, tied.rows);
    h.peak[g] = others.peak;
    h.rest[g] = t.rest;
    h.dying[g] = t.dying;
    for (index_t j = 0; j < p; ++j) {
      const double mean = others.mean[j], between = tied.mean[j] - mean;
      h.mean[j * groups + g] = mean + tied.count * t.dying / died * between;
      h.rest_mean[j * groups + g] = t.rest * mean + t.rest_share * between;
      h.dying_mean[j * groups + g] = t.dying * mean + t.dying_share * between;
    }
  });
  return h;
}

/// Each of `to` that is not null.
inline void find_residuals(cpu_context& ctx, const risk_sets& sets, const scored_rows& rows, ties method,
                           const risk_residuals& to) {
  const auto& plan = sets.plan();
  const index_t groups = plan.groups, p = rows.width;
  auto scratch = ctx.workspace().open();
  const event_hazards h = hazards_of(sets, rows, method, scratch);
  const risk_ranges ranges(scratch, plan);
  auto* const room = scratch.template take<wide_number>(risk_ranges::room(plan));
  auto* const hazard = scratch.template take<wide_number>(groups);
  auto* const expected = scratch.template take<double>(plan.rows);

  // exp(score) times the sum of `rest` over the times at which a row is at risk; of its own time, if it dies, `dying`
  const auto expect = [&](const double* rest, const double* dying, const auto& use) {
    for (index_t g = 0; g < groups; ++g) hazard[g] = wide_number::of(rest[g]) * wide_exp(-h.peak[g]);
    ranges.gather(plan, hazard, room, [&](index_t k, const wide_number& sum) {
      const index_t g = plan.group[k];
      double all = sum.m == 0 ? 0 : to_double(wide_exp(rows.score[k]) * sum);
      if (k >= plan.deaths[g] && dying[g] != 0) all += std::exp(rows.score[k] - h.peak[g]) * dying[g];
      use(k, all);
    });
  };
  expect(h.rest, h.dying, [&](index_t k, double sum) { expected[k] = sum; });
  const auto died = [&](index_t k) { return k >= plan.deaths[plan.group[k]]; };
  for (index_t k = 0; k < plan.rows && to.martingale != nullptr; ++k)
    to.martingale[k] = (died(k) ? 1 : 0) - expected[k];
  for (index_t j = 0; j < p; ++j) {
    const double* const mean = h.mean + j * groups;
    const auto observed = [&](index_t k) { return rows.covariates(k)[j] - mean[plan.group[k]]; };
    for (index_t k = 0; k < plan.rows && to.schoenfeld != nullptr; ++k)
      if (died(k)) to.schoenfeld[k * p + j] = observed(k);
    if (to.score == nullptr) continue;
    expect(h.rest_mean + j * groups, h.dying_mean + j * groups, [&](index_t k, double sum) {
      to.score[k * p + j] = (died(k) ? observed(k) : 0) - (rows.covariates(k)[j] * expected[k] - sum);
    });
  }
}

}  // namespace stroma::detail
