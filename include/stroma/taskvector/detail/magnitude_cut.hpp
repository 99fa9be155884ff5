#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include <stroma/core/half.hpp>
#include <stroma/core/view.hpp>

namespace stroma::detail {

/// Tells the largest magnitudes from the rest, one after another: all above the threshold belong to them, and of those
/// equal to it the first `ties`.
struct magnitude_cut {
  static constexpr index_t all_ties = std::numeric_limits<index_t>::max();
  double threshold = std::numeric_limits<double>::infinity();
  index_t ties = 0;

  [[nodiscard]] bool among_largest(double magnitude) {
    if (magnitude != threshold || ties == 0) return magnitude > threshold;
    if (ties != all_ties) --ties;
    return true;
  }
};

/// The cut that leaves the `rank` largest of `count` magnitudes. `spare` [count] is overwritten.
template <class T>
[[nodiscard]] magnitude_cut cut_at_rank(index_t rank, index_t count, const T* x, T* spare) {
  if (rank <= 0) return {};
  if (rank >= count) return {0, magnitude_cut::all_ties};
  for (index_t i = 0; i < count; ++i) spare[i] = std::fabs(x[i]);
  std::nth_element(spare, spare + (rank - 1), spare + count, std::greater<T>());
  const T threshold = spare[rank - 1];
  const auto above = std::count_if(spare, spare + (rank - 1), [&](T m) { return m > threshold; });
  return {static_cast<double>(threshold), rank - static_cast<index_t>(above)};
}

/// The same for magnitudes that come piece by piece and are never together in memory: a radix search on the bits of
/// the magnitudes as doubles, which have the order of the numbers. Floats need two passes (a double that was a float
/// has 34 bits that count), doubles four. Memory: 1 MB.
class streamed_cut {
 public:
  [[nodiscard]] bool done() const { return done_; }
  /// How many magnitudes there are; known after the first pass.
  [[nodiscard]] index_t seen() const { return seen_; }
  [[nodiscard]] magnitude_cut result() const { return cut_; }

  template <class T>
  void observe(index_t count, const T* x) {
    if (histogram_.empty()) histogram_.assign(std::size_t{1} << widths[level_], 0);
    const int below = shifts[level_];
    const std::uint64_t mask = (std::uint64_t{1} << widths[level_]) - 1;
    for (index_t i = 0; i < count; ++i) {
      const auto bits = bits_as<std::uint64_t>(std::fabs(static_cast<double>(x[i])));
      if (bits >> (below + widths[level_]) != prefix_) continue;
      ++histogram_[static_cast<std::size_t>(bits >> below & mask)];
      rest_ |= bits & ((std::uint64_t{1} << below) - 1);
    }
    if (level_ == 0) seen_ += count;
  }
  /// @param rank  how many are among the largest; the same in each pass
  void conclude(index_t rank) {
    if (level_ == 0 && (rank <= 0 || rank >= seen_)) {
      if (rank > 0) cut_ = {0, magnitude_cut::all_ties};
      return finish();
    }
    if (level_ == 0) left_ = rank;
    std::size_t bucket = histogram_.size() - 1;
    for (; histogram_[bucket] < left_; --bucket) left_ -= histogram_[bucket];
    prefix_ = prefix_ << widths[level_] | bucket;
    if (shifts[level_] == 0 || rest_ == 0) {
      cut_ = {bits_as<double>(prefix_ << shifts[level_]), left_};
      return finish();
    }
    ++level_;
    rest_ = 0;
    histogram_.clear();
  }

 private:
  static constexpr std::array<int, 4> widths{17, 17, 15, 14}, shifts{46, 29, 14, 0};

  void finish() {
    done_ = true;
    std::vector<index_t>().swap(histogram_);
  }

  std::vector<index_t> histogram_;
  std::uint64_t prefix_ = 0, rest_ = 0;
  index_t seen_ = 0, left_ = 0;
  std::size_t level_ = 0;
  bool done_ = false;
  magnitude_cut cut_;
};

}  // namespace stroma::detail
