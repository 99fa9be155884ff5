#include <cmath>
#include <limits>

#include <stroma/backend/cuda/primitives.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;
using stroma::bfloat16;
using stroma::matrix_precision;

namespace {

using ops = stroma::primitives<stroma::backend::cuda>;
template <class T>
using device_view = stroma::matrix_view<T, stroma::device_space>;

/// Normal numbers over many powers of 2.
template <class S>
stroma::array<S, 2> wide_matrix(index_t rows, index_t cols, std::uint64_t seed) {
  stroma::array<S, 2> m(rows, cols);
  stroma::random_stream draw(seed);
  for (S& x : m) x = stroma::narrow<S>(draw.normal() * std::exp2(static_cast<double>(draw.below(40)) - 20));
  return m;
}

/// The worst error of a b in units of what sums in float may have: eps (terms + 8) sum |a| |b|, three sums where a
/// factor is split; against long double on the stored numbers.
template <class SA, class SB>
double error_of_product(const stroma::array<float, 2>& found, const stroma::array<SA, 2>& a,
                        const stroma::array<SB, 2>& b, const stroma::array<float, 2>& start) {
  const auto sum = [&](index_t i, index_t j, bool magnitude) {
    long double total = start(i, j);
    if (magnitude) total = std::abs(total);
    for (index_t k = 0; k < a.cols(); ++k) {
      const long double term = static_cast<long double>(stroma::widen<float>(a(i, k))) *
                               static_cast<long double>(stroma::widen<float>(b(k, j)));
      total += magnitude ? std::abs(term) : term;
    }
    return total;
  };
  return worst_error(
      found, [&](index_t i, index_t j) { return sum(i, j, false); },
      [&](index_t i, index_t j) {
        return static_cast<long double>(std::numeric_limits<float>::epsilon()) *
               static_cast<long double>(a.cols() + 8) * sum(i, j, true);
      });
}

template <class SA, class SB>
double worst_product(const stroma::cuda_options& options, index_t m, index_t n, index_t k) {
  const auto a = wide_matrix<SA>(m, k, 1);
  const auto b = wide_matrix<SB>(k, n, 2);
  const auto start = wide_matrix<float>(m, n, 3);
  const stroma::array<float, 2> zero(m, n);
  double worst = 0;
  stroma::cuda_context ctx(nullptr, options);
  for (const auto& [how_a, how_b] :
       {std::pair{layout::rows, layout::rows}, std::pair{layout::columns, layout::padded_rows},
        std::pair{layout::apart, layout::columns}}) {
    laid_out_on_device<SA> left(ctx, stroma::as_const_view(a), how_a);
    laid_out_on_device<SB> right(ctx, stroma::as_const_view(b), how_b);
    auto c = on_device(ctx, start);
    ops::gemm(ctx, device_view<const SA>(left.view()), device_view<const SB>(right.view()), stroma::as_view(c));
    worst = std::max(worst, error_of_product(on_host(ctx, c), a, b, zero));
    c = on_device(ctx, start);
    ops::gemm_add(ctx, device_view<const SA>(left.view()), device_view<const SB>(right.view()), stroma::as_view(c));
    worst = std::max(worst, error_of_product(on_host(ctx, c), a, b, start));
  }
  return worst;
}

}  // namespace

TEST_CASE("cuda: products of bfloat16 with float are those of float") {
  for (const index_t k : {1, 31, 200}) {
    CHECK(worst_product<bfloat16, float>({}, 9, 5, k) <= 1);
    CHECK(worst_product<float, bfloat16>({}, 4, 17, k) <= 1);
    CHECK(worst_product<stroma::half, float>({}, 9, 5, k) <= 1);
  }
  // Rounding the float to 8 bits is another thing, and two parts of it are one between.
  CHECK(worst_product<bfloat16, float>({.precision = matrix_precision::storage}, 9, 5, 31) > 100);
  const double two_parts = worst_product<bfloat16, float>({.precision = matrix_precision::tf32}, 9, 5, 31);
  CHECK(two_parts > 1);
  CHECK(two_parts < 100);
}

TEST_CASE("cuda: products of bfloat16 with float, strip by strip") {
  CHECK(worst_product<bfloat16, float>({}, 2, 2100, 2100) <= 1);
  CHECK(worst_product<float, bfloat16>({}, 2100, 2, 2100) <= 1);
}

TEST_CASE("cuda: products of bfloat16 with what is not finite") {
  stroma::cuda_context ctx;
  stroma::array<bfloat16, 2> a(1, 2);
  a(0, 0) = a(0, 1) = stroma::to_bfloat16(2.0f);
  stroma::array<float, 2> b(2, 4);
  b(0, 0) = std::numeric_limits<float>::infinity();
  b(0, 1) = std::numeric_limits<float>::quiet_NaN();
  b(0, 2) = std::numeric_limits<float>::max() / 2;
  b(0, 3) = 0x1p-130f;
  device_array<float> c(1, 4);
  ops::gemm(ctx, device_view<const bfloat16>(stroma::as_const_view(on_device(ctx, a))),
            device_view<const float>(stroma::as_const_view(on_device(ctx, b))), stroma::as_view(c));
  const auto found = on_host(ctx, c);
  CHECK(found(0, 0) == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(found(0, 1)));
  CHECK(found(0, 2) == std::numeric_limits<float>::max());
  CHECK(found(0, 3) == 0x1p-129f);
}
