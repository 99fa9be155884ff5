#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>

#include <stroma/core/context.hpp>
#include <stroma/optim/parameter_update.hpp>

namespace stroma::detail {

/// 0 where either norm is 0.
[[nodiscard]] inline double gram_cosine(double aa, double bb, double ab) {
  return aa > 0 && bb > 0 ? ab / (std::sqrt(aa) * std::sqrt(bb)) : 0;
}

/// In lanes that a compiler makes packets of.
[[nodiscard]] inline double dot_of_tile(index_t n, const double* a, const double* b) {
  constexpr index_t lanes = 8;
  double sum[lanes] = {};
  index_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (index_t l = 0; l < lanes; ++l) sum[l] += a[i + l] * b[i + l];
  for (; i < n; ++i) sum[0] += a[i] * b[i];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/// gram[a][b] = sum over i of (x_a[i] - from[i]) (x_b[i] - from[i]) in double, `from` null for 0, in an order that
/// depends on the count alone. Returns how many i have differences of both signs among the first `voters` x.
template <class T>
index_t gram_of_differences(cpu_context& ctx, index_t count, const T* from, std::span<const T* const> x,
                            std::size_t voters, double* gram) {
  constexpr index_t tile = 128;
  const auto n = static_cast<index_t>(x.size());
  const index_t pieces = (count + update_piece - 1) / update_piece, pairs = n * n;
  auto scratch = ctx.workspace().open();
  double* const sums = scratch.template take<double>(pieces * pairs);
  index_t* const conflicts = scratch.template take<index_t>(pieces);
  double* const buffers = scratch.template take<double>(ctx.threads() * n * tile);

  ctx.parallel(pieces, [&](index_t piece, int worker) {
    double* const d = buffers + worker * n * tile;
    double* const sum = sums + piece * pairs;
    std::fill_n(sum, pairs, 0.0);
    index_t disagree = 0;
    const index_t end = std::min(count, (piece + 1) * update_piece);
    for (index_t at = piece * update_piece; at < end; at += tile) {
      const index_t part = std::min(tile, end - at);
      for (index_t a = 0; a < n; ++a) {
        const T* const of_model = x[static_cast<std::size_t>(a)];
        for (index_t i = 0; i < part; ++i)
          d[a * tile + i] =
              static_cast<double>(of_model[at + i]) - (from != nullptr ? static_cast<double>(from[at + i]) : 0);
      }
      for (index_t a = 0; a < n; ++a)
        for (index_t b = 0; b <= a; ++b) sum[a * n + b] += dot_of_tile(part, d + a * tile, d + b * tile);
      std::array<double, tile> most{}, least{};
      for (index_t a = 0; a < static_cast<index_t>(voters); ++a)
        for (index_t i = 0; i < part; ++i) {
          const double x_i = d[a * tile + i];
          double &up = most[static_cast<std::size_t>(i)], &down = least[static_cast<std::size_t>(i)];
          up = x_i > up ? x_i : up;
          down = x_i < down ? x_i : down;
        }
      for (std::size_t i = 0; i < static_cast<std::size_t>(part); ++i) disagree += most[i] > 0 && least[i] < 0 ? 1 : 0;
    }
    conflicts[piece] = disagree;
  });

  std::fill_n(gram, pairs, 0.0);
  index_t all = 0;
  for (index_t p = 0; p < pieces; ++p) {
    all += conflicts[p];
    for (index_t a = 0; a < n; ++a)
      for (index_t b = 0; b <= a; ++b) gram[a * n + b] += sums[p * pairs + a * n + b];
  }
  for (index_t a = 0; a < n; ++a)
    for (index_t b = 0; b < a; ++b) gram[b * n + a] = gram[a * n + b];
  return all;
}

}  // namespace stroma::detail
