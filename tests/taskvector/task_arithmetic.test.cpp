#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/arithmetic.hpp>
#include <stroma/taskvector/task_arithmetic.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

TEST_CASE_TEMPLATE("task_arithmetic: by definition in long double", T, float, double) {
  cpu_context ctx;
  const auto base = random_model<small_model<T>>(1);
  const auto tuned = tuned_from(base, 3);
  const std::vector<double> weights{1, -0.5, 0.25};
  small_model<T> out;
  merge(ctx, task_arithmetic({.weights = weights, .scale = 0.4}), base, tuned, out);
  const auto found = flat(out), start = flat(base);
  for (std::size_t i = 0; i < found.size(); ++i) {
    long double expected = start[i], size = std::fabs(start[i]);
    for (std::size_t t = 0; t < 3; ++t) {
      const long double step = static_cast<long double>(0.4 * weights[t]) * (flat(tuned[t])[i] - start[i]);
      expected += step;
      size += std::fabs(step);
    }
    CHECK(std::fabs(found[i] - expected) <= std::numeric_limits<T>::epsilon() / 2 * std::fabs(expected) +
                                                12 * std::numeric_limits<double>::epsilon() * size);
  }
}

TEST_CASE_TEMPLATE("task_arithmetic: what no model changed keeps its bits; the scale's ends", T, float, double) {
  cpu_context ctx;
  const auto base = random_model<small_model<T>>(1);
  small_model<T> out;
  merge(ctx, task_arithmetic({.scale = 0.3}), base, std::vector(7, base), out);
  CHECK(same_bits(out, base));
  const auto tuned = tuned_from(base, 2);
  merge(ctx, task_arithmetic({.scale = 0}), base, tuned, out);
  CHECK(same_bits(out, base));
  merge(ctx, task_arithmetic({.weights = {0, 1}}), base, tuned, out);
  const auto found = flat(out), wanted = flat(tuned[1]);
  for (std::size_t i = 0; i < found.size(); ++i)
    CHECK(std::fabs(found[i] - wanted[i]) <= std::numeric_limits<T>::epsilon() * 2);
}

TEST_CASE("task_arithmetic: task vectors instead of models") {
  cpu_context ctx;
  const auto base = random_model<small_model<double>>(1);
  const auto tuned = tuned_from(base, 2);
  std::vector<small_model<double>> vectors(2);
  for (std::size_t t = 0; t < 2; ++t) difference(ctx, tuned[t], base, vectors[t]);
  small_model<double> merged, moved, expected;
  const task_arithmetic rule({.weights = {0.5, 2}});
  merge(ctx, rule, vectors, merged);
  add_scaled(ctx, base, 1, merged, moved);
  merge(ctx, rule, base, tuned, expected);
  const auto a = flat(moved), b = flat(expected);
  for (std::size_t i = 0; i < a.size(); ++i)
    CHECK(std::fabs(a[i] - b[i]) <= 8 * std::numeric_limits<double>::epsilon() * (1 + std::fabs(b[i])));
}

TEST_CASE("task_arithmetic: mistakes") {
  cpu_context ctx;
  const small_model<float> base;
  const std::vector<small_model<float>> tuned(2);
  small_model<float> out;
  CHECK_THROWS_AS(merge(ctx, task_arithmetic({.scale = std::nan("")}), base, tuned, out), value_error);
  CHECK_THROWS_AS(merge(ctx, task_arithmetic({.weights = {1}}), base, tuned, out), shape_error);
}
