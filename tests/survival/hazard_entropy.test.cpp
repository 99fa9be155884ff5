#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/survival/hazard_entropy.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "support/graph_gradient.hpp"
#include "support/matrices.hpp"

using namespace stroma;

TEST_CASE_TEMPLATE("hazard_entropy: by definition in long double", T, float, double) {
  cpu_context ctx;
  for (const index_t bins : {1, 2, 5, 33}) {
    const auto z = stroma_test::normal_matrix<T>(7, bins, 3, 4);
    long double mean = 0;
    const auto add = [&](long double p) { mean -= p > 0 ? p * std::log(p) / 7 : 0; };
    for (index_t r = 0; r < 7; ++r) {
      long double survival = 1;
      for (index_t k = 0; k < bins; ++k) {
        const long double odds = std::exp(static_cast<long double>(z(r, k)));
        add(survival * odds / (1 + odds));
        survival /= 1 + odds;
      }
      add(survival);
    }
    // Sums over up to 33 bins of numbers below 1 with logs of up to 200, in double; rounded to T.
    CHECK(std::fabs(hazard_entropy(ctx, z) - mean) <=
          mean * std::numeric_limits<T>::epsilon() + 33 * 200 * std::numeric_limits<double>::epsilon());
  }
}

TEST_CASE("hazard_entropy: sure, unsure, enormous, and no rows") {
  cpu_context ctx;
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  array<double, 2> z(1, 4);  // hazards of one half: times with probabilities 1/2, 1/4, 1/8, 1/16, 1/16
  CHECK(std::fabs(hazard_entropy(ctx, z) - 1.875 * std::log(2.0)) <= 8 * epsilon);
  array<double, 2> d(1, 4);
  const double seed = 1;
  for (const double size : {1e4, 1e300}) {
    z.fill(-size);  // never
    CHECK(hazard_entropy(ctx, z) == 0);
    z(0, 2) = size;  // in the third bin, for sure
    CHECK(hazard_entropy(ctx, z) == 0);
    hazard_entropy_backward(ctx, z, &seed, d);
    for (const double v : d) CHECK(v == 0);
  }
  z.fill(0);
  z(0, 1) = 1e300;  // nothing later matters
  CHECK(std::fabs(hazard_entropy(ctx, z) - std::log(2.0)) <= 4 * epsilon);
  CHECK(hazard_entropy(ctx, array<double, 2>(0, 4)) == 0);
  z(0, 1) = std::nan("");
  CHECK_THROWS_WITH_AS((void)hazard_entropy(ctx, z),
                       "hazard_entropy: logit: nan at row 0, column 1, expected finite values", value_error);
}

TEST_CASE("hazard_entropy: gradient by central differences, and on a graph") {
  cpu_context ctx;
  for (const index_t bins : {1, 6, 33}) {
    const auto z = stroma_test::normal_matrix<double>(5, bins, 1);
    array<double, 2> d(5, bins);
    const double seed = 1.5;
    hazard_entropy_backward(ctx, z, &seed, d);
    array<double, 2> at = z;
    const auto f = [&](const std::vector<double>& x) {
      std::copy(x.begin(), x.end(), at.begin());
      return 1.5 * hazard_entropy(ctx, at);
    };
    CHECK(gradient_error(f, {z.begin(), z.end()}, {d.begin(), d.end()}) < gradient_tolerance);
    CHECK(stroma_test::graph_gradient_error({z}, [](auto& g, const auto& x) { return hazard_entropy(g, x[0]); }) <
          gradient_tolerance);
    CHECK(allocations_in([&] { hazard_entropy_backward(ctx, z, &seed, d); }) == 0);
    array<double, 2> other(4, bins);
    CHECK_THROWS_AS(hazard_entropy_backward(ctx, z, &seed, other), shape_error);
  }
}
