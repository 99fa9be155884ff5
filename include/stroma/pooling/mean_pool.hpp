#pragma once
#include <algorithm>
#include <concepts>
#include <cstdint>

#include <stroma/autodiff/graph.hpp>
#include <stroma/pooling/detail/reduce.hpp>

namespace stroma {

template <class Space>
struct mean_pool_options_in {
  vector_view<const std::uint8_t, Space> mask{};  ///< [N], 0 leaves an instance out; empty: all take part
  bool check_values = true;                       ///< features must be finite
};
using mean_pool_options = mean_pool_options_in<host_space>;

namespace detail {

template <class Backend>
struct mean_pool_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/pooling/mean_pool.cuh> and compile with nvcc");

  template <class Rows, class T>
  static void forward(cpu_context& ctx, const Rows& source, vector_view<const index_t> offsets, matrix_view<T> out,
                      const pool_request& request) {
    using s = simd<T>;
    const index_t cols = out.cols;
    auto frame = ctx.workspace().open();
    T* const sums = frame.template take<T>(segment_part_count(offsets) * cols);
    const auto add = [](const auto& a, const auto& b) { return s::add(a, b); };
    for_each_instance_tile<T>(ctx, source, cols, offsets, request,
                              [&](const segment_part&, index_t number, const auto& instances) {
                                T* const sum = sums + number * cols;
                                std::fill_n(sum, cols, T(0));
                                instances([&](index_t, const T* row) { map_packets(cols, sum, row, sum, add); });
                              });
    for_each_bag(offsets, [&](index_t b, index_t first, index_t parts) {
      T* const sum = sums + first * cols;
      for (index_t p = 1; p < parts; ++p) map_packets(cols, sum, sum + p * cols, sum, add);
      const auto count = static_cast<T>(count_taking_part(offsets, b, request.mask));
      for (index_t j = 0; j < cols; ++j) out(b, j) = sum[j] / count;
    });
  }
  template <class T>
  static void backward(cpu_context& ctx, vector_view<const index_t> offsets, matrix_view<const T> d_out,
                       matrix_view<T> d_x, vector_view<const std::uint8_t> mask) {
    auto frame = ctx.workspace().open();
    T* const share = frame.template take<T>(d_out.rows * d_out.cols);
    for (index_t b = 0; b < d_out.rows; ++b) {
      const auto count = static_cast<T>(count_taking_part(offsets, b, mask));
      for (index_t j = 0; j < d_out.cols; ++j) share[b * d_out.cols + j] = d_out(b, j) / count;
    }
    for_each_part<T>(ctx, offsets, 0, [&](const segment_part& part, index_t, tile_scratch<T>&) {
      const T* const from = share + part.segment * d_out.cols;
      for (index_t n = part.first; n < part.first + part.count; ++n) {
        if (!takes_part(mask, n)) continue;
        for (index_t j = 0; j < d_x.cols; ++j) d_x(n, j) += from[j];
      }
    });
  }
};

}  // namespace detail

/// Mean of the instances of every bag: out(b, j) = mean over n in bag b of x(n, j).
/// @param bags [N, D] instances and the offsets of B bags; in the scalar of out, half or bfloat16 (widened by tiles)
/// @param out  [B, D] overwritten
/// Cost: O(N D), scratch for one tile a thread and the sums of all tiles. Tiles are counted from the first row of a
/// bag, so a bag's result does not depend on the other bags or on the number of threads.
/// @throws shape_error  extents; a bag without instances   @throws value_error  a bag whose instances are all masked;
/// features that are not finite (unless options.check_values is false)
template <execution_context Context, bag_like Bags, matrix_like Y>
  requires same_space<Context, Bags, Y> && (std::same_as<scalar_of<Bags>, scalar_of<Y>> || is_narrow<scalar_of<Bags>>)
void mean_pool(Context& ctx, const Bags& bags, Y&& out, const mean_pool_options_in<space_of<Bags>>& options = {}) {
  const auto x = as_const_view(bags);
  const matrix_view<scalar_of<Y>, typename Context::space> y = as_view(out);
  detail::check_pool(ctx, "mean_pool", x.offsets, x.instances.rows, x.instances.cols, y, options.mask);
  detail::mean_pool_kernel<typename Context::backend>::forward(ctx, detail::stored_rows{x.instances}, x.offsets, y,
                                                               {"mean_pool", options.mask, options.check_values});
}

/// d_x(n, j) += d_out(b, j) / (instances of n's bag b that take part).
/// @param d_out [B, D]   @param d_bags [N, D] gradients of the instances, with the offsets of the B bags
/// Cost: O(N D).   @throws shape_error, value_error
template <execution_context Context, matrix_like D, bag_like Gradients>
  requires same_space<Context, D, Gradients> && std::same_as<scalar_of<D>, scalar_of<Gradients>>
void mean_pool_backward(Context& ctx, const D& d_out, Gradients&& d_bags,
                        const mean_pool_options_in<space_of<D>>& options = {}) {
  const auto d = as_const_view(d_out);
  const bag_view<scalar_of<Gradients>, typename Context::space> target = as_view(d_bags);
  using checks = value_checks<typename Context::backend>;
  checks::offsets(ctx, "mean_pool_backward", "offsets", target.offsets, target.instances.rows);
  checks::bags(ctx, "mean_pool_backward", target.offsets, target.instances.rows, options.mask);
  check::shape("mean_pool_backward", "d_out", d, target.count(), target.instances.cols);
  detail::mean_pool_kernel<typename Context::backend>::backward(ctx, target.offsets, d, target.instances, options.mask);
}

/// Recorded on a graph: instances [N, D] with the offsets of their bags, or one bag, to [B, D]. In inference a chain of
/// verbs that work row by row is evaluated here, tile by tile, and never stored.
template <class T, class Backend>
node mean_pool(graph<T, Backend>& g, node instances,
               const mean_pool_options_in<typename Backend::space>& options = {}) {
  using kernel = detail::mean_pool_kernel<Backend>;
  const auto extents = g.shape(instances);
  const auto offsets = detail::offsets_of(g, instances);
  value_checks<Backend>::bags(g.context(), "mean_pool", offsets, extents.rows, options.mask);
  const auto mask = g.keep(options.mask);
  const auto emitted = g.emit(offsets.size - 1, extents.cols, {instances});
  const node out = emitted.first;
  kernel::forward(g.context(), detail::graph_rows<T, Backend>{&g, instances, extents.rows, extents.cols}, offsets,
                  emitted.second, {"mean_pool", mask, options.check_values});
  g.on_backward(out, [=](graph<T, Backend>& r) {
    kernel::backward(r.context(), offsets, r.gradient(out), r.gradient_of(instances), mask);
  });
  return out;
}

}  // namespace stroma
