#pragma once
#include <stroma/survival/detail/product_limit.hpp>

namespace stroma {

/// What a pair counts besides the weights of its patients, by the time t of its event. R is the weight at risk at t, W
/// that of all patients, S Kaplan and Meier's curve, G that of censoring; each of the pair's stratum.
enum class pair_weighting {
  equal,                    ///< 1: Harrell. R's "n"
  survival,                 ///< W S(t-) / R: Peto and Wilcoxon's. R's "S"
  survival_over_censoring,  ///< W S(t-) / (G R): Schemper's. R's "S/G"
  inverse_censoring,        ///< 1 / G^2: Uno's. R's "n/G2"
  inverse_risk              ///< 1 / R. R's "I"
};

/// Which value of G an event at t is divided by.
enum class censoring_limit {
  before,  ///< G(t-), as R's survival
  at       ///< G(t), as scikit-survival
};

namespace detail {

struct pair_weight_options {
  pair_weighting weighting;
  censoring_limit censoring;
  double horizon;
};
[[nodiscard]] STROMA_HOST_DEVICE constexpr bool needs_censoring(pair_weighting w) {
  return w == pair_weighting::survival_over_censoring || w == pair_weighting::inverse_censoring;
}

/// The weight of a pair whose event is at the time of a group; infinite where G is 0.
[[nodiscard]] STROMA_HOST_DEVICE inline double pair_weight(pair_weighting weighting, double everybody, double at_risk,
                                                           double survival, double censoring) {
  switch (weighting) {
    case pair_weighting::survival:
      return everybody * survival / at_risk;
    case pair_weighting::survival_over_censoring:
      return everybody * survival / (censoring * at_risk);
    case pair_weighting::inverse_censoring:
      return 1 / (censoring * censoring);
    case pair_weighting::inverse_risk:
      return 1 / at_risk;
    case pair_weighting::equal:
      break;
  }
  return 1;
}

/// weight[g] for every group, 0 where it counts nothing. Returns how many events count nothing because G is 0 there.
/// A stratum with fewer than two events has weights of 1, as in R. O(N).
template <class Frame>
index_t weigh_pairs(Frame& scratch, const risk_plan<host_space>& plan, const pair_weight_options& options,
                    double* weight) {
  if (options.weighting == pair_weighting::equal) {
    for (index_t g = 0; g < plan.groups; ++g) weight[g] = plan.time[g] > options.horizon ? 0 : 1;
    return 0;
  }
  auto* const count = scratch.template take<risk_count>(plan.groups);
  auto* const survival = scratch.template take<survival_step>(plan.groups);
  auto* const censoring = scratch.template take<survival_step>(plan.groups);
  count_at_risk(plan, count);
  product_limit(plan, count, surviving_deaths, survival);
  product_limit(plan, count, surviving_censoring, censoring);
  index_t undefined = 0;
  for (index_t s = 0; s < plan.strata; ++s) {
    const index_t first = plan.stratum[s], last = plan.stratum[s + 1];
    index_t events = 0;
    double everybody = 0;
    for (index_t g = first; g < last; ++g) {
      events += count[g].rows_died;
      everybody += count[g].died + count[g].censored;
    }
    for (index_t g = first; g < last; ++g) {
      weight[g] = 0;
      if (count[g].rows_died == 0 || plan.time[g] > options.horizon) continue;
      const double chance = options.censoring == censoring_limit::before ? censoring[g].before : censoring[g].after;
      if (events < 2) {
        weight[g] = 1;
      } else if (needs_censoring(options.weighting) && !(chance > 0)) {
        undefined += count[g].rows_died;
      } else {
        weight[g] = pair_weight(options.weighting, everybody, count[g].at_risk, survival[g].before, chance);
      }
    }
  }
  return undefined;
}

}  // namespace detail
}  // namespace stroma
