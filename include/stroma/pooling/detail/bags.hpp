#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>

/// What all poolings share: their bags' checks, where rows come from, and sums weighted by a running softmax.
namespace stroma::detail {

/// The bag that holds instance n; empty bags hold none.
inline index_t bag_of(vector_view<const index_t> offsets, index_t n) {
  return std::upper_bound(offsets.data, offsets.data + offsets.size, n) - offsets.data - 1;
}

/// The offsets of a node's bags; one bag for a node that carries none. Lives until the graph's reset.
template <class T, class Backend>
vector_view<const index_t, typename Backend::space> offsets_of(graph<T, Backend>& g, node instances) {
  const auto offsets = g.offsets(instances);
  if (offsets.size > 0) return offsets;
  index_t* ends = g.template take<index_t>(2);
  primitives<Backend>::write_ends(g.context(), g.shape(instances).rows, ends);
  return {ends, 2};
}

/// Instances that lie in memory, in any storage type.
template <class S, class Space = host_space>
struct stored_rows {
  matrix_view<const S, Space> whole;
  index_t rows = whole.rows;

  explicit stored_rows(matrix_view<const S, Space> x) : whole(x) {}
  [[nodiscard]] index_t scratch_cols() const { return 0; }
  template <class T, class F>
  void visit(index_t first, index_t count, tile_scratch<T>&, F&& f) const {
    f(whole.middle_rows(first, count));
  }
};

/// Instances that a graph computes as they are asked for.
template <class T, class Backend>
struct graph_rows {
  const graph<T, Backend>* from;
  node source;
  index_t rows, cols;

  [[nodiscard]] index_t scratch_cols() const { return from->scratch_cols(source); }
  template <class F>
  void visit(index_t first, index_t count, tile_scratch<T>& scratch, F&& f) const {
    from->visit_rows(source, first, count, scratch, f);
  }
};

/// Rows in T with unit column stride: in place where they are, else copied into the scratch.
template <class T, class S>
matrix_view<const T> wide_rows(matrix_view<const S> x, tile_scratch<T>& scratch) {
  if constexpr (std::is_same_v<S, T>)
    if (x.col_stride == 1) return x;
  const matrix_view<T> wide(scratch.take(x.rows * x.cols), x.rows, x.cols);
  for (index_t i = 0; i < x.rows; ++i) {
    const S* from = x.data + i * x.row_stride;
    T* to = wide.data + i * x.cols;
    if (x.col_stride == 1) {
      for (index_t j = 0; j < x.cols; ++j) to[j] = widen<T>(from[j]);  // makes packets
    } else {
      for (index_t j = 0; j < x.cols; ++j) to[j] = widen<T>(from[j * x.col_stride]);
    }
  }
  return wide;
}

/// For every part of a bag and every head: the largest score, the sum of exp(score - largest) and the rows' sum with
/// those weights. Parts are joined in order, rescaled to the bag's largest score.
template <class T>
class partial_sums {
 public:
  template <class Frame>
  partial_sums(Frame& frame, index_t parts, index_t heads, index_t width)
      : top_(frame.template take<T>(parts * heads)),
        sum_(frame.template take<T>(parts * heads)),
        rows_(frame.template take<T>(parts * width)),
        heads_(heads),
        width_(width) {}

  /// @param e [rows of the part, heads] scores, -infinity takes no part   @param x [rows, width / heads]
  void add_part(index_t part, matrix_view<const T> e, matrix_view<const T> x) const {
    for (index_t h = 0; h < heads_; ++h) {
      T top = -std::numeric_limits<T>::infinity(), sum = 0;
      for (index_t i = 0; i < e.rows; ++i) top = std::max(top, e(i, h));
      T* rows = rows_ + part * width_ + h * x.cols;
      std::fill_n(rows, x.cols, T(0));
      for (index_t i = 0; i < e.rows; ++i) {
        if (e(i, h) == -std::numeric_limits<T>::infinity()) continue;
        const T weight = std::exp(e(i, h) - top);
        sum += weight;
        add_scaled(x.cols, weight, x.data + i * x.row_stride, rows);
      }
      top_[part * heads_ + h] = top;
      sum_[part * heads_ + h] = sum;
    }
  }

  /// slide [bags, width] and the weight of every row, attention [N, heads].
  void join(vector_view<const index_t> offsets, matrix_view<const T> e, matrix_view<T> slide,
            matrix_view<T> attention) const {
    const index_t width = width_ / heads_;
    for (index_t b = 0, part = 0; b + 1 < offsets.size; ++b) {
      const index_t parts = (offsets[b + 1] - offsets[b] + tile_rows - 1) / tile_rows;
      for (index_t h = 0; h < heads_; ++h) {
        T top = -std::numeric_limits<T>::infinity();
        double total = 0;
        for (index_t p = part; p < part + parts; ++p) top = std::max(top, top_[p * heads_ + h]);
        for (index_t p = part; p < part + parts; ++p)
          total +=
              static_cast<double>(sum_[p * heads_ + h]) * static_cast<double>(std::exp(top_[p * heads_ + h] - top));
        T* pooled = slide.data + b * slide.row_stride + h * width;
        std::fill_n(pooled, width, T(0));
        for (index_t p = part; p < part + parts; ++p) {
          const T weight = static_cast<T>(static_cast<double>(std::exp(top_[p * heads_ + h] - top)) / total);
          add_scaled(width, weight, rows_ + p * width_ + h * width, pooled);
        }
        for (index_t n = offsets[b]; n < offsets[b + 1]; ++n)
          attention(n, h) = static_cast<T>(static_cast<double>(std::exp(e(n, h) - top)) / total);
      }
      part += parts;
    }
  }

 private:
  T* top_;
  T* sum_;
  T* rows_;
  index_t heads_, width_;
};

}  // namespace stroma::detail
