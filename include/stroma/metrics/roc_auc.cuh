#pragma once
#include <cstdint>
#include <limits>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/backend/cuda/scan.cuh>
#include <stroma/backend/cuda/sort.cuh>
#include <stroma/core/sort_key.hpp>
#include <stroma/metrics/roc_auc.hpp>

namespace stroma::detail {

template <class T>
struct write_score_ranks {
  vector_view<const T, device_space> score;
  std::uint64_t* key;
  index_t* row;
  __device__ void operator()(index_t i) const {
    key[i] = sort_key(static_cast<double>(score[i]));
    row[i] = i;
  }
};

/// Rows from the lowest score up.
template <class T, class Labels>
struct ranked_rows {
  const std::uint64_t* key;
  const index_t* row;
  vector_view<const Labels, device_space> label;
  vector_view<const T, device_space> weight;

  /// The weight of the row in place k, if it is of the class.
  __device__ double weight_in(bool positive, index_t k) const {
    const index_t i = row[k];
    if ((label[i] != Labels(0)) != positive) return 0;
    return weight.size == 0 ? 1 : static_cast<double>(weight[i]);
  }
  /// How many rows have a smaller key, or one not larger.
  __device__ index_t below(std::uint64_t wanted, bool or_equal) const {
    index_t low = 0, high = label.size;
    while (low < high) {
      const index_t middle = low + (high - low) / 2;
      if (key[middle] < wanted || (or_equal && key[middle] == wanted)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
};
template <class T, class Labels>
struct write_negatives {
  ranked_rows<T, Labels> rows;
  double* negatives;
  __device__ void operator()(index_t k) const { negatives[k] = rows.weight_in(false, k); }
};
template <class T, class Labels>
struct positive_weights {
  ranked_rows<T, Labels> rows;
  __device__ double operator()(index_t k) const { return rows.weight_in(true, k); }
};
/// Twice what a positive row wins: the negative rows below it, and half of those at its score.
template <class T, class Labels>
struct twice_won {
  ranked_rows<T, Labels> rows;
  const double* negatives;  // running sums
  __device__ double up_to(index_t places) const { return places == 0 ? 0 : negatives[places - 1]; }
  __device__ double operator()(index_t k) const {
    const double w = rows.weight_in(true, k);
    if (w == 0) return 0;
    return w * (up_to(rows.below(rows.key[k], false)) + up_to(rows.below(rows.key[k], true)));
  }
};
struct roc_sums {
  double twice_won, positives, negatives;
};
/// The last of the three sums.
struct finish_roc {
  const double* negatives;
  roc_sums* sums;
  __device__ void operator()(double positives) const {
    sums->positives = positives;
    sums->negatives = *negatives;
  }
};

template <>
struct roc_auc_kernel<backend::cuda> {
  /// Counts without weights are exact while twice the number of pairs is below 2^53.
  template <class T, class Labels>
  static double run(cuda_context& ctx, vector_view<const T, device_space> score,
                    vector_view<const Labels, device_space> label, vector_view<const T, device_space> weight) {
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    const index_t n = score.size;
    if (n == 0) return none;
    auto frame = ctx.workspace().open();
    auto* const key = frame.template take<std::uint64_t>(n);
    auto* const row = frame.template take<index_t>(n);
    auto* const negatives = frame.template take<double>(n);
    auto* const sums = frame.template take<roc_sums>(1);
    each(ctx, n, write_score_ranks<T>{score, key, row});
    sort_by_key(ctx, n, key, row);
    const ranked_rows<T, Labels> rows{key, row, label, weight};
    each(ctx, n, write_negatives<T, Labels>{rows, negatives});
    inclusive_scan(ctx, n, negatives, add_values{});
    sum_each(ctx, n, twice_won<T, Labels>{rows, negatives}, scaled_into<double>{1, &sums->twice_won});
    sum_each(ctx, n, positive_weights<T, Labels>{rows}, finish_roc{negatives + n - 1, sums});
    const auto found = primitives<backend::cuda>::read(ctx, static_cast<const roc_sums*>(sums));
    if (!(found.positives > 0 && found.negatives > 0)) return none;
    return found.twice_won / (2 * found.positives * found.negatives);
  }
};

}  // namespace stroma::detail
