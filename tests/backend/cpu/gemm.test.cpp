#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>

#include "../../support/counting_allocator.hpp"
#include "../../support/matrices.hpp"

using namespace stroma_test;
using stroma::activation;
using stroma::array;
using stroma::as_const_view;
using stroma::as_view;
using stroma::bfloat16;
using stroma::cpu_context;
using stroma::half;
using stroma::matrix_view;
using stroma::vector_view;
using stroma::widen;
using ops = stroma::primitives<stroma::backend::cpu>;

namespace {

/// Sum of a(i, k) b(k, j), and of the absolute terms: the scale of the rounding error.
struct product {
  long double value = 0, absolute = 0;
};
template <class A, class B>
product oracle(const A& a, const B& b, index_t i, index_t j) {
  product p;
  for (index_t k = 0; k < a.cols; ++k) {
    const long double term = widen<long double>(a(i, k)) * widen<long double>(b(k, j));
    p.value += term;
    p.absolute += std::abs(term);
  }
  return p;
}
/// A chain of K additions errs by K eps of the absolute sum, at most; (K + 2) allows for bias and the store.
template <class T, class A, class B, class C>
double error_of_product(const A& a, const B& b, const C& c) {
  return worst_error(
      c, [&](index_t i, index_t j) { return oracle(a, b, i, j).value; },
      [&](index_t i, index_t j) {
        return static_cast<long double>(a.cols + 2) * static_cast<long double>(std::numeric_limits<T>::epsilon()) *
               oracle(a, b, i, j).absolute;
      });
}

struct extents {
  index_t m, k, n;
};
constexpr extents shapes[] = {{1, 1, 1},    {1, 7, 3},     {31, 5, 33},  {32, 32, 32}, {33, 1, 31},
                              {5, 1025, 2}, {2, 383, 17},  {3, 385, 5},  {1025, 3, 7}, {109, 65, 9},
                              {6, 193, 64}, {14, 192, 65}, {127, 10, 1}, {13, 770, 40}};

}  // namespace

TEST_CASE_TEMPLATE("gemm: any shape against the definition", T, float, double) {
  cpu_context ctx;
  for (const extents e : shapes) {
    const index_t m = e.m, k = e.k, n = e.n;
    CAPTURE(m);
    CAPTURE(k);
    CAPTURE(n);
    const auto a = normal_matrix<T>(m, k, 1), b = normal_matrix<T>(k, n, 2);
    array<T, 2> c(m, n);
    c.fill(T(77));
    ops::gemm(ctx, as_const_view(a), as_const_view(b), as_view(c));
    CHECK(error_of_product<T>(as_const_view(a), as_const_view(b), c) <= 1);

    const auto before = normal_matrix<T>(m, n, 3);
    auto sum = before;
    ops::gemm_add(ctx, as_const_view(a), as_const_view(b), as_view(sum));
    CHECK(worst_error(
              sum,
              [&](index_t i, index_t j) {
                return oracle(as_const_view(a), as_const_view(b), i, j).value + static_cast<long double>(before(i, j));
              },
              [&](index_t i, index_t j) {
                return static_cast<long double>(k + 2) * static_cast<long double>(std::numeric_limits<T>::epsilon()) *
                       (oracle(as_const_view(a), as_const_view(b), i, j).absolute +
                        std::abs(static_cast<long double>(before(i, j))));
              }) <= 1);
  }
}

TEST_CASE_TEMPLATE("gemm: every combination of strides gives the same bits", T, float, double) {
  cpu_context ctx;
  for (const extents e : {extents{33, 40, 37}, extents{1, 33, 65}, extents{65, 3, 1}}) {
    const index_t m = e.m, k = e.k, n = e.n;
    const auto a = normal_matrix<T>(m, k, 1), b = normal_matrix<T>(k, n, 2);
    array<T, 2> expected(m, n);
    ops::gemm(ctx, as_const_view(a), as_const_view(b), as_view(expected));
    for (const layout of_a : layouts)
      for (const layout of_b : layouts)
        for (const layout of_c : {layout::rows, layout::padded_rows}) {
          const laid_out<T> x(as_const_view(a), of_a), y(as_const_view(b), of_b);
          laid_out<T> z(as_const_view(array<T, 2>(m, n)), of_c);
          ops::gemm(ctx, x.view(), y.view(), z.view());
          CHECK(same_matrix(z.view(), expected));
          CHECK(z.gaps_untouched());
        }
  }
}

TEST_CASE_TEMPLATE("gemm: 16-bit storage gives the bits of the same numbers in full", S, half, bfloat16) {
  cpu_context ctx(2);
  const auto check = [&]<class T>(T) {
    for (const extents e : {extents{1, 1, 1}, extents{33, 400, 37}, extents{120, 31, 65}}) {
      const index_t m = e.m, k = e.k, n = e.n;
      const auto a = normal_matrix<S>(m, k, 1), b = normal_matrix<S>(k, n, 2);
      array<T, 2> wide_a(m, k), wide_b(k, n), expected(m, n), found(m, n);
      ops::copy(ctx, as_const_view(a), as_view(wide_a));
      ops::copy(ctx, as_const_view(b), as_view(wide_b));
      ops::gemm(ctx, as_const_view(wide_a), as_const_view(wide_b), as_view(expected));
      for (const layout how : layouts) {
        const laid_out<S> x(as_const_view(a), how), y(as_const_view(b), how);
        ops::gemm(ctx, x.view(), y.view(), as_view(found));
        CHECK(same_matrix(found, expected));
        ops::gemm(ctx, x.view(), as_const_view(wide_b), as_view(found));
        CHECK(same_matrix(found, expected));
        ops::gemm(ctx, as_const_view(wide_a), y.view(), as_view(found));
        CHECK(same_matrix(found, expected));
      }
    }
  };
  check(float{});
  check(double{});
}

TEST_CASE_TEMPLATE("gemm: nothing to sum, nothing to fill", T, float, double) {
  cpu_context ctx(2);
  const auto bias = normal_vector<T>(5, 4);
  array<T, 2> c(3, 5);
  c.fill(T(7));
  ops::gemm(ctx, matrix_view<const T>(nullptr, 3, 0), matrix_view<const T>(nullptr, 0, 5), as_view(c),
            as_const_view(bias), activation::relu);
  for (index_t i = 0; i < 3; ++i)
    for (index_t j = 0; j < 5; ++j) CHECK(c(i, j) == std::max(bias[j], T(0)));
  c.fill(T(7));
  ops::gemm_add(ctx, matrix_view<const T>(nullptr, 3, 0), matrix_view<const T>(nullptr, 0, 5), as_view(c));
  CHECK(c(2, 4) == T(7));
  const auto b = normal_matrix<T>(4, 5, 1);
  ops::gemm(ctx, matrix_view<const T>(nullptr, 0, 4), as_const_view(b), matrix_view<T>(nullptr, 0, 5));
  ops::gemm(ctx, as_const_view(b), matrix_view<const T>(nullptr, 5, 0), matrix_view<T>(nullptr, 4, 0));
}

TEST_CASE_TEMPLATE("gemm: a row has its bits alone, anywhere in a batch, with any number of threads", T, float,
                   double) {
  for (const extents e : {extents{300, 400, 37}, extents{57, 33, 130}}) {
    const index_t m = e.m, k = e.k, n = e.n;
    const auto a = normal_matrix<T>(m, k, 1), b = normal_matrix<T>(k, n, 2), before = normal_matrix<T>(m, n, 3);
    const auto bias = normal_vector<T>(n, 4);
    array<T, 2> expected(m, n), added = before;
    cpu_context one;
    ops::gemm(one, as_const_view(a), as_const_view(b), as_view(expected), as_const_view(bias), activation::gelu);
    ops::gemm_add(one, as_const_view(a), as_const_view(b), as_view(added));
    for (const int threads : {2, 3}) {
      cpu_context ctx(threads);
      array<T, 2> found(m, n), sum = before;
      ops::gemm(ctx, as_const_view(a), as_const_view(b), as_view(found), as_const_view(bias), activation::gelu);
      CHECK(same_matrix(found, expected));
      ops::gemm_add(ctx, as_const_view(a), as_const_view(b), as_view(sum));
      CHECK(same_matrix(sum, added));
    }
    std::vector<T> packed(static_cast<std::size_t>(ops::packed_size<T>(k, n)));
    std::vector<T> buffer(static_cast<std::size_t>(ops::tile_buffer_size<T>()));
    ops::pack(one, as_const_view(b), packed.data());
    array<T, 2> part(m, n);
    for (const index_t count : {1, 2, 5, 6, 13, 14, 15, 50})
      for (const index_t first : {index_t{0}, index_t{1}, index_t{7}, m - count}) {
        const auto out = as_view(part).middle_rows(0, count);
        ops::gemm(one, as_const_view(a).middle_rows(first, count), as_const_view(b), out, as_const_view(bias),
                  activation::gelu);
        CHECK(same_matrix(out, as_const_view(expected).middle_rows(first, count)));
        // The product of a tile with a packed matrix is the same chain of sums.
        ops::gemm_tile(as_const_view(a).middle_rows(first, count), static_cast<const T*>(packed.data()), out,
                       as_const_view(bias), activation::gelu, buffer.data());
        CHECK(same_matrix(out, as_const_view(expected).middle_rows(first, count)));
      }
  }
}

TEST_CASE_TEMPLATE("gemm: NaN and infinity reach what they touch, and nothing else", T, float, double) {
  cpu_context ctx;
  auto a = normal_matrix<T>(40, 20, 1);
  const auto b = normal_matrix<T>(20, 19, 2);
  array<T, 2> clean(40, 19), c(40, 19);
  ops::gemm(ctx, as_const_view(a), as_const_view(b), as_view(clean));
  a(7, 3) = std::numeric_limits<T>::quiet_NaN();
  ops::gemm(ctx, as_const_view(a), as_const_view(b), as_view(c));
  for (index_t i = 0; i < 40; ++i)
    for (index_t j = 0; j < 19; ++j) CHECK((i == 7 ? std::isnan(c(i, j)) : same_bits(c(i, j), clean(i, j))));
}

TEST_CASE_TEMPLATE("gemm: more than one slab of b", T, float, double) {
  // A slab has 2^21 elements: with 8 columns that takes some 260 000 rows of b.
  cpu_context ctx(2), one;
  const index_t k = 300000;
  const auto a = normal_matrix<T>(3, k, 1), b = normal_matrix<T>(k, 8, 2);
  array<T, 2> c(3, 8), alone(1, 8);
  ops::gemm(ctx, as_const_view(a), as_const_view(b), as_view(c));
  // Blocks of 1536 / sizeof(T) are summed one after another.
  const double depth = 1536.0 / sizeof(T);
  CHECK(worst_error(
            c, [&](index_t i, index_t j) { return oracle(as_const_view(a), as_const_view(b), i, j).value; },
            [&](index_t i, index_t j) {
              return (depth + static_cast<double>(k) / depth) * static_cast<double>(std::numeric_limits<T>::epsilon()) *
                     static_cast<double>(oracle(as_const_view(a), as_const_view(b), i, j).absolute);
            }) <= 1);
  ops::gemm(one, as_const_view(a).middle_rows(2, 1), as_const_view(b), as_view(alone));
  CHECK(same_matrix(alone, as_const_view(c).middle_rows(2, 1)));
}

TEST_CASE_TEMPLATE("gemm: the second call takes no memory", T, float, double) {
  cpu_context ctx(2);
  const auto a = normal_matrix<T>(130, 77, 1), b = normal_matrix<T>(77, 35, 2);
  array<T, 2> c(130, 35);
  const auto call = [&] { ops::gemm(ctx, as_const_view(a), as_const_view(b), as_view(c)); };
  call();
  CHECK(allocations_in(call) == 0);
}
