#include <cmath>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/core/random.hpp>
#include <stroma/nn/linear.hpp>
#include <stroma/taskvector/sparse_mixup.hpp>

#include "support/counting_allocator.hpp"
#include "support/graph_gradient.hpp"

using namespace stroma;

namespace {

constexpr auto all_parameters = [](std::string_view) { return true; };

/// Layers of in x out numbers, each its own.
template <class T>
std::vector<linear_layer<T>> layers(int count, index_t in, index_t out, unsigned seed) {
  random_stream random(seed);
  std::vector<linear_layer<T>> made;
  for (int j = 0; j < count; ++j) {
    linear_layer<T> layer(in, out);
    for_each_parameter(
        [&](std::string_view, auto& p) {
          for (T& v : p) v = static_cast<T>(random.normal());
        },
        layer);
    made.push_back(layer);
  }
  return made;
}
template <class T>
vector_stack<T> stack_of(const std::vector<linear_layer<T>>& models, merge_base base = merge_base::origin) {
  return {models.front(), std::span<const linear_layer<T>>(models).subspan(2), models[1], all_parameters, base};
}

template <class T>
struct mixed {
  std::vector<T> merged, coefficient;
  std::vector<index_t> selected;
};
template <class T>
mixed<T> mix(cpu_context& ctx, const std::vector<T>& weight, const std::vector<T>& share, const vector_stack<T>& stack,
             index_t top_k) {
  mixed<T> m{std::vector<T>(static_cast<std::size_t>(stack.size())), std::vector<T>(weight.size() + 1),
             std::vector<index_t>(std::min(static_cast<std::size_t>(top_k), weight.size()))};
  sparse_mixup(ctx, weight, share, stack, {as_view(m.merged), as_view(m.selected), as_view(m.coefficient)},
               {.top_k = top_k});
  return m;
}

}  // namespace

TEST_CASE("sparse_mixup: the published example") {
  cpu_context ctx;
  const auto stack = stack_of(layers<double>(8, 3, 2, 1));
  const auto m = mix<double>(ctx, {0, .5, 1.2, .3, 0, .9}, {1, .8, .4, .6, 1, .5}, stack, 3);
  CHECK(m.selected == std::vector<index_t>{2, 5, 1});
  const std::vector<double> expected{0, .1, .72, 0, 0, .45, 1.33};
  for (std::size_t j = 0; j < 7; ++j)  // three products and two sums
    CHECK(std::abs(m.coefficient[j] - expected[j]) <= 5 * std::numeric_limits<double>::epsilon());
}

TEST_CASE_TEMPLATE("sparse_mixup: equals the definition, for any number of threads", T, float, double) {
  cpu_context ctx, two(2);
  for (const index_t in : {1, 7, 300, 2000}) {
    const auto models = layers<T>(6, in, 33, 3);
    for (const merge_base base : {merge_base::origin, merge_base::target})
      for (const index_t k : {0, 1, 3, 4, 9}) {
        const auto stack = stack_of(models, base);
        const std::vector<T> weight{T(0.25), T(1.5), T(0), T(0.75)}, share{T(1), T(0.25), T(0.5), T(0)};
        const auto m = mix(ctx, weight, share, stack, k);
        CHECK(mix(two, weight, share, stack, k).merged == m.merged);
        std::vector<std::size_t> order{1, 3, 0, 2};
        order.resize(std::min<std::size_t>(4, static_cast<std::size_t>(k)));
        for (std::size_t i = 0; i < order.size(); ++i) CHECK(m.selected[i] == static_cast<index_t>(order[i]));
        double worst = 0;
        for (index_t i = 0; i < in * 33; ++i) {
          const auto at = [&](std::size_t model) { return static_cast<long double>(models[model].weight.data()[i]); };
          long double sum = base == merge_base::origin ? at(0) : at(1), size = std::abs(sum);
          for (const std::size_t j : order) {
            const auto w = static_cast<long double>(weight[j]), s = static_cast<long double>(share[j]);
            sum += w * ((1 - s) * (at(j + 2) - at(0)) + s * (at(1) - at(0)));
            size += w * (std::abs(at(j + 2)) + std::abs(at(1)) + 2 * std::abs(at(0)));
          }
          const auto found = static_cast<long double>(m.merged[static_cast<std::size_t>(i)]);
          worst = std::max(worst, static_cast<double>(std::abs(found - sum) / size));
        }
        // Five terms and the base: a difference, a product with a rounded coefficient, and a sum each.
        CHECK(worst <= 10 * static_cast<double>(std::numeric_limits<T>::epsilon()));
      }
  }
}

TEST_CASE("sparse_mixup: of equal weights the first sources are taken, wherever they stand") {
  cpu_context ctx;
  const auto stack = stack_of(layers<double>(7, 3, 2, 4));
  const std::vector<double> half(5, 0.5);
  CHECK(mix<double>(ctx, {0, 0, 0, 0, 0}, half, stack, 3).selected == std::vector<index_t>{0, 1, 2});
  CHECK(mix<double>(ctx, {0, 1, 0, 1, 1}, half, stack, 2).selected == std::vector<index_t>{1, 3});
  CHECK(mix<double>(ctx, {1, 2, 1, 2, 3}, half, stack, 4).selected == std::vector<index_t>{4, 1, 3, 0});
}

TEST_CASE("sparse_mixup: equal pairs of weight and share give one merge, in whatever order the sources stand") {
  cpu_context ctx;
  auto models = layers<double>(6, 20, 10, 5);
  const auto before = mix<double>(ctx, {.1, .9, .4, .6}, {.3, .2, .7, .5}, stack_of(models), 3).merged;
  std::swap(models[2], models[5]);
  const auto after = mix<double>(ctx, {.6, .9, .4, .1}, {.5, .2, .7, .3}, stack_of(models), 3).merged;
  for (std::size_t i = 0; i < before.size(); ++i)  // sums of four terms in another order
    CHECK(std::abs(before[i] - after[i]) <= 16 * 4 * std::numeric_limits<double>::epsilon());
}

TEST_CASE("sparse_mixup: the derivative, dense and sparse") {
  const auto stack = stack_of(layers<double>(6, 9, 5, 6));
  for (const index_t k : {1, 2, 4}) {
    CAPTURE(k);
    stroma::array<double, 2> weight(1, 4), share(1, 4);
    const std::vector<double> w{.9, .1, .4, .7}, s{.2, .8, .5, .6};
    std::copy(w.begin(), w.end(), weight.begin());
    std::copy(s.begin(), s.end(), share.begin());
    const double error =
        stroma_test::graph_gradient_error({weight, share}, [&](graph<double>& g, const std::vector<node>& x) {
          return sparse_mixup(g, x[0], x[1], stack, {.top_k = k}).merged;
        });
    CHECK(error < gradient_tolerance);
  }
}

TEST_CASE("sparse_mixup: the derivative's bits do not depend on the number of threads") {
  const auto stack = stack_of(layers<float>(6, 3000, 40, 7));
  const std::vector<float> w{.9f, .1f, .4f, .7f}, s{.2f, .8f, .5f, .6f};
  std::vector<std::vector<float>> found;
  for (const int threads : {1, 2, 3}) {
    cpu_context ctx(threads);
    graph<float> g(ctx);
    std::vector<float> d(8);
    const node weight = g.variable({w.data(), 1, 4}, {d.data(), 1, 4}),
               share = g.variable({s.data(), 1, 4}, {d.data() + 4, 1, 4});
    const auto out = sparse_mixup(g, weight, share, stack, {.top_k = 3});
    g.backward(out.merged, g.value(out.merged));
    found.push_back(d);
  }
  CHECK(found[0] == found[1]);
  CHECK(found[0] == found[2]);
  CHECK(found[0][1] == 0);  // not selected
}

TEST_CASE("sparse_mixup: refuses what does not fit; a second call takes no memory") {
  cpu_context ctx;
  const auto stack = stack_of(layers<double>(4, 3, 2, 8));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(mix<double>(ctx, {1}, {1}, stack, 1),
                       "sparse_mixup: weight: length 1, expected 2 (the sources of the stack)", shape_error);
  CHECK_THROWS_WITH_AS(mix<double>(ctx, {1, 1}, {1}, stack, 1),
                       "sparse_mixup: share: length 1, expected 2 (the length of weight)", shape_error);
  CHECK_THROWS_WITH_AS(mix<double>(ctx, {1, nan}, {1, 1}, stack, 1),
                       "sparse_mixup: weight: nan at 1, expected finite values", value_error);
  std::vector<double> weight{1, 2}, share{.5, .5}, merged(static_cast<std::size_t>(stack.size())), coefficient(3);
  std::vector<index_t> selected(1);
  const sparse_mixup_output<double> out{as_view(merged), as_view(selected), as_view(coefficient)};
  CHECK_THROWS_AS(sparse_mixup(ctx, weight, share, stack, out, {.top_k = -1}), value_error);
  CHECK_THROWS_AS(sparse_mixup(ctx, weight, share, stack, out, {.top_k = 2}), shape_error);
  sparse_mixup(ctx, weight, share, stack, out, {.top_k = 1});
  CHECK(allocations_in([&] { sparse_mixup(ctx, weight, share, stack, out, {.top_k = 1}); }) == 0);
}
