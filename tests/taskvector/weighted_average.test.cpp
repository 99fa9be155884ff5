#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/weighted_average.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

TEST_CASE_TEMPLATE("weighted_average: the weighted mean in long double", T, float, double) {
  cpu_context ctx;
  const auto models = tuned_from(random_model<small_model<T>>(1), 4);
  const auto check = [&](const std::vector<double>& given) {
    small_model<T> out;
    merge(ctx, weighted_average({.weights = given}), models, out);
    const auto weights = given.empty() ? std::vector<double>(4, 1) : given;
    long double total = 0;
    for (const double w : weights) total += static_cast<long double>(w);
    const auto found = flat(out);
    for (std::size_t i = 0; i < found.size(); ++i) {
      long double sum = 0, size = 0;
      for (std::size_t t = 0; t < 4; ++t) {
        sum += static_cast<long double>(weights[t]) * flat(models[t])[i] / total;
        size += std::fabs(static_cast<long double>(weights[t]) * flat(models[t])[i] / total);
      }
      CHECK(std::fabs(found[i] - sum) <= std::numeric_limits<T>::epsilon() / 2 * std::fabs(sum) +
                                             12 * std::numeric_limits<double>::epsilon() * size);
    }
  };
  check({});
  check({1, 2, 3, 4});
  check({0, 0, 7, 0});
  check({-1, 3, 0.5, 0});
}

TEST_CASE("weighted_average: models that agree stay; one alone stays; a base changes nothing") {
  cpu_context ctx;
  const auto model = random_model<small_model<float>>(1), base = random_model<small_model<float>>(2);
  small_model<float> out;
  merge(ctx, weighted_average(), std::vector(3, model), out);
  CHECK(same_bits(out, model));
  merge(ctx, weighted_average({.weights = {-2}}), base, std::vector(1, model), out);
  CHECK(same_bits(out, model));
}

TEST_CASE("weighted_average: weights without a sum") {
  cpu_context ctx;
  const std::vector<small_model<double>> models(3);
  small_model<double> out;
  CHECK(message_of<value_error>([&] {
          merge(ctx, weighted_average({.weights = {1, -1, 0}}), models, out);
        }) == "weighted_average: options.weights: a sum of 0, expected another than 0");
  CHECK_THROWS_AS(merge(ctx, weighted_average({.weights = {0.1, 0.2, -0.3}}), models, out), value_error);
  CHECK_THROWS_AS(merge(ctx, weighted_average({.weights = {1, std::nan(""), 0}}), models, out), value_error);
}
