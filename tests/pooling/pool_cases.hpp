#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/activations.hpp>
#include <stroma/nn/linear.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/graph_gradient.hpp"
#include "../support/matrices.hpp"

/// What the poolings without parameters have in common, tested on each. A `Pool` has
///   name                                                    the verb's
///   definition(column)                                      of one feature of one bag, in long double
///   steps(rows), magnitude                                  roundings and their scale in the tolerance
///   forward(ctx, bags, out, mask, check_values)             the verb
///   backward(ctx, bags, d_out, d_bags, mask)                after a forward call of its own
///   record(graph, node, mask, check_values)                 the recorded verb
namespace stroma_test {

using mask_view = stroma::vector_view<const std::uint8_t>;

inline mask_view as_mask(const std::vector<std::uint8_t>& mask) {
  return {mask.data(), static_cast<index_t>(mask.size())};
}

/// Every bag keeps its last instance; of the others about a third is left out.
inline std::vector<std::uint8_t> mask_for(const std::vector<index_t>& offsets) {
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(offsets.back()));
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<std::uint8_t>(i * 7919 % 3);
  for (std::size_t b = 1; b < offsets.size(); ++b) mask[static_cast<std::size_t>(offsets[b]) - 1] = 1;
  return mask;
}

template <class Pool, class T>
void check_against_definition() {
  for (const auto& sizes : bag_sizes)
    for (const bool masked : {false, true}) {
      const auto offsets = offsets_of_sizes(sizes);
      const index_t rows = offsets.back(), cols = 19, bags = static_cast<index_t>(sizes.size());
      const auto x = normal_matrix<T>(rows, cols, 1, 2);
      const auto mask = masked ? mask_for(offsets) : std::vector<std::uint8_t>{};
      stroma::array<T, 2> expected(bags, cols);
      stroma::cpu_context one;
      Pool::forward(one, stroma::bag_view<const T>{stroma::as_const_view(x), as_offsets(offsets)},
                    stroma::as_view(expected), as_mask(mask), true);
      const auto column = [&](index_t b, index_t j) {
        std::vector<long double> v;
        for (index_t n = offsets[static_cast<std::size_t>(b)]; n < offsets[static_cast<std::size_t>(b) + 1]; ++n)
          if (mask.empty() || mask[static_cast<std::size_t>(n)] != 0) v.push_back(static_cast<long double>(x(n, j)));
        return v;
      };
      CHECK(worst_error(
                expected, [&](index_t b, index_t j) { return Pool::definition(column(b, j)); },
                [&](index_t b, index_t) {
                  return Pool::steps(sizes[static_cast<std::size_t>(b)]) *
                         static_cast<long double>(std::numeric_limits<T>::epsilon()) * Pool::magnitude;
                }) <= 1);
      // Layouts, threads, and bags one by one: the same bits.
      for (const int threads : {1, 2, 3})
        for (const layout how : layouts) {
          stroma::cpu_context ctx(threads);
          const laid_out<T> in(stroma::as_const_view(x), how);
          laid_out<T> out(stroma::as_const_view(stroma::array<T, 2>(bags, cols)), how);
          Pool::forward(ctx, stroma::bag_view<const T>{in.view(), as_offsets(offsets)}, out.view(), as_mask(mask),
                        true);
          CHECK(same_matrix(out.view(), expected));
          CHECK(out.gaps_untouched());
        }
      for (std::size_t b = 0; b < sizes.size(); ++b) {
        const std::vector<index_t> whole{0, sizes[b]};
        stroma::array<T, 2> alone(1, cols);
        const mask_view own = masked ? as_mask(mask).slice(offsets[b], sizes[b]) : mask_view{};
        Pool::forward(
            one,
            stroma::bag_view<const T>{stroma::as_const_view(x).middle_rows(offsets[b], sizes[b]), as_offsets(whole)},
            stroma::as_view(alone), own, true);
        CHECK(same_matrix(alone, stroma::as_const_view(expected).middle_rows(static_cast<index_t>(b), 1)));
      }
    }
}

template <class Pool, class S>
void check_16_bit_storage() {
  const std::vector<index_t> offsets{0, 300, 301};
  const auto x = normal_matrix<S>(301, 19, 1);
  const auto check = [&]<class T>(T) {
    stroma::cpu_context ctx(2);
    stroma::array<T, 2> wide(301, 19), out(2, 19), expected(2, 19);
    for (index_t i = 0; i < x.size(); ++i) wide.data()[i] = stroma::widen<T>(x.data()[i]);
    Pool::forward(ctx, stroma::bag_view<const T>{stroma::as_const_view(wide), as_offsets(offsets)},
                  stroma::as_view(expected), {}, true);
    for (const layout how : layouts) {
      const laid_out<S> in(stroma::as_const_view(x), how);
      const stroma::bag_view<const S> bags{in.view(), as_offsets(offsets)};
      Pool::forward(ctx, bags, stroma::as_view(out), {}, true);
      CHECK(same_matrix(out, expected));
      for (const auto mode : {stroma::graph_mode::training, stroma::graph_mode::inference}) {
        stroma::graph<T> g(ctx, mode);
        CHECK(same_matrix(g.value(Pool::record(g, g.input(bags), {}, true)), expected));
      }
    }
  };
  check(float{});
  check(double{});
}

template <class Pool>
void check_gradients() {
  for (const std::vector<index_t>& sizes : std::vector<std::vector<index_t>>{{1}, {31}, {32, 33}, {257, 1, 3}})
    for (const bool masked : {false, true}) {
      const auto offsets = offsets_of_sizes(sizes);
      const auto mask = masked ? mask_for(offsets) : std::vector<std::uint8_t>{};
      const auto x = normal_matrix<double>(offsets.back(), 2, 1);
      CHECK(graph_gradient_error({x}, [&](stroma::graph<double>& g, const std::vector<stroma::node>& n) {
              const auto like = g.input(stroma::bag_view<const double>{stroma::as_const_view(x), as_offsets(offsets)});
              return Pool::record(g, with_bags_of(g, like, n[0]), as_mask(mask), true);
            }) < gradient_tolerance);
      if (sizes.size() == 1)  // a node without bags is one bag
        CHECK(graph_gradient_error({x}, [&](stroma::graph<double>& g, const std::vector<stroma::node>& n) {
                return Pool::record(g, n[0], as_mask(mask), true);
              }) < gradient_tolerance);
    }
}

template <class Pool, class T>
void check_backward_adds() {
  for (const auto& sizes : bag_sizes) {
    const auto offsets = offsets_of_sizes(sizes);
    const index_t rows = offsets.back(), cols = 7, bags = static_cast<index_t>(sizes.size());
    const auto mask = mask_for(offsets);
    const auto x = normal_matrix<T>(rows, cols, 1), start = normal_matrix<T>(rows, cols, 2),
               d_out = normal_matrix<T>(bags, cols, 3);
    stroma::cpu_context ctx(2);
    stroma::array<T, 2> through = start, expected(rows, cols);
    const stroma::bag_view<const T> in{stroma::as_const_view(x), as_offsets(offsets)};
    Pool::backward(ctx, in, stroma::as_const_view(d_out), stroma::bag_view<T>{stroma::as_view(expected), in.offsets},
                   as_mask(mask));
    stroma::graph<T> g(ctx);
    stroma::array<T, 2> of_graph(rows, cols);
    g.backward(
        Pool::record(g, with_bags_of(g, g.input(in), g.variable(stroma::as_const_view(x), stroma::as_view(of_graph))),
                     as_mask(mask), true),
        stroma::as_const_view(d_out));
    CHECK(same_matrix(of_graph, expected));
    for (const int threads : {1, 3})
      for (const layout how : layouts) {
        stroma::cpu_context other(threads);
        const laid_out<T> v(stroma::as_const_view(x), how), d(stroma::as_const_view(d_out), how);
        laid_out<T> target(stroma::as_const_view(start), how);
        Pool::backward(other, stroma::bag_view<const T>{v.view(), in.offsets}, stroma::matrix_view<const T>(d.view()),
                       stroma::bag_view<T>{target.view(), in.offsets}, as_mask(mask));
        CHECK(worst_error(
                  target.view(), [&](index_t i, index_t j) { return start(i, j) + expected(i, j); },
                  std::numeric_limits<T>::min()) <= 1);
        CHECK(target.gaps_untouched());
      }
    for (index_t n = 0; n < rows; ++n)
      if (mask[static_cast<std::size_t>(n)] == 0)
        for (index_t j = 0; j < cols; ++j) CHECK(expected(n, j) == T(0));
  }
}

template <class Pool, class T>
void check_inference() {
  for (const auto& sizes : bag_sizes) {
    const auto offsets = offsets_of_sizes(sizes);
    const auto x = normal_matrix<T>(offsets.back(), 9, 1);
    stroma::linear_layer<T> layer(9, 40);
    layer.weight = normal_matrix<T>(40, 9, 2);
    layer.bias = normal_vector<T>(40, 3);
    const auto record = [&](stroma::graph<T>& g) {
      const auto bags = g.input(stroma::bag_view<const T>{stroma::as_const_view(x), as_offsets(offsets)});
      return Pool::record(g, stroma::tanh(g, layer(g, bags, {.activate = stroma::activation::relu})), {}, true);
    };
    stroma::cpu_context ctx(3), one;
    stroma::graph<T> train(ctx), infer(one, stroma::graph_mode::inference);
    const auto found = infer.value(record(infer));
    CHECK(same_matrix(found, train.value(record(train))));
    // The instances after the layer never existed as a whole.
    if (offsets.back() > 1000) CHECK(infer.capacity() < static_cast<std::size_t>(offsets.back()) * 40 * sizeof(T) / 2);
    infer.reset();
    const auto step = [&] {
      infer.reset();
      record(infer);
    };
    step();
    infer.reset();
    CHECK(allocations_in(step) == 0);
  }
}

/// Messages, all but those of options, and memory.
template <class Pool>
void check_refusals() {
  using T = double;
  stroma::cpu_context ctx(2);
  const std::string name = Pool::name;
  const auto x = normal_matrix<T>(6, 3, 1);
  stroma::array<T, 2> out(3, 3), wrong(2, 3);
  const auto call = [&](const std::vector<index_t>& offsets, const std::vector<std::uint8_t>& mask, auto& to) {
    Pool::forward(ctx, stroma::bag_view<const T>{stroma::as_const_view(x), as_offsets(offsets)}, stroma::as_view(to),
                  as_mask(mask), true);
  };
  CHECK_THROWS_WITH_AS(call({0, 2, 2, 6}, {}, out), (name + ": bag 1: 0 instances, expected 1 or more").c_str(),
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(call({0, 2, 4, 6}, {1, 0, 0, 0, 1, 1}, out),
                       (name + ": mask: all 2 instances of bag 1 masked, expected 1 or more that take part").c_str(),
                       stroma::value_error);
  CHECK_THROWS_WITH_AS(call({0, 2, 4, 6}, {1, 0, 0}, out),
                       (name + ": mask: length 3, expected 6 (the rows of instances)").c_str(), stroma::shape_error);
  CHECK_THROWS_WITH_AS(call({0, 2, 4, 6}, {}, wrong), (name + ": out: shape 2 x 3, expected 3 x 3").c_str(),
                       stroma::shape_error);
  CHECK_THROWS_WITH_AS(call({0, 2, 4, 5}, {}, out),
                       (name + ": offsets: from 0 to 5, expected from 0 to 6 (the rows of instances)").c_str(),
                       stroma::shape_error);
  for (const auto mode : {stroma::graph_mode::training, stroma::graph_mode::inference}) {
    stroma::graph<T> g(ctx, mode);
    CHECK_THROWS_WITH_AS(Pool::record(g, g.input(stroma::array<T, 2>(0, 3)), {}, true),
                         (name + ": bag 0: 0 instances, expected 1 or more").c_str(), stroma::shape_error);
  }
  // What is not finite is named, unless it is masked or the caller looks away; then it reaches its own column only.
  auto broken = normal_matrix<T>(600, 7, 1);
  broken(302, 5) = std::numeric_limits<T>::quiet_NaN();
  const std::vector<index_t> offsets{0, 300, 600};
  std::vector<std::uint8_t> mask(600, 1);
  mask[302] = 0;
  stroma::array<T, 2> two(2, 7), clean(2, 7);
  const stroma::bag_view<const T> bags{stroma::as_const_view(broken), as_offsets(offsets)};
  const auto message = name + ": instances: nan at instance 2 of bag 1, column 5, expected finite features";
  CHECK_THROWS_WITH_AS(Pool::forward(ctx, bags, stroma::as_view(two), {}, true), message.c_str(), stroma::value_error);
  stroma::graph<T> infer(ctx, stroma::graph_mode::inference);
  CHECK_THROWS_WITH_AS(Pool::record(infer, infer.input(bags), {}, true), message.c_str(), stroma::value_error);
  CHECK_NOTHROW(Pool::forward(ctx, bags, stroma::as_view(clean), as_mask(mask), true));
  CHECK_NOTHROW(Pool::forward(ctx, bags, stroma::as_view(two), {}, false));
  for (index_t b = 0; b < 2; ++b)
    for (index_t j = 0; j < 7; ++j) CHECK(std::isnan(two(b, j)) == (b == 1 && j == 5));
  broken(302, 5) = std::numeric_limits<T>::infinity();
  CHECK_THROWS_AS(Pool::forward(ctx, bags, stroma::as_view(two), {}, true), stroma::value_error);
  Pool::forward(ctx, bags, stroma::as_view(two), {}, false);
  CHECK(two(1, 5) == std::numeric_limits<T>::infinity());

  const auto again = [&] { Pool::forward(ctx, bags, stroma::as_view(clean), as_mask(mask), true); };
  again();
  CHECK(allocations_in(again) == 0);
  // No bags at all.
  const std::vector<index_t> none{0};
  CHECK_NOTHROW(Pool::forward(ctx,
                              stroma::bag_view<const T>{stroma::matrix_view<const T>(nullptr, 0, 7), as_offsets(none)},
                              stroma::matrix_view<T>(nullptr, 0, 7), {}, true));
}

}  // namespace stroma_test
