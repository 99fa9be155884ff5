#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/nn/top_k.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/graph_gradient.hpp"
#include "top_k_cases.hpp"

using namespace stroma_test;
using stroma::array;
using stroma::as_const_view;
using stroma::as_view;
using stroma::cpu_context;
using stroma::matrix_view;

TEST_CASE_TEMPLATE("top_k: of rows, as the definition, in any layout and with any number of threads", T, float,
                   double) {
  constexpr index_t rows = 5;
  for (const index_t cols : {1, 31, 32, 33, 1025})
    for (const index_t k : {index_t{1}, index_t{7}, cols - 1, cols, cols + 3})
      for (const std::uint32_t distinct : {1u, 5u, 1u << 30}) {
        CAPTURE(cols);
        CAPTURE(k);
        const auto x = scores_with_ties<T>(rows, cols, distinct, 1);
        for (const layout how : layouts) {
          const laid_out<T> in(as_const_view(x), how);
          cpu_context ctx(how == layout::rows ? 1 : 3);
          array<index_t, 2> indices(rows, k);
          array<T, 2> values(rows, k);
          stroma::top_k(ctx, in.view(), {as_view(indices), as_view(values)});
          for (index_t r = 0; r < rows; ++r)
            REQUIRE(row_is_right(as_const_view(indices), as_const_view(values), r, 0, cols,
                                 [&](index_t i) { return x(r, i); }));
          array<index_t, 2> alone(rows, k);
          stroma::top_k(ctx, in.view(), {as_view(alone)});
          CHECK(same_matrix(alone, indices));
        }
      }
}

TEST_CASE_TEMPLATE("segmented_top_k: of ragged bags", T, float, double) {
  for (const auto& sizes : {std::vector<index_t>{1}, {0, 3, 0, 0, 700, 33, 0}, {257, 1, 511, 32}})
    for (const index_t k : {1, 3, 40}) {
      const auto offsets = offsets_of_sizes(sizes);
      const auto bags = static_cast<index_t>(sizes.size());
      const auto x = scores_with_ties<T>(offsets.back(), 3, 9, 2);
      const auto score = as_const_view(x).col(1);
      cpu_context ctx(2);
      array<index_t, 2> indices(bags, k);
      array<T, 2> values(bags, k);
      stroma::segmented_top_k(ctx, score, offsets, {as_view(indices), as_view(values)});
      for (index_t b = 0; b < bags; ++b) {
        const index_t first = offsets[static_cast<std::size_t>(b)];
        CHECK(row_is_right(as_const_view(indices), as_const_view(values), b, first, sizes[static_cast<std::size_t>(b)],
                           [&](index_t i) { return score[first + i]; }));
      }
    }
}

TEST_CASE("top_k: nothing to choose from, and nothing to choose") {
  cpu_context ctx;
  const array<float, 2> none(3, 0), some = normal_matrix<float>(3, 4, 1);
  array<index_t, 2> indices(3, 2), nothing(3, 0);
  array<float, 2> values(3, 2);
  stroma::top_k(ctx, none, {as_view(indices), as_view(values)});
  for (const index_t at : indices) CHECK(at == -1);
  for (const float value : values) CHECK(value == -std::numeric_limits<float>::infinity());
  stroma::top_k(ctx, some, {as_view(nothing)});
  array<index_t, 2> no_rows(0, 2);
  stroma::top_k(ctx, array<float, 2>(0, 4), {as_view(no_rows)});
}

TEST_CASE("top_k: NaN is refused, or has a place") {
  cpu_context ctx;
  auto x = normal_matrix<double>(2, 5, 1);
  x(1, 3) = std::numeric_limits<double>::quiet_NaN();
  array<index_t, 2> indices(2, 2);
  const stroma::top_k_output<double> out{as_view(indices)};
  CHECK_THROWS_WITH_AS(stroma::top_k(ctx, x, out), "top_k: scores: nan at row 1, column 3, expected finite values",
                       stroma::value_error);
  CHECK_THROWS_AS(stroma::segmented_top_k(ctx, as_const_view(x).row(1), std::vector<index_t>{0, 2, 5}, out),
                  stroma::value_error);
  stroma::top_k(ctx, x, out, {.check_values = false});
  CHECK(indices(1, 0) == 3);  // above infinity
  x(1, 3) = -std::numeric_limits<double>::infinity();
  x(1, 0) = std::numeric_limits<double>::infinity();
  array<index_t, 2> all(2, 5);
  stroma::top_k(ctx, x, {as_view(all)}, {.check_values = false});
  CHECK(all(1, 0) == 0);
  CHECK(all(1, 4) == 3);
}

TEST_CASE("top_k: shapes") {
  cpu_context ctx;
  const auto x = normal_matrix<float>(3, 4, 1);
  array<index_t, 2> indices(3, 2), two(2, 2);
  array<float, 2> values(3, 3), d(3, 4);
  const std::vector<index_t> offsets{0, 2, 4}, falling{0, 3, 2, 4};
  CHECK_THROWS_AS(stroma::top_k(ctx, x, {as_view(two)}), stroma::shape_error);
  CHECK_THROWS_AS(stroma::top_k(ctx, x, {as_view(indices), as_view(values)}), stroma::shape_error);
  CHECK_THROWS_AS(stroma::segmented_top_k(ctx, as_const_view(x).row(0), offsets, {as_view(indices)}),
                  stroma::shape_error);
  CHECK_THROWS_AS(stroma::segmented_top_k(ctx, as_const_view(x).row(0), falling, {as_view(indices)}),
                  stroma::shape_error);
  CHECK_THROWS_AS(stroma::top_k_backward(ctx, indices, values, d), stroma::shape_error);
  CHECK_THROWS_AS(stroma::top_k_backward(ctx, two, array<float, 2>(2, 2), d), stroma::shape_error);
  stroma::graph<float> g(ctx);
  CHECK_THROWS_AS(stroma::segmented_top_k(g, g.input(x), 2), stroma::shape_error);
  CHECK_THROWS_AS(static_cast<void>(stroma::top_k(g, g.input(x), -1)), stroma::value_error);
}

TEST_CASE("top_k: gradients") {
  // Apart by more than the step of the differences, so that no order changes.
  array<double, 2> rows(3, 7), column(40, 1);
  const auto fill = [](array<double, 2>& m, std::uint64_t seed) {
    std::vector<double> values;
    for (index_t i = 0; i < m.size(); ++i) values.push_back(0.25 * static_cast<double>(i) - 1);
    stroma::random_stream(seed).shuffle(values);
    std::copy(values.begin(), values.end(), m.begin());
  };
  fill(rows, 1);
  fill(column, 2);
  CHECK(graph_gradient_error<>({rows}, [](auto& g, const auto& x) { return stroma::top_k(g, x[0], 3).values; }) <= 1);
  const std::vector<index_t> offsets{0, 5, 25, 40};
  const array<double, 2> like(40, 1);
  CHECK(graph_gradient_error<>({column}, [&](auto& g, const auto& x) {
          const stroma::bag_view<const double> bags{as_const_view(like), as_offsets(offsets)};
          return stroma::segmented_top_k(g, with_bags_of(g, g.input(bags), x[0]), 4).values;
        }) <= 1);
  CHECK(graph_gradient_error<>({column},
                               [](auto& g, const auto& x) { return stroma::segmented_top_k(g, x[0], 4).values; }) <= 1);

  // Without a graph, and with places that nobody took.
  cpu_context ctx;
  array<index_t, 2> indices(3, 9);
  array<double, 2> values(3, 9), d_scores(3, 7);
  stroma::top_k(ctx, rows, {as_view(indices), as_view(values)});
  d_scores(1, 2) = 100;
  const auto d_values = normal_matrix<double>(3, 9, 3);
  stroma::top_k_backward(ctx, indices, d_values, d_scores);
  for (index_t r = 0; r < 3; ++r)
    for (index_t j = 0; j < 7; ++j)
      CHECK(d_scores(r, indices(r, j)) == d_values(r, j) + (r == 1 && indices(r, j) == 2 ? 100 : 0));
}

TEST_CASE("top_k: the second call allocates nothing") {
  cpu_context ctx(2);
  const auto x = normal_matrix<float>(64, 300, 1);
  array<index_t, 2> indices(64, 20);
  array<float, 2> values(64, 20);
  const auto run = [&] { stroma::top_k(ctx, x, {as_view(indices), as_view(values)}); };
  run();
  run();
  CHECK(allocations_in(run) == 0);
}
