#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/activations.hpp>
#include <stroma/nn/concatenate.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/graph_gradient.hpp"
#include "../support/matrices.hpp"

using namespace stroma_test;
using stroma::array;
using stroma::as_const_view;
using stroma::as_view;
using stroma::cpu_context;
using stroma::graph;
using stroma::graph_mode;
using stroma::matrix_view;
using stroma::node;

TEST_CASE_TEMPLATE("concatenate: parts side by side, and back, in every layout", T, float, double) {
  for (const index_t rows : {1, 31, 32, 33, 1025}) {
    cpu_context ctx(2);
    const auto a = normal_matrix<T>(rows, 3, 1), b = normal_matrix<T>(rows, 1, 2), c = normal_matrix<T>(rows, 33, 3);
    array<T, 2> expected(rows, 37);
    for (index_t i = 0; i < rows; ++i)
      for (index_t j = 0; j < 37; ++j) expected(i, j) = j < 3 ? a(i, j) : j < 4 ? b(i, 0) : c(i, j - 4);
    for (const layout from : layouts)
      for (const layout to : layouts) {
        const laid_out<T> x(as_const_view(a), from), y(as_const_view(b), to), z(as_const_view(c), from);
        laid_out<T> out(as_const_view(array<T, 2>(rows, 37)), to);
        stroma::concatenate(ctx, {x.view(), y.view(), z.view()}, out.view());
        CHECK(same_matrix(out.view(), expected));
        CHECK(out.gaps_untouched());
        laid_out<T> d_a(as_const_view(a), to), d_c(as_const_view(c), from);
        stroma::concatenate_backward(ctx, out.view(), {d_a.view(), matrix_view<T>(nullptr, rows, 1), d_c.view()});
        CHECK(worst_error(
                  d_a.view(), [&](index_t i, index_t j) { return 2 * a(i, j); }, std::numeric_limits<T>::min()) <= 1);
        CHECK(worst_error(
                  d_c.view(), [&](index_t i, index_t j) { return 2 * c(i, j); }, std::numeric_limits<T>::min()) <= 1);
        CHECK(d_c.gaps_untouched());
      }
    array<T, 2> two(rows, 36);
    stroma::concatenate(ctx, a, c, two);
    CHECK(same_bits(two(rows - 1, 35), c(rows - 1, 32)));
  }
}

TEST_CASE("concatenate: on a graph") {
  const auto a = normal_matrix<double>(5, 4, 1), b = normal_matrix<double>(5, 2, 2), c = normal_matrix<double>(5, 1, 3);
  CHECK(graph_gradient_error({a, b, c}, [](graph<double>& g, const std::vector<node>& n) {
          return stroma::tanh(g, stroma::concatenate(g, {n[0], n[1], n[2], n[0]}));
        }) < gradient_tolerance);
  CHECK(graph_gradient_error({a}, [](graph<double>& g, const std::vector<node>& n) {
          return stroma::concatenate(g, {n[0]});
        }) < gradient_tolerance);

  cpu_context ctx(2);
  const auto x = normal_matrix<double>(600, 4, 4), y = normal_matrix<double>(600, 3, 5);
  const auto small = normal_matrix<stroma::half>(600, 4, 6);
  graph<double> train(ctx), infer(ctx, graph_mode::inference);
  const auto record = [&](graph<double>& g) {
    const node h = stroma::tanh(g, g.input(x));
    return stroma::relu(
        g, stroma::concatenate(g, {g.input(small), stroma::concatenate(g, {h, g.input(y), g.input(small)})}));
  };
  CHECK(same_matrix(infer.value(record(infer)), train.value(record(train))));
}

TEST_CASE("concatenate: messages and memory") {
  cpu_context ctx(2);
  const array<float, 2> a(3, 4), b(2, 4);
  array<float, 2> out(3, 8), wrong(3, 7), part(3, 4);
  CHECK_THROWS_WITH_AS(stroma::concatenate(ctx, a, b, out), "concatenate: part 1: 2 rows, expected 3",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::concatenate(ctx, a, a, wrong),
                       "concatenate: parts: 8 columns, expected 7 (the columns of out)", stroma::shape_error);
  CHECK_THROWS_AS(stroma::concatenate_backward(ctx, wrong, {as_view(part), as_view(part)}), stroma::shape_error);
  graph<float> g(ctx);
  CHECK_THROWS_WITH_AS(stroma::concatenate(g, {g.input(a), g.input(b)}), "concatenate: part 1: 2 rows, expected 3",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::concatenate(g, {}), "concatenate: parts: 0, expected 1 to 16", stroma::value_error);
  const auto call = [&] {
    stroma::concatenate(ctx, a, a, out);
    stroma::concatenate_backward(ctx, out, {as_view(part), as_view(part)});
  };
  call();
  CHECK(allocations_in(call) == 0);
}
