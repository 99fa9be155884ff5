#pragma once
#include <stroma/core/view.hpp>
#include <stroma/survival/detail/wide_number.hpp>

namespace stroma {

/// What several deaths at one time mean. Breslow: each has the whole risk set. Efron: the tied deaths leave it in
/// equal parts, closer to the exact likelihood. Exact: time is discrete, and the dead are one of all sets of their
/// number. The same without ties.
enum class ties { breslow, efron, exact };

}  // namespace stroma

/// The terms of Cox's partial likelihood at one time, the same on every backend.
namespace stroma::detail {

/// Several sums over the same risk sets, of wide_numbers or, where these are not needed, doubles.
template <int Count, class Number = wide_number>
struct risk_sums {
  Number x[Count];
  STROMA_HOST_DEVICE risk_sums& operator+=(const risk_sums& b) {
    for (int i = 0; i < Count; ++i) x[i] += b.x[i];
    return *this;
  }
  friend STROMA_HOST_DEVICE risk_sums operator+(risk_sums a, const risk_sums& b) { return a += b; }
};

/// a b of a risk and a hazard: a number of the size of a weight.
[[nodiscard]] STROMA_HOST_DEVICE inline double plain_product(const wide_number& a, const wide_number& b) {
  return to_double({a.m * b.m, a.e + b.e});
}
[[nodiscard]] STROMA_HOST_DEVICE inline double plain_product(double a, double b) { return a * b; }

/// Weights of which neither products nor quotients with a mantissa leave a double's range.
[[nodiscard]] STROMA_HOST_DEVICE inline bool is_moderate(double weight) {
  return weight > 0x1p-200 && weight < 0x1p200;
}

/// The deaths of one time among those at risk. S sums w exp(score) over all at risk, S_D over the deaths, w_D their
/// weights. Efron takes the tied deaths out of the risk set in `steps` equal parts, Breslow leaves them in: one step.
/// At step l the risk set is part(l) S, of which a death has left(l) of itself, and its share of w_D is `share`.
template <class Number>
struct basic_cox_tie {
  Number at_risk;         ///< S
  double others, tied;    ///< (S - S_D) / S, though never made by a difference, and S_D / S
  double weight;          ///< w_D
  index_t deaths, steps;  ///< of positive weight; steps is 0 without deaths
  [[nodiscard]] STROMA_HOST_DEVICE double share() const { return weight / static_cast<double>(steps); }
  [[nodiscard]] STROMA_HOST_DEVICE double left(index_t l) const {
    return static_cast<double>(steps - l) / static_cast<double>(steps);
  }
  [[nodiscard]] STROMA_HOST_DEVICE double part(index_t l) const { return l == 0 ? 1 : others + left(l) * tied; }
};
using cox_tie = basic_cox_tie<wide_number>;

/// Sums over the steps of a time, in units of 1 / S: of hazard = share / part(l), for those at risk and (`own`) for the
/// deaths themselves, who have left(l) of it.
struct cox_hazard {
  double all = 0, own = 0;
  template <class Number>
  STROMA_HOST_DEVICE void add(const basic_cox_tie<Number>& tie, index_t l) {
    const double hazard = tie.share() / tie.part(l);
    all += hazard;
    own += tie.left(l) * hazard;
  }
};
/// The same of hazard / part(l), in units of 1 / S^2: what a second derivative takes r^2 times from r hazard.
struct cox_squared_hazard {
  double all = 0, own = 0;
  template <class Number>
  STROMA_HOST_DEVICE void add(const basic_cox_tie<Number>& tie, index_t l) {
    const double part = tie.part(l), left = tie.left(l), squared = tie.share() / (part * part);
    all += squared;
    own += left * left * squared;
  }
};
/// The same of hazard times the mean of numbers v over the risk set; `others` and `tied` are the sums of w exp(score) v
/// over S.
struct cox_mean_hazard {
  double others, tied;
  double all = 0, own = 0;
  template <class Number>
  STROMA_HOST_DEVICE void add(const basic_cox_tie<Number>& tie, index_t l) {
    const double part = tie.part(l), left = tie.left(l);
    const double moved = tie.share() / part * ((others + left * tied) / part);
    all += moved;
    own += left * moved;
  }
};
template <class Number, class Sum>
[[nodiscard]] STROMA_HOST_DEVICE Sum sum_of_steps(const basic_cox_tie<Number>& tie, Sum sum) {
  for (index_t l = 0; l < tie.steps; ++l) sum.add(tie, l);
  return sum;
}

}  // namespace stroma::detail
