#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

/// Sums over risk sets that only add, also where patients enter late and leave the risk set again: no sum is made
/// smaller by taking from it what has left, which would cost all digits below the largest term that ever was in it.
///
///   risk_ranges ranges(scratch, plan);             // keeps pointers into scratch; serves many sums
///   ranges.spread(plan, x, room, to);             // to[g] = sum of x(k) over the positions k at risk at group g
///   ranges.gather(plan, h, room, use);            // use(k, sum of h[g] over the groups g at which position k is at
///   risk)
///
/// Who dies at a group is, in both, left out there: deaths of a time may need a treatment of their own (Efron), which
/// the caller gives; Breslow adds x over the deaths to to[g], and h[g] to a death's sum. The elements are any type E
/// that E{} makes 0, with E& operator+=(const E&): a double, a wide_number, an array of them.
///
/// Without late entry both are running sums in each stratum. With it, position k is at risk at the groups first ..
/// last, and the highest bit in which first and last differ names a level of halved blocks at which the range is the
/// end of a left half and the beginning of a right one: running sums within the halves, away from the middle for
/// `gather` and towards it for `spread`, serve all ranges of that level. Cost: O(N + G) without late entry and O(N + G
/// log G) with it, of which only blocks that have a range are visited; the same order of additions from run to run.
/// Reference: disjoint sparse tables.
class risk_ranges {
 public:
  /// Arranges the positions by level: O(N). Nothing is taken from scratch without late entry.
  template <class Frame>
  risk_ranges(Frame& scratch, const risk_plan<host_space>& plan) {
    if (plan.until == nullptr) return;
    auto* const level = scratch.template take<std::uint8_t>(plan.rows);
    auto* const order = scratch.template take<index_t>(plan.rows);
    std::fill(begin_, begin_ + levels + 2, index_t{0});
    for (index_t k = 0; k < plan.rows; ++k) ++begin_[1 + (level[k] = static_cast<std::uint8_t>(level_of(plan, k)))];
    for (int l = 0; l <= levels; ++l) begin_[l + 1] += begin_[l];
    index_t to[levels + 1];
    std::copy(begin_, begin_ + levels + 1, to);
    for (index_t k = 0; k < plan.rows; ++k) order[to[level[k]]++] = k;
    order_ = order;
  }

  /// Elements of E that `spread` and `gather` need as room.
  [[nodiscard]] static index_t room(const risk_plan<host_space>& plan) {
    return plan.until == nullptr ? 0 : plan.groups;
  }

  /// The groups at which position k is at risk, but for its own if it dies: none if last is before first.
  struct range {
    index_t first, last;
  };
  [[nodiscard]] static range range_of(const risk_plan<host_space>& plan, index_t k) {
    const index_t g = plan.group[k];
    return {g + (k >= plan.deaths[g] ? 1 : 0), plan.until[k] - 1};
  }

  template <class E, class Element>
  void spread(const risk_plan<host_space>& plan, const Element& x, E* room, E* to) const {
    if (plan.until == nullptr) {
      for (index_t s = 0; s < plan.strata; ++s) {
        E sum{};
        for (index_t g = plan.stratum[s]; g < plan.stratum[s + 1]; ++g) {
          index_t k = plan.first[g];
          for (; k < plan.deaths[g]; ++k) sum += x(k);
          to[g] = sum;
          for (; k < plan.first[g + 1]; ++k) sum += x(k);
        }
      }
      return;
    }
    std::fill(to, to + plan.groups, E{});
    for (index_t i = begin_[single]; i < begin_[single + 1]; ++i) to[range_of(plan, order_[i]).first] += x(order_[i]);
    for_each_block(plan, [&](const block& b) {
      std::fill(room + b.first, room + b.last + 1, E{});
      for (index_t i = b.begin; i < b.end; ++i) {
        const range r = range_of(plan, order_[i]);
        const E element = x(order_[i]);
        room[r.first] += element;
        room[r.last] += element;
      }
      E sum{};
      for (index_t g = b.first; g < b.middle; ++g) to[g] += sum += room[g];
      sum = E{};
      for (index_t g = b.last; g >= b.middle; --g) to[g] += sum += room[g];
    });
  }

  template <class E, class Use>
  void gather(const risk_plan<host_space>& plan, const E* h, E* room, const Use& use) const {
    if (plan.until == nullptr) {
      for (index_t s = 0; s < plan.strata; ++s) {
        E sum{};
        for (index_t g = plan.stratum[s + 1]; g-- > plan.stratum[s];) {
          for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) use(k, sum);
          sum += h[g];
          for (index_t k = plan.first[g]; k < plan.deaths[g]; ++k) use(k, sum);
        }
      }
      return;
    }
    for (index_t i = begin_[none]; i < begin_[none + 1]; ++i) use(order_[i], E{});
    for (index_t i = begin_[single]; i < begin_[single + 1]; ++i) use(order_[i], h[range_of(plan, order_[i]).first]);
    for_each_block(plan, [&](const block& b) {
      E sum{};
      for (index_t g = b.middle; g-- > b.first;) room[g] = sum += h[g];
      sum = E{};
      for (index_t g = b.middle; g <= b.last; ++g) room[g] = sum += h[g];
      for (index_t i = b.begin; i < b.end; ++i) {
        const range r = range_of(plan, order_[i]);
        E both = room[r.first];
        both += room[r.last];
        use(order_[i], both);
      }
    });
  }

 private:
  /// Levels 0 and 1 are for ranges of no group and of one; level 1 + b for those whose ends differ first in the bit of
  /// value 2^(b - 1).
  static constexpr int levels = 64, none = 0, single = 1;

  static int level_of(const risk_plan<host_space>& plan, index_t k) {
    const range r = range_of(plan, k);
    if (r.last < r.first) return none;
    return single + static_cast<int>(std::bit_width(static_cast<std::uint64_t>(r.first ^ r.last)));
  }

  /// A block of one level: its ranges order[begin .. end - 1] span the groups first .. last.
  struct block {
    index_t begin, end, first, middle, last;
  };
  /// In a level's order first never falls, so that the ranges of one block stand together.
  template <class F>
  void for_each_block(const risk_plan<host_space>& plan, const F& f) const {
    for (int level = single + 1; level <= levels; ++level) {
      const int bit = level - single - 1;
      for (index_t i = begin_[level]; i < begin_[level + 1];) {
        const range r = range_of(plan, order_[i]);
        block b{i, i, r.first, r.last >> bit << bit, r.last};
        for (; b.end < begin_[level + 1]; ++b.end) {
          const range next = range_of(plan, order_[b.end]);
          if (next.last >> bit << bit != b.middle) break;
          b.first = std::min(b.first, next.first);
          b.last = std::max(b.last, next.last);
        }
        f(b);
        i = b.end;
      }
    }
  }

  index_t begin_[levels + 2] = {};  // of a level in order_
  const index_t* order_ = nullptr;  // positions by level; within one as they are
};

}  // namespace stroma::detail
