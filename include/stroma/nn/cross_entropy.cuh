#pragma once
#include <cmath>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/backend/cuda/sum_rows.cuh>
#include <stroma/nn/cross_entropy.hpp>

namespace stroma::detail {

/// A warp for each row.
template <class T, class Labels>
struct cross_entropy_rows {
  matrix_view<const T, device_space> logit;
  vector_view<const Labels, device_space> label;
  vector_view<const T, device_space> class_weight;

  __device__ index_t label_of(index_t r) const { return clamped_label(label[r], logit.cols); }
  __device__ double weight(index_t r) const {
    return class_weight.size == 0 ? 1 : static_cast<double>(class_weight[label_of(r)]);
  }
  /// log of the sum of exp over all columns but the label's.
  __device__ double log_others(index_t r, index_t lane) const {
    const index_t l = label_of(r);
    double high = -HUGE_VAL, sum = 0;
    for (index_t c = lane; c < logit.cols; c += warp_threads)
      if (c != l) high = larger_value{}(high, static_cast<double>(logit(r, c)));
    high = warp_join(high, larger_value{});
    for (index_t c = lane; c < logit.cols; c += warp_threads)
      if (c != l) sum += std::exp(static_cast<double>(logit(r, c)) - high);
    sum = warp_join(sum, add_values{});
    return sum > 0 ? high + std::log(sum) : high;
  }
  __device__ double operator()(index_t r, index_t lane) const {
    return weight(r) * softplus(log_others(r, lane) - static_cast<double>(logit(r, label_of(r))));
  }
};
template <class T, class Labels>
struct cross_entropy_weights {
  cross_entropy_rows<T, Labels> rows;
  __device__ double operator()(index_t r) const { return rows.weight(r); }
};

/// 1 / the sum of the rows' weights, which the device alone may know; 0 where that is 0.
struct cross_entropy_scale {
  double known;
  const double* weights;  // null: known
  __device__ double value() const {
    if (weights == nullptr) return known;
    return *weights > 0 ? 1 / *weights : 0;
  }
};
template <class T>
struct store_cross_entropy {
  cross_entropy_scale scale;
  T* value;
  __device__ void operator()(double sum) const { *value = static_cast<T>(scale.value() * sum); }
};
template <class T, class Labels>
struct add_cross_entropy_derivatives {
  cross_entropy_rows<T, Labels> rows;
  const T* d_value;
  cross_entropy_scale scale;
  matrix_view<T, device_space> d_logit;
  __device__ void operator()(index_t r, index_t lane) const {
    const double others = rows.log_others(r, lane), seed = static_cast<double>(*d_value) * scale.value();
    const index_t l = rows.label_of(r);
    const double missed = seed * rows.weight(r) * logistic(others - static_cast<double>(rows.logit(r, l)));
    for (index_t c = lane; c < d_logit.cols; c += warp_threads)
      d_logit(r, c) +=
          static_cast<T>(c == l ? -missed : missed * std::exp(static_cast<double>(rows.logit(r, c)) - others));
  }
};

template <>
struct cross_entropy_kernel<backend::cuda> {
  template <class T>
  using options = cross_entropy_options<T, device_space>;

  template <class T, class Labels>
  static void forward(cuda_context& ctx, matrix_view<const T, device_space> logit,
                      vector_view<const Labels, device_space> label, T* value, const options<T>& o) {
    const cross_entropy_rows<T, Labels> rows{logit, label, o.class_weight};
    auto frame = ctx.workspace().open();
    const auto by = scale(ctx, rows, o, frame.template take<double>(1));
    sum_rows(ctx, usable(logit), rows, store_cross_entropy<T>{by, value});
  }
  template <class T, class Labels>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> logit,
                       vector_view<const Labels, device_space> label, const T* d_value,
                       matrix_view<T, device_space> d_logit, const options<T>& o) {
    const cross_entropy_rows<T, Labels> rows{logit, label, o.class_weight};
    auto frame = ctx.workspace().open();
    const auto by = scale(ctx, rows, o, frame.template take<double>(1));
    each_row(ctx, usable(logit), add_cross_entropy_derivatives<T, Labels>{rows, d_value, by, d_logit});
  }

 private:
  /// Without a class, every label is a fault.
  template <class T>
  static index_t usable(matrix_view<const T, device_space> logit) {
    return logit.cols > 0 ? logit.rows : 0;
  }
  template <class T, class Labels>
  static cross_entropy_scale scale(cuda_context& ctx, const cross_entropy_rows<T, Labels>& rows, const options<T>& o,
                                   double* weights) {
    if (o.reduce == reduction::sum || o.class_weight.size == 0)
      return {reduction_scale(o.reduce, rows.logit.rows), nullptr};
    sum_each(ctx, usable(rows.logit), cross_entropy_weights<T, Labels>{rows}, scaled_into<double>{1, weights});
    return {1, weights};
  }
};

}  // namespace stroma::detail
