#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/prediction_entropy.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "support/graph_gradient.hpp"
#include "support/matrices.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

TEST_CASE_TEMPLATE("prediction_entropy: by definition in long double", T, float, double) {
  cpu_context ctx;
  for (const index_t classes : {1, 2, 5, 33}) {
    const auto z = stroma_test::normal_matrix<T>(7, classes, 3, 4);
    long double mean = 0;
    for (index_t r = 0; r < 7; ++r) {
      long double sum = 0;
      for (index_t c = 0; c < classes; ++c) sum += std::exp(static_cast<long double>(z(r, c)));
      for (index_t c = 0; c < classes; ++c) {
        const long double p = std::exp(static_cast<long double>(z(r, c))) / sum;
        mean -= p * std::log(p) / 7;
      }
    }
    // Sums over up to 33 classes of numbers of up to 20 times e^-1, in double; rounded to T.
    CHECK(std::fabs(prediction_entropy(ctx, z) - mean) <=
          mean * std::numeric_limits<T>::epsilon() + 33 * 20 * std::numeric_limits<double>::epsilon());
  }
}

TEST_CASE("prediction_entropy: sure, unsure, enormous, and no rows") {
  cpu_context ctx;
  array<double, 2> z(1, 4);
  CHECK(std::fabs(prediction_entropy(ctx, z) - std::log(4.0)) <= 4 * std::numeric_limits<double>::epsilon());
  z(0, 2) = 1e4;
  CHECK(prediction_entropy(ctx, z) == 0);
  z.fill(-1e308);
  CHECK(std::fabs(prediction_entropy(ctx, z) - std::log(4.0)) <= 4 * std::numeric_limits<double>::epsilon());
  array<double, 2> d(1, 4);
  const double seed = 1;
  prediction_entropy_backward(ctx, z, &seed, d);  // all the same: the most unsure there is
  for (const double v : d) CHECK(std::fabs(v) <= 4 * std::numeric_limits<double>::epsilon());
  z(0, 2) = 1e308;  // beyond the others by more than a double holds
  d.fill(0);
  CHECK(prediction_entropy(ctx, z) == 0);
  prediction_entropy_backward(ctx, z, &seed, d);
  for (const double v : d) CHECK(v == 0);
  CHECK(prediction_entropy(ctx, array<double, 2>(0, 4)) == 0);
  z(0, 1) = std::nan("");
  CHECK(message_of<value_error>([&] { (void)prediction_entropy(ctx, z); }) ==
        "prediction_entropy: logit: nan at row 0, column 1, expected finite values");
}

TEST_CASE("prediction_entropy: gradient by central differences, and on a graph") {
  cpu_context ctx;
  const auto z = stroma_test::normal_matrix<double>(5, 4, 1);
  array<double, 2> d(5, 4);
  const double seed = 1.5;
  prediction_entropy_backward(ctx, z, &seed, d);
  array<double, 2> at = z;
  const auto f = [&](const std::vector<double>& x) {
    std::copy(x.begin(), x.end(), at.begin());
    return 1.5 * prediction_entropy(ctx, at);
  };
  CHECK(gradient_error(f, {z.begin(), z.end()}, {d.begin(), d.end()}) < gradient_tolerance);
  CHECK(stroma_test::graph_gradient_error({z}, [](auto& g, const auto& x) { return prediction_entropy(g, x[0]); }) <
        gradient_tolerance);
  CHECK(allocations_in([&] { prediction_entropy_backward(ctx, z, &seed, d); }) == 0);
  array<double, 2> narrow_gradient(5, 3);
  CHECK_THROWS_AS(prediction_entropy_backward(ctx, z, &seed, narrow_gradient), shape_error);
}
