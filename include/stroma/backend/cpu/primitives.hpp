#pragma once
#include <algorithm>

#include <stroma/backend/cpu/activate.hpp>
#include <stroma/backend/cpu/gemm.hpp>
#include <stroma/backend/cpu/segments.hpp>
#include <stroma/backend/cpu/top_k.hpp>
#include <stroma/backend/primitives.hpp>

#if STROMA_HOST_KERNELS

namespace stroma {

/// The host's fill of the primitives. Results do not depend on the number of threads, nor a row's on its neighbours.
template <>
struct primitives<backend::cpu> {
  using context = cpu_context;
  using space = host_space;
  /// In inference, chains of row-wise verbs are evaluated where they are consumed; see graph::emit_by_rows.
  static constexpr bool evaluates_by_rows = true;

  template <class T>
  static T read(context&, const T* p) {
    return *p;
  }
  static void write_ends(context&, index_t rows, index_t* ends) {
    ends[0] = 0;
    ends[1] = rows;
  }
  template <class T>
  static void fill(context&, matrix_view<T> c, T value) {
    for (index_t r = 0; r < c.rows; ++r)
      for (index_t j = 0; j < c.cols; ++j) c(r, j) = value;
  }
  template <class S, class T>
  static void copy(context& ctx, matrix_view<const S> a, matrix_view<T> c) {
    rows_in_parallel(ctx, c, [&](index_t r) {
      if constexpr (std::is_same_v<S, T>) {
        if (a.col_stride == 1 && c.col_stride == 1) {
          std::copy_n(a.data + r * a.row_stride, c.cols, c.data + r * c.row_stride);
          return;
        }
      } else if (a.col_stride == 1 && c.col_stride == 1) {
        const S* from = a.data + r * a.row_stride;
        T* to = c.data + r * c.row_stride;
        for (index_t j = 0; j < c.cols; ++j) to[j] = widen<T>(from[j]);  // makes packets
        return;
      }
      for (index_t j = 0; j < c.cols; ++j) c(r, j) = widen<T>(a(r, j));
    });
  }
  template <class T>
  static void axpy(context& ctx, T alpha, matrix_view<const T> a, matrix_view<T> c) {
    rows_in_parallel(ctx, c, [&](index_t r) {
      if (a.col_stride == 1 && c.col_stride == 1)
        detail::add_scaled(c.cols, alpha, a.data + r * a.row_stride, c.data + r * c.row_stride);
      else
        for (index_t j = 0; j < c.cols; ++j) c(r, j) += alpha * a(r, j);
    });
  }
  template <class T>
  static void axpy(context& ctx, const T* alpha, matrix_view<const T> a, matrix_view<T> c) {
    axpy(ctx, *alpha, a, c);
  }
  /// c = f(a b + bias)
  template <class SA, class SB, class T>
  static void gemm(context& ctx, matrix_view<const SA> a, matrix_view<const SB> b, matrix_view<T> c,
                   vector_view<const T> bias = {}, activation f = activation::identity) {
    detail::gemm(ctx, a, b, c, false, [&](index_t first, index_t rows) {
      detail::add_bias_and_activate(c.middle_rows(first, rows), bias, f);
    });
  }
  /// c += a b
  template <class SA, class SB, class T>
  static void gemm_add(context& ctx, matrix_view<const SA> a, matrix_view<const SB> b, matrix_view<T> c) {
    detail::gemm(ctx, a, b, c, true, [](index_t, index_t) {});
  }
  /// c = f(a)
  template <class T>
  static void activate(context& ctx, activation f, matrix_view<const T> a, matrix_view<T> c) {
    detail::with_activation(f, [&](auto chosen) {
      using function = detail::activate_by<T, decltype(chosen)::value>;
      rows_in_parallel(ctx, c, [&](index_t r) {
        detail::map_packets(c.cols, a.data + r * a.row_stride, c.data + r * c.row_stride, function{});
      });
    });
  }
  /// d_in += d_out f'(in), where out = f(in); `in` is read for gelu only.
  template <class T>
  static void activate_backward(context& ctx, activation f, matrix_view<const T> in, matrix_view<const T> out,
                                matrix_view<const T> d_out, matrix_view<T> d_in) {
    using s = detail::simd<T>;
    differentiate(ctx, f, in, out, d_out, d_in, [&](T* target, const T* x, const T* y, const T* d, auto slope) {
      // The product first, into registers: four operands do not fit one map.
      index_t i = 0;
      for (; i + s::lanes <= d_in.cols; i += s::lanes)
        s::store(target + i, s::fma(s::load(d + i), slope(s::load(x + i), s::load(y + i)), s::load(target + i)));
      if (const index_t rest = d_in.cols - i; rest > 0)
        s::store_part(target + i, rest,
                      s::fma(s::load_part(d + i, rest), slope(s::load_part(x + i, rest), s::load_part(y + i, rest)),
                             s::load_part(target + i, rest)));
    });
  }
  /// d_in = d_out f'(in); d_in may be d_out.
  template <class T>
  static void scale_by_derivative(context& ctx, activation f, matrix_view<const T> in, matrix_view<const T> out,
                                  matrix_view<const T> d_out, matrix_view<T> d_in) {
    using s = detail::simd<T>;
    differentiate(ctx, f, in, out, d_out, d_in, [&](T* target, const T* x, const T* y, const T* d, auto slope) {
      detail::map_packets(d_in.cols, x, y, d, target,
                          [&](const auto& a, const auto& b, const auto& c) { return s::mul(c, slope(a, b)); });
    });
  }
  /// w[j] += sum of a(i, j) over rows i, tile by tile.
  template <class T>
  static void add_column_sums(context& ctx, matrix_view<const T> a, vector_view<T> w) {
    const std::array<index_t, 2> ends{0, a.rows};
    detail::sum_over_segments(ctx, vector_view<const index_t>(ends.data(), 2), matrix_view<T>(w.data, 1, w.size), true,
                              [&](const detail::segment_part& part, T* sums, int) {
                                for (index_t i = part.first; i < part.first + part.count; ++i) {
                                  if (a.col_stride != 1) {
                                    for (index_t j = 0; j < a.cols; ++j) sums[j] += a(i, j);
                                    continue;
                                  }
                                  detail::map_packets(
                                      a.cols, sums, a.data + i * a.row_stride, sums,
                                      [](const auto& x, const auto& y) { return detail::simd<T>::add(x, y); });
                                }
                              });
  }
  /// p(i, h) = exp(e(i, h)) / sum over the rows of i's segment, for each column h; -infinity has weight 0.
  template <class T>
  static void segmented_softmax(context& ctx, matrix_view<const T> e, vector_view<const index_t> offsets,
                                matrix_view<T> p) {
    auto frame = ctx.workspace().open();
    T* columns = frame.template take<T>(e.rows * e.cols);
    ctx.parallel(offsets.size - 1, [&](index_t b, int) {
      const index_t first = offsets[b], count = offsets[b + 1] - first;
      T* column = columns + first * e.cols;
      for (index_t h = 0; h < e.cols; ++h) {
        for (index_t i = 0; i < count; ++i) column[i] = e(first + i, h);
        detail::softmax_in_place(count, column);
        for (index_t i = 0; i < count; ++i) p(first + i, h) = column[i];
      }
    });
  }
  /// out(b, h D + j) = sum over rows i of segment b of weight(i, h) a(i, j)
  template <class T>
  static void segmented_weighted_sum(context& ctx, matrix_view<const T> weight, matrix_view<const T> a,
                                     vector_view<const index_t> offsets, matrix_view<T> out) {
    detail::sum_over_segments(ctx, offsets, out, false, [&](const detail::segment_part& part, T* sums, int) {
      for (index_t i = part.first; i < part.first + part.count; ++i)
        for (index_t h = 0; h < weight.cols; ++h)
          detail::add_scaled(a.cols, weight(i, h), a.data + i * a.row_stride, sums + h * a.cols);
    });
  }
  /// indices(r, :) and values(r, :) = the largest of row r of a in falling order, equal ones in their own, or with
  /// offsets of segment r of its one column; -1 and -infinity where there are no more. Empty values are not written.
  template <class T>
  static void top_k(context& ctx, matrix_view<const T> a, vector_view<const index_t> offsets, matrix_view<T> values,
                    matrix_view<index_t> indices) {
    detail::top_k(ctx, a, offsets, values, indices);
  }

  // For verbs that work tile by tile: a product with a matrix packed once.

  /// Elements that a packed matrix takes, and that one worker needs beside its tile.
  template <class T>
  [[nodiscard]] static constexpr index_t packed_size(index_t rows, index_t cols) {
    return detail::packed_matrix<T>::size(rows, cols);
  }
  template <class T>
  [[nodiscard]] static constexpr index_t tile_buffer_size() {
    return detail::gemm_buffer_size<T>();
  }
  template <class T>
  static void pack(context& ctx, matrix_view<const T> b, T* memory) {
    detail::packed_matrix<T> packed{memory, b.rows, b.cols};
    ctx.parallel(packed.groups(), [&](index_t g, int) { packed.pack(b, g, static_cast<T*>(nullptr)); });
  }
  /// c = f(a b + bias) on the calling worker.
  template <class S, class T>
  static void gemm_tile(matrix_view<const S> a, const T* packed, matrix_view<T> c, vector_view<const T> bias,
                        activation f, T* buffer) {
    detail::gemm_block<T>(a, detail::packed_matrix<T>{const_cast<T*>(packed), a.cols, c.cols}, c, false, buffer);
    detail::add_bias_and_activate(c, bias, f);
  }

 private:
  template <class T, class Row>
  static void rows_in_parallel(context& ctx, const matrix_view<T>& c, Row&& row) {
    // Elementwise work of less than about 64 k elements costs less than waking a thread.
    const index_t rows = std::max<index_t>(1, (index_t{1} << 16) / std::max<index_t>(c.cols, 1));
    ctx.parallel((c.rows + rows - 1) / rows, [&](index_t t, int) {
      for (index_t r = t * rows; r < std::min(c.rows, (t + 1) * rows); ++r) row(r);
    });
  }
  template <class T, class Row>
  static void differentiate(context& ctx, activation f, matrix_view<const T> in, matrix_view<const T> out,
                            matrix_view<const T> d_out, matrix_view<T> d_in, Row&& row) {
    detail::with_activation(f, [&](auto chosen) {
      constexpr activation F = decltype(chosen)::value;
      rows_in_parallel(ctx, d_in, [&](index_t r) {
        const T* y = out.data + r * out.row_stride;
        row(d_in.data + r * d_in.row_stride, F == activation::gelu ? in.data + r * in.row_stride : y, y,
            d_out.data + r * d_out.row_stride, detail::derivative_of<T, F>{});
      });
    });
  }
};

static_assert(primitive_set<primitives<backend::cpu>, float>);
static_assert(primitive_set<primitives<backend::cpu>, double>);

}  // namespace stroma

#endif
