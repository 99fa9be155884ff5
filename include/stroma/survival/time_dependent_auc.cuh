#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/survival/detail/inverse_censoring.cuh>
#include <stroma/survival/time_dependent_auc.hpp>

namespace stroma::detail {

/// A cohort at evaluation times, for kernels that look at one of them.
struct auc_cohort {
  const device_followed_row* rows;
  const double* times;
  auc_cases cases;

  [[nodiscard]] __device__ double control(index_t i, index_t k) const {
    return k < rows[i].row.alive ? rows[i].row.weight : 0;
  }
  [[nodiscard]] __device__ bool is_case(index_t i, index_t k) const {
    const index_t alive = rows[i].row.alive;
    return k >= alive && (cases == auc_cases::cumulative || times[alive] == times[k]);
  }
};
/// Incident cases of one time count alike; they died at an evaluation time.
struct keep_incident_cases {
  device_risk_plan plan;
  const double* times;
  index_t count;
  device_followed_row* rows;
  __device__ void operator()(index_t k) const {
    device_followed_row& r = rows[plan.row[k]];
    const bool incident = died_at(plan, k) && r.row.alive < count && times[r.row.alive] == plan.time[plan.group[k]];
    r = {{r.row.alive, r.row.weight, incident ? r.row.weight : 0}, false};
  }
};

template <class S>
struct score_keys {
  matrix_view<const S, device_space> score;
  index_t column;
  std::uint64_t* key;
  index_t* row;
  __device__ void operator()(index_t i) const {
    key[i] = sort_key(widen<double>(score(i, column)));
    row[i] = i;
  }
};
/// Patients sorted by score, and where those of equal score begin and end.
struct sorted_scores {
  const std::uint64_t* key;
  const index_t* row;
  index_t size;
  index_t *first, *last;
};
struct bound_ties {
  sorted_scores sorted;
  __device__ void operator()(index_t i) const {
    sorted.first[i] = i == 0 || sorted.key[i - 1] != sorted.key[i] ? i : 0;
    sorted.last[i] = i + 1 == sorted.size || sorted.key[i + 1] != sorted.key[i] ? i : sorted.size;
  }
};
struct smaller_index {
  __device__ index_t operator()(index_t a, index_t b) const { return a < b ? a : b; }
};
struct write_controls {
  auc_cohort cohort;
  sorted_scores sorted;
  index_t time;
  double* to;
  __device__ void operator()(index_t i) const { to[i] = cohort.control(sorted.row[i], time); }
};
struct auc_sums {
  enum number { pairs, cases, unknown, numbers };
  double of[numbers];
};
/// What a patient adds: pairs with controls of a lower score, and of an equal one by half; its weight; itself.
struct auc_terms {
  auc_sums::number which;
  auc_cohort cohort;
  sorted_scores sorted;
  index_t time;
  const double* controls;  // summed up in the order of scores
  __device__ double operator()(index_t i) const {
    const index_t row = sorted.row[i];
    if (!cohort.is_case(row, time)) return 0;
    const device_followed_row& r = cohort.rows[row];
    if (which == auc_sums::unknown) return r.unknown ? 1 : 0;
    if (which == auc_sums::cases) return r.row.dead;
    const index_t first = sorted.first[i];
    const double below = first > 0 ? controls[first - 1] : 0;
    return r.row.dead * (below + (controls[sorted.last[i]] - below) / 2);
  }
};
struct write_auc_sum {
  auc_sums::number which;
  auc_sums* to;
  __device__ void operator()(double sum) const { to->of[which] = sum; }
};
template <class T>
struct finish_auc {
  const auc_sums* sums;
  const double* controls;  // of each time
  estimate_at_times<T, device_space> out;
  __device__ void operator()(index_t k) const {
    const auc_sums& s = sums[k];
    const double unknown = s.of[auc_sums::unknown];
    const double value = s.of[auc_sums::pairs] / (s.of[auc_sums::cases] * controls[k]);
    out.value[k] = static_cast<T>(unknown == 0 ? value : not_a_number<double>);
    if (out.undefined.size != 0) out.undefined[k] = static_cast<index_t>(unknown);
  }
};
struct copy_last {
  const double* from;
  index_t size;
  double* to;
  __device__ void operator()(index_t) const { *to = size > 0 ? from[size - 1] : 0; }
};

template <class A>
struct drop_terms {
  vector_view<const A, device_space> auc;
  const double* survival;
  __device__ double operator()(index_t k) const {
    const double drop = (k == 0 ? 1 : survival[k - 1]) - survival[k];
    return drop > 0 ? drop * static_cast<double>(auc[k]) : 0;
  }
};
struct write_mean_auc {
  const double* survival;
  index_t count;
  double* to;
  __device__ void operator()(double sum) const { *to = sum / (count > 0 ? 1 - survival[count - 1] : 0); }
};
template <class Times>
struct survival_at_times {
  vector_view<const Times, device_space> times;
  step_curve<device_space> curve;
  double* to;
  __device__ void operator()(index_t k) const { to[k] = curve.at(static_cast<double>(times[k])); }
};

/// O(N log N) for the sort, of each time where each has its scores, and O(N) a time.
template <>
struct time_dependent_auc_kernel<backend::cuda> {
  template <class S, class Times, class T>
  static void run(cuda_context& ctx, matrix_view<const S, device_space> score,
                  vector_view<const Times, device_space> at, const device_risk_plan& plan,
                  const time_dependent_auc_options<device_space>& options,
                  const estimate_at_times<T, device_space>& out) {
    const index_t count = at.size, n = plan.rows;
    if (count == 0) return;
    auto scratch = ctx.workspace().open();
    const double* const times = copied_times(ctx, scratch, at);
    auto* const rows = scratch.template take<device_followed_row>(n);
    auto* const sums = scratch.template take<auc_sums>(count);
    auto* const all_controls = scratch.template take<double>(count);
    auto* const controls = scratch.template take<double>(n);
    auto* const key = scratch.template take<std::uint64_t>(n);
    auto* const row = scratch.template take<index_t>(n);
    const sorted_scores sorted{key, row, n, scratch.template take<index_t>(n), scratch.template take<index_t>(n)};
    const auto censoring = options.weights == auc_weights::none
                               ? options.censoring
                               : censoring_or_own(ctx, scratch, plan, options.censoring);
    each(ctx, n, follow_patients{plan, times, count, censoring, rules_of(options.weights), rows});
    if (options.cases == auc_cases::incident) each(ctx, n, keep_incident_cases{plan, times, count, rows});
    const auc_cohort cohort{rows, times, options.cases};
    for (index_t k = 0; k < count; ++k) {
      if (k < score.cols) {
        each(ctx, n, score_keys<S>{score, k, key, row});
        sort_by_key(ctx, n, key, row);
        each(ctx, n, bound_ties{sorted});
        inclusive_scan(ctx, n, sorted.first, larger_value{});
        reversed_inclusive_scan(ctx, n, sorted.last, smaller_index{});
      }
      each(ctx, n, write_controls{cohort, sorted, k, controls});
      inclusive_scan(ctx, n, controls, add_values{});
      each(ctx, 1, copy_last{controls, n, all_controls + k});
      for (const auto which : {auc_sums::pairs, auc_sums::cases, auc_sums::unknown})
        sum_each(ctx, n, auc_terms{which, cohort, sorted, k, controls}, write_auc_sum{which, sums + k});
    }
    each(ctx, count, finish_auc<T>{sums, all_controls, out});
  }

  /// Waits for the device.
  template <class A, class Times>
  static double mean(cuda_context& ctx, vector_view<const A, device_space> auc,
                     vector_view<const Times, device_space> times, const device_risk_plan& plan) {
    auto scratch = ctx.workspace().open();
    auto* const survival = scratch.template take<double>(times.size);
    auto* const result = scratch.template take<double>(1);
    const auto curve = scratch_curve(ctx, scratch, plan, curve_of::survival);
    each(ctx, times.size, survival_at_times<Times>{times, curve, survival});
    sum_each(ctx, times.size, drop_terms<A>{auc, survival}, write_mean_auc{survival, times.size, result});
    return primitives<backend::cuda>::read(ctx, static_cast<const double*>(result));
  }
};

}  // namespace stroma::detail
