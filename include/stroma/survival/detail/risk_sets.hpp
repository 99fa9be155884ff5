#pragma once
#include <stroma/survival/detail/risk_moments.hpp>

namespace stroma::detail {

/// Walks over the risk sets of a plan. Without late entry a set only grows from one time to the one before it. With it,
/// each row is at risk over a range of groups, which is cut into O(log groups) whole branches of a binary tree over the
/// groups; on the way from the root to a group the rows of all branches are added, so that nothing is ever taken off.
class risk_sets {
 public:
  template <class Frame>
  risk_sets(const risk_plan<host_space>& plan, Frame& scratch) : plan_(plan) {
    if (plan.until == nullptr) return;
    while (leaves_ < plan.groups) leaves_ *= 2;
    auto* const first = scratch.template take<index_t>(2 * leaves_ + 1);
    std::fill_n(first, 2 * leaves_ + 1, index_t{0});
    for_each_branch([&](index_t branch, index_t) { ++first[branch + 1]; });
    for (index_t b = 0; b < 2 * leaves_; ++b) first[b + 1] += first[b];
    auto* const position = scratch.template take<index_t>(first[2 * leaves_]);
    for_each_branch([&](index_t branch, index_t k) { position[first[branch]++] = k; });
    for (index_t b = 2 * leaves_; b > 0; --b) first[b] = first[b - 1];
    first[0] = 0;
    first_ = first;
    position_ = position;
    for (index_t n = leaves_; n > 0; n /= 2) ++levels_;
  }

  [[nodiscard]] const risk_plan<host_space>& plan() const { return plan_; }
  [[nodiscard]] bool late_entry() const { return first_ != nullptr; }
  /// visit(group, others, tied) for every group with a death of positive weight, from the first on: the moments of
  /// those at risk who do not die at its time, and of those who do, in the same units.
  template <class Frame, class Visit>
  void walk(const scored_rows& rows, bool with_scatter, Frame& scratch, const Visit& visit) const {
    auto* const spare = scratch.template take<double>(rows.width);
    const auto moments = [&] { return risk_moments::in(scratch, rows.width, with_scatter, spare); };
    auto tied = moments();
    if (!late_entry()) {
      auto at_risk = moments();
      for (index_t s = 0; s < plan_.strata; ++s) {
        at_risk.clear();
        for (index_t g = plan_.stratum[s]; g < plan_.stratum[s + 1]; ++g) {
          visit_group(rows, g, at_risk, tied, visit);
          at_risk.join(tied);
        }
      }
      return;
    }
    auto* const stack = scratch.template take<risk_moments>(levels_ + 1);
    for (index_t level = 0; level <= levels_; ++level) stack[level] = moments();
    descend(rows, root(), stack[0], stack + 1,
            [&](index_t g, risk_moments& at_risk) { visit_group(rows, g, at_risk, tied, visit); });
  }

 private:
  /// The branches that make up the range of each row: the groups after its own at which it is at risk.
  template <class Visit>
  void for_each_branch(const Visit& visit) const {
    for (index_t k = 0; k < plan_.rows; ++k) {
      index_t low = plan_.group[k] + 1 + leaves_, high = plan_.until[k] + leaves_;
      for (; low < high; low /= 2, high /= 2) {
        if (low % 2 != 0) visit(low++, k);
        if (high % 2 != 0) visit(--high, k);
      }
    }
  }

  template <class Visit>
  void visit_group(const scored_rows& rows, index_t g, risk_moments& at_risk, risk_moments& tied,
                   const Visit& visit) const {
    for (index_t k = plan_.first[g]; k < plan_.deaths[g]; ++k) at_risk.add(rows, k);
    tied.clear();
    for (index_t k = plan_.deaths[g]; k < plan_.first[g + 1]; ++k) tied.add(rows, k);
    if (tied.rows == 0) return;
    visit(g, at_risk, tied);
  }

  /// A branch of the tree: the groups first .. first + count - 1.
  struct subtree {
    index_t id, first, count;
    [[nodiscard]] subtree half(index_t i) const { return {2 * id + i, first + i * (count / 2), count / 2}; }
  };
  [[nodiscard]] subtree root() const { return {1, 0, leaves_}; }

  template <class Leaf>
  void descend(const scored_rows& rows, const subtree& b, const risk_moments& above, risk_moments* stack,
               const Leaf& leaf) const {
    if (b.first >= plan_.groups) return;
    const bool adds = first_[b.id] < first_[b.id + 1];
    if (adds || b.count == 1) {
      stack->assign(above);
      for (index_t i = first_[b.id]; i < first_[b.id + 1]; ++i) stack->add(rows, position_[i]);
    }
    if (b.count == 1) {
      leaf(b.first, *stack);
      return;
    }
    for (const index_t i : {0, 1}) descend(rows, b.half(i), adds ? *stack : above, stack + 1, leaf);
  }

  risk_plan<host_space> plan_;
  index_t leaves_ = 1, levels_ = 1;
  const index_t* first_{};  ///< [2 leaves + 1] of a branch in position_; branch 1 is the root, 2 b and 2 b + 1 are b's
  const index_t* position_{};  ///< rows at risk at all groups of a branch
};

}  // namespace stroma::detail
