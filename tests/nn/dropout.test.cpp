#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/dropout.hpp>
#include <stroma/nn/linear.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/graph_gradient.hpp"
#include "../support/matrices.hpp"

using namespace stroma_test;
using stroma::array;
using stroma::as_const_view;
using stroma::as_view;
using stroma::bag_view;
using stroma::cpu_context;
using stroma::dropout_options;
using stroma::graph;
using stroma::graph_mode;
using stroma::node;
using stroma::random_key;

namespace {

/// What the documentation promises, word by word.
bool kept(const random_key& key, double rate, index_t row, index_t cols, index_t j) {
  const auto element = static_cast<std::uint64_t>(row * cols + j);
  return static_cast<double>(stroma::unit_float(key.words(element / 4)[element % 4])) >= rate;
}

}  // namespace

TEST_CASE("dropout: a clock moves the step") {
  cpu_context ctx;
  const auto x = normal_matrix<float>(7, 131, 1);
  const std::uint32_t clock = 4;
  array<float, 2> moved(7, 131), expected(7, 131);
  stroma::dropout(ctx, x, moved, {.rate = 0.5, .key = {1, 2, 3, &clock}});
  stroma::dropout(ctx, x, expected, {.rate = 0.5, .key = {1, 6, 3}});
  CHECK(same_matrix(moved, expected));
}

TEST_CASE_TEMPLATE(
    "dropout: every element meets its own number of the key, in any layout and with any number of threads", T, float,
    double) {
  const random_key key{0x1234567890abcdef, 7, 3};
  for (const double rate : {0.0, 0.25, 0.5, 0.9, 1e-9})
    for (const index_t cols : {1, 3, 64, 65, 67, 130, 259})
      for (const index_t rows : {1, 33, 300}) {
        const dropout_options options{rate, key};
        const auto x = normal_matrix<T>(rows, cols, 1);
        array<T, 2> expected(rows, cols);
        for (index_t i = 0; i < rows; ++i)
          for (index_t j = 0; j < cols; ++j)
            expected(i, j) = kept(key, rate, i, cols, j) ? x(i, j) * static_cast<T>(1 / (1 - rate)) : T(0);
        for (const int threads : {1, 3}) {
          cpu_context ctx(threads);
          array<T, 2> out(rows, cols);
          stroma::dropout(ctx, x, out, options);
          REQUIRE(same_matrix(out, expected));
        }
      }
  cpu_context ctx(2);
  const auto x = normal_matrix<T>(33, 67, 1), start = normal_matrix<T>(33, 67, 2);
  array<T, 2> expected(33, 67);
  auto d_x = start;
  stroma::dropout(ctx, x, expected, {0.3, key});
  stroma::dropout_backward(ctx, x, d_x, {0.3, key});
  for (index_t i = 0; i < x.size(); ++i) CHECK(d_x.data()[i] == start.data()[i] + expected.data()[i]);
  for (const layout a : layouts)
    for (const layout b : layouts) {
      laid_out<T> in(as_const_view(x), a), out(as_const_view(x), b), target(as_const_view(start), b);
      stroma::dropout(ctx, in.view(), out.view(), {0.3, key});
      CHECK(same_matrix(out.view(), expected));
      CHECK(out.gaps_untouched());
      stroma::dropout_backward(ctx, in.view(), target.view(), {0.3, key});
      CHECK(same_matrix(target.view(), d_x));
      CHECK(target.gaps_untouched());
      stroma::dropout(ctx, in.view(), in.view(), {0.3, key});
      CHECK(same_matrix(in.view(), expected));
    }
}

TEST_CASE("dropout: the share of zeros is the rate, and the mean stays") {
  cpu_context ctx;
  const index_t n = 400000;
  array<double, 2> x(1000, n / 1000), out(1000, n / 1000);
  x.fill(1);
  for (const double rate : {0.1, 0.25, 0.5, 0.9}) {
    stroma::dropout(ctx, x, out, {rate, {42, 1, 1}});
    double zeros = 0, sum = 0;
    for (const double v : out) zeros += v == 0, sum += v;
    const double error = std::sqrt(rate * (1 - rate) / double(n));  // six standard errors; the key is fixed
    CHECK(std::abs(zeros / double(n) - rate) < 6 * error);
    CHECK(std::abs(sum / double(n) - 1) < 6 * error / (1 - rate));
  }
}

TEST_CASE_TEMPLATE("dropout: many bags in one call give what one call a bag gives", T, float, double) {
  for (const auto& sizes : bag_sizes) {
    const auto offsets = offsets_of_sizes(sizes);
    const auto x = normal_matrix<T>(offsets.back(), 21, 1);
    const random_key key{9, 4294967294u, 5};  // step + b wraps
    cpu_context ctx(2);
    array<T, 2> out(offsets.back(), 21), d(offsets.back(), 21);
    const bag_view<const T> bags{as_const_view(x), as_offsets(offsets)};
    stroma::dropout(ctx, bags, out, {0.4, key});
    stroma::dropout_backward(ctx, bags, d, {0.4, key});
    for (std::size_t b = 0; b < sizes.size(); ++b) {
      array<T, 2> alone(sizes[b], 21), d_alone(sizes[b], 21);
      const dropout_options options{0.4, {key.seed, key.step + static_cast<std::uint32_t>(b), key.layer}};
      stroma::dropout(ctx, bags[static_cast<index_t>(b)], alone, options);
      stroma::dropout_backward(ctx, bags[static_cast<index_t>(b)], d_alone, options);
      CHECK(same_matrix(alone, as_const_view(out).middle_rows(offsets[b], sizes[b])));
      CHECK(same_matrix(d_alone, as_const_view(d).middle_rows(offsets[b], sizes[b])));
    }
  }
}

TEST_CASE("dropout: on a graph") {
  cpu_context ctx;
  const auto x = normal_matrix<double>(9, 7, 1);
  const std::vector<index_t> offsets{0, 4, 9};
  CHECK(graph_gradient_error({x}, [&](graph<double>& g, const std::vector<node>& n) {
          g.set_random(5, 6);
          const node like = g.input(bag_view<const double>{as_const_view(x), as_offsets(offsets)});
          return stroma::dropout(g, stroma::dropout(g, with_bags_of(g, like, n[0]), 0.5), 0.25);
        }) < gradient_tolerance);

  graph<double> g(ctx), infer(ctx, graph_mode::inference);
  g.set_random(5, 6);
  const node in = g.input(bag_view<const double>{as_const_view(x), as_offsets(offsets)});
  array<double, 2> expected(9, 7);
  stroma::dropout(ctx, bag_view<const double>{as_const_view(x), as_offsets(offsets)}, expected, {0.5, {5, 6, 1}});
  CHECK(same_matrix(g.value(stroma::dropout(g, in, 0.5)), expected));
  // Rate 0 is nothing, but takes a key: other layers' numbers do not depend on this one's rate.
  CHECK(stroma::dropout(g, in, 0.0).id == in.id);
  CHECK(g.next_random_key().layer == 3);
  const node same = infer.input(x);
  CHECK(stroma::dropout(infer, same, 0.5).id == same.id);
  CHECK(infer.next_random_key().layer == 1);
  // Layers and steps differ.
  g.reset();
  g.set_random(5, 6);
  const node a = stroma::dropout(g, g.input(x), 0.5), b = stroma::dropout(g, g.input(x), 0.5);
  CHECK_FALSE(same_matrix(g.value(a), g.value(b)));
}

TEST_CASE("dropout: 16-bit input, NaN, messages, memory") {
  cpu_context ctx(2);
  const auto small = normal_matrix<stroma::half>(33, 7, 1);
  array<float, 2> wide(33, 7), out(33, 7), expected(33, 7), wrong(33, 6);
  for (index_t i = 0; i < small.size(); ++i) wide.data()[i] = to_float(small.data()[i]);
  stroma::dropout(ctx, small, out, {0.5, {1, 2, 3}});
  stroma::dropout(ctx, wide, expected, {0.5, {1, 2, 3}});
  CHECK(same_matrix(out, expected));
  wide.fill(std::numeric_limits<float>::quiet_NaN());
  stroma::dropout(ctx, wide, out, {0.5, {1, 2, 3}});
  for (index_t i = 0; i < 33; ++i)
    for (index_t j = 0; j < 7; ++j)
      CHECK(std::isnan(out(i, j)) == kept({1, 2, 3}, 0.5, i, 7, j));  // dropped is dropped
  CHECK_THROWS_WITH_AS(stroma::dropout(ctx, small, wrong), "dropout: out: shape 33 x 6, expected 33 x 7",
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(stroma::dropout(ctx, small, out, {.rate = 1}),
                       "dropout: rate: 1, expected 0 or more and below 1", stroma::value_error);
  CHECK_THROWS_AS(stroma::dropout(ctx, small, out, {.rate = -0.1}), stroma::value_error);
  CHECK_THROWS_AS(stroma::dropout(ctx, small, out, {.rate = std::nan("")}), stroma::value_error);
  CHECK_THROWS_WITH_AS(stroma::dropout_backward(ctx, out, wrong),
                       "dropout_backward: d_x: shape 33 x 6, expected 33 x 7", stroma::shape_error);
  const std::vector<index_t> bad{0, 32};
  CHECK_THROWS_AS(stroma::dropout(ctx, bag_view<const float>{as_const_view(wide), as_offsets(bad)}, out),
                  stroma::shape_error);
  for (const auto mode : {graph_mode::training, graph_mode::inference}) {
    graph<float> g(ctx, mode);
    CHECK_THROWS_WITH_AS(stroma::dropout(g, g.input(wide), 1.5), "dropout: rate: 1.5, expected 0 or more and below 1",
                         stroma::value_error);
  }
  const auto call = [&] {
    stroma::dropout(ctx, wide, out);
    stroma::dropout_backward(ctx, wide, out);
  };
  call();
  CHECK(allocations_in(call) == 0);
  stroma::dropout(ctx, array<float, 2>(0, 4), array<float, 2>(0, 4));
}
