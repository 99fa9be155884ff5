#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>

#include <stroma/autodiff/graph.hpp>
#include <stroma/pooling/detail/reduce.hpp>

namespace stroma {

template <class Space>
struct log_sum_exp_pool_options_in {
  double sharpness = 1;                           ///< r, above 0: towards 0 the mean, towards infinity the maximum
  vector_view<const std::uint8_t, Space> mask{};  ///< [N], 0 leaves an instance out; empty: all take part
  bool check_values = true;                       ///< features must be finite
};
using log_sum_exp_pool_options = log_sum_exp_pool_options_in<host_space>;

namespace detail {

template <class Backend>
struct log_sum_exp_pool_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/pooling/log_sum_exp_pool.cuh> and compile with nvcc");

  /// sum = sum over the part's instances of exp(r (x - top)); top is their maximum, or 0 where that is not finite.
  template <class T, class Instances>
  static void part_sums(index_t cols, const Instances& instances, T sharpness, T* top, T* sum) {
    using s = simd<T>;
    std::fill_n(top, cols, -std::numeric_limits<T>::infinity());
    std::fill_n(sum, cols, T(0));
    instances([&](index_t, const T* x) {
      map_packets(cols, x, top, top, [](const auto& a, const auto& b) { return s::max(a, b); });
    });
    for (index_t j = 0; j < cols; ++j)
      if (!std::isfinite(top[j])) top[j] = 0;
    const auto r = s::set(sharpness);
    instances([&](index_t, const T* x) {
      map_packets(cols, x, top, sum, sum, [&](const auto& a, const auto& high, const auto& total) {
        return s::add(total, s::exp(s::mul(r, s::sub(a, high))));
      });
    });
  }

  template <class Rows, class T>
  static void forward(cpu_context& ctx, const Rows& source, vector_view<const index_t> offsets, matrix_view<T> out,
                      double sharpness, const pool_request& request) {
    const index_t cols = out.cols;
    auto frame = ctx.workspace().open();
    T* const tops = frame.template take<T>(segment_part_count(offsets) * cols);
    T* const sums = frame.template take<T>(segment_part_count(offsets) * cols);
    for_each_instance_tile<T>(
        ctx, source, cols, offsets, request, [&](const segment_part&, index_t number, const auto& instances) {
          part_sums(cols, instances, static_cast<T>(sharpness), tops + number * cols, sums + number * cols);
        });
    for_each_bag(offsets, [&](index_t b, index_t first, index_t parts) {
      const auto count = static_cast<double>(count_taking_part(offsets, b, request.mask));
      for (index_t j = 0; j < cols; ++j) {
        double top = -HUGE_VAL, total = 0;
        for (index_t k = first * cols + j; k < (first + parts) * cols; k += cols)
          if (sums[k] != T(0)) top = std::fmax(top, static_cast<double>(tops[k]));
        for (index_t k = first * cols + j; k < (first + parts) * cols; k += cols)
          if (sums[k] != T(0))
            total += static_cast<double>(sums[k]) * std::exp(sharpness * (static_cast<double>(tops[k]) - top));
        out(b, j) = static_cast<T>(total == 0 ? -HUGE_VAL : top + std::log(total / count) / sharpness);
      }
    });
  }

  /// d_x += d_out exp(r (x - out)) / count
  template <class Rows, class T>
  static void backward(cpu_context& ctx, const Rows& source, vector_view<const index_t> offsets,
                       matrix_view<const T> out, matrix_view<const T> d_out, matrix_view<T> d_x, double sharpness,
                       vector_view<const std::uint8_t> mask) {
    using s = simd<T>;
    const index_t cols = out.cols;
    auto frame = ctx.workspace().open();
    T* const share = frame.template take<T>(out.rows * cols);
    T* const high = frame.template take<T>(out.rows * cols);
    T* const rows = frame.template take<T>(segment_part_count(offsets) * cols);
    for (index_t b = 0; b < out.rows; ++b) {
      const auto count = static_cast<T>(count_taking_part(offsets, b, mask));
      for (index_t j = 0; j < cols; ++j) {
        share[b * cols + j] = d_out(b, j) / count;
        high[b * cols + j] = out(b, j);
      }
    }
    const auto r = s::set(static_cast<T>(sharpness));
    for_each_instance_tile<T>(ctx, source, cols, offsets, {"", mask, false},
                              [&](const segment_part& part, index_t number, const auto& instances) {
                                const T* const factor = share + part.segment * cols;
                                T* const row = rows + number * cols;
                                instances([&](index_t i, const T* x) {
                                  map_packets(cols, x, high + part.segment * cols, factor, row,
                                              [&](const auto& a, const auto& top, const auto& f) {
                                                return s::mul(f, s::exp(s::mul(r, s::sub(a, top))));
                                              });
                                  for (index_t j = 0; j < cols; ++j) d_x(part.first + i, j) += row[j];
                                });
                              });
  }
};

inline void check_sharpness(std::string_view function, double sharpness) {
  if (sharpness > 0 && std::isfinite(sharpness)) return;
  throw value_error(
      error_message(function, "sharpness", number_text(static_cast<double>(sharpness)), "a finite number above 0"));
}

}  // namespace detail

/// A smooth maximum of the instances of every bag:
///   out(b, j) = 1/r log( mean over n in bag b of exp(r x(n, j)) ),   r the sharpness
/// No exp of a raw feature is formed: features of any finite size are safe.
/// @param bags [N, D] instances and the offsets of B bags; in the scalar of out, half or bfloat16 (widened by tiles)
/// @param out  [B, D] overwritten
/// Cost: O(N D) with one exp for each feature, scratch for one tile a thread and the sums of all tiles. A bag's result
/// does not depend on the other bags or on the number of threads.
/// @throws shape_error  extents; a bag without instances   @throws value_error  the sharpness; a bag whose instances
/// are all masked; features that are not finite (unless options.check_values is false)
///
/// Reference: Pinheiro and Collobert 2015.
template <execution_context Context, bag_like Bags, matrix_like Y>
  requires same_space<Context, Bags, Y> && (std::same_as<scalar_of<Bags>, scalar_of<Y>> || is_narrow<scalar_of<Bags>>)
void log_sum_exp_pool(Context& ctx, const Bags& bags, Y&& out,
                      const log_sum_exp_pool_options_in<space_of<Bags>>& options = {}) {
  const auto x = as_const_view(bags);
  const matrix_view<scalar_of<Y>, typename Context::space> y = as_view(out);
  detail::check_sharpness("log_sum_exp_pool", options.sharpness);
  detail::check_pool(ctx, "log_sum_exp_pool", x.offsets, x.instances.rows, x.instances.cols, y, options.mask);
  detail::log_sum_exp_pool_kernel<typename Context::backend>::forward(
      ctx, detail::stored_rows{x.instances}, x.offsets, y, options.sharpness,
      {"log_sum_exp_pool", options.mask, options.check_values});
}

/// Where log_sum_exp_pool_backward reads the forward call's result and its derivative, and where it adds.
template <class T, class Space = host_space>
struct log_sum_exp_pool_gradients {
  matrix_view<const T, Space> out{};    ///< [B, D] what log_sum_exp_pool gave
  matrix_view<const T, Space> d_out{};  ///< [B, D]
  matrix_view<T, Space> instances{};    ///< [N, D] added to
};

/// d_x(n, j) += d_out(b, j) exp(r (x(n, j) - out(b, j))) / (instances of n's bag b that take part).
/// @param bags [N, D] as in the forward call   Cost: O(N D).   @throws shape_error, value_error
template <execution_context Context, bag_like Bags, class T>
  requires same_space<Context, Bags>
void log_sum_exp_pool_backward(Context& ctx, const Bags& bags,
                               const log_sum_exp_pool_gradients<T, space_of<Bags>>& gradients,
                               const log_sum_exp_pool_options_in<space_of<Bags>>& options = {}) {
  constexpr auto name = "log_sum_exp_pool_backward";
  const auto x = as_const_view(bags);
  detail::check_sharpness(name, options.sharpness);
  detail::check_pool(ctx, name, x.offsets, x.instances.rows, x.instances.cols, gradients.out, options.mask);
  check::shape(name, "d_out", gradients.d_out, gradients.out.rows, gradients.out.cols);
  check::shape(name, "gradients.instances", gradients.instances, x.instances.rows, x.instances.cols);
  detail::log_sum_exp_pool_kernel<typename Context::backend>::backward(
      ctx, detail::stored_rows{x.instances}, x.offsets, gradients.out, gradients.d_out, gradients.instances,
      options.sharpness, options.mask);
}

/// Recorded on a graph: instances [N, D] with the offsets of their bags, or one bag, to [B, D]. In inference a chain of
/// verbs that work row by row is evaluated here, tile by tile, and never stored.
template <class T, class Backend>
node log_sum_exp_pool(graph<T, Backend>& g, node instances,
                      const log_sum_exp_pool_options_in<typename Backend::space>& options = {}) {
  using kernel = detail::log_sum_exp_pool_kernel<Backend>;
  const auto extents = g.shape(instances);
  const auto offsets = detail::offsets_of(g, instances);
  detail::check_sharpness("log_sum_exp_pool", options.sharpness);
  value_checks<Backend>::bags(g.context(), "log_sum_exp_pool", offsets, extents.rows, options.mask);
  const auto mask = g.keep(options.mask);
  const double r = options.sharpness;
  const auto emitted = g.emit(offsets.size - 1, extents.cols, {instances});
  const node out = emitted.first;
  kernel::forward(g.context(), detail::graph_rows<T, Backend>{&g, instances, extents.rows, extents.cols}, offsets,
                  emitted.second, r, {"log_sum_exp_pool", mask, options.check_values});
  g.on_backward(out, [=](graph<T, Backend>& at) {
    const detail::graph_rows<T, Backend> source{&at, instances, extents.rows, extents.cols};
    kernel::backward(at.context(), source, offsets, at.value(out), at.gradient(out), at.gradient_of(instances), r,
                     mask);
  });
  return out;
}

}  // namespace stroma
