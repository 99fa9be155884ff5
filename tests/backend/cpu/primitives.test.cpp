#include <cmath>
#include <limits>
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
using stroma::cpu_context;
using stroma::matrix_view;
using stroma::vector_view;
using ops = stroma::primitives<stroma::backend::cpu>;

TEST_CASE_TEMPLATE("primitives: fill, copy and axpy in every layout", T, float, double) {
  cpu_context ctx(3);
  for (const index_t rows : {1, 33, 2000}) {
    const auto a = normal_matrix<T>(rows, 67, 1), b = normal_matrix<T>(rows, 67, 2);
    const auto small = normal_matrix<stroma::half>(rows, 67, 3);
    array<T, 2> sum(rows, 67), seven(rows, 67), wide(rows, 67);
    seven.fill(T(7));
    for (index_t i = 0; i < a.size(); ++i) {
      sum.data()[i] = b.data()[i] + 2 * a.data()[i];  // 2 a is exact: fused or not is one
      wide.data()[i] = stroma::widen<T>(small.data()[i]);
    }
    for (const layout from : layouts)
      for (const layout to : layouts) {
        const laid_out<T> x(as_const_view(a), from);
        const laid_out<stroma::half> narrow(as_const_view(small), from);
        laid_out<T> y(as_const_view(b), to);
        ops::axpy(ctx, T(2), x.view(), y.view());
        CHECK(same_matrix(y.view(), sum));
        ops::copy(ctx, x.view(), y.view());
        CHECK(same_matrix(y.view(), a));
        ops::copy(ctx, narrow.view(), y.view());
        CHECK(same_matrix(y.view(), wide));
        ops::fill(ctx, y.view(), T(7));
        CHECK(same_matrix(y.view(), seven));
        CHECK(y.gaps_untouched());
      }
  }
}

TEST_CASE_TEMPLATE("primitives: column sums add, in one order for any layout and number of threads", T, float, double) {
  for (const index_t rows : {0, 1, 31, 252, 253, 1025}) {
    cpu_context one;
    const auto a = normal_matrix<T>(rows, 19, 1);
    const auto start = normal_vector<T>(19, 2);
    auto expected = start;
    ops::add_column_sums(one, as_const_view(a), as_view(expected));
    for (index_t j = 0; j < 19; ++j) {
      long double sum = static_cast<long double>(start[j]), absolute = std::abs(sum);
      for (index_t i = 0; i < rows; ++i)
        sum += static_cast<long double>(a(i, j)), absolute += std::abs(static_cast<long double>(a(i, j)));
      CHECK(std::abs(static_cast<long double>(expected[j]) - sum) <=
            260 * static_cast<long double>(std::numeric_limits<T>::epsilon()) * absolute);
    }
    for (const int threads : {1, 2, 3})
      for (const layout how : layouts) {
        cpu_context ctx(threads);
        const laid_out<T> x(as_const_view(a), how);
        auto w = start;
        ops::add_column_sums(ctx, x.view(), as_view(w));
        CHECK(std::equal(w.begin(), w.end(), expected.begin()));
      }
  }
}

TEST_CASE_TEMPLATE("primitives: a derivative may be multiplied in place", T, float, double) {
  cpu_context ctx;
  const auto x = normal_matrix<T>(33, 35, 1), d = normal_matrix<T>(33, 35, 2);
  for (const activation f : {activation::identity, activation::relu, activation::tanh, activation::sigmoid,
                             activation::gelu, activation::elu}) {
    array<T, 2> y(33, 35), added(33, 35);
    auto scaled = d;
    ops::activate(ctx, f, as_const_view(x), as_view(y));
    ops::activate_backward(ctx, f, as_const_view(x), as_const_view(y), as_const_view(d), as_view(added));
    ops::scale_by_derivative(ctx, f, as_const_view(x), as_const_view(y), as_const_view(scaled), as_view(scaled));
    for (index_t i = 0; i < d.size(); ++i) CHECK(scaled.data()[i] == added.data()[i]);
  }
}

TEST_CASE_TEMPLATE("primitives: weighted sums of segments, a segment alone has its bits", T, float, double) {
  for (const auto& sizes : bag_sizes) {
    const auto offsets = offsets_of_sizes(sizes);
    const index_t rows = offsets.back(), bags = static_cast<index_t>(sizes.size());
    const auto a = normal_matrix<T>(rows, 13, 1), weight = normal_matrix<T>(rows, 2, 2);
    array<T, 2> expected(bags, 26);
    cpu_context one;
    ops::segmented_weighted_sum(one, as_const_view(weight), as_const_view(a), as_offsets(offsets), as_view(expected));
    const auto sum = [&](index_t b, index_t j, bool absolute) {
      long double total = 0;
      for (index_t n = offsets[static_cast<std::size_t>(b)]; n < offsets[static_cast<std::size_t>(b) + 1]; ++n) {
        const auto term = static_cast<long double>(weight(n, j / 13)) * static_cast<long double>(a(n, j % 13));
        total += absolute ? std::abs(term) : term;
      }
      return total;
    };
    CHECK(worst_error(
              expected, [&](index_t b, index_t j) { return sum(b, j, false); },
              [&](index_t b, index_t j) {
                return 260 * static_cast<long double>(std::numeric_limits<T>::epsilon()) * sum(b, j, true);
              }) <= 1);
    cpu_context ctx(3);
    array<T, 2> again(bags, 26), alone(1, 26);
    ops::segmented_weighted_sum(ctx, as_const_view(weight), as_const_view(a), as_offsets(offsets), as_view(again));
    CHECK(same_matrix(again, expected));
    for (std::size_t b = 0; b < sizes.size(); ++b) {
      const std::vector<index_t> whole{0, sizes[b]};
      ops::segmented_weighted_sum(ctx, as_const_view(weight).middle_rows(offsets[b], sizes[b]),
                                  as_const_view(a).middle_rows(offsets[b], sizes[b]), as_offsets(whole),
                                  as_view(alone));
      CHECK(same_matrix(alone, as_const_view(expected).middle_rows(static_cast<index_t>(b), 1)));
    }
    const auto call = [&] {
      ops::segmented_weighted_sum(ctx, as_const_view(weight), as_const_view(a), as_offsets(offsets), as_view(again));
    };
    CHECK(allocations_in(call) == 0);
  }
}
