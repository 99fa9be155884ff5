#pragma once
#include <limits>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/core/random.hpp>

#include "../support/matrices.hpp"

/// What the tests of top_k on both backends share.
namespace stroma_test {

/// Numbers of which many are equal, or none is; some are zeros of either sign.
template <class T>
stroma::array<T, 2> scores_with_ties(index_t rows, index_t cols, std::uint32_t distinct, std::uint64_t seed) {
  stroma::array<T, 2> m(rows, cols);
  stroma::random_stream draw(seed);
  for (T& x : m) {
    x = static_cast<T>(draw.below(distinct)) - static_cast<T>(distinct / 2);
    if (x == T(0) && draw.below(2) == 0) x = T(-0.0);
  }
  return m;
}

/// The definition: element i stands in the place that is the number of those larger, or equal and before it.
/// Where there are fewer than k: -1.
template <class Score>
std::vector<index_t> places(index_t count, index_t k, const Score& score) {
  std::vector<index_t> at(static_cast<std::size_t>(k), -1);
  for (index_t i = 0; i < count; ++i) {
    index_t before = 0;
    for (index_t j = 0; j < count; ++j)
      if (score(j) > score(i) || (score(j) == score(i) && j < i)) ++before;
    if (before < k) at[static_cast<std::size_t>(before)] = i;
  }
  return at;
}

/// Row r of what was found is what the definition says; `first` is added to its positions.
template <class T, class Score>
bool row_is_right(stroma::matrix_view<const index_t> indices, stroma::matrix_view<const T> values, index_t r,
                  index_t first, index_t count, const Score& score) {
  const auto expected = places(count, indices.cols, score);
  for (index_t j = 0; j < indices.cols; ++j) {
    const index_t at = expected[static_cast<std::size_t>(j)];
    if (indices(r, j) != (at < 0 ? -1 : first + at)) return false;
    if (!same_bits(values(r, j), at < 0 ? -std::numeric_limits<T>::infinity() : score(at))) return false;
  }
  return true;
}

}  // namespace stroma_test
