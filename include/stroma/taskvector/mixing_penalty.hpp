#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <string_view>

#include <stroma/taskvector/sparse_mixup.hpp>

namespace stroma {

/// Factors of the terms; 0 leaves one out.
struct mixing_penalty_options {
  index_t top_k = 5;           ///< as in sparse_mixup: the sources that the last two terms are about
  double aggregation = 0.005;  ///< of (log sum over all sources of exp weight)^2
  double balance = 0.005;      ///< of the mean selected weight; in the published code, not in the paper
  double share = 0.05;         ///< of the mean squared share of the target in the selected
};

template <class T, class Space = host_space>
struct mixing_penalty_output {
  T* value{};                        ///< one number
  matrix_view<T, Space> d_weight{};  ///< [B, sources] d value / d weight, overwritten; empty: not computed
  matrix_view<T, Space> d_share{};   ///< [B, sources] d value / d share, overwritten; empty: not computed
};

namespace detail {

template <class Backend>
struct mixing_penalty_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/taskvector/mixing_penalty.cuh> and compile with nvcc");

  template <class T>
  static void run(cpu_context& ctx, matrix_view<const T> weight, matrix_view<const T> share,
                  const mixing_penalty_options& options, const mixing_penalty_output<T>& out) {
    auto scratch = ctx.workspace().open();
    const index_t bags = weight.rows, k = std::min(options.top_k, weight.cols);
    const vector_view<index_t> selected(scratch.template take<index_t>(k), k);
    const double part = 1 / static_cast<double>(std::max<index_t>(bags, 1));
    double sum = 0;
    for (index_t b = 0; b < bags; ++b) {
      const auto w = weight.row(b), s = share.row(b);
      sparse_mixup_kernel<backend::cpu>::select(w, selected);
      const double of_weights = log_sum_exp(w), each = k > 0 ? part / static_cast<double>(k) : 0;
      sum += part * options.aggregation * of_weights * of_weights;
      for (index_t j = 0; j < w.size; ++j) {
        const double softmax = std::exp(static_cast<double>(w[j]) - of_weights);
        if (out.d_weight.data != nullptr)
          out.d_weight(b, j) = static_cast<T>(2 * part * options.aggregation * of_weights * softmax);
        if (out.d_share.data != nullptr) out.d_share(b, j) = T(0);
      }
      for (const index_t* j = selected.data; j != selected.data + k; ++j) {
        const auto share_j = static_cast<double>(s[*j]);
        sum += each * (options.balance * static_cast<double>(w[*j]) + options.share * share_j * share_j);
        if (out.d_weight.data != nullptr) out.d_weight(b, *j) += static_cast<T>(each * options.balance);
        if (out.d_share.data != nullptr) out.d_share(b, *j) = static_cast<T>(2 * each * options.share * share_j);
      }
    }
    *out.value = static_cast<T>(sum);
  }

 private:
  template <class T>
  static double log_sum_exp(vector_view<const T> w) {
    if (w.size == 0) return 0;
    double peak = static_cast<double>(w[0]), sum = 0;
    for (index_t j = 1; j < w.size; ++j) peak = std::max(peak, static_cast<double>(w[j]));
    for (index_t j = 0; j < w.size; ++j) sum += std::exp(static_cast<double>(w[j]) - peak);
    return peak + std::log(sum);
  }
};

inline void check_mixing_penalty(std::string_view name, const mixing_penalty_options& o) {
  check::in_range(name, "top_k", o.top_k, index_t{0}, std::numeric_limits<index_t>::max());
  for (const double factor : {o.aggregation, o.balance, o.share})
    check::require(std::isfinite(factor), name, "a factor", number_text(factor), "a finite number");
}

}  // namespace detail

/// What a hypernetwork pays for its weights w and shares s, as the mean over bags of
///
///   aggregation (log sum over all j of exp w_j)^2 + balance / K sum over S of w_j + share / K sum over S of s_j^2
///
/// with S the K = min(top_k, sources) sources of the largest weights, of equal ones the first.
/// @param weight, share [B, sources]   @param out value, and unless empty the derivatives
/// Cost: O(B sources top_k). Sums in double.   @throws shape_error, value_error   Reference: STEPH, CVPR 2026.
template <execution_context Context, matrix_like Weights, matrix_like Shares>
  requires same_space<Context, Weights, Shares> && std::same_as<scalar_of<Weights>, scalar_of<Shares>>
void mixing_penalty(Context& ctx, const Weights& weight, const Shares& share,
                    const mixing_penalty_output<scalar_of<Weights>, typename Context::space>& out,
                    const mixing_penalty_options& options = {}) {
  constexpr auto name = "mixing_penalty";
  const auto w = as_const_view(weight), s = as_const_view(share);
  detail::check_mixing_penalty(name, options);
  check::shape(name, "share", s, w.rows, w.cols);
  if (out.d_weight.data != nullptr) check::shape(name, "d_weight", out.d_weight, w.rows, w.cols);
  if (out.d_share.data != nullptr) check::shape(name, "d_share", out.d_share, w.rows, w.cols);
  detail::mixing_penalty_kernel<typename Context::backend>::run(ctx, w, s, options, out);
}

/// Recorded on a graph: weight and share [B, sources] to the penalty [1, 1].
template <class T, class Backend>
node mixing_penalty(graph<T, Backend>& g, node weight, node share, const mixing_penalty_options& options = {}) {
  using space = typename Backend::space;
  const auto w = g.value(weight), s = g.value(share);
  const auto emitted = g.emit(1, 1, {weight, share});
  const node out = emitted.first;
  const auto derivative_of = [&](node n) {
    if (!g.needs_gradient(n)) return matrix_view<T, space>{};
    return matrix_view<T, space>(g.template take<T>(w.rows * w.cols), w.rows, w.cols);
  };
  const matrix_view<T, space> d_weight = derivative_of(weight), d_share = derivative_of(share);
  mixing_penalty(g.context(), w, s, mixing_penalty_output<T, space>{emitted.second.data, d_weight, d_share}, options);
  g.on_backward(out, [=](graph<T, Backend>& r) {
    const T* const seed = r.gradient(out).data;
    if (r.needs_gradient(weight))
      primitives<Backend>::axpy(r.context(), seed, r.value_of(d_weight), r.gradient_of(weight));
    if (r.needs_gradient(share))
      primitives<Backend>::axpy(r.context(), seed, r.value_of(d_share), r.gradient_of(share));
  });
  return out;
}

}  // namespace stroma
