#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/breadcrumbs.hpp>
#include <stroma/taskvector/ties_merging.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

namespace {

template <class T>
struct one_matrix {
  array<T, 2> w;
  explicit one_matrix(index_t rows = 0, index_t cols = 0) : w(rows, cols) {}
  static auto members(auto& s) { return std::tuple{member{"w", s.w}}; }
};

one_matrix<float> thinned(const one_matrix<float>& vector, const breadcrumbs_options& o) {
  cpu_context ctx;
  one_matrix<float> out(vector.w.rows(), vector.w.cols());
  merge(ctx, breadcrumbs(o), std::vector(1, vector), out);
  return out;
}

/// By the book: sorted from the largest, the first of equals first.
std::vector<float> expected(const std::vector<float>& x, double density, double gamma) {
  std::vector<std::size_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return std::fabs(x[a]) > std::fabs(x[b]); });
  const auto part = [&](double p) { return static_cast<std::size_t>(p * static_cast<double>(x.size())); };
  const std::size_t keep = density > 0 ? std::max<std::size_t>(part(density), 1) : 0;
  const std::size_t outliers = std::min(part(gamma), x.size() - keep);
  std::vector<float> y(x.size(), 0);
  for (std::size_t k = outliers; k < outliers + keep; ++k) y[order[k]] = x[order[k]];
  return y;
}

}  // namespace

TEST_CASE("breadcrumbs: by the book, in tensors and rows of any size") {
  random_stream draw(5);
  for (const index_t rows : {1, 3})
    for (const index_t cols : {1, 2, 3, 31, 33, 99, 100, 101, 1025})
      for (const double density : {0.0, 0.2, 0.85, 1.0})
        for (const double gamma : {0.0, 0.01, 0.15}) {
          if (density + gamma > 1) continue;
          one_matrix<float> vector(rows, cols);
          for (float& x : vector.w) x = static_cast<float>(static_cast<int>(draw.below(41)) - 20);  // many ties
          const auto all = thinned(vector, {.density = density, .gamma = gamma});
          CHECK(std::vector<float>(all.w.begin(), all.w.end()) ==
                expected({vector.w.begin(), vector.w.end()}, density, gamma));
          const auto by_row = thinned(vector, {.density = density, .gamma = gamma, .scope = merge_scope::row});
          for (index_t r = 0; r < rows; ++r) {
            const float *const from = &vector.w(r, 0), *const to = &by_row.w(r, 0);
            CHECK(std::vector<float>(to, to + cols) == expected({from, from + cols}, density, gamma));
          }
        }
}

TEST_CASE("breadcrumbs: no small tensor vanishes") {
  for (const index_t size : {1, 3, 9, 50, 99}) {  // below 1 / gamma, where mergekit drops all
    one_matrix<float> vector(1, size);
    for (index_t i = 0; i < size; ++i) vector.w[i] = static_cast<float>(i + 1);
    const auto out = thinned(vector, {.density = 0.2, .gamma = 0.01});
    const auto kept = size - std::count(out.w.begin(), out.w.end(), 0.0F);
    CHECK(kept == std::max<index_t>(size / 5, 1));
    CHECK(out.w[size - 1] == vector.w[size - 1]);  // no outlier among so few
  }
  one_matrix<float> convolution(8, 3);  // rows of 3 elements
  convolution.w.fill(1);
  const auto out = thinned(convolution, {.density = 0.2, .gamma = 0.01, .scope = merge_scope::row});
  CHECK(std::count(out.w.begin(), out.w.end(), 1.0F) == 8);
}

TEST_CASE("breadcrumbs: without outliers it is exact trimming; several tasks add up on a base") {
  cpu_context ctx;
  const auto base = random_model<small_model<double>>(1);
  const auto tuned = tuned_from(base, 3);
  small_model<double> a, b;
  merge(ctx, breadcrumbs({.density = 0.3, .gamma = 0, .vote = sign_vote::sum}), base, tuned, a);
  merge(ctx, ties_merging({.density = 0.3, .scope = merge_scope::tensor, .count = trim_count::exact}), base, tuned, b);
  CHECK(same_bits(a, b));
  merge_report report;
  merge(ctx, breadcrumbs({.density = 0.3, .gamma = 0.1, .scale = 0}), base, tuned, a, &report);
  CHECK(same_bits(a, base));
  CHECK(report[0].kept == 27 / 91.0);
}

TEST_CASE("breadcrumbs: more threads than models") {
  const auto tuned = tuned_from(large_model<float>{}, 2);
  const auto run = [&](int threads) {
    cpu_context ctx(threads);
    large_model<float> merged;
    merge(ctx, breadcrumbs(), tuned, merged);
    return merged;
  };
  const auto one = run(1);
  for (int again = 0; again < 5; ++again) CHECK(same_bits(one, run(4)));
}

TEST_CASE("breadcrumbs: mistakes") {
  const one_matrix<float> vector(2, 2);
  CHECK(message_of<value_error>([&] { (void)thinned(vector, {.density = 0.75, .gamma = 0.5}); }) ==
        "breadcrumbs: options.gamma: 0.5, expected 0 to 0.25");
  CHECK_THROWS_AS((void)thinned(vector, {.scope = merge_scope::model}), value_error);
}
