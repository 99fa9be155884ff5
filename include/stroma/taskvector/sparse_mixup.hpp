#pragma once
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <type_traits>

#include <stroma/optim/parameter_update.hpp>
#include <stroma/taskvector/vector_stack.hpp>

namespace stroma {

struct sparse_mixup_options {
  index_t top_k = 5;         ///< sources that take part: those of the largest weights, of equal ones the first
  bool check_values = true;  ///< weights and shares must be finite
};

/// A model mixed from task vectors.
template <class T, class Space = host_space>
struct sparse_mixup_output {
  vector_view<T, Space> merged{};          ///< [size of the stack] parameters
  vector_view<index_t, Space> selected{};  ///< [min(top_k, sources)] sources, from the largest weight on
  vector_view<T, Space> coefficient{};     ///< [sources + 1] of each row of the stack
};

namespace detail {

template <class Backend>
struct sparse_mixup_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/taskvector/sparse_mixup.cuh> and compile with nvcc");

  template <class T, class Storage>
  static void forward(cpu_context& ctx, vector_view<const T> weight, vector_view<const T> share,
                      matrix_view<const Storage> rows, vector_view<const T> base, const sparse_mixup_output<T>& out) {
    select(weight, out.selected);
    mix(weight, share, out);
    for_each_piece(ctx, base.size, [&](index_t first, index_t count) {
      std::array<T, tile> sum;
      for (index_t at = first; at < first + count; at += tile) {
        const index_t n = std::min(tile, first + count - at);
        std::fill_n(sum.data(), n, T(0));  // the small differences meet each other before they meet the base
        for (index_t j = 0; j < rows.rows; ++j)
          if (out.coefficient[j] != T(0)) add(n, out.coefficient[j], &rows(j, at), sum.data());
        for (index_t i = 0; i < n; ++i) out.merged[at + i] = base[at + i] + sum[static_cast<std::size_t>(i)];
      }
    });
  }

  /// With D = d loss / d merged and g_j = D . row_j:
  ///   d weight_j += (1 - share_j) g_j + share_j g_target,   d share_j += weight_j (g_target - g_j)   of the selected
  template <class T, class Storage>
  static void backward(cpu_context& ctx, vector_view<const T> d_merged, matrix_view<const Storage> rows,
                       vector_view<const T> weight, vector_view<const T> share, vector_view<const index_t> selected,
                       vector_view<T> d_weight, vector_view<T> d_share) {
    auto scratch = ctx.workspace().open();
    const index_t k = selected.size, pieces = (d_merged.size + update_piece - 1) / update_piece;
    if (k == 0) return;
    double* const sums = scratch.template take<double>(pieces * (k + 1));
    for_each_piece(ctx, d_merged.size, [&](index_t first, index_t count) {
      double* const to = sums + first / update_piece * (k + 1);
      for (index_t j = 0; j <= k; ++j)
        to[j] = dot(count, &d_merged[first], &rows(j < k ? selected[j] : rows.rows - 1, first));
    });
    for (index_t p = 1; p < pieces; ++p)
      for (index_t j = 0; j <= k; ++j) sums[j] += sums[p * (k + 1) + j];
    for (index_t j = 0; j < k; ++j) {
      const index_t s = selected[j];
      const auto l = static_cast<double>(share[s]), target = sums[k];
      if (d_weight.size != 0) d_weight[s] += static_cast<T>((1 - l) * sums[j] + l * target);
      if (d_share.size != 0) d_share[s] += static_cast<T>(static_cast<double>(weight[s]) * (target - sums[j]));
    }
  }

  /// The sources of the largest weights, in falling order; of equal ones the first. O(sources k).
  template <class T>
  static void select(vector_view<const T> weight, vector_view<index_t> selected) {
    index_t found = 0;
    for (index_t j = 0; j < weight.size; ++j) {
      index_t at = found;
      while (at > 0 && weight[selected[at - 1]] < weight[j]) --at;
      if (at == selected.size) continue;
      found = std::min(found + 1, selected.size);
      for (index_t i = found - 1; i > at; --i) selected[i] = selected[i - 1];
      selected[at] = j;
    }
  }

 private:
  static constexpr index_t tile = 1024;

  template <class T>
  static void mix(vector_view<const T> weight, vector_view<const T> share, const sparse_mixup_output<T>& out) {
    for (index_t j = 0; j <= weight.size; ++j) out.coefficient[j] = T(0);
    for (index_t j = 0; j < out.selected.size; ++j) {
      const index_t s = out.selected[j];
      out.coefficient[s] = weight[s] * (T(1) - share[s]);
      out.coefficient[weight.size] += weight[s] * share[s];
    }
  }
  template <class T, class Storage>
  static void add(index_t n, T c, const Storage* x, T* sum) {
    for (index_t i = 0; i < n; ++i) sum[i] += c * widen<T>(x[i]);
  }
  /// Sums of a few in T, whose sums are kept in double, both in lanes: no addition waits for the one before.
  template <class T, class Storage>
  static double dot(index_t n, const T* a, const Storage* b) {
    constexpr index_t lanes = 32, run = 8 * lanes;
    double total[lanes] = {};
    index_t first = 0;
    for (; first + run <= n; first += run) {
      T sum[lanes] = {};
      for (index_t i = first; i < first + run; i += lanes)
        for (index_t l = 0; l < lanes; ++l) sum[l] += a[i + l] * widen<T>(b[i + l]);
      for (index_t l = 0; l < lanes; ++l) total[l] += static_cast<double>(sum[l]);
    }
    for (; first < n; ++first) total[first % lanes] += static_cast<double>(a[first]) * widen<double>(b[first]);
    double all = 0;
    for (const double t : total) all += t;
    return all;
  }
};

template <class Context, class T, class Stack, class Space>
void check_sparse_mixup(Context& ctx, vector_view<const T, Space> weight, vector_view<const T, Space> share,
                        const Stack& stack, const sparse_mixup_options& options) {
  constexpr auto name = "sparse_mixup";
  check::length(name, "weight", weight.size, stack.sources(), "the sources of the stack");
  check::same_length(name, "share", share, "weight", weight);
  check::in_range(name, "top_k", options.top_k, index_t{0}, std::numeric_limits<index_t>::max());
  if (!options.check_values) return;
  value_checks<typename Context::backend>::finite(ctx, name, "weight", weight);
  value_checks<typename Context::backend>::finite(ctx, name, "share", share);
}

}  // namespace detail

/// Model parameters mixed from task vectors, a few of many sources:
///
///   merged = base + sum over j in S of w_j [ (1 - share_j) v_j + share_j v_target ],   S = the top_k largest w_j
///
/// A source of weight 0 changes nothing, whether it is selected or not. Weights are not normalised over S; with no
/// weight above 0 the result is the base.
/// @param weight [sources]   @param share [sources] of the target in each mixture   @param stack the task vectors
/// @param out    all overwritten; selected has min(top_k, sources) entries
/// Cost: one pass over the rows with a coefficient, no temporary of their size; its derivative reads the selected rows
/// and the target's once. On a device three launches, and two for the derivative. The same bits for any number of
/// threads.   @throws shape_error, value_error   Reference: STEPH, CVPR 2026.
template <execution_context Context, vector_like Weights, vector_like Shares, class T, class Storage>
  requires same_space<Context, Weights, Shares>
void sparse_mixup(Context& ctx, const Weights& weight, const Shares& share,
                  const vector_stack<T, typename Context::backend, Storage>& stack,
                  const sparse_mixup_output<T, typename Context::space>& out,
                  const sparse_mixup_options& options = {}) {
  constexpr auto name = "sparse_mixup";
  const vector_view<const T, typename Context::space> w = as_const_view(weight), s = as_const_view(share);
  detail::check_sparse_mixup(ctx, w, s, stack, options);
  check::length(name, "merged", out.merged.size, stack.size(), "the size of the stack");
  check::length(name, "selected", out.selected.size, std::min(options.top_k, w.size), "top_k, at most the sources");
  check::length(name, "coefficient", out.coefficient.size, w.size + 1, "the sources and the target");
  detail::sparse_mixup_kernel<typename Context::backend>::forward(ctx, w, s, stack.rows(), stack.base(), out);
}

/// Nodes of a mixture.
template <class T, class Backend>
struct mixed_model {
  node merged;                                               ///< [1, size of the stack]
  vector_view<index_t, typename Backend::space> selected{};  ///< until the graph's reset
  vector_view<T, typename Backend::space> coefficient{};     ///< [sources + 1], until the graph's reset
};

/// Recorded on a graph: weight and share [1, sources] of one bag. `stack` must outlive the graph's step; hand the
/// result to its `substitute`.
template <class T, class Backend, class Storage>
mixed_model<T, Backend> sparse_mixup(graph<T, Backend>& g, node weight, node share,
                                     const vector_stack<T, Backend, Storage>& stack,
                                     const sparse_mixup_options& options = {}) {
  using kernel = detail::sparse_mixup_kernel<Backend>;
  using space = typename Backend::space;
  const vector_view<const T, space> w = detail::as_vector("sparse_mixup", "weight", g.value(weight)),
                                    s = detail::as_vector("sparse_mixup", "share", g.value(share));
  detail::check_sparse_mixup(g.context(), w, s, stack, options);
  const index_t selected = std::min(options.top_k, w.size);
  const auto emitted = g.emit(1, stack.size(), {weight, share});
  mixed_model<T, Backend> out{
      emitted.first, {g.template take<index_t>(selected), selected}, {g.template take<T>(w.size + 1), w.size + 1}};
  kernel::forward(g.context(), w, s, stack.rows(), stack.base(),
                  sparse_mixup_output<T, space>{emitted.second.row(0), out.selected, out.coefficient});
  g.on_backward(out.merged, [=, rows = stack.rows(), at = out.merged,
                             chosen = vector_view<const index_t, space>(out.selected)](graph<T, Backend>& r) {
    const auto gradient = [&](node n) {
      return r.needs_gradient(n) ? detail::as_vector("sparse_mixup", "gradient", r.gradient_of(n))
                                 : vector_view<T, space>{};
    };
    kernel::backward(r.context(), vector_view<const T, space>(r.gradient(at).row(0)), rows, w, s, chosen,
                     gradient(weight), gradient(share));
  });
  return out;
}

}  // namespace stroma
