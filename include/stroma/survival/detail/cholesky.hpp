#pragma once
#include <algorithm>
#include <cmath>

#include <stroma/core/view.hpp>

namespace stroma::detail {

/// Symmetric matrices of small order as lower triangles, row by row: element (i, j), j <= i, at i (i + 1) / 2 + j.
[[nodiscard]] constexpr index_t in_triangle(index_t i, index_t j) { return i * (i + 1) / 2 + j; }

/// a becomes its factor L, a = L L'. Columns are taken in their order: one of which less than `tolerance` of its own
/// diagonal is left when the columns before it are taken off, or that has no diagonal to speak of (below `least`), is a
/// combination of those: false for it and a row of zeros. Returns how many are true.
inline index_t factor(double* a, index_t n, double tolerance, double least, bool* independent) {
  index_t rank = 0;
  for (index_t i = 0; i < n; ++i) {
    double* const row = a + in_triangle(i, 0);
    const double diagonal = row[i];
    double left = diagonal;
    for (index_t j = 0; j < i; ++j) {
      const double* const other = a + in_triangle(j, 0);
      double sum = row[j];
      for (index_t k = 0; k < j; ++k) sum -= row[k] * other[k];
      row[j] = independent[j] ? sum / other[j] : 0;
      left -= row[j] * row[j];
    }
    independent[i] = diagonal > least && left > tolerance * diagonal;
    row[i] = independent[i] ? std::sqrt(left) : 0;
    if (!independent[i]) std::fill_n(row, i, 0.0);
    rank += independent[i] ? 1 : 0;
  }
  return rank;
}

/// x becomes a^-1 x, from a's factor of full rank.
inline void solve(const double* l, index_t n, double* x) {
  for (index_t i = 0; i < n; ++i) {
    for (index_t j = 0; j < i; ++j) x[i] -= l[in_triangle(i, j)] * x[j];
    x[i] /= l[in_triangle(i, i)];
  }
  for (index_t i = n; i-- > 0;) {
    x[i] /= l[in_triangle(i, i)];
    for (index_t j = 0; j < i; ++j) x[j] -= l[in_triangle(i, j)] * x[i];
  }
}

/// x' a x
[[nodiscard]] inline double quadratic_form(const double* a, index_t n, const double* x) {
  double sum = 0;
  for (index_t i = 0; i < n; ++i) {
    double row = a[in_triangle(i, i)] * x[i];
    for (index_t j = 0; j < i; ++j) row += 2 * a[in_triangle(i, j)] * x[j];
    sum += row * x[i];
  }
  return sum;
}

}  // namespace stroma::detail
