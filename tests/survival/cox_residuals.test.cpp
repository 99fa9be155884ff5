#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/cox_residuals.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/cox_cases.hpp"
#endif

using namespace stroma;

namespace {

struct residuals {
  array<double, 1> martingale, deviance;
  array<double, 2> score, dfbeta, schoenfeld;
  array<index_t, 1> schoenfeld_row;

  residuals(index_t n, index_t p, index_t events)
      : martingale(n), deviance(n), score(n, p), dfbeta(n, p), schoenfeld(events, p), schoenfeld_row(events) {}
  [[nodiscard]] cox_residual_output output() {
    return {as_view(martingale), as_view(deviance),   as_view(score),
            as_view(dfbeta),     as_view(schoenfeld), as_view(schoenfeld_row)};
  }
};

}  // namespace

#ifdef STROMA_TEST_JSON
TEST_CASE("cox_residuals: R's survival") {
  int with_residuals = 0;
  const int count = golden::for_each_cox_case("optimum", [&](const golden::cox_case& c) {
    if (c.tie_method == ties::exact) return;
    cpu_context ctx;
    const auto order = c.order(ctx);
    const auto fit = cox_regression(ctx, c.covariates, order, {.tie_method = c.tie_method, .offset = c.offset});
    residuals r(order.size(), c.covariates.cols(), order.events());
    cox_residuals(ctx, c.covariates, order, fit, r.output(), {.offset = c.offset});
    array<double, 2> robust(c.covariates.cols(), c.covariates.cols());
    robust_covariance(ctx, c.covariates, order, fit, robust, {.offset = c.offset});
    CHECK(golden::close(std::vector<double>(robust.begin(), robust.end()), c.expected.at("robust_var"), 1e-9));
    for (index_t i = 0; i < order.size() && c.expected.contains("grad_eta"); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double w = c.weight.empty() ? 1 : c.weight[at];
      CHECK(golden::close(w * r.martingale[i], golden::number(c.expected.at("grad_eta")[at]), 1e-9, 1));
    }
    if (!c.expected.contains("residuals")) return;
    ++with_residuals;
    const auto& expected = c.expected.at("residuals");
    const auto flat = [](const auto& x) { return std::vector<double>(x.begin(), x.end()); };
    const auto largest = [](const golden::json& x) {
      double size = 0;
      for (const double element : golden::numbers(x)) size = std::max(size, std::abs(element));
      return size;
    };
    const auto close = [&](const auto& found, const char* name) {
      return golden::close(flat(found), expected.at(name), 1e-9, largest(expected.at(name)));
    };
    CHECK(close(r.deviance, "deviance"));
    CHECK(close(r.score, "score"));
    CHECK(close(r.schoenfeld, "schoenfeld"));
    CHECK(close(r.dfbeta, "dfbeta"));
  });
  CHECK(count >= 14);  // ovarian's
  CHECK(with_residuals >= 2);
}
#endif
