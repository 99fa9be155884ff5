#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/cox_regression.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/golden.hpp"
#endif

using namespace stroma;

#ifdef STROMA_TEST_JSON
namespace {
array<double, 2> covariates_of(const golden::columns& table, const golden::json& c) {
  const auto& names = c.at("covariates");
  array<double, 2> x(static_cast<index_t>(table.rows()), static_cast<index_t>(names.size()));
  for (index_t j = 0; j < x.cols(); ++j)
    for (index_t i = 0; i < x.rows(); ++i)
      x(i, j) = table[names[static_cast<std::size_t>(j)].get<std::string>()][static_cast<std::size_t>(i)];
  return x;
}
std::optional<ties> method_of(const golden::json& c) {
  if (c.at("ties") == "breslow") return ties::breslow;
  if (c.at("ties") == "efron") return ties::efron;
  return std::nullopt;
}
}  // namespace

TEST_CASE("cox_regression: R's survival") {
  index_t count = 0;
  for (const auto& set : golden::sets("cox")) {
    const auto table = golden::table(set);
    const auto cases = golden::cases(set, "cox");
    for (const auto& c : cases.at("cox")) {
      if (c.at("point") != "optimum" || !method_of(c)) continue;
      CAPTURE(set);
      CAPTURE(c.at("id").get<std::string>());
      cpu_context ctx;
      const auto time = table.named_by(c, "stop"), entry = table.named_by(c, "start"),
                 weight = table.named_by(c, "weights"), stratum = table.named_by(c, "strata"),
                 offset = table.named_by(c, "offset");
      const risk_order order(ctx, time, table.event(), {.weight = weight, .entry = entry, .stratum = stratum});
      const auto x = covariates_of(table, c);
      const auto fit = cox_regression(ctx, x, order, {.tie_method = *method_of(c), .offset = offset});
      CHECK(fit.converged);
      CHECK(golden::close(fit.coefficient, c.at("beta"), 1e-9));
      CHECK(golden::close(fit.standard_error, c.at("se"), 1e-9));
      CHECK(golden::close(fit.log_likelihood, c.at("loglik"), 1e-9));
      CHECK(golden::close(fit.null_log_likelihood, c.at("loglik_null"), 1e-9));
      CHECK(golden::close(fit.score_test.statistic, c.at("score_test"), 1e-9));
      CHECK(golden::close(fit.wald_test.statistic, c.at("wald_test"), 1e-9));
      CHECK(fit.iterations < 12);
      ++count;
    }
  }
  MESSAGE(count << " cases");
}
#endif
