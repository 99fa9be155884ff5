#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/core/view.hpp>
#include <stroma/survival/cox_partial_likelihood.hpp>

namespace stroma::detail {

/// Rows in the order of a plan, as the moments of risk sets need them.
struct scored_rows {
  index_t width{};            ///< covariates a row
  const double* covariate{};  ///< [rows, width] by position
  const double* score{};      ///< [rows] by position
  const double* weight{};     ///< [rows] by position, or null: all 1

  [[nodiscard]] const double* covariates(index_t k) const { return covariate + k * width; }
  [[nodiscard]] double weight_at(index_t k) const { return weight == nullptr ? 1 : weight[k]; }
};

/// Of rows that each count w exp(score): their sum, their mean and their scatter, the sum of count (x - mean)(x -
/// mean)'. Counts are in units of exp(peak), the largest score among the rows, so scores of any size are safe. Rows and
/// whole sets are added, by the update of Chan, Golub and LeVeque, and never taken off: every sum has terms of one
/// sign, and a shift of the covariates changes the mean alone.
struct risk_moments {
  index_t width{};
  double* mean{};     ///< [width]
  double* scatter{};  ///< [width (width + 1) / 2] the lower triangle, row by row; null: not kept
  double* spare{};    ///< [width] may be shared
  double peak{}, count{};
  index_t rows{};  ///< of positive weight

  static constexpr double no_peak = -std::numeric_limits<double>::infinity();

  [[nodiscard]] static constexpr index_t triangle(index_t width) { return width * (width + 1) / 2; }
  template <class Frame>
  [[nodiscard]] static risk_moments in(Frame& scratch, index_t width, bool with_scatter, double* spare) {
    risk_moments m{width, scratch.template take<double>(width), nullptr, spare};
    if (with_scatter) m.scatter = scratch.template take<double>(triangle(width));
    m.clear();
    return m;
  }

  void clear() {
    peak = no_peak;
    count = 0;
    rows = 0;
    std::fill_n(mean, width, 0.0);
    if (scatter != nullptr) std::fill_n(scatter, triangle(width), 0.0);
  }
  void assign(const risk_moments& other) {
    peak = other.peak;
    count = other.count;
    rows = other.rows;
    std::copy_n(other.mean, width, mean);
    if (scatter != nullptr) std::copy_n(other.scatter, triangle(width), scatter);
  }
  /// Counts in units of exp(higher).
  void raise(double higher) {
    if (!(higher > peak)) return;
    if (rows > 0) {
      const double factor = std::exp(peak - higher);
      count *= factor;
      if (scatter != nullptr && rows > 1)
        for (index_t i = 0; i < triangle(width); ++i) scatter[i] *= factor;
    }
    peak = higher;
  }
  void add(const scored_rows& from, index_t k) {
    const double w = from.weight_at(k);
    if (!(w > 0)) return;
    raise(from.score[k]);
    include(from.covariates(k), w * std::exp(from.score[k] - peak));
    ++rows;
  }
  /// Also the rows of another set.
  void join(risk_moments& other) {
    if (other.rows == 0) return;
    align(other);
    if (scatter != nullptr && other.rows > 1)
      for (index_t i = 0; i < triangle(width); ++i) scatter[i] += other.scatter[i];
    include(other.mean, other.count);
    rows += other.rows;
  }
  /// Both in the same units.
  void align(risk_moments& other) {
    raise(other.peak);
    other.raise(peak);
  }

 private:
  /// A set without scatter about its mean `x`.
  void include(const double* x, double added) {
    const double total = count + added;
    const double share = total > 0 ? added / total : 0;
    for (index_t j = 0; j < width; ++j) {
      spare[j] = x[j] - mean[j];
      mean[j] = rows == 0 ? x[j] : mean[j] + share * spare[j];
    }
    if (scatter != nullptr && rows > 0) add_square(count * share, spare, width, scatter);
    count = total;
  }

 public:
  /// to += factor v v', a lower triangle
  static void add_square(double factor, const double* __restrict v, index_t width, double* __restrict to) {
    for (index_t a = 0; a < width; to += ++a) {
      const double f = factor * v[a];
      for (index_t b = 0; b <= a; ++b) to[b] += f * v[b];
    }
  }
};

/// What an event time contributes. It has d terms of weight w_D / d, in which those that die now count in part f: with
/// O and T the counts of those at risk that do not die now and of those that do, W = O + f T. Breslow: f = 1; Efron:
/// f = 1, (d - 1) / d, ... 1 / d. Each member is a sum over the terms, times w_D / d.
struct tied_terms {
  double logs;                     ///< of log W
  double rest, dying;              ///< of 1 / W and f / W: hazards of those who do not die now, and of those who do
  double rest_share, dying_share;  ///< of f T / W^2 and f^2 T / W^2: of the hazards, the part of the dying in the mean
};
[[nodiscard]] inline tied_terms terms_of(ties method, double others, double tied, double died, index_t deaths) {
  const index_t terms = method == ties::efron ? deaths : 1;
  const double each = died / static_cast<double>(terms);
  tied_terms sum{};
  for (index_t k = 0; k < terms; ++k) {
    const double f = static_cast<double>(terms - k) / static_cast<double>(terms);
    const double all = others + f * tied, hazard = each / all, share = f * tied / all;
    sum.logs += each * std::log(all);
    sum.rest += hazard;
    sum.dying += f * hazard;
    sum.rest_share += share * hazard;
    sum.dying_share += f * share * hazard;
  }
  return sum;
}

}  // namespace stroma::detail
