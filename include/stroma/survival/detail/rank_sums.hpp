#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include <stroma/core/workspace.hpp>

/// Sums over the lower of two ranks while rows come and go: what counting pairs needs, in O(log n) an element.
namespace stroma::detail {

/// Where a row stands among the sorted scores. Rows whose score is tied with its own have ranks in [first, last).
struct score_rank {
  std::uint32_t own, first, last;
  std::uint32_t alone;  ///< 1: no other row's score is tied with this one
};

/// Sums of the leaves before one, while numbers are added to leaves. Nodes of 32 children hold the running sums of
/// their children: an addition changes one node a level, which is a vector instruction or a few, and a sum reads one
/// number a level.
template <class Value>
class running_sums {
 public:
  /// Nothing is added yet.
  template <class Frame>
  running_sums(Frame& scratch, index_t leaves) {
    do {
      const index_t size = (leaves + fan - 1) / fan * fan;
      level_[levels_] = scratch.template take<Value>(size);
      std::fill(level_[levels_], level_[levels_] + size, Value(0));
      ++levels_;
      leaves = size / fan;
    } while (leaves > 1);
  }
  void add(index_t leaf, Value value) {
    for (int l = 0; l < levels_; ++l) {
      Value* const node = level_[l] + leaf / fan * fan;
      const auto child = static_cast<lane>(leaf % fan);
      for (lane i = 0; i < fan; ++i) node[i] += i > child ? value : Value(0);
      leaf /= fan;
    }
  }
  [[nodiscard]] Value before(index_t leaf) const {
    Value sum = 0;
    for (int l = 0; l < levels_; ++l, leaf /= fan) sum += level_[l][leaf];
    return sum;
  }

 private:
  /// Loops of 16 steps the compiler would unroll into scalars rather than use vectors.
  static constexpr int fan = 32;
  using lane = std::conditional_t<sizeof(Value) == 8, std::int64_t, std::int32_t>;
  Value* level_[8]{};
  int levels_ = 0;
};

/// Which ranks are there: a bit each. Every row has a rank of its own, and counts are exact.
class rank_set {
 public:
  using value_type = std::int64_t;
  static constexpr bool rank_of_class = false;

  template <class Frame>
  rank_set(Frame& scratch, index_t ranks) : counts_(scratch, ranks / 64 + 1) {
    words_ = scratch.template take<std::uint64_t>(ranks / 64 + 1);
    std::fill(words_, words_ + ranks / 64 + 1, std::uint64_t{0});
  }
  void add(const score_rank& r, std::int64_t) { toggle(r.own, 1); }
  void remove(const score_rank& r, std::int64_t) { toggle(r.own, static_cast<std::uint32_t>(-1)); }
  [[nodiscard]] std::int64_t below(const score_rank& r) const { return before(r.first); }
  /// Whose scores are tied with r's.
  [[nodiscard]] std::int64_t tied(const score_rank& r) const {
    return r.alone != 0 ? 0 : before(r.last) - before(r.first);
  }

 private:
  void toggle(std::uint32_t rank, std::uint32_t count) {
    words_[rank / 64] ^= std::uint64_t{1} << (rank % 64);
    counts_.add(rank / 64, count);
  }
  [[nodiscard]] std::int64_t before(std::uint32_t rank) const {
    const std::uint64_t lower = words_[rank / 64] & ((std::uint64_t{1} << (rank % 64)) - 1);
    return static_cast<std::int64_t>(counts_.before(rank / 64)) + static_cast<std::int64_t>(std::popcount(lower));
  }

  std::uint64_t* words_;
  running_sums<std::uint32_t> counts_;
};

/// The sum of weights at every rank. Rows of equal scores share a rank, so that what is tied is a sum and no
/// difference of sums, and 0 where nothing is.
class rank_weights {
 public:
  using value_type = double;
  static constexpr bool rank_of_class = true;

  template <class Frame>
  rank_weights(Frame& scratch, index_t ranks) : sums_(scratch, ranks / block + 1) {
    const index_t size = (ranks / block + 1) * block;
    weight_ = scratch.template take<double>(size);
    std::fill(weight_, weight_ + size, 0.0);
  }
  void add(const score_rank& r, double w) {
    weight_[r.own] += w;
    sums_.add(r.own / block, w);
  }
  void remove(const score_rank& r, double w) { add(r, -w); }
  [[nodiscard]] double below(const score_rank& r) const { return before(r.first); }
  /// Whose scores are tied with r's.
  [[nodiscard]] double tied(const score_rank& r) const {
    if (r.last - r.first > block) return before(r.last) - before(r.first);
    double sum = 0;
    for (std::uint32_t i = r.first; i < r.last; ++i) sum += weight_[i];
    return sum;
  }

 private:
  static constexpr std::uint32_t block = 8;
  [[nodiscard]] double before(std::uint32_t rank) const {
    double sum = sums_.before(rank / block);
    for (std::uint32_t i = rank / block * block; i < rank; ++i) sum += weight_[i];
    return sum;
  }

  double* weight_;
  running_sums<double> sums_;
};

}  // namespace stroma::detail
