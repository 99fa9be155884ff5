#pragma once
#include <algorithm>

#include <stroma/survival/detail/curve_errors.hpp>
#include <stroma/survival/detail/product_limit.hpp>

namespace stroma::detail {

/// When a patient is at risk: at the times first, first + 1, ... last of a stratum, counted from its earliest.
struct time_span {
  index_t first, last;
  bool dies;
};

/// Curves of one stratum after each of its times, from the earliest, and what they become without one patient, or with
/// a little more of him. All are [times].
///
/// While a patient is at risk and lives, the factor a = 1 - d / n of a time is b = 1 - d / (n - 1) without him. With P
/// the product of the b, S - P follows from (S - P) a + P (a - b), a - b = d / (n (n - 1)): terms of one sign, so that
/// a difference of 1 / N is known to its last digits, which S without him, taken from S, would not be. Where b is 0 the
/// patient is the last to live: P and S - P begin anew there, for those who enter later.
struct leave_one_out {
  index_t times;
  double *time, *at_risk, *events, *survival, *hazard;
  double *others, *difference;  ///< P, S - P
  index_t* beginnings;          ///< how often b was 0
  double* hazard_difference;    ///< H - H without him, while he lives
  double* log_influence;        ///< of a unit of weight on log S, while he lives
  double* hazard_influence;     ///< and on H
  double *survival_area, *others_area, *difference_area, *influence_area;  ///< integrals from 0 to each time

  template <class Frame>
  static leave_one_out in(Frame& scratch, index_t most_times) {
    leave_one_out c{};
    for (auto** column : {&c.time, &c.at_risk, &c.events, &c.survival, &c.hazard, &c.others, &c.difference,
                          &c.hazard_difference, &c.log_influence, &c.hazard_influence, &c.survival_area, &c.others_area,
                          &c.difference_area, &c.influence_area})
      *column = scratch.template take<double>(most_times);
    c.beginnings = scratch.template take<index_t>(most_times);
    return c;
  }

  void make(const risk_plan<host_space>& plan, index_t stratum, const risk_count* counts) {
    const index_t begin = plan.stratum[stratum], end = plan.stratum[stratum + 1];
    times = end - begin;
    double s = 1, h = 0, p = 1, s_minus_p = 0, h_minus = 0, log_sum = 0, hazard_sum = 0;
    double areas[4] = {0, 0, 0, 0}, before = 0;
    index_t zeros = 0;
    for (index_t i = 0; i < times; ++i) {
      const index_t g = end - 1 - i;
      const double n = counts[g].at_risk, d = counts[g].died, passed = plan.time[g] - before;
      areas[0] += s * passed;
      areas[1] += p * passed;
      areas[2] += s_minus_p * passed;
      areas[3] += s * log_sum * passed;
      before = plan.time[g];
      if (d > 0) {
        const auto step = influences_of(curve_estimate::kaplan_meier, n, d, 0);
        const double a = (n - d) / n;
        s *= a;
        h += d / n;
        log_sum += step.log_survival.at_risk;
        hazard_sum += step.hazard.at_risk;
        if (n - d > 1) {
          s_minus_p = s_minus_p * a + p * d / (n * (n - 1));
          p *= (n - 1 - d) / (n - 1);
        } else {
          ++zeros;
          p = s;
          s_minus_p = 0;
        }
        if (n > d) h_minus -= d / (n * (n - 1));
      }
      time[i] = plan.time[g];
      at_risk[i] = n;
      events[i] = d;
      survival[i] = s;
      hazard[i] = h;
      others[i] = p;
      difference[i] = s_minus_p;
      beginnings[i] = zeros;
      hazard_difference[i] = h_minus;
      log_influence[i] = log_sum;
      hazard_influence[i] = hazard_sum;
      survival_area[i] = areas[0];
      others_area[i] = areas[1];
      difference_area[i] = areas[2];
      influence_area[i] = areas[3];
    }
  }

  /// A column after the first `count` times.
  [[nodiscard]] static double after(const double* column, index_t count, double none = 0) {
    return count > 0 ? column[count - 1] : none;
  }
  /// The integral of a column up to `until`, before which there are `count` times.
  [[nodiscard]] double area(const double* areas, const double* column, index_t count, double until, double none) const {
    return count > 0 ? areas[count - 1] + column[count - 1] * (until - time[count - 1]) : none * until;
  }

  /// S - S without a patient who is at risk from time `first` on and lives, after `count` times; and the latter.
  struct without {
    double difference, others;
  };
  [[nodiscard]] without living(index_t first, index_t count) const {
    const double start = after(survival, first, 1);
    if (count <= first) return {0, start};
    if (start == 0) return {0, 0};
    if (beginnings[count - 1] != (first > 0 ? beginnings[first - 1] : 0)) return {survival[count - 1], 0};
    const double share = others[count - 1] / after(others, first, 1);
    return {difference[count - 1] - share * after(difference, first), start * share};
  }
  /// The integral of that difference up to `until`, before which there are `count` times.
  [[nodiscard]] double living_area(index_t first, index_t count, double until) const {
    if (count <= first || after(survival, first, 1) == 0) return 0;
    const index_t begun = first > 0 ? beginnings[first - 1] : 0;
    const index_t zero =
        std::partition_point(beginnings + first, beginnings + count, [&](index_t b) { return b == begun; }) -
        beginnings;
    double sum = 0;
    if (zero < count) {  // from there on nobody lives without him
      sum = area(survival_area, survival, count, until, 1) - survival_area[zero];
      until = time[zero];
    }
    if (zero == first) return sum;
    const double ratio = after(difference, first) / after(others, first, 1);
    sum += area(difference_area, difference, zero, until, 0) - difference_area[first];
    return sum - ratio * (area(others_area, others, zero, until, 1) - others_area[first]);
  }
  /// S - S without a patient just after his own time.
  [[nodiscard]] double left(const time_span& at) const {
    const double n = at_risk[at.last], d = events[at.last], a = (n - d) / n;
    const without before = living(at.first, at.last);
    double change = 0;  // of the factor of this time
    if (at.dies) change = n > 1 ? -a / (n - 1) : -1;
    else if (d > 0) change = d / (n * (n - 1));
    return a * before.difference + before.others * change;
  }
  [[nodiscard]] double hazard_left(const time_span& at, index_t count) const {
    const index_t lived = std::max(std::min(at.last + (at.dies ? 0 : 1), count), at.first);
    const double sum = after(hazard_difference, lived) - after(hazard_difference, at.first);
    if (!at.dies || at.last >= count) return sum;
    const double n = at_risk[at.last], d = events[at.last];
    return sum + (n > 1 ? (n - d) / (n * (n - 1)) : 1);
  }

  /// What a unit of weight adds to log S and to H, after `count` times.
  [[nodiscard]] influence more(const time_span& at, index_t count) const {
    const index_t lived = std::max(std::min(at.last + (at.dies ? 0 : 1), count), at.first);
    influence sum{after(log_influence, lived) - after(log_influence, at.first),
                  after(hazard_influence, lived) - after(hazard_influence, at.first)};
    if (at.dies && at.last < count) {
      const auto step = influences_of(curve_estimate::kaplan_meier, at_risk[at.last], events[at.last], 0);
      sum.at_risk += step.log_survival.death;
      sum.death += step.hazard.death;
    }
    return sum;
  }
};

}  // namespace stroma::detail
