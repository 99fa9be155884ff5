#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/core/half.hpp>
#include <stroma/core/random.hpp>
#include <stroma/core/tensor.hpp>

namespace stroma_test {

using stroma::index_t;

/// Standard normal numbers, the same for every T but for rounding.
template <class T>
stroma::array<T, 2> normal_matrix(index_t rows, index_t cols, std::uint64_t seed, double scale = 1) {
  stroma::array<T, 2> m(rows, cols);
  stroma::random_stream draw(seed);
  for (T& x : m) x = stroma::narrow<T>(scale * draw.normal());
  return m;
}
template <class T>
stroma::array<T, 1> normal_vector(index_t size, std::uint64_t seed, double scale = 1) {
  stroma::array<T, 1> v(size);
  stroma::random_stream draw(seed);
  for (T& x : v) x = stroma::narrow<T>(scale * draw.normal());
  return v;
}

/// How a matrix lies in memory.
enum class layout { rows, padded_rows, columns, apart };
inline constexpr std::array<layout, 4> layouts{layout::rows, layout::padded_rows, layout::columns, layout::apart};

/// A copy of a matrix in the given layout. What lies between its elements holds NaN (or 0xffff) and must stay.
template <class T>
class laid_out {
 public:
  laid_out(stroma::matrix_view<const T> m, layout how) {
    index_t row = m.cols, col = 1;
    if (how == layout::padded_rows) row = m.cols + 5;
    if (how == layout::columns) row = 1, col = m.rows;
    if (how == layout::apart) row = 3 * m.cols + 2, col = 3;
    memory_.resize(static_cast<std::size_t>(m.rows * row + m.cols * col + 1));
    std::memset(static_cast<void*>(memory_.data()), 0xff, memory_.size() * sizeof(T));
    view_ = {memory_.data(), m.rows, m.cols, row, col};
    for (index_t r = 0; r < m.rows; ++r)
      for (index_t c = 0; c < m.cols; ++c) view_(r, c) = m(r, c);
  }
  laid_out(const laid_out&) = delete;
  laid_out& operator=(const laid_out&) = delete;

  [[nodiscard]] stroma::matrix_view<T> view() { return view_; }
  [[nodiscard]] stroma::matrix_view<const T> view() const { return view_; }
  /// Nothing was written between the elements.
  [[nodiscard]] bool gaps_untouched() const {
    std::vector<unsigned char> bytes(memory_.size() * sizeof(T));
    std::memcpy(bytes.data(), memory_.data(), bytes.size());
    for (index_t r = 0; r < view_.rows; ++r)
      for (index_t c = 0; c < view_.cols; ++c)
        std::memset(bytes.data() + static_cast<std::size_t>(r * view_.row_stride + c * view_.col_stride) * sizeof(T),
                    0xff, sizeof(T));
    return std::all_of(bytes.begin(), bytes.end(), [](unsigned char b) { return b == 0xff; });
  }

 private:
  std::vector<T> memory_;
  stroma::matrix_view<T> view_;
};

template <class T>
bool same_bits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}
template <class T>
bool same_bits(stroma::matrix_view<const T> a, stroma::matrix_view<const T> b) {
  if (a.rows != b.rows || a.cols != b.cols) return false;
  for (index_t r = 0; r < a.rows; ++r)
    for (index_t c = 0; c < a.cols; ++c)
      if (!same_bits(a(r, c), b(r, c))) return false;
  return true;
}
template <class A, class B>
bool same_matrix(const A& a, const B& b) {
  if constexpr (!std::is_same_v<stroma::scalar_of<A>, stroma::scalar_of<B>>) return false;
  else return same_bits(stroma::as_const_view(a), stroma::as_const_view(b));
}

/// Largest |found - expected(r, c)| / allowed(r, c) (a number, or a function); NaN where only one side is NaN counts as
/// infinity. 1 or less passes.
template <class M, class Expected, class Allowed>
double worst_error(const M& found, Expected&& expected, Allowed&& allowed) {
  const auto m = stroma::as_const_view(found);
  double worst = 0;
  for (index_t r = 0; r < m.rows; ++r)
    for (index_t c = 0; c < m.cols; ++c) {
      const auto e = static_cast<long double>(expected(r, c));
      const auto f = static_cast<long double>(m(r, c));
      if (f == e || (std::isnan(f) && std::isnan(e))) continue;
      long double bound;
      if constexpr (std::is_invocable_v<Allowed, index_t, index_t>) bound = static_cast<long double>(allowed(r, c));
      else bound = static_cast<long double>(allowed);
      const auto ratio = static_cast<double>(std::abs(f - e) / bound);
      worst = std::isnan(ratio) ? std::numeric_limits<double>::infinity() : std::max(worst, ratio);
    }
  return worst;
}

/// Ragged bags around the tile of the library's sums.
inline const std::vector<std::vector<index_t>> bag_sizes{{1}, {31}, {32, 33}, {1025}, {257, 1, 511, 252, 1000, 3}};

inline std::vector<index_t> offsets_of_sizes(const std::vector<index_t>& sizes) {
  std::vector<index_t> offsets{0};
  for (const index_t s : sizes) offsets.push_back(offsets.back() + s);
  return offsets;
}
inline stroma::vector_view<const index_t> as_offsets(const std::vector<index_t>& offsets) {
  return {offsets.data(), static_cast<index_t>(offsets.size())};
}

}  // namespace stroma_test
