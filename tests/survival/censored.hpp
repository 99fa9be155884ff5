#pragma once
#include <cstddef>
#include <vector>

#include "survival/cohort.hpp"

/// Product-limit curves by their definition, in long double: what the tests of scores at evaluation times weigh with.
namespace oracle {

enum class who { died, censored };

/// Of those in c that are followed from 0 on, just before t or at it. Deaths of a time leave before its censored.
template <class T>
long double product_limit(const cohort<T>& c, who leaves, long double t, bool inclusive) {
  const std::size_t n = c.time.size();
  long double curve = 1;
  for (std::size_t i = 0; i < n; ++i) {
    const auto at = static_cast<long double>(c.time[i]);
    bool first = true;  // of its time
    for (std::size_t j = 0; j < i; ++j) first = first && c.time[j] != c.time[i];
    if (!first || at > t || (!inclusive && at == t)) continue;
    long double at_risk = 0, died = 0, censored = 0;
    for (std::size_t j = 0; j < n; ++j) {
      const auto w = static_cast<long double>(c.weight[j]);
      if (c.time[j] >= c.time[i]) at_risk += w;
      if (c.time[j] == c.time[i]) (c.event[j] != 0 ? died : censored) += w;
    }
    if (leaves == who::died && died > 0) curve *= 1 - died / at_risk;
    if (leaves == who::censored && censored > 0) curve *= 1 - censored / (at_risk - died);
  }
  return curve;
}

}  // namespace oracle

/// Everybody weighs 1.
template <class T>
cohort<T> unweighted(cohort<T> c) {
  for (auto& w : c.weight) w = 1;
  return c;
}
/// Rows as often as their whole weights say.
template <class T>
cohort<T> repeated(const cohort<T>& c) {
  cohort<T> copies;
  for (std::size_t i = 0; i < c.time.size(); ++i)
    for (T k = 0; k < c.weight[i]; ++k) {
      copies.score.push_back(c.score[i]);
      copies.time.push_back(c.time[i]);
      copies.event.push_back(c.event[i]);
      copies.weight.push_back(1);
    }
  return copies;
}
