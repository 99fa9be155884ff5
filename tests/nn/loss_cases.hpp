#pragma once
#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/core/view.hpp>

#include "support/message_of.hpp"

/// Numbers from -4 to 4, row by row.
template <class T>
std::vector<T> random_values(std::size_t n, unsigned seed) {
  std::mt19937 draw(seed);
  std::vector<T> x;
  for (std::size_t i = 0; i < n; ++i) x.push_back(static_cast<T>(static_cast<double>(draw() % 1000) / 125 - 4));
  return x;
}
template <class T>
std::vector<T> transposed(const std::vector<T>& x, std::size_t rows, std::size_t cols) {
  std::vector<T> y(x.size());
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) y[c * rows + r] = x[r * cols + c];
  return y;
}
template <class T>
stroma::matrix_view<const T> as_matrix(const std::vector<T>& x, stroma::index_t rows, stroma::index_t cols) {
  return {x.data(), rows, cols};
}
template <class T>
stroma::matrix_view<T> as_matrix(std::vector<T>& x, stroma::index_t rows, stroma::index_t cols) {
  return {x.data(), rows, cols};
}
/// Error of a sum of `n` terms in double whose result is rounded to T.
template <class T>
double sum_error(std::size_t n) {
  return 8.0 * static_cast<double>(std::numeric_limits<T>::epsilon()) + static_cast<double>(n) * 2.3e-16;
}
