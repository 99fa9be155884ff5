#pragma once
#include <algorithm>
#include <concepts>

#include <stroma/nn/linear.hpp>
#include <stroma/pooling/mean_pool.hpp>

namespace stroma {

namespace detail {

template <class Backend>
struct mean_embedding_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/pooling/mean_embedding.cuh> and compile with nvcc");

  /// d_weight(h, :) += factor d_out(0, h) slopes(h, :)
  template <class T>
  static void add_scaled_rows(cpu_context& ctx, T factor, matrix_view<const T> d_out, matrix_view<const T> slopes,
                              matrix_view<T> d_weight) {
    ctx.parallel(d_weight.rows, [&](index_t h, int) {
      const T scale = factor * d_out(0, h);
      for (index_t j = 0; j < d_weight.cols; ++j) d_weight(h, j) += scale * slopes(h, j);
    });
  }
};

/// Rows that are embedded at a time: enough for the products' rate, and with 512 numbers each still in the cache.
inline constexpr index_t embedded_rows = 4 * tile_rows;

/// Writes the mean embedding of one bag, and the sums of slopes that its derivatives need.
template <class T, class Backend>
void embed_with_slopes(graph<T, Backend>& g, node instances, matrix_view<const T, typename Backend::space> weight,
                       vector_view<const T, typename Backend::space> bias, activation f,
                       matrix_view<T, typename Backend::space> out, matrix_view<T, typename Backend::space> slopes,
                       matrix_view<T, typename Backend::space> slope_sum) {
  using ops = primitives<Backend>;
  using matrix = matrix_view<T, typename Backend::space>;
  using const_matrix = matrix_view<const T, typename Backend::space>;
  auto& ctx = g.context();
  const index_t rows = g.shape(instances).rows, width = weight.rows;
  auto frame = ctx.workspace().open();
  const index_t room = std::min(rows, embedded_rows) * width;
  T* const values = frame.template take<T>(room);
  T* const derivatives = frame.template take<T>(room);
  const matrix sum(frame.template take<T>(width), 1, width);
  for (const matrix& to : {sum, out, slopes, slope_sum}) ops::fill(ctx, to, T(0));
  for (index_t first = 0; first < rows; first += embedded_rows) {
    const index_t count = std::min(embedded_rows, rows - first);
    const matrix h(values, count, width), d(derivatives, count, width);
    g.visit(instances, [&](auto all) {
      const auto x = all.middle_rows(first, count);
      ops::gemm(ctx, x, weight.transposed(), h, bias, f);
      ops::add_column_sums(ctx, const_matrix(h), sum.row(0));
      ops::fill(ctx, d, T(1));
      ops::scale_by_derivative(ctx, f, const_matrix(h), const_matrix(h), const_matrix(d), d);
      ops::add_column_sums(ctx, const_matrix(d), slope_sum.row(0));
      ops::gemm_add(ctx, const_matrix(d).transposed(), x, slopes);
    });
  }
  ops::axpy(ctx, T(1) / static_cast<T>(rows), const_matrix(sum), out);
}

}  // namespace detail

/// The mean over a bag's instances of a fully connected layer, u = mean over n of f(W x_n + b), on a graph: a bag
/// [N, in] to [1, out], several to [bags, out]. The same numbers, to rounding, as mean_pool(linear(..)).
///
/// In training one bag is read once, for both passes, and nothing of its N rows is kept: beside u are made
/// S = sum over n of f'(W x_n + b) x_n^T [out, in] and s = sum over n of f'(W x_n + b), from which for any derivative
/// du that arrives later dW(h, :) += du_h S(h, :) / N and db_h += du_h s_h / N. Several bags, instances that need
/// gradients themselves, and gelu, whose derivative is no function of its value, take the two verbs apart.
///
/// @param weight [out, in]   @param bias [out] or the empty node
/// Cost: 4 N in out flops, all in the forward pass; memory out in numbers, whatever N; in inference 2 N in out flops.
/// @throws shape_error; value_error if a feature or a parameter is not finite
template <class T, class Backend>
node mean_embedding(graph<T, Backend>& g, node instances, node weight, node bias,
                    const linear_options& options = {.activate = activation::relu}) {
  using space = typename Backend::space;
  using matrix = matrix_view<T, space>;
  const bool learns = g.needs_gradient(weight) || g.needs_gradient(bias);
  if (!learns || g.offsets(instances).size > 0 || g.needs_gradient(instances) || g.shape(instances).rows == 0 ||
      options.activate == activation::gelu)
    return mean_pool(g, linear(g, instances, weight, bias, options));

  const auto w = g.value(weight);
  const auto b = bias.id < 0 ? vector_view<const T, space>{} : g.value(bias).row(0);
  const index_t rows = g.shape(instances).rows;
  check::columns("mean_embedding", "instances", g.shape(instances).cols, w.cols, "the width of weight");
  if (bias.id >= 0) {
    check::shape("mean_embedding", "bias", g.value(bias), 1, w.rows);
    detail::check_unit_columns("mean_embedding", "bias", b.stride, w.rows);
  }
  const auto [out, u] = g.emit(1, w.rows, {weight, bias});
  const matrix slopes(g.template take<T>(w.rows * w.cols), w.rows, w.cols);
  const matrix slope_sum(g.template take<T>(w.rows), 1, w.rows);
  detail::embed_with_slopes(g, instances, w, b, options.activate, u, slopes, slope_sum);
  value_checks<Backend>::finite(g.context(), "mean_embedding", "the mean over instances", u.row(0));
  g.on_backward(out, [=, node_of_mean = out](graph<T, Backend>& r) {
    using kernel = detail::mean_embedding_kernel<Backend>;
    const auto d = r.gradient(node_of_mean);
    const T factor = T(1) / static_cast<T>(rows);
    if (r.needs_gradient(weight))
      kernel::add_scaled_rows(r.context(), factor, d, r.value_of(slopes), r.gradient_of(weight));
    if (r.needs_gradient(bias))  // a bias's gradient is one row, each of whose numbers is a row of one column here
      kernel::add_scaled_rows(r.context(), factor, d, r.value_of(slope_sum).transposed(),
                              r.gradient_of(bias).transposed());
  });
  return out;
}

}  // namespace stroma
