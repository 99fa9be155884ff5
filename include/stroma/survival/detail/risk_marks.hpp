#pragma once
#include <algorithm>
#include <cstdint>

#include <stroma/survival/risk_order.hpp>

/// Strata and times of deaths in a piece of a plan, positions begin .. end - 1.
namespace stroma::detail {

/// Most positions of a piece whose event times are asked for.
inline constexpr index_t marks_of_piece = 2048;

[[nodiscard]] inline bool starts_deaths(const risk_plan<host_space>& plan, index_t k) {
  return (plan.mark[k] & risk_mark::first_death) != 0;
}
[[nodiscard]] inline bool starts_stratum(const risk_plan<host_space>& plan, index_t k) {
  const index_t g = plan.group[k];
  return plan.first[g] == k && *(std::upper_bound(plan.stratum, plan.stratum + plan.strata + 1, g) - 1) == g;
}

/// f(begin, end) for the parts of a piece that are of one stratum.
template <class F>
void for_each_stratum(const risk_plan<host_space>& plan, index_t begin, index_t end, const F& f) {
  const index_t* after = std::upper_bound(plan.stratum, plan.stratum + plan.strata + 1, plan.group[begin]);
  for (; begin < end; ++after) {
    const index_t stop = std::min(end, plan.first[*after]);
    f(begin, stop);
    begin = stop;
  }
}

/// f(number, first death, end of its deaths) for the event times whose first death is in the piece, whose last may be
/// beyond; they are numbered from 0. Without `ties` every death is alone at its time.
template <class F>
void for_each_event_time(const risk_plan<host_space>& plan, index_t begin, index_t end, bool ties, const F& f) {
  std::uint16_t first[marks_of_piece];
  index_t count = 0;
  for (index_t k = begin; k < end; ++k) {
    first[count] = static_cast<std::uint16_t>(k - begin);
    count += starts_deaths(plan, k) ? 1 : 0;
  }
  for (index_t i = 0; i < count; ++i) {
    const index_t k = begin + first[i];
    index_t last = k;
    while (ties && (plan.mark[last] & risk_mark::last_death) == 0) ++last;
    f(i, k, last + 1);
  }
}

}  // namespace stroma::detail
