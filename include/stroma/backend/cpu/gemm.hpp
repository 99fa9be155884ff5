#pragma once
#include <algorithm>
#include <array>
#include <utility>

#include <stroma/backend/cpu/simd.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/half.hpp>

#if STROMA_HOST_KERNELS

/// Matrix product on the host. Every element of the result is one chain of multiply-adds over k, cut into blocks of
/// `depth`, whatever the number of rows, the position of its row and the number of threads: rows of a batch have the
/// bits of rows computed alone (docs/decisions/001-own-gemm.md). Any strides; 16-bit storage is widened as it is
/// packed.
namespace stroma::detail {

/// Rows row .. row + rows - 1 and columns col .. col + cols - 1.
template <class T>
matrix_view<T> part_of(matrix_view<T> m, index_t row, index_t col, index_t rows, index_t cols) {
  return {m.data + row * m.row_stride + col * m.col_stride, rows, cols, m.row_stride, m.col_stride};
}

/// Sizes of the register tile and of the blocks, for `Lanes` lanes of T.
template <class T, int Lanes>
struct gemm_sizes {
  // 32 vector registers (AVX-512, NEON) hold 14 x 2 sums, 16 hold 6 x 2.
  static constexpr int tile_rows = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 14 : 6;
  static constexpr int tile_cols = 2 * Lanes;
  static constexpr index_t depth = 2048 / static_cast<index_t>(sizeof(T));  // of one block of k
  static constexpr index_t block_rows = 19 * tile_rows;  // A's block: 0.5 MB, in the second-level cache
  static constexpr index_t slab = index_t{1} << 21;      // elements of B packed at a time, at most
};

/// c[R][tile_cols] (= or +=) a[kc][R] b[kc][tile_cols]
template <class T, int Lanes, int R>
EIGEN_DONT_INLINE void gemm_tile(index_t kc, const T* a, const T* b, index_t b_stride, T* c, index_t c_stride,
                                 bool add) {
  using s = simd<T, Lanes>;
  typename s::packet sum[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    __builtin_prefetch(c + r * c_stride, 1);
    __builtin_prefetch(c + r * c_stride + Lanes, 1);
    sum[r][0] = sum[r][1] = s::set(T(0));
  }
  for (index_t k = 0; k < kc; ++k) {
    const auto b0 = s::load(b), b1 = s::load(b + Lanes);
    // Panels come from the second-level cache: asked for early, so that the sums need not wait.
    if constexpr (sizeof(b0) >= 32) {
      __builtin_prefetch(a + 32 * R);
      __builtin_prefetch(b + 16 * b_stride);
      if constexpr (sizeof(b0) == 64) __builtin_prefetch(b + 16 * b_stride + Lanes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto x = s::set(a[r]);
      sum[r][0] = s::fma(x, b0, sum[r][0]);
      sum[r][1] = s::fma(x, b1, sum[r][1]);
    }
    a += R;
    b += b_stride;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    T* row = c + r * c_stride;
    if (add) {
      sum[r][0] = s::add(s::load(row), sum[r][0]);
      sum[r][1] = s::add(s::load(row + Lanes), sum[r][1]);
    }
    s::store(row, sum[r][0]);
    s::store(row + Lanes, sum[r][1]);
  }
}

template <class T>
using gemm_tile_function = void (*)(index_t, const T*, const T*, index_t, T*, index_t, bool);

/// The kernel for a given number of rows.
template <class T, int Lanes>
gemm_tile_function<T> gemm_tile_for(index_t rows) {
  static constexpr auto table = []<int... R>(std::integer_sequence<int, R...>) {
    return std::array<gemm_tile_function<T>, sizeof...(R)>{&gemm_tile<T, Lanes, R + 1>...};
  }(std::make_integer_sequence<int, gemm_sizes<T, Lanes>::tile_rows>{});
  return table[static_cast<std::size_t>(rows - 1)];
}

/// out[k][width] = source(i, k) for i < source.rows <= width, zero for the others. Unless the width is
/// a multiple of Lanes, up to Lanes elements past the end are overwritten.
template <class T, int Lanes>
void pack_transposed(matrix_view<const T> source, index_t width, T* out) {
  const index_t rows = source.rows, kc = source.cols;
  index_t k = 0;
  if constexpr (Lanes > 1) {
    using square = square_transpose<T, Lanes>;
    if (source.col_stride == 1) {
      for (; k + square::lanes <= kc; k += square::lanes) {
        // Backwards: what a square writes beyond `width` is the next k's beginning, written after it.
        for (index_t first = (width - 1) / square::lanes * square::lanes; first >= 0; first -= square::lanes)
          square::run(source.data + first * source.row_stride + k, source.row_stride, rows - first,
                      out + k * width + first, width);
      }
    }
  }
  for (; k < kc; ++k)
    for (index_t i = 0; i < width; ++i) out[k * width + i] = i < rows ? source(i, k) : T(0);
}

/// The rows of the source, `width` at a time, as panels [k][width], one after another. The last panel is as wide as
/// there are rows left, or padded with zeros to `width`; up to Lanes elements past the end are overwritten. `wide`, for
/// 16-bit storage alone, has room for width x source.cols elements.
template <class T, int Lanes, class S>
void pack_panels(matrix_view<const S> source, index_t width, bool pad, T* out, T* wide) {
  const index_t kc = source.cols, whole = source.rows / width * width, rest = source.rows - whole;
  if (source.row_stride == 1) {  // columns are runs of memory: one sweep, each read once and to its end
    const index_t last = pad ? width : rest;
    for (index_t k = 0; k < kc; ++k) {
      const S* from = source.data + k * source.col_stride;
      for (index_t i = 0; i < whole; i += width) copy_row<T, Lanes>(width, from + i, out + i * kc + k * width);
      T* to = out + whole * kc + k * last;
      if (rest > 0) copy_row<T, Lanes>(rest, from + whole, to);
      for (index_t i = rest; i < (rest > 0 ? last : 0); ++i) to[i] = T(0);
    }
    return;
  }
  for (index_t first = 0; first < source.rows; first += width) {
    matrix_view<const S> panel = part_of(source, first, index_t{0}, std::min(width, source.rows - first), kc);
    const index_t to = pad ? width : panel.rows;
    if constexpr (std::is_same_v<S, T>) {
      pack_transposed<T, Lanes>(panel, to, out + first * kc);
    } else {
      for (index_t i = 0; i < panel.rows; ++i)
        for (index_t k = 0; k < kc; ++k) wide[i * kc + k] = widen<T>(panel(i, k));  // makes packets
      pack_transposed<T, Lanes>(matrix_view<const T>(wide, panel.rows, kc), to, out + first * kc);
    }
  }
}

/// B packed for products from the left: [k block][panel of tile_cols columns][k][tile_cols].
template <class T, int Lanes = native_lanes<T>>
struct packed_matrix {
  using sizes = gemm_sizes<T, Lanes>;
  T* data{};
  index_t rows{}, cols{};

  [[nodiscard]] static constexpr index_t panels(index_t cols) {
    return (cols + sizes::tile_cols - 1) / sizes::tile_cols;
  }
  [[nodiscard]] static constexpr index_t size(index_t rows, index_t cols) {
    return rows * panels(cols) * sizes::tile_cols;
  }
  /// Where the panel of the block that starts at row k lies.
  [[nodiscard]] T* panel(index_t k, index_t p) const {
    const index_t kc = std::min(sizes::depth, rows - k);
    return data + k * panels(cols) * sizes::tile_cols + p * kc * sizes::tile_cols;
  }
  /// How many panels are packed in one go: a run of memory long enough, and work for every thread.
  static constexpr index_t group = 8;
  [[nodiscard]] index_t groups() const { return (panels(cols) + group - 1) / group; }
  /// Packs the panels of group g of every block. `wide`: room for tile_cols x depth elements, used for 16-bit storage.
  template <class S>
  void pack(matrix_view<const S> b, index_t g, T* wide) {
    const index_t first = g * group * sizes::tile_cols;
    const index_t width = std::min<index_t>(group * sizes::tile_cols, cols - first);
    for (index_t k = 0; k < rows; k += sizes::depth) {
      const index_t kc = std::min(sizes::depth, rows - k);
      static_assert(sizes::tile_cols % Lanes == 0,
                    "workers pack neighbouring panels: nothing may be written past an end");
      pack_panels<T, Lanes>(part_of(b, k, first, kc, width).transposed(), sizes::tile_cols, true, panel(k, g * group),
                            wide);
    }
  }
};

/// Elements of A's buffer that one worker needs.
template <class T, int Lanes = native_lanes<T>>
[[nodiscard]] constexpr index_t gemm_buffer_size() {
  using sizes = gemm_sizes<T, Lanes>;
  // The second part widens 16-bit storage: a tile's rows of A or a panel's columns of B.
  return (sizes::block_rows + std::max(sizes::tile_rows, sizes::tile_cols)) * sizes::depth +
         std::max<index_t>(Lanes, 16);  // cache lines stay whole
}

/// c (= or +=) one panel of a, packed, times one panel of b: at most tile_rows x tile_cols elements of c.
template <class T, int Lanes>
void gemm_panel(index_t kc, const T* a, const T* b, index_t b_stride, matrix_view<T> c, bool add) {
  constexpr index_t C = gemm_sizes<T, Lanes>::tile_cols;
  const auto tile = gemm_tile_for<T, Lanes>(c.rows);
  if (c.cols == C) return tile(kc, a, b, b_stride, c.data, c.row_stride, add);
  alignas(storage_alignment) T edge[gemm_sizes<T, Lanes>::tile_rows * C];
  tile(kc, a, b, b_stride, edge, C, false);
  for (index_t r = 0; r < c.rows; ++r)
    for (index_t q = 0; q < c.cols; ++q) c(r, q) = add ? c(r, q) + edge[r * C + q] : edge[r * C + q];
}

/// c (= or +=) a b for one worker; a has the rows of c and b.rows columns.
template <class T, int Lanes = native_lanes<T>, class S>
void gemm_block(matrix_view<const S> a, const packed_matrix<T, Lanes>& b, matrix_view<T> c, bool add, T* buffer) {
  using sizes = gemm_sizes<T, Lanes>;
  constexpr index_t R = sizes::tile_rows, C = sizes::tile_cols;
  T* const wide = buffer + sizes::block_rows * sizes::depth + Lanes;
  for (index_t first = 0; first < c.rows; first += sizes::block_rows) {
    const index_t rows = std::min(sizes::block_rows, c.rows - first);
    for (index_t k = 0; k < b.rows; k += sizes::depth) {
      const index_t kc = std::min(sizes::depth, b.rows - k);
      pack_panels<T, Lanes>(part_of(a, first, k, rows, kc), R, false, buffer, wide);
      for (index_t p = 0, j = 0; j < b.cols; ++p, j += C)
        for (index_t i = 0; i < rows; i += R)
          gemm_panel<T, Lanes>(kc, buffer + i * kc, b.panel(k, p), C,
                               part_of(c, first + i, j, std::min(R, rows - i), std::min(C, b.cols - j)), add || k > 0);
    }
  }
}

/// The same for at most tile_rows rows and a b whose columns are neighbours, which is read where it lies: a bag of few
/// instances does not pay for packing the weights. The order of the sums is that of gemm_block.
template <class T, int Lanes = native_lanes<T>, class S>
void gemm_few_rows(matrix_view<const S> a, matrix_view<const T> b, matrix_view<T> c, bool add, T* buffer) {
  using sizes = gemm_sizes<T, Lanes>;
  constexpr index_t R = sizes::tile_rows, C = sizes::tile_cols;
  T* const wide = buffer + sizes::block_rows * sizes::depth + Lanes;
  T* const last_panel = buffer + sizes::tile_rows * sizes::depth + Lanes;
  for (index_t k = 0; k < b.rows; k += sizes::depth) {
    const index_t kc = std::min(sizes::depth, b.rows - k);
    pack_panels<T, Lanes>(part_of(a, 0, k, c.rows, kc), R, false, buffer, wide);
    for (index_t j = 0; j < b.cols; j += C) {
      const index_t width = std::min(C, b.cols - j);
      const auto panel = part_of(b, k, j, kc, width);
      const auto out = part_of(c, 0, j, c.rows, width);
      if (width == C) {
        gemm_panel<T, Lanes>(kc, buffer, panel.data, b.row_stride, out, add || k > 0);
      } else {
        pack_panels<T, Lanes>(panel.transposed(), C, true, last_panel, wide);
        gemm_panel<T, Lanes>(kc, buffer, last_panel, C, out, add || k > 0);
      }
    }
  }
}

/// c (= or +=) a b, then finish(first row, rows) for each finished block of rows, on the worker that made it.
/// c has unit column stride. Cost: 2 M N K flops; scratch for one slab of b and one block of a for each worker.
template <class T, class SA, class SB, class Finish>
void gemm(cpu_context& ctx, matrix_view<const SA> a, matrix_view<const SB> b, matrix_view<T> c, bool add,
          Finish&& finish) {
  using packed = packed_matrix<T>;
  using sizes = gemm_sizes<T, native_lanes<T>>;
  constexpr index_t R = sizes::tile_rows;
  if (c.rows == 0 || c.cols == 0) return;
  const index_t workers = ctx.threads(), depth = a.cols;
  if constexpr (std::is_same_v<SB, T>) {
    if (c.rows <= R && b.col_stride == 1 && depth > 0) {
      auto frame = ctx.workspace().open();
      gemm_few_rows<T>(a, b, c, add, frame.template take<T>(gemm_buffer_size<T>()));
      return finish(index_t{0}, c.rows);
    }
  }
  const index_t width = packed::panels(c.cols) * sizes::tile_cols;
  const index_t slab = std::max(sizes::slab / width / sizes::depth, index_t{1}) * sizes::depth;
  // Blocks of one size, at least one a worker: a last block of a few rows would read all of b for them.
  const index_t at_most = std::min((c.rows + workers - 1) / workers, sizes::block_rows);
  const index_t wanted = (c.rows + at_most - 1) / at_most;
  const index_t block = ((c.rows + wanted - 1) / wanted + R - 1) / R * R;
  const index_t blocks = (c.rows + block - 1) / block;
  auto frame = ctx.workspace().open();
  T* const buffers = frame.template take<T>(workers * gemm_buffer_size<T>());
  T* const slab_memory = frame.template take<T>(packed::size(std::min(slab, depth), c.cols));
  for (index_t k = 0; k == 0 || k < depth; k += slab) {
    packed part{slab_memory, std::min(slab, depth - k), c.cols};
    const auto rows_of_b = part_of(b, k, 0, part.rows, b.cols);
    ctx.parallel(part.groups(),
                 [&](index_t g, int worker) { part.pack(rows_of_b, g, buffers + worker * gemm_buffer_size<T>()); });
    ctx.parallel(blocks, [&](index_t t, int worker) {
      const index_t first = t * block, rows = std::min(block, c.rows - first);
      const auto rows_of_a = part_of(a, first, k, rows, part.rows);
      if (part.rows > 0) {
        gemm_block<T>(rows_of_a, part, c.middle_rows(first, rows), add || k > 0,
                      buffers + worker * gemm_buffer_size<T>());
      } else if (!add) {
        for (index_t r = 0; r < rows; ++r) std::fill_n(c.data + (first + r) * c.row_stride, c.cols, T(0));
      }
      if (k + slab >= depth) finish(first, rows);
    });
  }
}

}  // namespace stroma::detail

#endif
