#pragma once
#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

/// Who is at risk at the time of a group, and what becomes of those who are followed no longer: sums of weights, and
/// numbers of rows whose weight is not 0.
struct risk_count {
  double at_risk, died, censored;
  index_t rows_at_risk, rows_died, rows_censored;
};

/// Counts for every group: `to` has room for plan.groups. O(N).
inline void count_at_risk(const risk_plan<host_space>& plan, risk_count* to) {
  const auto weight = [&](index_t k) { return plan.weight == nullptr ? 1.0 : plan.weight[k]; };
  for (index_t g = 0; g < plan.groups; ++g) to[g] = {};
  for (index_t k = 0; k < plan.rows && plan.until != nullptr; ++k) {  // who is no longer at risk from a group on
    const index_t g = plan.until[k];
    if (g == plan.groups || !(weight(k) > 0)) continue;
    to[g].at_risk -= weight(k);
    --to[g].rows_at_risk;
  }
  for (index_t s = 0; s < plan.strata; ++s) {
    risk_count so_far{};
    for (index_t g = plan.stratum[s]; g < plan.stratum[s + 1]; ++g) {
      // A stratum's last entries stand at the first group of the next one, which they do not concern.
      const bool begins = g == plan.stratum[s];
      risk_count now{begins ? 0 : so_far.at_risk + to[g].at_risk,           0, 0,
                     begins ? 0 : so_far.rows_at_risk + to[g].rows_at_risk, 0, 0};
      if (now.rows_at_risk == 0) now.at_risk = 0;  // what rounding left
      for (index_t k = plan.first[g]; k < plan.first[g + 1]; ++k) {
        const double w = weight(k);
        if (!(w > 0)) continue;
        (k < plan.deaths[g] ? now.censored : now.died) += w;
        ++(k < plan.deaths[g] ? now.rows_censored : now.rows_died);
      }
      now.at_risk += now.censored + now.died;
      now.rows_at_risk += now.rows_censored + now.rows_died;
      to[g] = so_far = now;
    }
  }
}

/// A survival function just before a group's time, and at it.
struct survival_step {
  double before, after;
};

/// What is left of those at risk at a time, as a factor. Exactly 0 when nobody is left, whatever the sums rounded to.
[[nodiscard]] inline double surviving_deaths(const risk_count& c) {
  if (c.rows_died == 0) return 1;
  return c.rows_died == c.rows_at_risk ? 0 : 1 - c.died / c.at_risk;
}
/// The same of censoring, for which the deaths of a time have left before.
[[nodiscard]] inline double surviving_censoring(const risk_count& c) {
  if (c.rows_censored == 0) return 1;
  return c.rows_censored == c.rows_at_risk - c.rows_died ? 0 : 1 - c.censored / (c.at_risk - c.died);
}

/// Product-limit estimate of each stratum: factor(count) is surviving_deaths (Kaplan-Meier's S) or
/// surviving_censoring (G). `to` has room for plan.groups.
template <class Factor>
void product_limit(const risk_plan<host_space>& plan, const risk_count* counts, const Factor& factor,
                   survival_step* to) {
  for (index_t s = 0; s < plan.strata; ++s) {
    double survival = 1;
    for (index_t g = plan.stratum[s + 1]; g-- > plan.stratum[s];) {
      to[g].before = survival;
      survival *= factor(counts[g]);
      to[g].after = survival;
    }
  }
}

}  // namespace stroma::detail
