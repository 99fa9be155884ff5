#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>

namespace stroma {

struct dropout_options {
  double rate = 0.5;  ///< share of the elements that become 0; 0 or more, below 1
  random_key key{};   ///< which random numbers; bag b of a ragged batch uses step + b
};

namespace detail {

inline void check_dropout_rate(std::string_view function, double rate) {
  if (rate >= 0 && rate < 1) return;
  throw value_error(error_message(function, "rate", number_text(rate), "0 or more and below 1"));
}

/// Philox for `dropout_block` neighbouring groups, word by word, so that the compiler makes packets of it.
inline constexpr std::size_t dropout_block = 16;
using dropout_words = std::array<std::array<std::uint32_t, dropout_block>, 4>;

inline void dropout_block_words(const random_key& key, std::uint64_t group, dropout_words& word) {
  const std::uint32_t step = key.current_step();
  for (std::size_t i = 0; i < dropout_block; ++i) {
    word[0][i] = static_cast<std::uint32_t>(group + i);
    word[1][i] = static_cast<std::uint32_t>((group + i) >> 32);
    word[2][i] = step;
    word[3][i] = key.layer;
  }
  auto k0 = static_cast<std::uint32_t>(key.seed), k1 = static_cast<std::uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
    for (std::size_t i = 0; i < dropout_block; ++i) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * word[0][i], p1 = std::uint64_t{0xCD9E8D57u} * word[2][i];
      word[0][i] = static_cast<std::uint32_t>(p1 >> 32) ^ word[1][i] ^ k0;
      word[1][i] = static_cast<std::uint32_t>(p1);
      word[2][i] = static_cast<std::uint32_t>(p0 >> 32) ^ word[3][i] ^ k1;
      word[3][i] = static_cast<std::uint32_t>(p0);
    }
}

/// In place: element j of the given row of a bag becomes 0 or x / (1 - rate). It is kept when unit_float of word
/// e % 4 of group e / 4 of the key is the rate or more, e = row * cols + j.
template <class T>
void dropout_row(const random_key& key, double rate, index_t row, index_t cols, T* x) {
  // The same as unit_float(word) >= rate: both sides are multiplied by 2^24, and the left is a whole number.
  const auto threshold = static_cast<std::uint32_t>(std::ceil(rate * 0x1p24));
  const T scale = static_cast<T>(1 / (1 - rate));
  const auto apply = [&](index_t j, std::uint32_t word) { x[j] = (word >> 8) >= threshold ? x[j] * scale : T(0); };
  std::uint64_t element = static_cast<std::uint64_t>(row) * static_cast<std::uint64_t>(cols);
  index_t j = 0;
  const auto one_group = [&] {
    const auto words = key.words(element / 4);
    for (std::size_t k = element % 4; k < 4 && j < cols; ++k, ++j, ++element) apply(j, words[k]);
  };
  if (element % 4 != 0) one_group();
  constexpr auto block = static_cast<index_t>(4 * dropout_block);
  dropout_words words;
  for (; j + block <= cols; j += block, element += 4 * dropout_block) {
    dropout_block_words(key, element / 4, words);
    for (std::size_t i = 0; i < 4 * dropout_block; ++i) apply(j + static_cast<index_t>(i), words[i % 4][i / 4]);
  }
  while (j < cols) one_group();
}

template <class Backend>
struct dropout_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/nn/dropout.cuh> and compile with nvcc");

  /// row(source row, T* scratch row, row of the result) for every row, after the mask was applied in the scratch.
  template <class S, class T, class Store>
  static void masked_rows(cpu_context& ctx, matrix_view<const S> x, vector_view<const index_t> offsets,
                          const dropout_options& options, Store&& store) {
    const std::array<index_t, 2> whole{0, x.rows};
    if (offsets.size == 0) offsets = {whole.data(), 2};
    for_each_part<T>(ctx, offsets, tile_scratch<T>::padded(x.cols),
                     [&](const segment_part& part, index_t, tile_scratch<T>& scratch) {
                       T* const row = scratch.take(x.cols);
                       random_key key = options.key;
                       key.step += static_cast<std::uint32_t>(part.segment);
                       for (index_t r = part.first; r < part.first + part.count; ++r) {
                         for (index_t j = 0; j < x.cols; ++j) row[j] = widen<T>(x(r, j));
                         dropout_row(key, options.rate, r - offsets[part.segment], x.cols, row);
                         store(r, static_cast<const T*>(row));
                       }
                     });
  }
  template <class S, class T>
  static void forward(cpu_context& ctx, matrix_view<const S> x, vector_view<const index_t> offsets, matrix_view<T> out,
                      const dropout_options& options) {
    masked_rows<S, T>(ctx, x, offsets, options, [&](index_t r, const T* row) {
      for (index_t j = 0; j < out.cols; ++j) out(r, j) = row[j];
    });
  }
  template <class T>
  static void backward(cpu_context& ctx, matrix_view<const T> d_out, vector_view<const index_t> offsets,
                       matrix_view<T> d_x, const dropout_options& options) {
    masked_rows<T, T>(ctx, d_out, offsets, options, [&](index_t r, const T* row) {
      for (index_t j = 0; j < d_x.cols; ++j) d_x(r, j) += row[j];
    });
  }
};

/// The rows of a matrix or of ragged bags, and the bags' boundaries: none for a matrix.
template <class T, class Space>
[[nodiscard]] bag_view<T, Space> rows_in_bags(context_of<typename backend_in<Space>::type>&, std::string_view,
                                              std::string_view, const matrix_view<T, Space>& m) {
  return {m, {}};
}
template <class T, class Space>
[[nodiscard]] bag_view<T, Space> rows_in_bags(context_of<typename backend_in<Space>::type>& ctx,
                                              std::string_view function, std::string_view argument,
                                              const bag_view<T, Space>& b) {
  value_checks<typename backend_in<Space>::type>::offsets(ctx, function, argument, b.offsets, b.instances.rows);
  return b;
}

}  // namespace detail

/// Inverted dropout: each element becomes 0 with probability `rate`, else x / (1 - rate), so that its mean stays.
///
/// No mask is stored: element (row, column) of a bag always meets the same random number of its key, whatever the
/// number of threads and the backend. Many bags in one call give what one call a bag gives, bag b with step + b.
/// @param x    [N, D] a matrix (one bag) or ragged bags; in the scalar of out, half or bfloat16
/// @param out  [N, D] overwritten; may be x
/// Cost: O(N D), one Philox block for four elements.   @throws shape_error, value_error (the rate)
/// Reference: Srivastava et al. 2014; Salmon et al. 2011 (Philox).
template <execution_context Context, class X, matrix_like Y>
  requires(matrix_like<X> || bag_like<X>) && same_space<Context, X, Y> &&
          (std::same_as<scalar_of<X>, scalar_of<Y>> || is_narrow<scalar_of<X>>)
void dropout(Context& ctx, const X& x, Y&& out, const dropout_options& options = {}) {
  const auto bags = detail::rows_in_bags(ctx, "dropout", "x.offsets", as_const_view(x));
  const matrix_view<scalar_of<Y>, typename Context::space> y = as_view(out);
  check::shape("dropout", "out", y, bags.instances.rows, bags.instances.cols);
  detail::check_dropout_rate("dropout", options.rate);
  detail::dropout_kernel<typename Context::backend>::forward(ctx, bags.instances, bags.offsets, y, options);
}

/// Adds the derivative: d_x += mask d_out / (1 - rate), the mask drawn again from the same key.
/// @param d_out [N, D] a matrix, or ragged bags where the forward call had them   @param d_x [N, D]
template <execution_context Context, class D, matrix_like Gradients>
  requires(matrix_like<D> || bag_like<D>) && same_space<Context, D, Gradients> &&
          std::same_as<scalar_of<D>, scalar_of<Gradients>>
void dropout_backward(Context& ctx, const D& d_out, Gradients&& d_x, const dropout_options& options = {}) {
  const auto bags = detail::rows_in_bags(ctx, "dropout_backward", "d_out.offsets", as_const_view(d_out));
  const matrix_view<scalar_of<Gradients>, typename Context::space> d = as_view(d_x);
  check::shape("dropout_backward", "d_x", d, bags.instances.rows, bags.instances.cols);
  detail::check_dropout_rate("dropout_backward", options.rate);
  detail::dropout_kernel<typename Context::backend>::backward(ctx, bags.instances, bags.offsets, d, options);
}

/// Recorded on a graph: in training with a key of its own (graph::next_random_key), in inference x itself.
template <class T, class Backend>
node dropout(graph<T, Backend>& g, node x, double rate) {
  using kernel = detail::dropout_kernel<Backend>;
  detail::check_dropout_rate("dropout", rate);
  if (!g.recording()) return x;
  const dropout_options options{rate, g.next_random_key()};  // drawn at rate 0 too: other layers' numbers stay the same
  if (rate <= 0) return x;
  const auto offsets = g.offsets(x);
  const auto emitted = g.emit_rows_of(x, g.shape(x).cols, {x});
  const node out = emitted.first;
  g.visit(x, [&](auto rows) { kernel::forward(g.context(), rows, offsets, emitted.second, options); });
  g.on_backward(out, [=](graph<T, Backend>& r) {
    kernel::backward(r.context(), r.gradient(out), offsets, r.gradient_of(x), options);
  });
  return out;
}

}  // namespace stroma
