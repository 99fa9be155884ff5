#pragma once
#include <concepts>
#include <string_view>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/loss.hpp>

/// What losses without targets share: the mean over a matrix's rows of a term of the row alone. A term is a struct of
/// two static functions for both sides, in double:
///
///   value(row)                        the term of a row
///   add_derivative(row, factor, d)    d[k] += factor times its derivative in row[k]
namespace stroma::detail {

template <class Backend>
struct row_mean_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include the .cuh beside the header and compile with nvcc");

  template <class Term, class T>
  static void forward(cpu_context&, matrix_view<const T> x, T* value) {
    double sum = 0;
    for (index_t r = 0; r < x.rows; ++r) sum += Term::value(x.row(r));
    scaled_into<T>{reduction_scale(reduction::mean, x.rows), value}(sum);
  }
  template <class Term, class T>
  static void backward(cpu_context&, matrix_view<const T> x, const T* d_value, matrix_view<T> d_x) {
    const double factor = static_cast<double>(*d_value) * reduction_scale(reduction::mean, x.rows);
    for (index_t r = 0; r < x.rows; ++r) Term::add_derivative(x.row(r), factor, d_x.row(r));
  }
};

/// Without a row it is 0.   @throws value_error
template <class Term, class Context, class T, class Space>
void row_mean(Context& ctx, std::string_view function, matrix_view<const T, Space> logit, T* value) {
  value_checks<typename Context::backend>::finite(ctx, function, "logit", logit);
  row_mean_kernel<typename Context::backend>::template forward<Term>(ctx, logit, value);
}

/// Adds d_value times the derivative to d_logit.   @throws shape_error
template <class Term, class Context, class T, class Space>
void row_mean_backward(Context& ctx, std::string_view function, matrix_view<const T, Space> logit, const T* d_value,
                       matrix_view<T, Space> d_logit) {
  check::shape(function, "d_logit", d_logit, logit.rows, logit.cols);
  row_mean_kernel<typename Context::backend>::template backward<Term>(ctx, logit, d_value, d_logit);
}

/// Recorded on a graph: logit [B, C] to [1, 1].
template <class Term, class T, class Backend>
node record_row_mean(graph<T, Backend>& g, std::string_view function, node logit) {
  const auto z = g.value(logit);
  const auto [out, value] = g.emit(1, 1, {logit});
  row_mean<Term>(g.context(), function, z, value.data);
  g.on_backward(out, [=, at = out](graph<T, Backend>& r) {
    row_mean_kernel<Backend>::template backward<Term>(r.context(), z, r.gradient(at).data, r.gradient_of(logit));
  });
  return out;
}

}  // namespace stroma::detail
