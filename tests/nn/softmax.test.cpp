#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/nn/linear.hpp>
#include <stroma/nn/softmax.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/graph_gradient.hpp"
#include "../support/matrices.hpp"

using namespace stroma_test;
using stroma::array;
using stroma::as_const_view;
using stroma::as_view;
using stroma::bag_view;
using stroma::cpu_context;
using stroma::graph;
using stroma::graph_mode;
using stroma::node;

namespace {

/// exp(x[k]) / sum of exp(x)
std::vector<long double> definition(const std::vector<long double>& x) {
  long double top = -HUGE_VALL, sum = 0;
  for (const auto v : x) top = std::max(top, v);
  std::vector<long double> p;
  for (const auto v : x) sum += std::exp(v - top);
  for (const auto v : x) p.push_back(std::exp(v - top) / sum);
  return p;
}
/// Of the exponent's argument (its rounding shifts the result), of exp, and of the division.
template <class T>
long double tolerance(long double range) {
  return static_cast<long double>(std::numeric_limits<T>::epsilon()) * (range + 8);
}

}  // namespace

TEST_CASE_TEMPLATE("softmax: rows against the definition, in every layout, alone and in a batch", T, float, double) {
  for (const index_t cols : {1, 31, 32, 33, 1025}) {
    CAPTURE(cols);
    const auto x = normal_matrix<T>(37, cols, 1, 3);
    array<T, 2> expected(37, cols);
    cpu_context one;
    stroma::softmax(one, x, expected);
    for (index_t r = 0; r < 37; ++r) {
      const auto p = definition({as_const_view(x).row(r).data, as_const_view(x).row(r).data + cols});
      CHECK(worst_error(
                as_const_view(expected).middle_rows(r, 1),
                [&](index_t, index_t j) { return p[static_cast<std::size_t>(j)]; },
                [&](index_t, index_t j) { return tolerance<T>(25) * p[static_cast<std::size_t>(j)]; }) <= 1);
      array<T, 2> row(1, cols);
      stroma::softmax(one, as_const_view(x).middle_rows(r, 1), row);
      CHECK(same_matrix(row, as_const_view(expected).middle_rows(r, 1)));
    }
    for (const layout a : layouts)
      for (const layout b : layouts) {
        cpu_context ctx(2);
        laid_out<T> in(as_const_view(x), a), out(as_const_view(array<T, 2>(37, cols)), b);
        stroma::softmax(ctx, in.view(), out.view());
        CHECK(same_matrix(out.view(), expected));
        CHECK(out.gaps_untouched());
        stroma::softmax(ctx, in.view(), in.view());
        CHECK(same_matrix(in.view(), expected));
      }
  }
  const auto many = normal_matrix<T>(1025, 5, 1);
  array<T, 2> a(1025, 5), b(1025, 5);
  cpu_context one, three(3);
  stroma::softmax(one, many, a);
  stroma::softmax(three, many, b);
  CHECK(same_matrix(a, b));
}

TEST_CASE_TEMPLATE("softmax: scores of any size, -infinity and NaN", T, float, double) {
  cpu_context ctx;
  const T inf = std::numeric_limits<T>::infinity();
  array<T, 2> x(4, 3), p(4, 3);
  const T values[] = {T(1e4), T(-1e4), T(0),    -inf,    T(2),   T(2), std::numeric_limits<T>::quiet_NaN(),
                      T(1),   T(2),    T(-1e4), T(-1e4), T(-1e4)};
  std::copy_n(values, 12, x.data());
  stroma::softmax(ctx, x, p);
  CHECK((p(0, 0) == 1 && p(0, 1) == 0 && p(0, 2) == 0));
  CHECK((p(1, 0) == 0 && p(1, 1) == T(0.5) && p(1, 2) == T(0.5)));
  for (index_t j = 0; j < 3; ++j) {
    CHECK(std::isnan(p(2, j)));
    CHECK(p(3, j) == T(1) / 3);
  }
}

TEST_CASE("softmax: gradients") {
  const auto x = normal_matrix<double>(5, 7, 1, 2);
  CHECK(graph_gradient_error({x}, [](graph<double>& g, const std::vector<node>& n) {
          return stroma::softmax(g, n[0]);
        }) < gradient_tolerance);
  CHECK(graph_gradient_error({x}, [](graph<double>& g, const std::vector<node>& n) {
          return stroma::segmented_softmax(g, n[0]);
        }) < gradient_tolerance);
  for (const std::vector<index_t>& sizes : std::vector<std::vector<index_t>>{{1, 31, 3}, {32, 33}, {257, 1, 5}}) {
    const auto offsets = offsets_of_sizes(sizes);
    const auto e = normal_matrix<double>(offsets.back(), 2, 1, 2);
    CHECK(graph_gradient_error({e}, [&](graph<double>& g, const std::vector<node>& n) {
            const node like = g.input(bag_view<const double>{as_const_view(e), as_offsets(offsets)});
            return stroma::segmented_softmax(g, with_bags_of(g, like, n[0]));
          }) < gradient_tolerance);
  }
}

TEST_CASE_TEMPLATE(
    "segmented_softmax: against the definition; a segment has its bits alone, with any number of threads", T, float,
    double) {
  for (const auto& sizes : bag_sizes) {
    const auto offsets = offsets_of_sizes(sizes);
    const index_t rows = offsets.back(), heads = 3;
    const auto e = normal_matrix<T>(rows, heads, 1, 3), d = normal_matrix<T>(rows, heads, 2),
               start = normal_matrix<T>(rows, heads, 3);
    array<T, 2> p(rows, heads);
    auto d_e = start;
    cpu_context one;
    stroma::segmented_softmax(one, e, offsets, p);
    stroma::segmented_softmax_backward(one, p, offsets, d, d_e);
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
      const index_t first = offsets[b], count = offsets[b + 1] - first;
      for (index_t h = 0; h < heads; ++h) {
        std::vector<long double> column;
        for (index_t i = 0; i < count; ++i) column.push_back(static_cast<long double>(e(first + i, h)));
        const auto expected = definition(column);
        const auto found = as_const_view(p).middle_rows(first, count);
        CHECK(worst_error(
                  stroma::matrix_view<const T>(found.data + h, count, 1, heads, 1),
                  [&](index_t i, index_t) { return expected[static_cast<std::size_t>(i)]; },
                  [&](index_t i, index_t) { return tolerance<T>(25) * expected[static_cast<std::size_t>(i)]; }) <= 1);
      }
      array<T, 2> alone(count, heads), d_alone(count, heads);
      std::copy_n(start.data() + first * heads, count * heads, d_alone.data());
      const std::vector<index_t> whole{0, count};
      stroma::segmented_softmax(one, as_const_view(e).middle_rows(first, count), whole, alone);
      stroma::segmented_softmax_backward(one, alone, whole, as_const_view(d).middle_rows(first, count), d_alone);
      CHECK(same_matrix(alone, as_const_view(p).middle_rows(first, count)));
      CHECK(same_matrix(d_alone, as_const_view(d_e).middle_rows(first, count)));
    }
    for (const int threads : {2, 3})
      for (const layout how : layouts) {
        cpu_context ctx(threads);
        const laid_out<T> in(as_const_view(e), how), gradient(as_const_view(d), how);
        laid_out<T> out(as_const_view(array<T, 2>(rows, heads)), how), target(as_const_view(start), how);
        stroma::segmented_softmax(ctx, in.view(), offsets, out.view());
        CHECK(same_matrix(out.view(), p));
        stroma::segmented_softmax_backward(ctx, out.view(), offsets, gradient.view(), target.view());
        CHECK(same_matrix(target.view(), d_e));
        CHECK(target.gaps_untouched());
      }
  }
}

TEST_CASE_TEMPLATE("softmax: inference has the bits of training", T, float, double) {
  cpu_context ctx(2);
  const std::vector<index_t> offsets{0, 257, 258, 700};
  const auto x = normal_matrix<T>(700, 5, 1);
  const auto small = normal_matrix<stroma::half>(700, 5, 1);
  graph<T> train(ctx), infer(ctx, graph_mode::inference);
  const auto record = [&](graph<T>& g, auto in) {
    return stroma::segmented_softmax(
        g, stroma::softmax(g, g.input(bag_view<const stroma::scalar_of<decltype(in)>>{in, as_offsets(offsets)})));
  };
  CHECK(same_matrix(infer.value(record(infer, as_const_view(x))), train.value(record(train, as_const_view(x)))));
  CHECK(
      same_matrix(infer.value(record(infer, as_const_view(small))), train.value(record(train, as_const_view(small)))));
}

TEST_CASE("softmax: backward adds in every layout; messages; memory") {
  cpu_context ctx(2);
  const auto x = normal_matrix<float>(33, 7, 1), d = normal_matrix<float>(33, 7, 2);
  array<float, 2> p(33, 7), expected(33, 7);
  stroma::softmax(ctx, x, p);
  expected.fill(2);
  stroma::softmax_backward(ctx, p, d, expected);
  for (const layout how : layouts) {
    const laid_out<float> out(as_const_view(p), how), gradient(as_const_view(d), how);
    array<float, 2> start(33, 7);
    start.fill(2);
    laid_out<float> target(as_const_view(start), how);
    stroma::softmax_backward(ctx, out.view(), gradient.view(), target.view());
    CHECK(same_matrix(target.view(), expected));
    CHECK(target.gaps_untouched());
  }
  array<float, 2> wrong(33, 6);
  CHECK_THROWS_WITH_AS(stroma::softmax(ctx, x, wrong), "softmax: out: shape 33 x 6, expected 33 x 7",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::softmax_backward(ctx, p, wrong, expected),
                       "softmax_backward: d_out: shape 33 x 6, expected 33 x 7", stroma::shape_error);
  const std::vector<index_t> bad{0, 20, 10, 33}, with_empty{0, 0, 33, 33}, none{0};
  CHECK_THROWS_WITH_AS(stroma::segmented_softmax(ctx, x, bad, p),
                       "segmented_softmax: offsets: a fall at entry 2, expected entries that never fall",
                       stroma::shape_error);
  CHECK_NOTHROW(stroma::segmented_softmax(ctx, x, with_empty, p));
  CHECK_NOTHROW(stroma::segmented_softmax(ctx, array<float, 2>(0, 7), none, array<float, 2>(0, 7)));
  CHECK_NOTHROW(stroma::softmax(ctx, array<float, 2>(0, 7), array<float, 2>(0, 7)));
  CHECK_NOTHROW(stroma::softmax(ctx, array<float, 2>(3, 0), array<float, 2>(3, 0)));
  const auto call = [&] {
    stroma::softmax(ctx, x, p);
    stroma::softmax_backward(ctx, p, d, expected);
    stroma::segmented_softmax(ctx, x, with_empty, p);
  };
  call();
  CHECK(allocations_in(call) == 0);
}
