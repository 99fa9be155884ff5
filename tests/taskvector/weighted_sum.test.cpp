#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

#include "support/counting_allocator.hpp"
#include "taskvector/models.hpp"

using stroma::cpu_context;
using stroma::weighted_sum;

TEST_CASE_TEMPLATE("weighted_sum: the sum in long double, rounded", T, float, double) {
  cpu_context ctx;
  const auto base = random_model<small_model<T>>(1);
  const auto vectors = tuned_from(small_model<T>{}, 5);
  const std::array<double, 5> weight{0.3, -1.25, 0, 2, 0.0625};
  small_model<T> out, alone;
  weighted_sum(ctx, base, vectors, weight, out);
  weighted_sum(ctx, vectors, weight, alone);
  const auto found = flat(out), found_alone = flat(alone), start = flat(base);
  for (std::size_t i = 0; i < found.size(); ++i) {
    long double sum = 0, size = 0;
    for (std::size_t j = 0; j < 5; ++j) {
      const long double term = static_cast<long double>(weight[j]) * flat(vectors[j])[i];
      sum += term;
      size += std::fabs(term);
    }
    // Six products and additions in double, one rounding to T.
    const long double in_double = 6 * std::numeric_limits<double>::epsilon() * (size + std::fabs(start[i]));
    const long double last = static_cast<long double>(std::numeric_limits<T>::epsilon()) / 2;
    CHECK(std::fabs(found_alone[i] - sum) <= in_double + last * std::fabs(sum));
    CHECK(std::fabs(found[i] - (start[i] + sum)) <= in_double + last * std::fabs(start[i] + sum));
  }
}

TEST_CASE("weighted_sum: small numbers are not lost beside large ones") {
  cpu_context ctx;
  // In float 1 + 2^-28 is 1, however often.
  small_model<float> base;
  base.one[0] = 1;
  std::vector<small_model<float>> vectors(64);
  for (auto& v : vectors) v.one[0] = 0x1p-28f;
  const std::vector<double> weight(64, 1.0);
  small_model<float> out;
  weighted_sum(ctx, base, vectors, weight, out);
  CHECK(out.one[0] == 1 + 0x1p-22f);
}

TEST_CASE("weighted_sum: a weight of 0 reads nothing, no vectors give the base, out may be an input") {
  cpu_context ctx;
  const auto base = random_model<small_model<float>>(1);
  std::vector<small_model<float>> vectors = tuned_from(small_model<float>{}, 2);
  auto damaged = vectors;
  for (auto& x : damaged[1].weight) x = std::nanf("");
  const std::array<double, 2> weight{0.5, 0};
  small_model<float> expected, out;
  weighted_sum(ctx, base, vectors, weight, expected);
  weighted_sum(ctx, base, damaged, weight, out);
  CHECK(same_bits(out, expected));
  weighted_sum(ctx, base, std::span<const small_model<float>>(), std::span<const double>(), out);
  CHECK(same_bits(out, base));
  weighted_sum(ctx, std::span<const small_model<float>>(), std::span<const double>(), out);
  CHECK(same_bits(out, small_model<float>{}));
  auto in_place = base;
  weighted_sum(ctx, in_place, vectors, weight, in_place);
  CHECK(same_bits(in_place, expected));
  weighted_sum(ctx, base, vectors, weight, vectors[0]);
  CHECK(same_bits(vectors[0], expected));
}

TEST_CASE("weighted_sum: the same bits for any number of threads, and no memory the second time") {
  const auto base = random_model<large_model<float>>(1);
  const auto vectors = tuned_from(large_model<float>{}, 3);
  const std::array<double, 3> weight{0.3, -0.1, 0.7};
  const auto run = [&](int threads) {
    cpu_context ctx(threads);
    large_model<float> out;
    weighted_sum(ctx, base, vectors, weight, out);
    CHECK(allocations_in([&] { weighted_sum(ctx, base, vectors, weight, out); }) == 0);
    return out;
  };
  const auto one = run(1);
  CHECK(same_bits(one, run(2)));
  CHECK(same_bits(one, run(3)));
}

TEST_CASE("weighted_sum: mistakes") {
  cpu_context ctx;
  const auto base = random_model<small_model<float>>(1);
  std::vector<small_model<float>> vectors(2, base);
  small_model<float> out = base;
  const std::array<double, 2> weight{1, 2}, bad{1, std::numeric_limits<double>::infinity()};
  const std::array<double, 1> few{1};
  CHECK(message_of<stroma::shape_error>([&] { weighted_sum(ctx, base, vectors, few, out); }) ==
        "weighted_sum: weights: length 1, expected 2 (the number of models)");
  CHECK(message_of<stroma::value_error>([&] { weighted_sum(ctx, vectors, bad, out); }) ==
        "weighted_sum: weights[1]: inf, expected a finite number");
  vectors[1].row = stroma::array<float, 2>(1, 32);
  CHECK(message_of<stroma::shape_error>([&] { weighted_sum(ctx, base, vectors, weight, out); }) ==
        "weighted_sum: vectors[1]: row of 1 x 32, expected 1 x 33");
  CHECK(same_bits(out, base));
  CHECK(message_of<stroma::shape_error>([&] { weighted_sum(ctx, vectors[1], vectors, weight, out); }) ==
        "weighted_sum: base: row of 1 x 32, expected 1 x 33");
}
