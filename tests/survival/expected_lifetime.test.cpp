#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/array.hpp>
#include <stroma/survival/expected_lifetime.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"

using namespace stroma;

TEST_CASE_TEMPLATE("expected_lifetime_risk: minus the area below the steps", T, double, float) {
  cpu_context ctx;
  for (const index_t rows : {0, 1, 33})
    for (const index_t bins : {1, 7}) {
      array<T, 2> survival(rows, bins);
      std::mt19937 draw(3);
      for (T& s : survival) s = static_cast<T>(draw() % 1000) / 1000;
      std::vector<T> risk(static_cast<std::size_t>(rows) * 2, T(9));
      expected_lifetime_risk(ctx, survival, strided(risk, 2));
      for (index_t r = 0; r < rows; ++r) {
        long double lifetime = 0;
        for (index_t k = 0; k < bins; ++k) lifetime += static_cast<long double>(survival(r, k));
        const auto i = static_cast<std::size_t>(2 * r);
        CHECK(std::abs(static_cast<double>(risk[i] + lifetime)) <=
              8 * static_cast<double>(std::numeric_limits<T>::epsilon()) * 7);
        CHECK(risk[i + 1] == T(9));
      }
      CHECK(allocations_in([&] { expected_lifetime_risk(ctx, survival, strided(risk, 2)); }) == 0);
    }
  CHECK(message_of<shape_error>([&] { expected_lifetime_risk(ctx, array<T, 2>(33, 7), std::vector<T>(3)); }) ==
        "expected_lifetime_risk: risk: length 3, expected 33 (the rows of survival)");
}
