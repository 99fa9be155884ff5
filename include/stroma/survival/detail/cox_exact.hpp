#pragma once
#include <algorithm>
#include <cmath>

#include <stroma/survival/detail/cox_risk.hpp>

/// Tied deaths under the exact (discrete) partial likelihood: the chance that of those at risk just these d die is
/// prod exp(score) / e_d, where e_d, the elementary symmetric polynomial of the risks r, sums the products of every d
/// of them. Rows come one after another: e_m <- e_m + r e_{m - 1} (Gail, Lubin & Rubinstein 1981); derivatives go back
/// the same way. Everything is added, nothing divided out or taken away.
namespace stroma::detail {

/// A number with its derivative in one direction.
struct wide_dual {
  wide_number value, tangent;
  wide_dual& operator+=(const wide_dual& b) {
    value += b.value;
    tangent += b.tangent;
    return *this;
  }
  friend wide_dual operator*(const wide_dual& a, const wide_dual& b) {
    return {a.value * b.value, a.value * b.tangent + a.tangent * b.value};
  }
};
[[nodiscard]] inline wide_dual reciprocal(const wide_dual& x) {
  const wide_number inverse = reciprocal(x.value), slope = inverse * inverse * x.tangent;
  return {inverse, {-slope.m, slope.e}};
}

/// Where a chain of rows is looked at: e_degree of the first `rows` of them, of whom the last `degree` die.
struct exact_tie {
  index_t rows, degree, largest;  ///< largest: degree of this and all later ties of the chain
};

/// One risk set that grows by rows, and the ties at which it is looked at, in the order of their rows. `Number` is
/// wide_number, or wide_dual for derivatives in a direction. Cost for a row: O(largest degree still to come) time. For
/// the way back the polynomials are kept at some rows only and made again between them: O(sqrt(rows) largest degree)
/// memory.
template <class Number>
class exact_chain {
 public:
  /// `count` ties, 1 or more
  exact_chain(const exact_tie* ties, index_t count)
      : rows_(ties[count - 1].rows),
        stride_(static_cast<index_t>(std::ceil(std::sqrt(static_cast<double>(rows_))))),
        width_(ties[0].largest + 1),
        ties_(ties),
        count_(count) {}

  /// sum over the ties of log e_d - sum of the deaths' scores
  template <class Frame, class Risk>
  [[nodiscard]] double loss(Frame& scratch, const Risk& risk) const {
    Number* const e = scratch.template take<Number>(width_);
    begin(e);
    double sum = 0;
    for (index_t j = 0, t = 0; j < rows_; ++j) {
      grow(e, j, t, risk(j));
      for (; t < count_ && ties_[t].rows == j + 1; ++t) {
        wide_number deaths{1, 0};
        for (index_t i = j + 1 - ties_[t].degree; i <= j; ++i) deaths = deaths * risk(i);
        sum += log(e[ties_[t].degree] * reciprocal(deaths));
      }
    }
    return sum;
  }

  /// use(j, r d / dr of sum of log e_d) for every row: its chances of being among the dead, summed over the ties.
  template <class Frame, class Risk, class Use>
  void differentiate(Frame& scratch, const Risk& risk, const Use& use) const {
    const index_t pieces = (rows_ + stride_ - 1) / stride_;
    Number* const start = scratch.template take<Number>(pieces * width_);
    Number* const state = scratch.template take<Number>((stride_ + 1) * width_);
    Number* const slope = scratch.template take<Number>(width_ + 1);  // d / d e_m
    begin(state);
    index_t t = 0, degree = 0;
    for (index_t j = 0; j < rows_; ++j) {
      if (j % stride_ == 0) std::copy(state, state + width_, start + j / stride_ * width_);
      while (ties_[t].rows <= j) ++t;
      grow(state, j, t, risk(j));
    }
    std::fill(slope, slope + width_ + 1, Number{});
    t = count_;
    for (index_t piece = pieces; piece-- > 0;) {
      const index_t first = piece * stride_, last = std::min(rows_, first + stride_);
      std::copy(start + piece * width_, start + (piece + 1) * width_, state);
      index_t ahead =
          std::partition_point(ties_, ties_ + t, [&](const exact_tie& x) { return x.rows <= first; }) - ties_;
      for (index_t j = first; j < last; ++j) {
        Number* const next = state + (j - first + 1) * width_;
        std::copy(next - width_, next, next);
        while (ties_[ahead].rows <= j) ++ahead;
        grow(next, j, ahead, risk(j));
      }
      for (index_t j = last; j-- > first;) {
        const Number* const before = state + (j - first) * width_;
        for (; t > 0 && ties_[t - 1].rows == j + 1; --t) {
          const index_t d = ties_[t - 1].degree;
          slope[d] += reciprocal(before[width_ + d]);
          degree = std::max(degree, d);
        }
        const Number r = risk(j);
        Number sum{};
        for (index_t m = 0; m < degree; ++m) {
          sum += slope[m + 1] * before[m];
          slope[m] += r * slope[m + 1];
        }
        use(j, r * sum);
      }
    }
  }

 private:
  void begin(Number* e) const {
    std::fill(e, e + width_, Number{});
    e[0] = one();
  }
  /// Takes row j in, before tie t; of j rows there are no products of more than j.
  void grow(Number* e, index_t j, index_t t, const Number& r) const {
    for (index_t m = std::min(j + 1, ties_[t].largest); m > 0; --m) e[m] += r * e[m - 1];
  }
  static Number one() {
    if constexpr (requires(Number x) { x.tangent; }) return {{1, 0}, {0, 0}};
    else return {1, 0};
  }

  index_t rows_, stride_, width_;
  const exact_tie* ties_;
  index_t count_;
};

/// chain(position, ties, count) with the positions of the chain's rows, for every chain that holds groups with several
/// deaths: all of a stratum's in one while nobody enters late; one for each such group where risk sets also shrink or
/// `apart` is asked for.
template <class Frame, class Chain>
void for_each_exact_chain(Frame& scratch, const risk_plan<host_space>& plan, bool apart, const Chain& chain) {
  const auto tied = [&](index_t g) { return plan.first[g + 1] - plan.deaths[g]; };
  auto* const position = scratch.template take<index_t>(plan.rows);
  auto* const ties = scratch.template take<exact_tie>(plan.groups);
  for (index_t s = 0; s < plan.strata; ++s) {
    const index_t begin = plan.first[plan.stratum[s]];
    index_t count = 0, rows = 0;
    for (index_t g = plan.stratum[s]; g < plan.stratum[s + 1]; ++g) {
      if (tied(g) < 2) continue;
      if (plan.until != nullptr) rows = 0;
      for (index_t k = begin + rows; k < plan.first[g + 1]; ++k)
        if (plan.until == nullptr || plan.until[k] > g) position[rows++] = k;
      ties[count++] = {rows, tied(g), tied(g)};
      if (plan.until == nullptr && !apart) continue;
      chain(position, ties, count);
      count = 0;
    }
    for (index_t t = count - 1; t > 0; --t) ties[t - 1].largest = std::max(ties[t - 1].largest, ties[t].largest);
    if (count > 0) chain(position, ties, count);
  }
}

}  // namespace stroma::detail
