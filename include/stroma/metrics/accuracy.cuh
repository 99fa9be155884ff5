#pragma once
#include <limits>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/metrics/accuracy.hpp>

namespace stroma::detail {

template <class Predicted, class Labels>
struct equal_labels {
  vector_view<const Predicted, device_space> predicted;
  vector_view<const Labels, device_space> label;
  __device__ double operator()(index_t i) const {
    return static_cast<long long>(predicted[i]) == static_cast<long long>(label[i]) ? 1 : 0;
  }
};
template <class T, class Labels>
struct label_is_highest {
  matrix_view<const T, device_space> logit;
  vector_view<const Labels, device_space> label;
  __device__ double operator()(index_t r) const {
    index_t best = 0;
    for (index_t c = 1; c < logit.cols; ++c)
      if (logit(r, c) > logit(r, best)) best = c;
    return best == static_cast<index_t>(label[r]) ? 1 : 0;
  }
};
template <class T, class Labels>
struct right_side {
  vector_view<const T, device_space> score;
  vector_view<const Labels, device_space> label;
  double threshold;
  __device__ double operator()(index_t i) const {
    return (static_cast<double>(score[i]) >= threshold) == (label[i] != Labels(0)) ? 1 : 0;
  }
};

template <>
struct accuracy_kernel<backend::cuda> {
  template <class Predicted, class Labels>
  static double equal(cuda_context& ctx, vector_view<const Predicted, device_space> predicted,
                      vector_view<const Labels, device_space> label) {
    return part(ctx, label.size, equal_labels<Predicted, Labels>{predicted, label});
  }
  template <class T, class Labels>
  static double highest(cuda_context& ctx, matrix_view<const T, device_space> logit,
                        vector_view<const Labels, device_space> label) {
    return part(ctx, logit.rows, label_is_highest<T, Labels>{logit, label});
  }
  template <class T, class Labels>
  static double above(cuda_context& ctx, vector_view<const T, device_space> score,
                      vector_view<const Labels, device_space> label, double threshold) {
    return part(ctx, score.size, right_side<T, Labels>{score, label, threshold});
  }

 private:
  /// Of the rows, for how many is_right gives 1. A double counts to 2^53.
  template <class Right>
  static double part(cuda_context& ctx, index_t rows, const Right& is_right) {
    if (rows == 0) return std::numeric_limits<double>::quiet_NaN();
    auto frame = ctx.workspace().open();
    double* const right = frame.template take<double>(1);
    sum_each(ctx, rows, is_right, scaled_into<double>{1, right});
    return primitives<backend::cuda>::read(ctx, right) / static_cast<double>(rows);
  }
};

}  // namespace stroma::detail
