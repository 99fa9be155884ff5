#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <stroma/backend/cuda/blas.cuh>
#include <stroma/backend/cuda/checks.cuh>

/// Products of matrices of any storage and strides: what cuBLAS takes as it is, what must be copied, widened or split.
namespace stroma::detail {

template <class T>
struct fill_elements {
  device_matrix<T> c;
  T value;
  __device__ void operator()(index_t i) const { c(i / c.cols, i % c.cols) = value; }
};
template <class S, class T>
struct copy_elements {
  device_matrix<const S> a;
  device_matrix<T> c;
  __device__ void operator()(index_t i) const {
    const index_t row = i / c.cols, col = i % c.cols;
    if constexpr (is_narrow<T> && !is_narrow<S>) c(row, col) = narrow<T>(a(row, col));
    else if constexpr (std::is_same_v<S, T>) c(row, col) = a(row, col);
    else c(row, col) = widen<T>(a(row, col));
  }
};
/// A float as a sum of parts of 8 bits, the largest first: each is what is left, cut off behind its eighth bit. Three
/// are exact while none is subnormal; what is not finite is the first part.
struct split_elements {
  device_matrix<const float> m;
  bfloat16* part;  // [parts, rows, cols]
  int parts;
  __device__ void operator()(index_t i) const {
    float left = m(i / m.cols, i % m.cols);
    for (int p = 0; p < parts; ++p) {
      const bool finite = is_finite(left);
      const bfloat16 cut =
          finite ? bfloat16{static_cast<std::uint16_t>(bits_as<std::uint32_t>(left) >> 16)} : to_bfloat16(left);
      part[p * m.rows * m.cols + i] = cut;
      left = finite ? left - to_float(cut) : 0.0f;
    }
  }
};

/// Elements that are converted at a time when a factor is stored in another type: 16 MB of float, which the product
/// then reads from the second-level cache.
inline constexpr index_t converted_at_a_time = index_t{1} << 22;

/// A factor in type T as the product takes it: itself, or a copy in the scratch.
template <class T, class Frame, class S>
device_matrix<const T> operand(cuda_context& ctx, Frame& frame, device_matrix<const S> m) {
  if constexpr (std::is_same_v<S, T>)
    if (is_gemm_operand(m)) return m;
  const device_matrix<T> copied(frame.template take<T>(m.rows * m.cols), m.rows, m.cols);
  each(ctx, m.rows * m.cols, copy_elements<S, T>{m, copied});
  return copied;
}
/// c (= or +=) a b for a factor of bfloat16 and one of float, which is split: the products of its parts are exact.
/// Products of 16 bits run on tensor cores (what three of them cost against one in float was not measured), and the
/// 16-bit factor, the larger one, is read as it is. Strip by strip of the rows of b, so that the
/// parts stay in the cache.
template <class SA, class SB>
void in_parts(cuda_context& ctx, device_matrix<const SA> a, device_matrix<const SB> b, device_matrix<float> c,
              bool add) {
  constexpr bool splits_left = std::is_same_v<SA, float>;
  const int parts = ctx.options().precision == matrix_precision::full ? 3 : 2;  // tf32 has fewer bits than two
  const index_t width = splits_left ? a.rows : b.cols;
  const index_t strip = std::max<index_t>(1, converted_at_a_time / std::max<index_t>(width, 1));
  for (index_t first = 0; first < b.rows; first += strip) {
    const index_t count = std::min(strip, b.rows - first);
    const device_matrix<const SA> columns{a.data + first * a.col_stride, a.rows, count, a.row_stride, a.col_stride};
    const device_matrix<const SB> rows = b.middle_rows(first, count);
    auto frame = ctx.workspace().open();
    bfloat16* const part = frame.template take<bfloat16>(parts * count * width);
    const auto multiply = [&](const auto& split, const auto& whole) {
      each(ctx, count * width, split_elements{split, part, parts});
      const auto stored = operand<bfloat16>(ctx, frame, whole);
      for (int p = parts - 1; p >= 0; --p) {  // the smallest first
        const device_matrix<const bfloat16> one(part + p * count * width, split.rows, split.cols);
        blas_gemm<bfloat16, float>(ctx, splits_left ? one : stored, splits_left ? stored : one, c,
                                   add || first > 0 || p + 1 < parts);
      }
    };
    if constexpr (splits_left) multiply(columns, rows);
    else multiply(rows, columns);
  }
}
/// c (= or +=) a b with the factor of other storage widened strip by strip: rows of a, or rows of b and as many columns
/// of a.
template <class SA, class SB, class T>
void widened(cuda_context& ctx, device_matrix<const SA> a, device_matrix<const SB> b, device_matrix<T> c, bool add) {
  const bool by_rows_of_a = !std::is_same_v<SA, T>;
  const index_t total = by_rows_of_a ? a.rows : b.rows, width = by_rows_of_a ? a.cols : b.cols;
  const index_t strip = std::max<index_t>(1, converted_at_a_time / std::max<index_t>(width, 1));
  for (index_t first = 0; first < total; first += strip) {
    const index_t count = std::min(strip, total - first);
    auto frame = ctx.workspace().open();
    if (by_rows_of_a) {
      const auto left = operand<T>(ctx, frame, a.middle_rows(first, count));
      blas_gemm<T, T>(ctx, left, operand<T>(ctx, frame, b), c.middle_rows(first, count), add);
    } else {
      const auto right = operand<T>(ctx, frame, b.middle_rows(first, count));
      const device_matrix<const SA> columns{a.data + first * a.col_stride, a.rows, count, a.row_stride, a.col_stride};
      blas_gemm<T, T>(ctx, operand<T>(ctx, frame, columns), right, c, add || first > 0);
    }
  }
}
/// c (= or +=) a b for any storage and strides; what the context's precision says.
template <class SA, class SB, class T>
void product(cuda_context& ctx, device_matrix<const SA> a, device_matrix<const SB> b, device_matrix<T> c, bool add) {
  if (c.rows == 0 || c.cols == 0) return;
  if (a.cols == 0) {
    if (!add) each(ctx, c.rows * c.cols, fill_elements<T>{c, T(0)});
    return;
  }
  if constexpr (std::is_same_v<SA, T> && std::is_same_v<SB, T>) {
    auto frame = ctx.workspace().open();
    blas_gemm<T, T>(ctx, operand<T>(ctx, frame, a), operand<T>(ctx, frame, b), c, add);
  } else if constexpr (std::is_same_v<T, float> && is_narrow<SA> != is_narrow<SB>) {
    using S = std::conditional_t<is_narrow<SA>, SA, SB>;
    if (ctx.options().precision != matrix_precision::storage) {
      if constexpr (std::is_same_v<S, bfloat16>) return in_parts(ctx, a, b, c, add);
      else return widened(ctx, a, b, c, add);
    }
    auto frame = ctx.workspace().open();
    blas_gemm<S, T>(ctx, operand<S>(ctx, frame, a), operand<S>(ctx, frame, b), c, add);
  } else {
    widened(ctx, a, b, c, add);
  }
}

}  // namespace stroma::detail
