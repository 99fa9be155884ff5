#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/nn/cross_entropy.hpp>

#include "nn/loss_cases.hpp"
#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"

using namespace stroma;

namespace {
std::vector<int> some_labels(std::size_t rows, int classes) {
  std::vector<int> label;
  for (std::size_t r = 0; r < rows; ++r) label.push_back(static_cast<int>(r * 7 % static_cast<std::size_t>(classes)));
  return label;
}
}  // namespace

TEST_CASE_TEMPLATE("cross_entropy: the definition", T, double, float) {
  cpu_context ctx;
  for (const std::size_t rows : {1u, 31u, 32u, 33u, 1025u})
    for (const std::size_t classes : {1u, 2u, 9u}) {
      const auto z = random_values<T>(rows * classes, 1);
      const auto label = some_labels(rows, static_cast<int>(classes));
      std::vector<T> weight;
      for (std::size_t c = 0; c < classes; ++c) weight.push_back(static_cast<T>(0.5 + static_cast<double>(c)));
      long double plain = 0, weighted = 0, weights = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        const auto y = static_cast<std::size_t>(label[r]);
        long double sum = 0;
        for (std::size_t c = 0; c < classes; ++c) sum += std::exp(static_cast<long double>(z[r * classes + c]));
        const long double loss = std::log(sum) - static_cast<long double>(z[r * classes + y]);
        plain += loss;
        weighted += static_cast<long double>(weight[y]) * loss;
        weights += static_cast<long double>(weight[y]);
      }
      const auto logit = as_matrix(z, static_cast<index_t>(rows), static_cast<index_t>(classes));
      const auto close = [&](T a, long double b) {
        CHECK(std::abs(static_cast<double>(a - b)) <= sum_error<T>(rows) * std::max(1.0, static_cast<double>(b)));
      };
      close(cross_entropy(ctx, logit, label, {.reduce = reduction::sum}), plain);
      close(cross_entropy(ctx, logit, label), plain / static_cast<long double>(rows));
      close(cross_entropy(ctx, logit, label, {.class_weight = as_const_view(weight)}), weighted / weights);
    }
}

TEST_CASE("cross_entropy: gradient by central differences, recorded, sums to 0") {
  cpu_context ctx;
  const auto z = random_values<double>(33 * 5, 2);
  const auto label = some_labels(33, 5);
  const std::vector<double> weight{1, 2, 0, 0.5, 3};
  for (const reduction reduce : {reduction::sum, reduction::mean}) {
    const cross_entropy_options<double> options{.class_weight = as_const_view(weight), .reduce = reduce};
    std::vector<double> gradient(165), recorded(165);
    const double seed = 1;
    const auto backward = [&] {
      cross_entropy_backward(ctx, as_matrix(z, 33, 5), label, &seed, as_matrix(gradient, 33, 5), options);
    };
    CHECK(allocations_in(backward) == 0);
    const auto f = [&](const std::vector<double>& x) {
      return cross_entropy(ctx, as_matrix(x, 33, 5), label, options);
    };
    CHECK(gradient_error(f, z, gradient) < gradient_tolerance);
    graph<double> g(ctx);
    const node loss = cross_entropy(g, g.variable(as_matrix(z, 33, 5), as_matrix(recorded, 33, 5)), label, options);
    CHECK(g.scalar_value(loss) == f(z));
    g.backward(loss);
    CHECK(recorded == gradient);
    for (std::size_t r = 0; r < 33; ++r) {
      double sum = 0;
      for (std::size_t c = 0; c < 5; ++c) sum += gradient[r * 5 + c];
      CHECK(std::abs(sum) < 1e-14);
    }
  }
}

TEST_CASE_TEMPLATE("cross_entropy: logits of 1e4, columns, nothing", T, double, float) {
  cpu_context ctx;
  const std::vector<T> z{T(1e4), T(-1e4), T(1e4), T(-1e4)};
  const std::vector<int> label{0, 1}, none;
  CHECK(cross_entropy(ctx, as_matrix(z, 2, 2), label) == T(1e4));
  std::vector<T> gradient(4);
  const T seed = 2;
  cross_entropy_backward(ctx, as_matrix(z, 2, 2), label, &seed, as_matrix(gradient, 2, 2));
  CHECK(gradient == std::vector<T>{0, 0, 1, -1});
  CHECK(cross_entropy(ctx, as_matrix(z, 0, 2), none) == T(0));
  const std::vector<T> zero(2);
  CHECK(cross_entropy(ctx, as_matrix(z, 2, 2), label, {.class_weight = as_const_view(zero)}) == T(0));
  const auto x = random_values<T>(12, 3), y = transposed(x, 4, 3);
  const auto labels = some_labels(4, 3);
  CHECK(cross_entropy(ctx, matrix_view<const T>(y.data(), 4, 3, 1, 4), labels) ==
        cross_entropy(ctx, as_matrix(x, 4, 3), labels));
}

TEST_CASE("cross_entropy: refuses what does not fit") {
  cpu_context ctx;
  std::vector<double> z(6), weight(2), negative{1, -1, 1};
  const auto logit = as_matrix(std::as_const(z), 2, 3);
  const std::vector<int> label{0, 2}, high{3, 0}, three(3);
  CHECK(message_of<shape_error>([&] { (void)cross_entropy(ctx, logit, three); }) ==
        "cross_entropy: label: length 3, expected 2 (the rows of logit)");
  CHECK(message_of<shape_error>([&] {
          (void)cross_entropy(ctx, logit, label, {.class_weight = as_const_view(weight)});
        }) == "cross_entropy: class_weight: length 2, expected 3 (the columns of logit)");
  CHECK(message_of<value_error>([&] { (void)cross_entropy(ctx, logit, high); }) ==
        "cross_entropy: label: 3 at 0, expected 0 to 2");
  CHECK(message_of<value_error>([&] {
          (void)cross_entropy(ctx, logit, label, {.class_weight = as_const_view(negative)});
        }) == "cross_entropy: class_weight: -1 at 1, expected finite weights of 0 or more");
  z[5] = std::numeric_limits<double>::infinity();
  CHECK(message_of<value_error>([&] { (void)cross_entropy(ctx, logit, label); }) ==
        "cross_entropy: logit: inf at row 1, column 2, expected finite values");
}
