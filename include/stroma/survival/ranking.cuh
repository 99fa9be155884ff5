#pragma once
#include <stroma/survival/detail/wavelet_sums.cuh>
#include <stroma/survival/ranking.hpp>
#include <stroma/survival/risk_order.cuh>

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
struct write_prediction_ranks {
  const index_t* position;  // in the order of predictions
  index_t* rank;            // by position
  __device__ void operator()(index_t i) const { rank[position[i]] = i; }
};
struct ranked_predictions {
  device_risk_plan plan;
  const std::uint64_t* key;  // sorted
  const index_t* rank;       // by position, as predictions
  const double* by_position;
  double margin;
};
/// Of an event the violated pairs with those who lived longer: whose prediction is less than the own and the margin.
struct violating_later {
  ranked_predictions of;
  double* loss;
  index_t* net;
  [[nodiscard]] __device__ double bound(index_t k) const { return of.by_position[k] + of.margin; }
  [[nodiscard]] __device__ wavelet_item item(index_t k) const { return {of.rank[k], 0, of.by_position[k]}; }
  [[nodiscard]] __device__ wavelet_query query(index_t k) const {
    const index_t g = of.plan.group[k];
    if (k < of.plan.deaths[g]) return {0, 0, 0};
    const double mine = bound(k);
    return {0, of.plan.first[g],
            partition_point(0, of.plan.rows, [&](index_t i) { return number_of_key(of.key[i]) < mine; })};
  }
  __device__ void operator()(index_t k, int, index_t count, double sum) const {
    loss[k] += static_cast<double>(count) * bound(k) - sum;
    net[k] += count;
  }
};
/// Of a patient the violated pairs with the events before: whose prediction and the margin are more than the own. Ranks
/// are counted from the highest prediction, so that these are lower than a threshold too.
struct violating_earlier {
  ranked_predictions of;
  index_t* net;
  [[nodiscard]] __device__ wavelet_item item(index_t k) const {
    return {of.plan.rows - 1 - of.rank[k], 0, died_at(of.plan, k) ? 1.0 : 0.0};
  }
  [[nodiscard]] __device__ wavelet_query query(index_t k) const {
    const index_t n = of.plan.rows;
    const double mine = of.by_position[k];
    const index_t from =
        partition_point(0, n, [&](index_t i) { return !(mine < number_of_key(of.key[i]) + of.margin); });
    return {of.plan.first[of.plan.group[k] + 1], n, n - from};
  }
  __device__ void operator()(index_t k, int, index_t, double events) const { net[k] -= static_cast<index_t>(events); }
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

/// O(N log N): a search for each bound, then sums for every bit of a prediction's rank.
template <>
struct ranking_kernel<backend::cuda> {
  template <class T>
  static void run(cuda_context& ctx, vector_view<const T, device_space> prediction, const device_risk_plan& plan,
                  const ranking_options& options, ranking_output<T, device_space> out) {
    const index_t n = plan.rows;
    auto scratch = ctx.workspace().open();
    auto* const key = scratch.template take<std::uint64_t>(n);
    auto* const position = scratch.template take<index_t>(n);
    auto* const rank = scratch.template take<index_t>(n);
    auto* const by_position = scratch.template take<double>(n);
    auto* const loss = scratch.template take<double>(n);
    auto* const net = scratch.template take<index_t>(n);
    auto* const scale = scratch.template take<double>(1);
    const bool differentiates = out.gradient.size != 0;

    each(ctx, n, ranking_keys<T>{prediction, plan, key, position, by_position, loss, net});
    sort_by_key(ctx, n, key, position);
    each(ctx, n, write_prediction_ranks{position, rank});
    const ranked_predictions ranked{plan, key, rank, by_position, options.margin};
    const violating_later later{ranked, loss, net};
    sum_lower(ctx, n, n, later, later);
    const violating_earlier earlier{ranked, net};
    if (differentiates) sum_lower(ctx, n, n, earlier, earlier);
    sum_each(ctx, n, ranking_pairs{plan}, write_ranking_scale{options.reduce, scale});
    sum_each(ctx, n, ranking_losses{loss}, write_ranking_value<T>{scale, out.value});
    if (differentiates) each(ctx, n, ranking_gradient<T>{plan, net, scale, out.gradient});
  }
};

}  // namespace stroma::detail
