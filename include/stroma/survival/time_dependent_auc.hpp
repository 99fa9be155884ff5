#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include <stroma/survival/censoring_curve.hpp>
#include <stroma/survival/detail/inverse_censoring.hpp>

namespace stroma {

/// Who is told from those alive after t: who died until then, or who died at that very time.
enum class auc_cases { cumulative, incident };
/// What a case counts, with G the chance to be uncensored. Incident cases of one time count alike whichever it is.
enum class auc_weights {
  left_limit,   ///< 1/G(T-) (timeROC, survAUC)
  right_limit,  ///< 1/G(T) (scikit-survival)
  none          ///< 1
};

template <class Space = host_space>
struct time_dependent_auc_options {
  auc_cases cases = auc_cases::cumulative;
  auc_weights weights = auc_weights::left_limit;
  step_curve<Space> censoring{};  ///< G, say of the patients a model was trained on; absent: of the order's patients
  bool check_values = true;       ///< finite scores; finite times that never fall
};

namespace detail {

[[nodiscard]] inline follow_up_rules rules_of(auc_weights weights) {
  return {weights == auc_weights::none          ? censoring_value::one
          : weights == auc_weights::right_limit ? censoring_value::at
                                                : censoring_value::before};
}

/// A patient among those sorted by score: a control at times before `alive`, a case of weight `dead` from it on.
struct auc_row {
  std::uint64_t key;
  index_t alive;
  double weight, dead;
  double cases_above, controls_below;  ///< among those who are so at all times in question; ties count 1/2
};

/// Sums over pairs of a case and a control, the case's score higher, for times that rise, from times.size + 2 leaves:
/// before the first time all are controls, after the last none is.
///
/// A range of times is halved. Who is a control at all times of a half, or a case, is counted against those whose part
/// changes within it, and is carried no further; so each level costs one walk over those that are left, and sums are
/// only ever added to.
class auc_pairs {
 public:
  auc_pairs(auc_cases cases, index_t times, double* pairs) : cases_(cases), times_(times), pairs_(pairs) {}

  /// Rows from the lowest score to the highest; both arrays are written over.
  void count(auc_row* rows, auc_row* spare, index_t n) { count(rows, spare, n, -1, times_ + 1, 0); }

 private:
  /// Times first .. last - 1. `fixed`: the pairs of those who change in none of them.
  void count(auc_row* rows, auc_row* spare, index_t n, index_t first, index_t last, double fixed) {
    if (n == 0 || last - first == 1) {
      if (cases_ == auc_cases::cumulative)
        for (index_t t = std::max<index_t>(first, 0); t < std::min(last, times_); ++t) pairs_[t] = fixed;
      return;
    }
    const index_t middle = first + (last - first) / 2;
    double early = fixed, late = fixed, incident = 0;
    // Controls of the whole early half, below those who change in it, and below those whose time is the middle.
    for_each_tie(rows, n, [&, below = 0.0, after = 0.0](index_t begin, index_t end) mutable {
      double tied = 0, tied_after = 0;
      for (index_t i = begin; i < end; ++i) {
        if (rows[i].alive >= middle) tied += rows[i].weight;
        if (rows[i].alive > middle) tied_after += rows[i].weight;
      }
      for (index_t i = begin; i < end; ++i) {
        auc_row& r = rows[i];
        if (r.alive > middle) continue;
        late += r.dead * r.controls_below;
        if (r.alive == middle) incident += r.dead * (r.controls_below + after + tied_after / 2);
        else r.controls_below += below + tied / 2;
      }
      below += tied;
      after += tied_after;
    });
    if (cases_ == auc_cases::incident && middle < times_) pairs_[middle] = incident;
    // Cases of the whole late half, above those who change in it.
    double above = 0;
    for (index_t end = n, begin; end > 0; end = begin) {
      begin = end - 1;
      while (begin > 0 && rows[begin - 1].key == rows[end - 1].key) --begin;
      double tied = 0;
      for (index_t i = begin; i < end; ++i)
        if (rows[i].alive <= middle) tied += rows[i].dead;
      for (index_t i = begin; i < end; ++i) {
        auc_row& r = rows[i];
        if (r.alive < middle) continue;
        early += r.weight * r.cases_above;
        if (r.alive > middle) r.cases_above += above + tied / 2;
      }
      above += tied;
    }
    index_t kept = 0;
    for (index_t i = 0; i < n; ++i)
      if (rows[i].alive < middle) spare[kept++] = rows[i];
    const index_t in_early = kept;
    for (index_t i = 0; i < n; ++i)
      if (rows[i].alive > middle) spare[kept++] = rows[i];
    count(spare, rows, in_early, first, middle, early);
    count(spare + in_early, rows + in_early, kept - in_early, middle, last, late);
  }

  template <class Visit>
  static void for_each_tie(const auc_row* rows, index_t n, Visit visit) {
    for (index_t begin = 0, end; begin < n; begin = end) {
      end = begin + 1;
      while (end < n && rows[end].key == rows[begin].key) ++end;
      visit(begin, end);
    }
  }

  auc_cases cases_;
  index_t times_;
  double* pairs_;
};

template <class Backend>
struct time_dependent_auc_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/time_dependent_auc.cuh> and compile with nvcc");

  /// A matrix has a column of scores for each time, or one for all.
  template <class S, class Times, class T>
  static void run(cpu_context& ctx, matrix_view<const S> score, vector_view<const Times> at,
                  const risk_plan<host_space>& plan, const time_dependent_auc_options<>& options,
                  estimate_at_times<T> out) {
    const index_t count = at.size, n = plan.rows;
    if (count == 0) return;
    auto scratch = ctx.workspace().open();
    const auto times = copied_times(scratch, at);
    auto* const rows = scratch.template take<followed_row>(n);
    auto* const undefined = scratch.template take<index_t>(count + 1);
    auto* const pairs = scratch.template take<double>(count);
    auto* const dead = scratch.template take<double>(count);
    auto* const alive = scratch.template take<double>(count);
    const bool own = options.censoring.absent() && options.weights != auc_weights::none;
    const step_curve<> censoring = own ? scratch_curve(ctx, scratch, plan, curve_of::censoring) : options.censoring;
    follow(plan, times, censoring, rules_of(options.weights), rows, undefined);
    if (options.cases == auc_cases::incident) keep_incident(plan, times, rows, undefined);
    std::fill_n(pairs, count, 0.0);
    sum_weights(options.cases, rows, n, count, dead, alive);
    if (score.cols == 1) constant_score(ctx, score.col(0), rows, n, options.cases, count, pairs);
    else score_at_each_time(ctx, score, times, rows, n, options.cases, pairs);
    // A patient stands at the first of equal times.
    for (index_t k = 1; k < count && options.cases == auc_cases::incident; ++k) {
      if (times[k] != times[k - 1]) continue;
      dead[k] = dead[k - 1];
      if (score.cols == 1) pairs[k] = pairs[k - 1];
    }

    index_t unknown = 0;
    for (index_t k = 0; k < count; ++k) {
      unknown += undefined[k];
      const double value = pairs[k] / (dead[k] * alive[k]);
      out.value[k] = static_cast<T>(unknown == 0 ? value : std::numeric_limits<double>::quiet_NaN());
      if (out.undefined.size != 0) out.undefined[k] = unknown;
    }
  }

  /// Weighted by how far S falls to each time.
  template <class A, class Times>
  static double mean(cpu_context& ctx, vector_view<const A> auc, vector_view<const Times> times,
                     const risk_plan<host_space>& plan) {
    auto scratch = ctx.workspace().open();
    const step_curve<> survival = scratch_curve(ctx, scratch, plan, curve_of::survival);
    double sum = 0, before = 1;
    for (index_t k = 0; k < times.size; ++k) {
      const double at = survival.at(static_cast<double>(times[k]));
      if (at < before) sum += (before - at) * static_cast<double>(auc[k]);  // else no case, and the AUC is NaN
      before = at;
    }
    return sum / (1 - before);
  }

 private:
  /// Only who died at an evaluation time is a case; all of one time alike.
  static void keep_incident(const risk_plan<host_space>& plan, vector_view<const double> times, followed_row* rows,
                            index_t* undefined) {
    std::fill_n(undefined, times.size + 1, index_t{0});
    for (index_t g = 0; g < plan.groups; ++g)
      for (index_t k = plan.first[g]; k < plan.first[g + 1]; ++k) {
        followed_row& r = rows[plan.row[k]];
        const bool incident = k >= plan.deaths[g] && r.alive < times.size && times[r.alive] == plan.time[g];
        r.dead = incident ? r.weight : 0;
      }
  }

  static void sum_weights(auc_cases cases, const followed_row* rows, index_t n, index_t count, double* dead,
                          double* alive) {
    std::fill_n(dead, count, 0.0);
    std::fill_n(alive, count, 0.0);
    for (index_t i = 0; i < n; ++i) {
      if (rows[i].alive > 0) alive[rows[i].alive - 1] += rows[i].weight;
      if (rows[i].alive < count) dead[rows[i].alive] += rows[i].dead;
    }
    for (index_t k = count - 1; k > 0; --k) alive[k - 1] += alive[k];
    for (index_t k = 1; k < count && cases == auc_cases::cumulative; ++k) dead[k] += dead[k - 1];
  }

  template <class S>
  static void constant_score(cpu_context& ctx, vector_view<const S> score, const followed_row* rows, index_t n,
                             auc_cases cases, index_t times, double* pairs) {
    auto scratch = ctx.workspace().open();
    const auto room = room_for(scratch, n);
    index_t sorted = 0;
    for (index_t i = 0; i < n; ++i)
      if (rows[i].weight > 0 && (rows[i].alive > 0 || rows[i].dead > 0))
        room.key[sorted++] = {sort_key(widen<double>(score[i])), i};
    sort_and_count(room, rows, sorted, auc_pairs(cases, times, pairs), {0, times});
  }

  template <class S>
  static void score_at_each_time(cpu_context& ctx, matrix_view<const S> score, vector_view<const double> times,
                                 const followed_row* rows, index_t n, auc_cases cases, double* pairs) {
    auto scratch = ctx.workspace().open();
    auto* const room = scratch.template take<sorting_room>(ctx.threads());
    for (int w = 0; w < ctx.threads(); ++w) room[w] = room_for(scratch, n);
    ctx.parallel(score.cols, [&](index_t t, int worker) {
      const sorting_room& r = room[worker];
      index_t sorted = 0;
      for (index_t i = 0; i < n; ++i) {
        const bool control = rows[i].alive > t;
        const bool is_case =
            rows[i].dead > 0 && !control && (cases == auc_cases::cumulative || times[rows[i].alive] == times[t]);
        if (rows[i].weight > 0 && (control || is_case)) r.key[sorted++] = {sort_key(widen<double>(score(i, t))), i};
      }
      sort_and_count(r, rows, sorted, auc_pairs(cases, 1, pairs + t), {t, 1});
    });
  }

  struct sorting_room {
    keyed_row *key, *spare_key;
    auc_row *row, *spare;
    index_t* counts;
  };
  template <class Frame>
  static sorting_room room_for(Frame& scratch, index_t n) {
    return {scratch.template take<keyed_row>(n), scratch.template take<keyed_row>(n), scratch.template take<auc_row>(n),
            scratch.template take<auc_row>(n), scratch.template take<index_t>(sort_counts)};
  }
  /// Evaluation times in question.
  struct time_range {
    index_t first, count;
  };
  static void sort_and_count(const sorting_room& room, const followed_row* rows, index_t n, auc_pairs pairs,
                             const time_range& times) {
    const keyed_row* const key = sort_by_key(room.key, room.spare_key, n, room.counts);
    for (index_t k = 0; k < n; ++k) {
      const followed_row& r = rows[key[k].row];
      room.row[k] = {key[k].key, std::clamp<index_t>(r.alive - times.first, 0, times.count), r.weight, r.dead, 0, 0};
    }
    pairs.count(room.row, room.spare, n);
  }
};

}  // namespace detail

/// How well scores tell those who die until a time from those who live beyond it: the chance that, of one of each, the
/// former has the higher score.
///
/// AUC(t) = sum over cases i, controls j of c_i w_j [score_i > score_j, 1/2 if equal] / (sum of c_i  sum of w_j)
///
/// Controls are alive after t. Cases died until t (cumulative/dynamic) or at t (incident/dynamic), and count c_i = w_i
/// / G(T_i-), with G the chance to be uncensored; auc_weights names other conventions. Scores are tied when they are
/// equal, without a tolerance. Without a case or a control the AUC is NaN, and so where a case's weight is not defined,
/// for G is 0: out.undefined says how many.
///
/// @param score [N] risks, larger is worse, or [N, times], for each time its own
/// @param times [times], never falling   @param order [N] follow-up, without strata and late entry
/// @param out value and undefined [times], overwritten
/// Cost: O(N log N + N log(times)) for scores [N], for all times together; O(times N log N) for scores [N, times], on
/// as many threads as the context has. O(N) scratch, a thread. Sums of pairs are only added to, never subtracted from,
/// and exact without weights. The same bits from run to run and for any number of threads.
/// @throws shape_error, value_error   Reference: Heagerty & Zheng 2005; Uno et al. 2007; Hung & Chiang 2010.
template <execution_context Context, detail::rows_like Scores, vector_like Times, class T>
  requires same_space<Context, Scores, Times>
void time_dependent_auc(Context& ctx, const Scores& score, const Times& times,
                        const risk_order<typename Context::backend>& order,
                        const estimate_at_times<T, typename Context::space>& out,
                        const time_dependent_auc_options<typename Context::space>& options = {}) {
  constexpr auto name = "time_dependent_auc";
  const auto s = detail::as_rows(as_const_view(score));
  const auto t = as_const_view(times);
  if constexpr (vector_like<Scores>) check::length(name, "score", s.rows, order.size(), "the length of order");
  else check::shape(name, "score", s, order.size(), t.size);
  detail::check_followed_from_start(name, order);
  detail::check_step_curve(name, "censoring", options.censoring);
  detail::check_times_and_estimate(ctx, name, t, out, options.check_values);
  if (options.check_values) value_checks<typename Context::backend>::finite(ctx, name, "score", as_const_view(score));
  detail::time_dependent_auc_kernel<typename Context::backend>::run(ctx, s, t, order.plan(), options, out);
}

/// The mean of AUC over times, each with the share of deaths since the one before:
///
/// 1 / (1 - S(t_last)) sum over k of AUC(t_k) (S(t_k-1) - S(t_k)),   S(t_-1) = 1, Kaplan-Meier of the order's patients
///
/// @param auc [times] of time_dependent_auc   @param times [times], never falling   @param order [N]
/// Cost: O(N + times log N); waits. NaN where nobody died until the last time.
/// @throws shape_error, value_error   Reference: Lambert & Chevret 2016, as in scikit-survival.
template <execution_context Context, vector_like Areas, vector_like Times>
  requires same_space<Context, Areas, Times>
[[nodiscard]] double mean_time_dependent_auc(Context& ctx, const Areas& auc, const Times& times,
                                             const risk_order<typename Context::backend>& order) {
  constexpr auto name = "mean_time_dependent_auc";
  const auto a = as_const_view(auc);
  const auto t = as_const_view(times);
  check::same_length(name, "auc", a, "times", t);
  detail::check_followed_from_start(name, order);
  return detail::time_dependent_auc_kernel<typename Context::backend>::mean(ctx, a, t, order.plan());
}

}  // namespace stroma
