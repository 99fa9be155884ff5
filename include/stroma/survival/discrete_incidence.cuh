#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/survival/discrete_incidence.hpp>

namespace stroma::detail {

/// A thread for each row: bins are few.
template <class T, class Bins, class Events>
struct incidence_rows {
  matrix_view<const T, device_space> logit;
  vector_view<const Bins, device_space> bin;
  vector_view<const Events, device_space> event;
  discrete_incidence_options options;
  __device__ incidence_row<T, device_space> at(index_t r) const {
    return {{logit.row(r), options.model}, clamped_label(bin[r], logit.cols), event[r] != Events(0), options.alpha};
  }
  __device__ double operator()(index_t r) const { return at(r).loss(options.beyond_last_bin); }
};
template <class T, class Bins, class Events>
struct add_incidence_derivatives {
  incidence_rows<T, Bins, Events> rows;
  const T* d_value;
  double scale;
  matrix_view<T, device_space> d_logit;
  __device__ void operator()(index_t r) const {
    rows.at(r).differentiate(static_cast<double>(*d_value) * scale, d_logit.row(r));
  }
};
template <class T>
struct incidence_curves {
  matrix_view<const T, device_space> logit;
  incidence_model model;
  matrix_view<T, device_space> out;
  __device__ void operator()(index_t r) const {
    write_survival(incidence_terms<T, device_space>{logit.row(r), model}, out.row(r));
  }
};

template <>
struct discrete_incidence_kernel<backend::cuda> {
  template <class T, class Bins, class Events>
  static void forward(cuda_context& ctx, matrix_view<const T, device_space> logit,
                      vector_view<const Bins, device_space> bin, vector_view<const Events, device_space> event,
                      T* value, const discrete_incidence_options& options) {
    sum_each(ctx, logit.rows, incidence_rows<T, Bins, Events>{logit, bin, event, options},
             scaled_into<T>{reduction_scale(options.reduce, logit.rows), value});
  }
  template <class T, class Bins, class Events>
  static void backward(cuda_context& ctx, matrix_view<const T, device_space> logit,
                       vector_view<const Bins, device_space> bin, vector_view<const Events, device_space> event,
                       const T* d_value, matrix_view<T, device_space> d_logit,
                       const discrete_incidence_options& options) {
    each(ctx, logit.rows,
         add_incidence_derivatives<T, Bins, Events>{
             {logit, bin, event, options}, d_value, reduction_scale(options.reduce, logit.rows), d_logit});
  }
  template <class T>
  static void curve(cuda_context& ctx, matrix_view<const T, device_space> logit, incidence_model model,
                    matrix_view<T, device_space> out) {
    each(ctx, logit.rows, incidence_curves<T>{logit, model, out});
  }
};

}  // namespace stroma::detail
