#pragma once
#include <algorithm>
#include <cmath>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/backend/cuda/sum_rows.cuh>
#include <stroma/taskvector/mixing_penalty.hpp>
#include <stroma/taskvector/sparse_mixup.cuh>

namespace stroma::detail {

/// A warp for each bag: its part of the penalty, and its rows of the derivatives.
template <class T>
struct mixing_penalty_rows {
  matrix_view<const T, device_space> weight, share;
  matrix_view<const index_t, device_space> selected;  // [bags, K]
  double aggregation, balance, share_factor;          // of a bag, the last two of a selected source
  matrix_view<T, device_space> d_weight, d_share;

  __device__ double operator()(index_t b, index_t lane) const {
    const double of_weights = log_sum_exp(b, lane);
    for (index_t j = lane; j < weight.cols; j += warp_threads) {
      const double softmax = std::exp(static_cast<double>(weight(b, j)) - of_weights);
      if (d_weight.data != nullptr) d_weight(b, j) = static_cast<T>(2 * aggregation * of_weights * softmax);
      if (d_share.data != nullptr) d_share(b, j) = T(0);
    }
    __syncwarp();  // a selected source's derivatives may be another lane's
    double sum = 0;
    for (index_t i = lane; i < selected.cols; i += warp_threads) {
      const index_t j = selected(b, i);
      const auto share_j = static_cast<double>(share(b, j));
      sum += balance * static_cast<double>(weight(b, j)) + share_factor * share_j * share_j;
      if (d_weight.data != nullptr) d_weight(b, j) += static_cast<T>(balance);
      if (d_share.data != nullptr) d_share(b, j) = static_cast<T>(2 * share_factor * share_j);
    }
    return aggregation * of_weights * of_weights + warp_join(sum, add_values{});
  }

 private:
  __device__ double log_sum_exp(index_t b, index_t lane) const {
    if (weight.cols == 0) return 0;
    double peak = -HUGE_VAL, sum = 0;
    for (index_t j = lane; j < weight.cols; j += warp_threads)
      peak = larger_value{}(peak, static_cast<double>(weight(b, j)));
    peak = warp_join(peak, larger_value{});
    for (index_t j = lane; j < weight.cols; j += warp_threads)
      sum += std::exp(static_cast<double>(weight(b, j)) - peak);
    return peak + std::log(warp_join(sum, add_values{}));
  }
};

template <>
struct mixing_penalty_kernel<backend::cuda> {
  template <class T>
  static void run(cuda_context& ctx, matrix_view<const T, device_space> weight,
                  matrix_view<const T, device_space> share, const mixing_penalty_options& options,
                  const mixing_penalty_output<T, device_space>& out) {
    auto frame = ctx.workspace().open();
    const index_t bags = weight.rows, k = std::min(options.top_k, weight.cols);
    const matrix_view<index_t, device_space> selected(frame.template take<index_t>(bags * k), bags, k);
    sparse_mixup_kernel<backend::cuda>::select(ctx, weight, selected);
    const double part = 1 / static_cast<double>(std::max<index_t>(bags, 1)),
                 of_selected = k > 0 ? part / static_cast<double>(k) : 0;
    sum_rows(ctx, bags,
             mixing_penalty_rows<T>{weight, share, selected, part * options.aggregation, of_selected * options.balance,
                                    of_selected * options.share, out.d_weight, out.d_share},
             scaled_into<T>{1, out.value});
  }
};

}  // namespace stroma::detail
