#pragma once
#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

/// Who is at risk at the time of a group, and what becomes of those who are followed no longer: sums of weights, and
/// numbers of rows whose weight is not 0.
struct risk_count {
  double at_risk, died, censored;
  index_t rows_at_risk, rows_died, rows_censored;
};

/// Who, from a group on, is not at risk yet.
struct late_entries {
  double weight;
  index_t rows;
};
/// Adds up, for every group, those who are at risk until there (walking back in time): add(group, weight).
template <class Add>
void for_each_late_entry(const risk_plan<host_space>& plan, const Add& add) {
  for (index_t k = 0; k < plan.rows && plan.until != nullptr; ++k) {
    const double w = plan.weight == nullptr ? 1 : plan.weight[k];
    if (plan.until[k] < plan.groups && w > 0) add(plan.until[k], w);
  }
}

/// Calls visit(group, count) for the groups of a stratum, from the latest to the earliest. late(group) are the entries
/// that were added up; it is asked before the group is visited, and only of a plan with late entry.
template <class Late, class Visit>
void for_each_count(const risk_plan<host_space>& plan, index_t stratum, const Late& late, const Visit& visit) {
  double at_risk = 0;
  index_t rows_at_risk = 0;
  for (index_t g = plan.stratum[stratum]; g < plan.stratum[stratum + 1]; ++g) {
    // A stratum's last entries stand at the first group of the next one, which they do not concern.
    if (plan.until != nullptr && g != plan.stratum[stratum]) {
      const late_entries later = late(g);
      at_risk -= later.weight;
      rows_at_risk -= later.rows;
      if (rows_at_risk == 0) at_risk = 0;  // what rounding left
    }
    risk_count now{0, 0, 0, 0, 0, 0};
    if (plan.weight == nullptr) {
      now.rows_censored = plan.deaths[g] - plan.first[g];
      now.rows_died = plan.first[g + 1] - plan.deaths[g];
      now.censored = static_cast<double>(now.rows_censored);
      now.died = static_cast<double>(now.rows_died);
    } else {
      for (index_t k = plan.first[g]; k < plan.first[g + 1]; ++k) {
        const double w = plan.weight[k];
        if (!(w > 0)) continue;
        (k < plan.deaths[g] ? now.censored : now.died) += w;
        ++(k < plan.deaths[g] ? now.rows_censored : now.rows_died);
      }
    }
    now.at_risk = at_risk += now.censored + now.died;
    now.rows_at_risk = rows_at_risk += now.rows_censored + now.rows_died;
    visit(g, now);
  }
}

/// Counts for every group: `to` has room for plan.groups. O(N), without weights and late entry O(groups).
inline void count_at_risk(const risk_plan<host_space>& plan, risk_count* to) {
  // A group's place holds its late entries until the group is visited.
  for (index_t g = 0; g < plan.groups && plan.until != nullptr; ++g) to[g] = {0, 0, 0, 0, 0, 0};
  for_each_late_entry(plan, [&](index_t g, double weight) {
    to[g].at_risk += weight;
    ++to[g].rows_at_risk;
  });
  for (index_t s = 0; s < plan.strata; ++s)
    for_each_count(
        plan, s,
        [&](index_t g) {
          return late_entries{to[g].at_risk, to[g].rows_at_risk};
        },
        [&](index_t g, const risk_count& count) { to[g] = count; });
}

/// A survival function just before a group's time, and at it.
struct survival_step {
  double before, after;
};

/// What is left of those at risk at a time, as a factor. Exactly 0 when nobody is left, whatever the sums rounded to.
[[nodiscard]] STROMA_HOST_DEVICE inline double surviving_deaths(const risk_count& c) {
  if (c.rows_died == 0) return 1;
  return c.rows_died == c.rows_at_risk ? 0 : 1 - c.died / c.at_risk;
}
/// The same of censoring, for which the deaths of a time have left before.
[[nodiscard]] STROMA_HOST_DEVICE inline double surviving_censoring(const risk_count& c) {
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
