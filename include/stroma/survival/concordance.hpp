#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <stroma/survival/risk_order.hpp>

namespace stroma {

struct concordance_options {
  bool check_values = true;  ///< finite scores; finite times of 0 or later; events 0 or 1
};

/// Pairs by what became of them, or the sums of their weights. Without weights whole numbers, exact below 2^53.
struct concordance_result {
  double value;       ///< (concordant + tied_score / 2) / comparable; NaN without a comparable pair
  double concordant;  ///< who died first had the higher score
  double discordant;  ///< who died first had the lower score
  double tied_score;  ///< comparable, equal scores: R's tied.x
  double tied_time;   ///< two events at one time with different scores, not comparable: R's tied.y
  double tied_both;   ///< two events at one time with equal scores, not comparable: R's tied.xy
};

namespace detail {

/// A patient in the count. `group` is the position at which the deaths of the patient's time begin, or -1: censored.
template <class Weight>
struct scored_row {
  std::uint64_t key;  ///< orders as the score
  index_t group;
  Weight weight;
};
/// Without weights a row takes 16 bytes, and counts are whole numbers.
struct one {
  constexpr operator std::int64_t() const { return 1; }
};
template <>
struct scored_row<one> {
  std::uint64_t key;
  index_t group;
  [[no_unique_address]] one weight;
};

template <class Backend>
struct concordance_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/concordance.cuh> and compile with nvcc");

  template <class T>
  static concordance_result run(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan) {
    if (plan.weight == nullptr) return count<one, std::int64_t>(ctx, score, plan);
    return count<double, double>(ctx, score, plan);
  }

 private:
  /// From the latest time to the earliest each event is compared with the rows before it. Deaths of one time stand
  /// from the highest score to the lowest, so among them no row has a lower score before it; what is left to
  /// take off are pairs of equal scores, which meet after sorting.
  template <class Weight, class Sum, class T>
  static concordance_result count(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan) {
    using row = scored_row<Weight>;
    auto scratch = ctx.workspace().open();
    auto* rows = scratch.template take<row>(plan.rows);
    auto* spare = scratch.template take<row>(plan.rows);

    Sum comparable = 0, tied_times = 0, before = 0;
    for (index_t g = 0; g < plan.groups; ++g) {
      const index_t deaths = plan.deaths[g], last = plan.first[g + 1];
      Sum died = 0;
      for (index_t k = plan.first[g]; k < last; ++k) {
        row& r = rows[k];
        r.key = ordered_key(widen<double>(score[plan.row[k]]));
        r.group = k < deaths ? -1 : deaths;
        if constexpr (std::is_same_v<Weight, double>) r.weight = plan.weight[k];
        const Sum w = r.weight;
        if (k < deaths) {
          before += w;
        } else {
          comparable += w * before;
          tied_times += w * died;
          died += w;
        }
      }
      before += died;
      std::sort(rows + deaths, rows + last, [](const row& a, const row& b) { return a.key > b.key; });
    }

    const Sum not_above = sort_and_count<Sum>(rows, spare, plan.rows);
    const auto [tied, tied_both] = count_equal<Sum>(rows, plan.rows);
    const Sum concordant = std::max<Sum>(not_above - tied - tied_both, 0);
    const Sum discordant = std::max<Sum>(comparable - concordant - tied, 0);
    const auto number = [](Sum s) { return static_cast<double>(s); };
    const double value = comparable > 0 ? (number(concordant) + number(tied) / 2) / number(comparable)
                                        : std::numeric_limits<double>::quiet_NaN();
    return {
        value, number(concordant), number(discordant), number(tied), number(tied_times - tied_both), number(tied_both)};
  }

  /// Stable merge sort by score, bottom up; the sum over events of the weights before them whose score is not above.
  /// On return `rows` is sorted (it may have changed places with `spare`).
  template <class Sum, class Row>
  static Sum sort_and_count(Row*& rows, Row*& spare, index_t n) {
    Sum total = 0;
    for (index_t width = 1; width < n; width *= 2) {
      for (index_t first = 0; first < n; first += 2 * width) {
        const Row* left = rows + first;
        const Row* const left_end = rows + std::min(first + width, n);
        const Row* right = left_end;
        const Row* const right_end = rows + std::min(first + 2 * width, n);
        Row* to = spare + first;
        Sum passed = 0;
        // Scores meet in no order: both outcomes are computed and one is chosen, for a branch would be guessed wrong
        // half of the time.
        while (left != left_end && right != right_end) {
          const bool from_right = right->key < left->key;
          const Row* const next = from_right ? right : left;
          *to++ = *next;
          const Sum w = next->weight;
          const Sum counted = w * passed;
          total += from_right && next->group >= 0 ? counted : Sum(0);
          passed += from_right ? Sum(0) : w;
          right += from_right ? 1 : 0;
          left += from_right ? 0 : 1;
        }
        for (; right != right_end; *to++ = *right++)
          if (right->group >= 0) total += Sum(right->weight) * passed;
        while (left != left_end) *to++ = *left++;
      }
      std::swap(rows, spare);
    }
    return total;
  }

  /// Among equal scores, which still stand from the latest time to the earliest: comparable pairs, and pairs of events
  /// at one time.
  template <class Sum, class Row>
  static std::pair<Sum, Sum> count_equal(const Row* rows, index_t n) {
    Sum comparable = 0, same_time = 0;
    for (index_t k = 0; k < n;) {
      const std::uint64_t key = rows[k].key;
      Sum before = 0, beside = 0;
      index_t group = -1;
      for (; k < n && rows[k].key == key; ++k) {
        const Sum w = rows[k].weight;
        if (rows[k].group < 0 || rows[k].group != group) {
          before += std::exchange(beside, Sum(0));
          group = rows[k].group;
        }
        if (group < 0) {
          before += w;
        } else {
          comparable += w * before;
          same_time += w * beside;
          beside += w;
        }
      }
    }
    return {comparable, same_time};
  }
};

}  // namespace detail

/// Harrell's concordance: how often, of two patients, the one who died first had the higher score.
///
/// C = (concordant + tied_score / 2) / (concordant + discordant + tied_score)
///
/// A pair is comparable when one had an event and the other was followed longer, or was censored at that very time.
/// Two events at one time are not comparable. Scores are tied when they are equal, without a tolerance. With weights,
/// which come with a risk_order, a pair counts the product of its weights.
///
/// @param score [N] risks, larger is worse   @param time [N] any unit   @param event [N] 1 observed, 0 censored
/// @param order [N] or, in place of both, the cohort sorted before
/// Cost: O(N log N) time, O(N) scratch. Counts are exact without weights. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Harrell 1982; ties as in R's survival.
template <execution_context Context, vector_like Scores, vector_like Times, vector_like Events>
  requires same_space<Context, Scores, Times, Events>
[[nodiscard]] concordance_result concordance(Context& ctx, const Scores& score, const Times& time, const Events& event,
                                             const concordance_options& options = {}) {
  constexpr auto name = "concordance";
  const auto s = as_const_view(score);
  const auto t = as_const_view(time);
  const auto e = as_const_view(event);
  check::same_length(name, "time", t, "score", s);
  check::same_length(name, "event", e, "score", s);
  if (options.check_values) value_checks<typename Context::backend>::finite(ctx, name, "score", s);
  detail::check_follow_up(ctx, name, t, e, {.check_values = options.check_values});
  auto scratch = ctx.workspace().open();
  return detail::concordance_kernel<typename Context::backend>::run(ctx, s, detail::scratch_plan(ctx, scratch, t, e));
}
template <execution_context Context, vector_like Scores>
  requires same_space<Context, Scores>
[[nodiscard]] concordance_result concordance(Context& ctx, const Scores& score,
                                             const risk_order<typename Context::backend>& order,
                                             const concordance_options& options = {}) {
  constexpr auto name = "concordance";
  const auto s = as_const_view(score);
  check::length(name, "score", s.size, order.size(), "the length of order");
  if (options.check_values) value_checks<typename Context::backend>::finite(ctx, name, "score", s);
  return detail::concordance_kernel<typename Context::backend>::run(ctx, s, order.plan());
}

}  // namespace stroma
