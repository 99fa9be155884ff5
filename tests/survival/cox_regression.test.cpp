#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/cox_regression.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/cox_cases.hpp"
#endif

using namespace stroma;

#ifdef STROMA_TEST_JSON
TEST_CASE("cox_regression: R's survival") {
  const int count = golden::for_each_cox_case("optimum", [](const golden::cox_case& c) {
    cpu_context ctx;
    const auto fit = cox_regression(ctx, c.covariates, c.order(ctx), {.tie_method = c.tie_method, .offset = c.offset});
    CHECK(fit.converged);
    CHECK(fit.iterations < 12);
    CHECK(golden::close(fit.coefficient, c.expected.at("beta"), 1e-9));
    CHECK(golden::close(fit.standard_error, c.expected.at("se"), 1e-9));
    CHECK(golden::close(fit.log_likelihood, c.expected.at("loglik"), 1e-9));
    CHECK(golden::close(fit.null_log_likelihood, c.expected.at("loglik_null"), 1e-9));
    CHECK(golden::close(fit.score_test.statistic, c.expected.at("score_test"), 1e-9));
    CHECK(golden::close(fit.wald_test.statistic, c.expected.at("wald_test"), 1e-9));
  });
  CHECK(count >= 14);  // ovarian's
}
#endif
