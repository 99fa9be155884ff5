#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/nn/dropout.hpp>
#include <stroma/pooling/detail/bags.hpp>

namespace stroma {

/// The parameters of attention pooling, or where their gradients are added. Plain attention has no gate.
template <class T, class Space = host_space>
struct attention_view {
  matrix_view<T, Space> hidden_weight{};  ///< [A, D]
  vector_view<T, Space> hidden_bias{};    ///< [A]
  matrix_view<T, Space> gate_weight{};    ///< [A, D] or empty
  vector_view<T, Space> gate_bias{};      ///< [A] or empty
  matrix_view<T, Space> score_weight{};   ///< [heads, A]
  vector_view<T, Space> score_bias{};     ///< [heads]
};

template <class T, class Space = host_space>
struct attention_output {
  matrix_view<T, Space> slide{};      ///< [B, heads D]
  matrix_view<T, Space> attention{};  ///< [N, heads]
  matrix_view<T, Space> hidden{};     ///< [N, A] or empty: tanh(..), kept for the backward pass
  matrix_view<T, Space> gate{};       ///< [N, A] or empty: sigmoid(..)
};

/// Derivatives of the loss in the outputs.
template <class T, class Space = host_space>
struct attention_derivative {
  matrix_view<const T, Space> slide{};      ///< [B, heads D]; may be empty
  matrix_view<const T, Space> attention{};  ///< [N, heads]; may be empty
};

/// Where the backward pass adds; empty views leave a gradient out.
template <class T, class Space = host_space>
struct attention_gradients {
  matrix_view<T, Space> instances{};
  attention_view<T, Space> parameters{};
};

template <class Space>
struct attention_options_in {
  vector_view<const std::uint8_t, Space> mask{};  ///< [N], 0 leaves an instance out; empty: all take part
  bool check_values = true;                       ///< scores must be finite
  double dropout = 0;                             ///< training only: rate on tanh(..) and sigmoid(..)
  random_key hidden_key{}, gate_key{};            ///< which random numbers; bag b of the call uses step + b
};
using attention_options = attention_options_in<host_space>;

namespace detail {

template <class T, class Space>
void check_attention(std::string_view function, index_t features, const attention_view<const T, Space>& p) {
  check::columns(function, "instances", features, p.hidden_weight.cols, "the width of hidden_weight");
  check::length(function, "hidden_bias", p.hidden_bias.size, p.hidden_weight.rows, "the rows of hidden_weight");
  if (p.gate_weight.data != nullptr) {
    check::shape(function, "gate_weight", p.gate_weight, p.hidden_weight.rows, p.hidden_weight.cols);
    check::length(function, "gate_bias", p.gate_bias.size, p.hidden_weight.rows, "the rows of gate_weight");
  }
  check::columns(function, "score_weight", p.score_weight.cols, p.hidden_weight.rows, "the rows of hidden_weight");
  check::length(function, "score_bias", p.score_bias.size, p.score_weight.rows, "the rows of score_weight");
}
template <class Bags, class T, class Space>
void check_attention_output(std::string_view function, const Bags& x, const attention_view<const T, Space>& p,
                            const attention_output<T, Space>& out) {
  const index_t bags = x.count(), rows = x.instances.rows, features = x.instances.cols;
  check::shape(function, "slide", out.slide, bags, p.score_weight.rows * features);
  check::shape(function, "attention", out.attention, rows, p.score_weight.rows);
  if (out.hidden.data == nullptr) return;
  check::shape(function, "hidden", out.hidden, rows, p.hidden_weight.rows);
  if (p.gate_weight.data != nullptr) check::shape(function, "gate", out.gate, rows, p.hidden_weight.rows);
}

template <class Backend>
struct attention_kernel {
  static_assert(std::is_same_v<typename Backend::space, host_space>,
                "device data: include <stroma/pooling/attention_pool.cuh> and compile with nvcc");

  /// Scores and pooled sums tile by tile; the tiles of a bag are then joined in order.
  template <class Rows, class T>
  static void forward(cpu_context& ctx, const Rows& source, vector_view<const index_t> offsets,
                      const attention_view<const T>& p, const attention_output<T>& out,
                      const attention_options& options) {
    using ops = primitives<Backend>;
    using scratch_type = tile_scratch<T>;
    const index_t heads = p.score_weight.rows, width = p.hidden_weight.rows, features = p.hidden_weight.cols;
    const bool gated = p.gate_weight.data != nullptr, keeps = out.hidden.data != nullptr;
    auto frame = ctx.workspace().open();
    T* packed_hidden = frame.template take<T>(ops::template packed_size<T>(features, width));
    T* packed_gate = gated ? frame.template take<T>(ops::template packed_size<T>(features, width)) : nullptr;
    ops::pack(ctx, p.hidden_weight.transposed(), packed_hidden);
    if (gated) ops::pack(ctx, p.gate_weight.transposed(), packed_gate);
    const partial_sums<T> partial(frame, segment_part_count(offsets), heads, heads * features);
    const matrix_view<T> scores(frame.template take<T>(source.rows * heads), source.rows, heads);

    const index_t columns = source.scratch_cols() + scratch_type::padded(features) + 2 * scratch_type::padded(width);
    for_each_part<T>(ctx, offsets, columns, [&](const segment_part& part, index_t number, scratch_type& scratch) {
      const matrix_view<T> hidden = keeps ? out.hidden.middle_rows(part.first, part.count)
                                          : matrix_view<T>(scratch.take(part.count * width), part.count, width);
      const matrix_view<T> gate = !gated  ? matrix_view<T>{}
                                  : keeps ? out.gate.middle_rows(part.first, part.count)
                                          : matrix_view<T>(scratch.take(part.count * width), part.count, width);
      const auto e = scores.middle_rows(part.first, part.count);
      source.visit(part.first, part.count, scratch, [&](auto x) {
        ops::gemm_tile(x, static_cast<const T*>(packed_hidden), hidden, p.hidden_bias, activation::tanh,
                       scratch.buffer());
        if (gated)
          ops::gemm_tile(x, static_cast<const T*>(packed_gate), gate, p.gate_bias, activation::sigmoid,
                         scratch.buffer());
        drop(options, part, offsets, hidden, gate);
        score_rows(p, matrix_view<const T>(hidden), matrix_view<const T>(gate), options.mask, part.first, e);
        partial.add_part(number, matrix_view<const T>(e), wide_rows<T>(x, scratch));
      });
    });
    if (options.check_values) check_scores(matrix_view<const T>(scores), offsets, options.mask);
    partial.join(offsets, matrix_view<const T>(scores), out.slide, out.attention);
  }

  /// d e = p (d p - sum over the bag of p d p), d p = d slide . x + d attention; then back through score, gate and
  /// tanh.
  template <class S, class T>
  static void backward(cpu_context& ctx, matrix_view<const S> x, vector_view<const index_t> offsets,
                       const attention_view<const T>& p, const attention_output<T>& out,
                       const attention_derivative<T>& d, const attention_gradients<T>& gradients,
                       const attention_options& options, bool fresh) {
    using ops = primitives<Backend>;
    using scratch_type = tile_scratch<T>;
    const index_t heads = p.score_weight.rows, width = p.hidden_weight.rows;
    const bool gated = p.gate_weight.data != nullptr;
    auto frame = ctx.workspace().open();
    const matrix_view<T> d_score(frame.template take<T>(x.rows * heads), x.rows, heads);
    for_each_part<T>(ctx, offsets, scratch_type::padded(x.cols),
                     [&](const segment_part& part, index_t, scratch_type& scratch) {
                       const auto rows = wide_rows<T>(x.middle_rows(part.first, part.count), scratch);
                       for (index_t i = 0; i < part.count; ++i)
                         for (index_t h = 0; h < heads; ++h) {
                           const index_t n = part.first + i;
                           T value = d.attention.data != nullptr ? d.attention(n, h) : T(0);
                           if (d.slide.data != nullptr)
                             value += dot(x.cols, rows.data + i * rows.row_stride,
                                          d.slide.data + part.segment * d.slide.row_stride + h * x.cols);
                           d_score(n, h) = value;
                         }
                     });
    softmax_backward(ctx, matrix_view<const T>(out.attention), offsets, d_score);
    if (gradients.parameters.score_bias.data != nullptr)
      ops::add_column_sums(ctx, matrix_view<const T>(d_score), gradients.parameters.score_bias);

    // d score -> d hidden and d gate before their activations, in place.
    const std::array<index_t, 2> all{0, x.rows};
    const matrix_view<T> d_weight(frame.template take<T>(heads * width), 1, heads * width);
    sum_over_segments(ctx, vector_view<const index_t>(all.data(), 2), d_weight, false,
                      [&](const segment_part& part, T* sums, int) {
                        const gate_backward<T> step{p.score_weight, out.hidden, out.gate, d_score, sums};
                        for (index_t n = part.first; n < part.first + part.count; ++n) step.row(n, options, offsets);
                      });
    if (gradients.parameters.score_weight.data != nullptr)
      ops::axpy(ctx, T(1), matrix_view<const T>(d_weight.data, heads, width), gradients.parameters.score_weight);

    const auto through = [&](matrix_view<const T> d_out, matrix_view<T> d_w, vector_view<T> d_b) {
      if (d_w.data != nullptr) ops::gemm_add(ctx, d_out.transposed(), x, d_w);
      if (d_b.data != nullptr) ops::add_column_sums(ctx, d_out, d_b);
    };
    through(out.hidden, gradients.parameters.hidden_weight, gradients.parameters.hidden_bias);
    if (gated) through(out.gate, gradients.parameters.gate_weight, gradients.parameters.gate_bias);
    if (gradients.instances.data == nullptr) return;

    // d x_n = V^T d hidden + U^T d gate + sum over heads of p(n, h) d slide_h; the last while the block is in cache.
    const auto add_pooled = [&](index_t first, index_t rows) {
      if (d.slide.data == nullptr) return;
      for (index_t n = first, b = bag_of(offsets, first); n < first + rows; ++n) {
        while (n >= offsets[b + 1]) ++b;
        for (index_t h = 0; h < heads; ++h)
          add_scaled(x.cols, out.attention(n, h), d.slide.data + b * d.slide.row_stride + h * x.cols,
                     gradients.instances.data + n * gradients.instances.row_stride);
      }
    };
    const matrix_view<const T> d_hidden = out.hidden, d_gate = out.gate;
    const auto none = [](index_t, index_t) {};
    if (!gated) return gemm(ctx, d_hidden, p.hidden_weight, gradients.instances, !fresh, add_pooled);
    gemm(ctx, d_hidden, p.hidden_weight, gradients.instances, !fresh, none);
    gemm(ctx, d_gate, p.gate_weight, gradients.instances, true, add_pooled);
  }

 private:
  template <class T>
  static void drop(const attention_options& options, const segment_part& part, vector_view<const index_t> offsets,
                   matrix_view<T> hidden, matrix_view<T> gate) {
    if (options.dropout <= 0) return;
    for (index_t i = 0; i < part.count; ++i)
      drop_row(options, part.segment, part.first - offsets[part.segment] + i, i, hidden, gate);
  }
  /// Multiplies row i of both by the masks of the given row of a bag.
  template <class T>
  static void drop_row(const attention_options& options, index_t bag, index_t row, index_t i, matrix_view<T> hidden,
                       matrix_view<T> gate) {
    random_key key = options.hidden_key;
    key.step += static_cast<std::uint32_t>(bag);
    dropout_row(key, options.dropout, row, hidden.cols, hidden.data + i * hidden.row_stride);
    if (gate.data == nullptr) return;
    key = options.gate_key;
    key.step += static_cast<std::uint32_t>(bag);
    dropout_row(key, options.dropout, row, gate.cols, gate.data + i * gate.row_stride);
  }

  /// e(i, h) = c_h . (hidden * gate) + d_h, -infinity where masked.
  template <class T>
  static void score_rows(const attention_view<const T>& p, matrix_view<const T> hidden, matrix_view<const T> gate,
                         vector_view<const std::uint8_t> mask, index_t first, matrix_view<T> e) {
    using s = simd<T>;
    for (index_t i = 0; i < e.rows; ++i) {
      const T* a = hidden.data + i * hidden.row_stride;
      const T* b = gate.data + i * gate.row_stride;
      for (index_t h = 0; h < e.cols; ++h) {
        const T* c = p.score_weight.data + h * p.score_weight.row_stride;
        T sum = 0;
        if (gate.data == nullptr) {
          sum = dot(hidden.cols, a, c);
        } else {
          auto sums = s::set(T(0));
          index_t k = 0;
          for (; k + s::lanes <= hidden.cols; k += s::lanes)
            sums = s::fma(s::mul(s::load(a + k), s::load(b + k)), s::load(c + k), sums);
          if (const index_t rest = hidden.cols - k; rest > 0)
            sums =
                s::fma(s::mul(s::load_part(a + k, rest), s::load_part(b + k, rest)), s::load_part(c + k, rest), sums);
          sum = s::sum(sums);
        }
        const bool out_of_play = mask.size > 0 && mask[first + i] == 0;
        e(i, h) = out_of_play ? -std::numeric_limits<T>::infinity() : sum + p.score_bias[h];
      }
    }
  }

  template <class T>
  static void check_scores(matrix_view<const T> e, vector_view<const index_t> offsets,
                           vector_view<const std::uint8_t> mask) {
    for (index_t b = 0; b + 1 < offsets.size; ++b)
      for (index_t n = offsets[b]; n < offsets[b + 1]; ++n)
        for (index_t h = 0; h < e.cols; ++h)
          if (!std::isfinite(e(n, h)) && !(mask.size > 0 && mask[n] == 0))
            throw value_error(error_message("attention_pool", "instances",
                                            "a score of " + number_text(static_cast<double>(e(n, h))) +
                                                " at instance " + std::to_string(n - offsets[b]) + " of bag " +
                                                std::to_string(b),
                                            "finite features and parameters"));
  }

  /// In place: d(n, h) = p(n, h) (d(n, h) - sum over the bag of p d).
  template <class T>
  static void softmax_backward(cpu_context& ctx, matrix_view<const T> p, vector_view<const index_t> offsets,
                               matrix_view<T> d) {
    ctx.parallel(offsets.size - 1, [&](index_t b, int) {
      for (index_t h = 0; h < d.cols; ++h) {
        double mean = 0;
        for (index_t n = offsets[b]; n < offsets[b + 1]; ++n)
          mean += static_cast<double>(p(n, h)) * static_cast<double>(d(n, h));
        for (index_t n = offsets[b]; n < offsets[b + 1]; ++n) d(n, h) = p(n, h) * (d(n, h) - static_cast<T>(mean));
      }
    });
  }

  /// One row of the way from d score to d hidden and d gate, which replace hidden and gate.
  template <class T>
  struct gate_backward {
    matrix_view<const T> score_weight;
    matrix_view<T> hidden, gate;
    matrix_view<const T> d_score;
    T* d_weight;  // [heads, A], added to

    void row(index_t n, const attention_options& options, vector_view<const index_t> offsets) const {
      using s = simd<T>;
      const index_t width = hidden.cols;
      T* a = hidden.data + n * hidden.row_stride;
      T* b = gate.data == nullptr ? nullptr : gate.data + n * gate.row_stride;
      // What dropout left of tanh and sigmoid is scaled; their own values are needed for the derivatives.
      const T keep = static_cast<T>(1 - options.dropout);
      for (index_t k = 0; k < width; k += s::lanes) {
        const index_t count = std::min<index_t>(s::lanes, width - k);
        const bool whole = count == s::lanes;
        const auto get = [&](const T* p) { return whole ? s::load(p + k) : s::load_part(p + k, count); };
        const auto put = [&](T* p, const auto& v) { whole ? s::store(p + k, v) : s::store_part(p + k, count, v); };
        const auto dropped = get(a), gates = b != nullptr ? get(b) : s::set(T(1));
        const auto product = s::mul(dropped, gates);
        auto d_product = s::set(T(0));
        for (index_t h = 0; h < score_weight.rows; ++h) {
          const auto d = s::set(d_score(n, h));
          put(d_weight + h * width, s::fma(d, product, get(d_weight + h * width)));
          d_product = s::fma(d, get(score_weight.data + h * score_weight.row_stride), d_product);
        }
        const auto t = s::mul(dropped, s::set(keep));
        put(a, s::mul(s::mul(d_product, gates), s::sub(s::set(T(1)), s::mul(t, t))));
        if (b == nullptr) continue;
        const auto sigma = s::mul(gates, s::set(keep));
        put(b, s::mul(s::mul(d_product, dropped), s::mul(sigma, s::sub(s::set(T(1)), sigma))));
      }
      if (options.dropout <= 0) return;
      const index_t bag = bag_of(offsets, n);
      drop_row(options, bag, n - offsets[bag], n, hidden, gate);
    }
  };
};

}  // namespace detail
}  // namespace stroma
