#pragma once
#include <stroma/survival/detail/sorted_runs.cuh>
#include <stroma/survival/ranking.hpp>

namespace stroma::detail {

/// Predictions enter as differences from one of them, as on the host.
template <class T>
struct ranking_keys {
  vector_view<const T, device_space> prediction;
  device_risk_plan plan;
  std::uint64_t* key;
  index_t* position;
  double* by_position;
  double* loss;
  index_t* net;  // violated pairs as the earlier minus as the later patient
  __device__ void operator()(index_t k) const {
    by_position[k] = static_cast<double>(prediction[plan.row[k]]) - static_cast<double>(prediction[0]);
    key[k] = sort_key(by_position[k]);
    position[k] = k;
    loss[k] = 0;
    net[k] = 0;
  }
};
struct prediction_sum {
  double predictions;
  index_t events;
  friend __device__ prediction_sum operator+(const prediction_sum& a, const prediction_sum& b) {
    return {a.predictions + b.predictions, a.events + b.events};
  }
};
struct predictions_in_runs {
  device_risk_plan plan;
  sorted_runs runs;
  segment_sum<prediction_sum>* to;
  __device__ void operator()(index_t i) const {
    to[i] = {{number_of_key(runs.key[i]), died_at(plan, runs.position[i]) ? 1 : 0}, i % runs.width == 0};
  }
};
/// The violated pairs of a patient with one run of those who lived longer, and with one run of those who did not.
struct count_violations {
  device_risk_plan plan;
  sorted_runs runs;
  const segment_sum<prediction_sum>* sums;
  const double* by_position;
  double margin;
  bool differentiates;
  double* loss;
  index_t* net;

  __device__ void operator()(index_t k) const {
    const index_t g = plan.group[k];
    const double mine = by_position[k], bound = mine + margin;
    const run_range later = run_before(runs, plan.first[g]);
    if (k >= plan.deaths[g] && later.first < later.last) {
      const index_t end = partition_point(later, [&](index_t i) { return number_of_key(runs.key[i]) < bound; });
      const index_t count = end - later.first;
      if (count > 0) loss[k] += static_cast<double>(count) * bound - sums[end - 1].sum.predictions;
      net[k] += count;
    }
    const run_range earlier = run_from(runs, plan.first[g + 1]);
    if (!differentiates || earlier.first == earlier.last) return;
    const index_t from =
        partition_point(earlier, [&](index_t i) { return !(mine < number_of_key(runs.key[i]) + margin); });
    net[k] -= sums[earlier.last - 1].sum.events - (from > earlier.first ? sums[from - 1].sum.events : 0);
  }
};

struct ranking_pairs {
  device_risk_plan plan;
  __device__ double operator()(index_t k) const {
    return died_at(plan, k) ? static_cast<double>(plan.first[plan.group[k]]) : 0;
  }
};
struct ranking_losses {
  const double* loss;
  __device__ double operator()(index_t k) const { return loss[k]; }
};
struct write_ranking_scale {
  reduction reduce;
  double* scale;
  __device__ void operator()(double pairs) const { *scale = reduce == reduction::sum || pairs == 0 ? 1 : 1 / pairs; }
};
template <class T>
struct write_ranking_value {
  const double* scale;
  T* value;
  __device__ void operator()(double loss) const { *value = static_cast<T>(*scale * loss); }
};
template <class T>
struct ranking_gradient {
  device_risk_plan plan;
  const index_t* net;
  const double* scale;
  vector_view<T, device_space> gradient;
  __device__ void operator()(index_t k) const {
    gradient[plan.row[k]] = static_cast<T>(*scale * static_cast<double>(net[k]));
  }
};

/// O(N log^2 N): two searches a patient and level.
template <>
struct ranking_kernel<backend::cuda> {
  template <class T>
  static void run(cuda_context& ctx, vector_view<const T, device_space> prediction, const device_risk_plan& plan,
                  const ranking_options& options, ranking_output<T, device_space> out) {
    const index_t n = plan.rows;
    auto scratch = ctx.workspace().open();
    auto* const key = scratch.template take<std::uint64_t>(2 * n);
    auto* const position = scratch.template take<index_t>(2 * n);
    auto* const by_position = scratch.template take<double>(n);
    auto* const loss = scratch.template take<double>(n);
    auto* const net = scratch.template take<index_t>(n);
    auto* const sums = scratch.template take<segment_sum<prediction_sum>>(n);
    auto* const scale = scratch.template take<double>(1);
    const bool differentiates = out.gradient.size != 0;

    each(ctx, n, ranking_keys<T>{prediction, plan, key, position, by_position, loss, net});
    sort_by_levels(ctx, n, key, position, [&](const sorted_runs& runs) {
      each(ctx, n, predictions_in_runs{plan, runs, sums});
      inclusive_scan(ctx, n, sums, join_segment_sums{});
      each(ctx, n, count_violations{plan, runs, sums, by_position, options.margin, differentiates, loss, net});
    });
    sum_each(ctx, n, ranking_pairs{plan}, write_ranking_scale{options.reduce, scale});
    sum_each(ctx, n, ranking_losses{loss}, write_ranking_value<T>{scale, out.value});
    if (differentiates) each(ctx, n, ranking_gradient<T>{plan, net, scale, out.gradient});
  }
};

}  // namespace stroma::detail
