#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/optim/clip.hpp>

#include "../support/counting_allocator.hpp"
#include "model.hpp"

using stroma::clip_global_norm;
using stroma::cpu_context;
using stroma::global_norm;

namespace {

template <class Model>
double norm_of(const Model& m) {
  long double sum = 0;
  for (const long double x : flat(m)) sum += x * x;
  return static_cast<double>(std::sqrt(sum));
}

}  // namespace

TEST_CASE_TEMPLATE("clip: the norm is that of all parameters together", T, float, double) {
  cpu_context ctx;
  small_model<T> gradient;
  fill_normal(gradient, 3);
  large_model<T> large;
  fill_normal(large, 4);
  // Blocks of 512 squares are added in T, in at least 4 sums at once.
  const double tolerance = 512.0 / 4 * std::numeric_limits<T>::epsilon();
  CHECK(std::fabs(global_norm(ctx, gradient) / norm_of(gradient) - 1) < tolerance);
  CHECK(std::fabs(global_norm(ctx, large) / norm_of(large) - 1) < tolerance);
}

TEST_CASE_TEMPLATE("clip: scales to the limit, and only what exceeds it", T, float, double) {
  cpu_context ctx;
  small_model<T> gradient;
  fill_normal(gradient, 3);
  const auto before = gradient;
  const double norm = clip_global_norm(ctx, gradient, 1e6);
  CHECK(same_bits(before, gradient));
  CHECK(clip_global_norm(ctx, gradient, norm) == norm);
  CHECK(same_bits(before, gradient));
  CHECK(clip_global_norm(ctx, gradient, std::numeric_limits<double>::infinity()) == norm);
  CHECK(clip_global_norm(ctx, gradient, 0.5) == norm);
  // The norm's 138 squares are added in T, in at least 4 sums at once; the factor and each product are rounded.
  const double rounding = (138.0 / 4 + 1) * std::numeric_limits<T>::epsilon();
  CHECK(std::fabs(norm_of(gradient) / 0.5 - 1) <= rounding);
  const auto factor = static_cast<T>(0.5 / norm);
  CHECK(gradient.weight(3, 3) == before.weight(3, 3) * factor);
}

TEST_CASE("clip: squares beyond the range of float") {
  cpu_context ctx;
  small_model<float> gradient;
  gradient.weight(2, 2) = 3e30f;
  gradient.bias[12] = -4e30f;
  // Two floats, a factor and a product are rounded to float.
  constexpr double rounding = 4 * static_cast<double>(std::numeric_limits<float>::epsilon());
  CHECK(clip_global_norm(ctx, gradient, 5) == doctest::Approx(5e30).epsilon(rounding));
  CHECK(gradient.weight(2, 2) == doctest::Approx(3).epsilon(rounding));
  CHECK(gradient.bias[12] == doctest::Approx(-4).epsilon(rounding));
}

TEST_CASE("clip: the same bits for any number of threads, and no memory the second time") {
  const auto run = [](int threads) {
    cpu_context ctx(threads);
    large_model<float> gradient;
    fill_normal(gradient, 0);
    clip_global_norm(ctx, gradient, 300);
    CHECK(allocations_in([&] { clip_global_norm(ctx, gradient, 3); }) == 0);
    return gradient;
  };
  const auto one = run(1);
  CHECK(same_bits(one, run(2)));
  CHECK(same_bits(one, run(3)));
}

TEST_CASE("clip: no gradient, and mistakes") {
  cpu_context ctx;
  small_model<double> gradient;
  CHECK(clip_global_norm(ctx, gradient, 1) == 0);
  CHECK_THROWS_AS(clip_global_norm(ctx, gradient, 0), stroma::value_error);
  CHECK_THROWS_AS(clip_global_norm(ctx, gradient, std::nan("")), stroma::value_error);
  gradient.one[0] = std::nan("");
  CHECK_THROWS_WITH_AS(clip_global_norm(ctx, gradient, 1),
                       "clip_global_norm: gradient: an infinite norm or NaN, expected finite elements",
                       stroma::value_error);
}
