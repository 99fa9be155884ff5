#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/nn/dropout.cuh>
#include <stroma/nn/linear.cuh>
#include <stroma/nn/softmax.cuh>
#include <stroma/pooling/attention_pool.hpp>

namespace stroma::detail {

/// One row of the way from the two products to the scores, in place of the products:
///   hidden = dropped tanh(hidden + a), gate = dropped sigmoid(gate + b), e(n, h) = c_h . (hidden * gate) + d_h
template <class T>
struct gated_scores {
  attention_view<const T, device_space> p;
  device_matrix<T> hidden, gate;  // of rows first .. first + hidden.rows - 1
  index_t first;
  device_offsets offsets;
  vector_view<const std::uint8_t, device_space> mask;
  bool drops;
  dropout_mask drop_hidden, drop_gate;
  device_matrix<T> e;  // of all rows

  __device__ void operator()(index_t i, index_t lane) const {
    const index_t n = first + i, width = hidden.cols;
    const bool gated = gate.data != nullptr;
    const index_t bag = drops ? segment_of_row(offsets, n) : 0;
    const index_t before = drops ? (n - offsets[bag]) * width : 0;
    for (index_t k = lane; k < width; k += warp_threads) {
      T t = device_activated(activation::tanh, hidden(i, k) + p.hidden_bias[k]);
      hidden(i, k) = drops ? drop_hidden.apply(bag, before + k, t) : t;
      if (!gated) continue;
      t = device_activated(activation::sigmoid, gate(i, k) + p.gate_bias[k]);
      gate(i, k) = drops ? drop_gate.apply(bag, before + k, t) : t;
    }
    const bool out_of_play = mask.size > 0 && mask[n] == 0;
    for (index_t h = 0; h < e.cols; ++h) {
      T sum = 0;  // a lane reads what it wrote
      for (index_t k = lane; k < width; k += warp_threads)
        sum += p.score_weight(h, k) * (gated ? hidden(i, k) * gate(i, k) : hidden(i, k));
      sum = warp_join(sum, add_values{});
      if (lane == 0) e(n, h) = out_of_play ? -infinity<T> : sum + p.score_bias[h];
    }
  }
};

/// A score is finite, or its instance is masked.
template <class T>
struct score_check {
  device_matrix<const T> e;
  vector_view<const std::uint8_t, device_space> mask;
  __device__ bool wrong(index_t i) const {
    const index_t n = i / e.cols;
    return !is_finite(e(n, i % e.cols)) && !(mask.size > 0 && mask[n] == 0);
  }
  __device__ double value(index_t i) const { return static_cast<double>(e(i / e.cols, i % e.cols)); }
};

/// For every part of a bag and every head: the largest score, the sum of exp(score - largest), and the rows' sum with
/// those weights.
template <class T>
struct partial_pool {
  T *top, *sum;  // [parts, heads]
  T* rows;       // [parts, heads x features]
};

/// One block for each part and strip of block_threads features; each joins the weights for itself.
template <class S, class T>
__global__ void __launch_bounds__(block_threads)
    pool_parts_kernel(device_parts parts, device_matrix<const T> e, device_matrix<const S> x, partial_pool<T> out) {
  __shared__ T weight[tile_rows];
  __shared__ T room[block_threads / warp_threads];
  const index_t strips = gridDim.x / parts.most, p = blockIdx.x / strips, strip = blockIdx.x % strips;
  const segment_part part = parts.part[p];
  const index_t heads = e.cols, col = strip * block_threads + threadIdx.x;
  if (part.count == 0) return;  // the whole block
  for (index_t h = 0; h < heads; ++h) {
    const auto i = static_cast<index_t>(threadIdx.x);
    const T none = -infinity<T>;
    const T mine = i < part.count ? e(part.first + i, h) : none;
    const T top = block_join(mine, larger_value{}, room);
    const T w = mine == none ? T(0) : std::exp(mine - top);
    const T sum = block_join(w, add_values{}, room);
    if (i < part.count) weight[i] = w;
    __syncthreads();
    if (col < x.cols) {
      T total = 0;
      for (index_t r = 0; r < part.count; ++r)
        if (weight[r] != T(0)) total += weight[r] * widen<T>(x(part.first + r, col));  // a masked row may hold anything
      out.rows[(p * heads + h) * x.cols + col] = total;
    }
    if (col == 0) {
      out.top[p * heads + h] = top;
      out.sum[p * heads + h] = sum;
    }
    __syncthreads();  // the weights are used up
  }
}
static_assert(tile_rows <= block_threads, "a thread for each row of a part");

/// The parts of a bag joined in order: its largest score, the sum of the weights, and the pooled vector.
template <class T>
struct join_pool {
  device_parts parts;
  partial_pool<T> partial;
  device_matrix<T> slide;  // [bags, heads x features]
  index_t heads;
  T* top;         // [bags, heads]
  double* total;  // [bags, heads]

  __device__ void operator()(index_t i) const {
    const index_t features = slide.cols / heads, b = i / slide.cols, h = i % slide.cols / features, j = i % features;
    const index_t first = parts.first_of_segment[b], last = parts.first_of_segment[b + 1];
    T highest = -infinity<T>;
    for (index_t p = first; p < last; ++p) highest = larger_value{}(highest, partial.top[p * heads + h]);
    double weights = 0, sum = 0;
    for (index_t p = first; p < last; ++p) {
      const auto scale = static_cast<double>(std::exp(partial.top[p * heads + h] - highest));
      weights += scale * static_cast<double>(partial.sum[p * heads + h]);
      sum += scale * static_cast<double>(partial.rows[(p * heads + h) * features + j]);
    }
    slide(b, h * features + j) = static_cast<T>(sum / weights);
    if (j == 0) {
      top[b * heads + h] = highest;
      total[b * heads + h] = weights;
    }
  }
};
template <class T>
struct attention_weights {
  device_matrix<const T> e;
  device_offsets offsets;
  const T* top;
  const double* total;
  device_matrix<T> attention;
  __device__ void operator()(index_t i) const {
    const index_t n = i / e.cols, h = i % e.cols, at = segment_of_row(offsets, n) * e.cols + h;
    attention(n, h) = static_cast<T>(static_cast<double>(std::exp(e(n, h) - top[at])) / total[at]);
  }
};

/// d p(n, h) = d slide . x + d attention
template <class S, class T>
struct attention_derivatives {
  device_matrix<const S> x;
  device_offsets offsets;
  attention_derivative<T, device_space> d;
  device_matrix<T> d_score;
  __device__ void operator()(index_t n, index_t lane) const {
    const index_t bag = segment_of_row(offsets, n);
    for (index_t h = 0; h < d_score.cols; ++h) {
      T sum = 0;
      if (d.slide.data != nullptr)
        for (index_t j = lane; j < x.cols; j += warp_threads) sum += widen<T>(x(n, j)) * d.slide(bag, h * x.cols + j);
      sum = warp_join(sum, add_values{});
      if (lane == 0) d_score(n, h) = d.attention.data != nullptr ? sum + d.attention(n, h) : sum;
    }
  }
};
/// The share of a tile of rows in d score_weight.
template <class T>
struct score_weight_tiles {
  device_matrix<const T> hidden, gate, d_score;
  T* sums;  // [tiles, heads x A]
  __device__ void operator()(index_t i) const {
    const index_t width = hidden.cols, all = d_score.cols * width;
    const index_t tile = i / all, h = i % all / width, k = i % width, first = tile * tile_rows;
    const index_t last = first + tile_rows < hidden.rows ? first + tile_rows : hidden.rows;
    T sum = 0;
    for (index_t n = first; n < last; ++n)
      sum += d_score(n, h) * (gate.data != nullptr ? hidden(n, k) * gate(n, k) : hidden(n, k));
    sums[i] = sum;
  }
};
template <class T>
struct add_score_weight {
  const T* sums;
  index_t tiles;
  device_matrix<T> d_weight;
  __device__ void operator()(index_t i) const {
    double sum = 0;
    for (index_t t = 0; t < tiles; ++t) sum += static_cast<double>(sums[t * d_weight.rows * d_weight.cols + i]);
    d_weight(i / d_weight.cols, i % d_weight.cols) += static_cast<T>(sum);
  }
};

/// d score -> d hidden and d gate before their activations, in place of hidden and gate.
template <class T>
struct gate_derivatives {
  device_matrix<const T> score_weight;
  device_matrix<T> hidden, gate;
  device_matrix<const T> d_score;
  device_offsets offsets;
  bool drops;
  T keep;  // what is left of a value that dropout scaled
  dropout_mask drop_hidden, drop_gate;

  __device__ void operator()(index_t n, index_t lane) const {
    const index_t width = hidden.cols;
    const index_t bag = drops ? segment_of_row(offsets, n) : 0, before = drops ? (n - offsets[bag]) * width : 0;
    const bool gated = gate.data != nullptr;
    for (index_t k = lane; k < width; k += warp_threads) {
      T d = 0;
      for (index_t h = 0; h < d_score.cols; ++h) d += d_score(n, h) * score_weight(h, k);
      const T dropped = hidden(n, k), open = gated ? gate(n, k) : T(1);
      const T t = dropped * keep, s = open * keep;
      const T d_hidden = d * open * (T(1) - t * t);
      hidden(n, k) = drops ? drop_hidden.apply(bag, before + k, d_hidden) : d_hidden;
      if (!gated) continue;
      const T d_gate = d * dropped * (s * (T(1) - s));
      gate(n, k) = drops ? drop_gate.apply(bag, before + k, d_gate) : d_gate;
    }
  }
};
/// d x_n += sum over heads of p(n, h) d slide_h
template <class T>
struct add_pooled_derivative {
  device_matrix<const T> attention, d_slide;
  device_offsets offsets;
  device_matrix<T> d_x;
  __device__ void operator()(index_t n, index_t lane) const {
    const index_t bag = segment_of_row(offsets, n);
    for (index_t j = lane; j < d_x.cols; j += warp_threads) {
      T sum = 0;
      for (index_t h = 0; h < attention.cols; ++h) sum += attention(n, h) * d_slide(bag, h * d_x.cols + j);
      d_x(n, j) += sum;
    }
  }
};

template <>
struct attention_kernel<backend::cuda> {
  using ops = primitives<backend::cuda>;

  /// Two products over a strip of rows that stays in the cache, then scores from both in one kernel; then, over the
  /// parts of all bags at once, weights and pooled sums.
  template <class Rows, class T>
  static void forward(cuda_context& ctx, const Rows& source, device_offsets offsets,
                      const attention_view<const T, device_space>& p, const attention_output<T, device_space>& out,
                      const attention_options_in<device_space>& options) {
    tile_scratch<T> none(nullptr, nullptr, 0);
    source.visit(0, source.rows, none, [&](auto x) {
      auto frame = ctx.workspace().open();
      const device_matrix<T> e(frame.template take<T>(x.rows * p.score_weight.rows), x.rows, p.score_weight.rows);
      scores(ctx, x, offsets, p, out, options, e);
      if (options.check_values)
        check_each(ctx, e.rows * e.cols, score_check<T>{e, options.mask},
                   {"attention_pool", "instances",
                    [](const fault_log::entry& f, index_t at, double found) {
                      throw value_error(error_message(f.function, f.argument,
                                                      "a score of " + number_text(found) + " at instance " +
                                                          std::to_string(at / f.extent) + " of all bags together",
                                                      "finite features and parameters"));
                    },
                    e.cols});
      pool(ctx, frame, x, offsets, device_matrix<const T>(e), out);
    });
  }

  template <class S, class T>
  static void backward(cuda_context& ctx, device_matrix<const S> x, device_offsets offsets,
                       const attention_view<const T, device_space>& p, const attention_output<T, device_space>& out,
                       const attention_derivative<T, device_space>& d,
                       const attention_gradients<T, device_space>& gradients,
                       const attention_options_in<device_space>& options, bool fresh) {
    const index_t heads = p.score_weight.rows, width = p.hidden_weight.rows;
    const auto& to = gradients.parameters;
    auto frame = ctx.workspace().open();
    const device_matrix<T> d_score(frame.template take<T>(x.rows * heads), x.rows, heads);
    each_row(ctx, x.rows, attention_derivatives<S, T>{x, offsets, d, d_score});
    if (offsets.size > 1)
      launch(&segmented_softmax_backward_kernel<T>, dim3(static_cast<unsigned>((offsets.size - 1) * heads)),
             dim3(block_threads), 0, ctx.stream(), device_matrix<const T>(out.attention), offsets,
             device_matrix<const T>(d_score), d_score, false);
    if (to.score_bias.data != nullptr) ops::add_column_sums(ctx, device_matrix<const T>(d_score), to.score_bias);
    if (to.score_weight.data != nullptr) {
      const index_t tiles = (x.rows + tile_rows - 1) / tile_rows;
      T* const sums = frame.template take<T>(tiles * heads * width);
      each(ctx, tiles * heads * width, score_weight_tiles<T>{out.hidden, out.gate, d_score, sums});
      each(ctx, heads * width, add_score_weight<T>{sums, tiles, to.score_weight});
    }
    each_row(ctx, x.rows,
             gate_derivatives<T>{p.score_weight,
                                 out.hidden,
                                 out.gate,
                                 d_score,
                                 offsets,
                                 options.dropout > 0,
                                 static_cast<T>(1 - options.dropout),
                                 {options.hidden_key, options.dropout},
                                 {options.gate_key, options.dropout}});
    through(ctx, device_matrix<const T>(out.hidden), x, to.hidden_weight, to.hidden_bias);
    if (p.gate_weight.data != nullptr) through(ctx, device_matrix<const T>(out.gate), x, to.gate_weight, to.gate_bias);
    if (gradients.instances.data == nullptr) return;
    const device_matrix<const T> d_hidden = out.hidden, d_gate = out.gate;
    if (fresh) ops::gemm(ctx, d_hidden, p.hidden_weight, gradients.instances);
    else ops::gemm_add(ctx, d_hidden, p.hidden_weight, gradients.instances);
    if (p.gate_weight.data != nullptr) ops::gemm_add(ctx, d_gate, p.gate_weight, gradients.instances);
    if (d.slide.data != nullptr)
      each_row(ctx, x.rows, add_pooled_derivative<T>{out.attention, d.slide, offsets, gradients.instances});
  }

 private:
  /// Rows whose two products stay in a second-level cache of 50 MB.
  static constexpr index_t strip_rows = 8192;

  /// For a strip of n rows of D features: two products of 2 n D A flops, which read the n D features (the second time
  /// from the cache) and write 2 n A numbers, and one kernel that reads and writes those again. One product with V and
  /// U side by side would save a launch and the second reading, but nothing from memory, and would need the weights
  /// copied together in every call and both halves of the result in one matrix: left.
  template <class S, class T>
  static void scores(cuda_context& ctx, device_matrix<const S> x, device_offsets offsets,
                     const attention_view<const T, device_space>& p, const attention_output<T, device_space>& out,
                     const attention_options_in<device_space>& options, device_matrix<T> e) {
    const index_t width = p.hidden_weight.rows;
    const bool gated = p.gate_weight.data != nullptr, keeps = out.hidden.data != nullptr;
    auto frame = ctx.workspace().open();
    const index_t room = keeps ? 0 : std::min(strip_rows, x.rows) * width;
    T* const hidden_room = frame.template take<T>(room);
    T* const gate_room = gated ? frame.template take<T>(room) : nullptr;
    for (index_t first = 0; first < x.rows; first += strip_rows) {
      const index_t count = std::min(strip_rows, x.rows - first);
      const auto rows = x.middle_rows(first, count);
      gated_scores<T> step{p,
                           {},
                           {},
                           first,
                           offsets,
                           options.mask,
                           options.dropout > 0,
                           {options.hidden_key, options.dropout},
                           {options.gate_key, options.dropout},
                           e};
      step.hidden = keeps ? out.hidden.middle_rows(first, count) : device_matrix<T>(hidden_room, count, width);
      if (gated) step.gate = keeps ? out.gate.middle_rows(first, count) : device_matrix<T>(gate_room, count, width);
      ops::gemm(ctx, rows, p.hidden_weight.transposed(), step.hidden);
      if (gated) ops::gemm(ctx, rows, p.gate_weight.transposed(), step.gate);
      each_row(ctx, count, step);
    }
  }
  template <class Frame, class S, class T>
  static void pool(cuda_context& ctx, Frame& frame, device_matrix<const S> x, device_offsets offsets,
                   device_matrix<const T> e, const attention_output<T, device_space>& out) {
    const index_t heads = e.cols, bags = offsets.size - 1;
    if (bags == 0) return;
    const auto parts = parts_of_segments(ctx, frame, offsets, x.rows);
    const partial_pool<T> partial{frame.template take<T>(parts.most * heads),
                                  frame.template take<T>(parts.most * heads),
                                  frame.template take<T>(parts.most * heads * x.cols)};
    T* const top = frame.template take<T>(bags * heads);
    double* const total = frame.template take<double>(bags * heads);
    const index_t strips = (x.cols + block_threads - 1) / block_threads;
    if (parts.most * strips > 0)
      launch(&pool_parts_kernel<S, T>, dim3(static_cast<unsigned>(parts.most * strips)), dim3(block_threads), 0,
             ctx.stream(), parts, e, x, partial);
    each(ctx, out.slide.rows * out.slide.cols, join_pool<T>{parts, partial, out.slide, heads, top, total});
    each(ctx, e.rows * heads, attention_weights<T>{e, offsets, top, total, out.attention});
  }
  template <class S, class T>
  static void through(cuda_context& ctx, device_matrix<const T> d_out, device_matrix<const S> x, device_matrix<T> d_w,
                      vector_view<T, device_space> d_b) {
    if (d_w.data != nullptr) ops::gemm_add(ctx, d_out.transposed(), x, d_w);
    if (d_b.data != nullptr) ops::add_column_sums(ctx, d_out, d_b);
  }
};

}  // namespace stroma::detail
