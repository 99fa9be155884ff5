#pragma once
#include <algorithm>
#include <concepts>
#include <cstdint>

#include <stroma/autodiff/graph.hpp>
#include <stroma/pooling/detail/reduce.hpp>

namespace stroma {

template <class Space>
struct max_pool_options_in {
  vector_view<const std::uint8_t, Space> mask{};  ///< [N], 0 leaves an instance out; empty: all take part
  bool check_values = true;                       ///< features must be finite
};
using max_pool_options = max_pool_options_in<host_space>;

/// What max_pool gives: the maxima, and where they were found.
template <class T, class Space = host_space>
struct max_pool_output {
  matrix_view<T, Space> value{};        ///< [B, D]
  matrix_view<index_t, Space> first{};  ///< [B, D] or empty: the first row of `instances` that holds the maximum
};

namespace detail {

template <class Backend>
struct max_pool_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/pooling/max_pool.cuh> and compile with nvcc");

  /// Of two candidates in order the later, where it is larger, or the first NaN.
  template <class T, class Packet>
  static Packet choose(const Packet& x, const Packet& best, const Packet& if_x, const Packet& if_best) {
    using s = simd<T>;
    const Packet larger = s::select(s::less(best, x), if_x, if_best);
    return s::select(s::equal(best, best), s::select(s::equal(x, x), larger, if_x), if_best);
  }

  /// Maxima of one part; `row` holds the row of the part as a number of T, which is exact.
  template <class T, class Instances>
  static void part_maxima(index_t cols, const Instances& instances, T* value, T* row) {
    using s = simd<T>;
    static_assert(tile_rows <= 1 << 8);
    bool any = false;
    instances([&](index_t i, const T* x) {
      const auto here = s::set(static_cast<T>(i));
      const auto take = [&](index_t j, const auto& load, const auto& store) {
        const auto v = load(x + j), best = load(value + j), at = load(row + j);
        store(value + j, choose<T>(v, best, v, best));
        store(row + j, choose<T>(v, best, here, at));
      };
      if (!any) {
        std::copy_n(x, cols, value);
        std::fill_n(row, cols, static_cast<T>(i));
        any = true;
        return;
      }
      index_t j = 0;
      for (; j + s::lanes <= cols; j += s::lanes)
        take(
            j, [](const T* p) { return s::load(p); }, [](T* p, const auto& v) { s::store(p, v); });
      if (const index_t rest = cols - j; rest > 0)
        take(
            j, [rest](const T* p) { return s::load_part(p, rest); },
            [rest](T* p, const auto& v) { s::store_part(p, rest, v); });
    });
    if (!any) std::fill_n(row, cols, T(-1));
  }

  template <class Rows, class T>
  static void forward(cpu_context& ctx, const Rows& source, vector_view<const index_t> offsets,
                      const max_pool_output<T>& out, const pool_request& request) {
    const index_t cols = out.value.cols;
    auto frame = ctx.workspace().open();
    T* const values = frame.template take<T>(segment_part_count(offsets) * cols);
    T* const rows = frame.template take<T>(segment_part_count(offsets) * cols);
    for_each_instance_tile<T>(ctx, source, cols, offsets, request,
                              [&](const segment_part&, index_t number, const auto& instances) {
                                part_maxima(cols, instances, values + number * cols, rows + number * cols);
                              });
    for_each_bag(offsets, [&](index_t b, index_t first, index_t parts) {
      for (index_t j = 0; j < cols; ++j) {
        T best{};
        index_t at = -1;
        for (index_t p = 0; p < parts; ++p) {
          const index_t k = (first + p) * cols + j;
          const T x = values[k];
          if (rows[k] < T(0) || (at >= 0 && !(best < x || (x != x && best == best)))) continue;
          best = x;
          at = offsets[b] + p * tile_rows + static_cast<index_t>(rows[k]);
        }
        out.value(b, j) = best;
        if (out.first.data != nullptr) out.first(b, j) = at;
      }
    });
  }
  static void check_first(cpu_context&, matrix_view<const index_t> first, index_t rows) {
    for (index_t b = 0; b < first.rows; ++b)
      for (index_t j = 0; j < first.cols; ++j)
        if (first(b, j) < 0 || first(b, j) >= rows)
          throw value_error(error_message("max_pool_backward", "first", std::to_string(first(b, j)),
                                          "0 to " + std::to_string(rows - 1)));
  }
  template <class T>
  static void backward(cpu_context&, matrix_view<const index_t> first, matrix_view<const T> d_out, matrix_view<T> d_x) {
    for (index_t b = 0; b < first.rows; ++b)
      for (index_t j = 0; j < first.cols; ++j) d_x(first(b, j), j) += d_out(b, j);
  }
};

}  // namespace detail

/// Largest value of every feature in every bag: out(b, j) = max over n in bag b of x(n, j), and the first instance that
/// has it, which is where the gradient goes. NaN counts as the largest (where options.check_values lets it pass).
/// @param bags [N, D] instances and the offsets of B bags; in the scalar of out, half or bfloat16 (widened by tiles)
/// @param out  value [B, D] and, if wanted, first [B, D], overwritten
/// Cost: O(N D), scratch for one tile a thread and the maxima of all tiles. A bag's result does not depend on the other
/// bags or on the number of threads.
/// @throws shape_error  extents; a bag without instances   @throws value_error  a bag whose instances are all masked;
/// features that are not finite (unless options.check_values is false)
template <execution_context Context, bag_like Bags, class T>
  requires same_space<Context, Bags> && (std::same_as<scalar_of<Bags>, T> || is_narrow<scalar_of<Bags>>)
void max_pool(Context& ctx, const Bags& bags, const max_pool_output<T, space_of<Bags>>& out,
              const max_pool_options_in<space_of<Bags>>& options = {}) {
  const auto x = as_const_view(bags);
  detail::check_pool(ctx, "max_pool", x.offsets, x.instances.rows, x.instances.cols, out.value, options.mask);
  if (out.first.data != nullptr) check::shape("max_pool", "first", out.first, out.value.rows, out.value.cols);
  detail::max_pool_kernel<typename Context::backend>::forward(ctx, detail::stored_rows{x.instances}, x.offsets, out,
                                                              {"max_pool", options.mask, options.check_values});
}
/// The maxima alone.
template <execution_context Context, bag_like Bags, matrix_like Y>
  requires same_space<Context, Bags, Y> && (std::same_as<scalar_of<Bags>, scalar_of<Y>> || is_narrow<scalar_of<Bags>>)
void max_pool(Context& ctx, const Bags& bags, Y&& out, const max_pool_options_in<space_of<Bags>>& options = {}) {
  const matrix_view<scalar_of<Y>, typename Context::space> y = as_view(out);
  max_pool(ctx, bags, max_pool_output<scalar_of<Y>, typename Context::space>{y, {}}, options);
}

/// d_x(first(b, j), j) += d_out(b, j).
/// @param first [B, D] as max_pool gave it   @param d_out [B, D]   @param d_x [N, D] gradients of the instances
/// Cost: O(B D).   @throws shape_error, value_error (a row that d_x does not have)
template <execution_context Context, matrix_like First, matrix_like D, matrix_like Gradients>
  requires same_space<Context, First, D, Gradients> && std::same_as<scalar_of<First>, index_t> &&
           std::same_as<scalar_of<D>, scalar_of<Gradients>>
void max_pool_backward(Context& ctx, const First& first, const D& d_out, Gradients&& d_x) {
  const auto at = as_const_view(first);
  const auto d = as_const_view(d_out);
  const matrix_view<scalar_of<Gradients>, typename Context::space> target = as_view(d_x);
  check::shape("max_pool_backward", "first", at, d.rows, d.cols);
  check::columns("max_pool_backward", "d_x", target.cols, d.cols, "the columns of d_out");
  using kernel = detail::max_pool_kernel<typename Context::backend>;
  kernel::check_first(ctx, at, target.rows);
  kernel::backward(ctx, at, d, target);
}

/// Recorded on a graph: instances [N, D] with the offsets of their bags, or one bag, to [B, D]. In inference a chain of
/// verbs that work row by row is evaluated here, tile by tile, and never stored.
template <class T, class Backend>
node max_pool(graph<T, Backend>& g, node instances, const max_pool_options_in<typename Backend::space>& options = {}) {
  using kernel = detail::max_pool_kernel<Backend>;
  using space = typename Backend::space;
  const auto extents = g.shape(instances);
  const auto offsets = detail::offsets_of(g, instances);
  value_checks<Backend>::bags(g.context(), "max_pool", offsets, extents.rows, options.mask);
  const auto emitted = g.emit(offsets.size - 1, extents.cols, {instances});
  const node out = emitted.first;
  max_pool_output<T, space> result{emitted.second, {}};
  if (g.needs_gradient(out))
    result.first = {g.template take<index_t>((offsets.size - 1) * extents.cols), offsets.size - 1, extents.cols};
  kernel::forward(g.context(), detail::graph_rows<T, Backend>{&g, instances, extents.rows, extents.cols}, offsets,
                  result, {"max_pool", options.mask, options.check_values});
  const matrix_view<const index_t, space> first = result.first;
  g.on_backward(out, [=](graph<T, Backend>& r) {
    kernel::backward(r.context(), first, r.gradient(out), r.gradient_of(instances));
  });
  return out;
}

}  // namespace stroma
