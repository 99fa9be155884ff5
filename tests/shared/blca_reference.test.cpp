#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/io/table.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/survival/cox_regression.hpp>
#include <stroma/survival/discretise.hpp>
#include <stroma/survival/kaplan_meier.hpp>
#include <stroma/survival/log_rank.hpp>

#include "support/shared.hpp"

// 373 patients with bladder cancer, of whom R's survival 3.5-3 says the same. Its numbers are given with 12 digits.

using namespace stroma;

namespace {

struct blca {
  table patients;
  std::map<std::string, double> reference;
  std::vector<double> time = patients.numbers("survival_months"), event = patients.numbers("censorship");

  explicit blca(const std::filesystem::path& data) : patients(data / "tcga_blca_omics.csv") {
    for (double& e : event) e = 1 - e;
    const table values(data / "tcga_blca_reference.csv");
    const auto names = values.texts("quantity");
    const auto numbers = values.numbers("value");
    for (std::size_t i = 0; i < names.size(); ++i) reference[names[i]] = numbers[i];
  }
  /// Within what 12 digits leave open; the issue of a fit within its own tolerance.
  [[nodiscard]] bool says(const std::string& quantity, double found, double relative = 1e-9) const {
    CAPTURE(quantity);
    CAPTURE(found);
    const double expected = reference.at(quantity);
    const bool close = std::abs(found - expected) <= relative * std::max(std::abs(expected), 1e-3);
    CHECK(close);
    return close;
  }
};

}  // namespace

TEST_CASE("tcga_blca_reference: Kaplan-Meier, Nelson-Aalen, log-rank") {
  const auto shared = shared_folder();
  if (!shared) return;
  const blca of(*shared / "data");
  cpu_context ctx;
  const risk_order order(ctx, of.time, of.event);
  CHECK(of.says("n", static_cast<double>(order.size())));
  CHECK(of.says("events", static_cast<double>(order.events())));

  const kaplan_meier_curves curves(ctx, order);
  const auto curve = curves[0];
  CHECK(of.says("km_median", median(curve).time));
  for (const int months : {6, 12, 24, 36, 60}) {
    const auto at = "_" + std::to_string(months);
    const index_t row = std::upper_bound(curve.time.data, curve.time.data + curve.size(), months) - curve.time.data - 1;
    CHECK(of.says("km_surv" + at, survival_at(curve, months)));
    CHECK(of.says("km_greenwood_se" + at, curve.survival[row] * curve.log_error[row]));
    CHECK(of.says("km_at_risk" + at, at_risk_at(curve, months)));
    if (months == 12 || months == 36) CHECK(of.says("nelson_aalen" + at, curve.hazard[row]));
  }

  const auto judge = [&](const std::string& name, const std::vector<double>& group) {
    const auto found = log_rank(ctx, group, order);
    CHECK(of.says("logrank_" + name + "_chisq", found.test.statistic));
    CHECK(of.says("logrank_" + name + "_p", found.test.p_value));
    for (index_t j = 0; j < 2; ++j) {
      const std::string start = "logrank_" + name + "_group" + std::to_string(j);
      CHECK(of.says(start + "_n", found.patients[j]));
      CHECK(of.says(start + "_obs", found.observed[j]));
      CHECK(of.says(start + "_exp", found.expected[j]));
    }
  };
  judge("sex", of.patients.numbers("is_female"));
  auto above = of.patients.numbers("EGFR_rnaseq");
  auto sorted = above;
  std::nth_element(sorted.begin(), sorted.begin() + 186, sorted.end());
  for (double& x : above) x = x > sorted[186] ? 1 : 0;
  judge("EGFR_rnaseq_gt_median", above);
}

TEST_CASE("tcga_blca_reference: Cox regression by Efron and by Breslow") {
  const auto shared = shared_folder();
  if (!shared) return;
  const blca of(*shared / "data");
  cpu_context ctx;
  const risk_order order(ctx, of.time, of.event);
  const std::vector<std::string> columns{"age", "is_female", "EGFR_rnaseq", "TP53_rnaseq", "CDKN2A_cnv"};
  array<double, 2> x(order.size(), 5);
  for (index_t j = 0; j < 5; ++j) {
    const auto values = of.patients.numbers(columns[static_cast<std::size_t>(j)]);
    for (index_t i = 0; i < order.size(); ++i) x(i, j) = values[static_cast<std::size_t>(i)];
  }
  for (const ties method : {ties::efron, ties::breslow}) {
    const std::string start = method == ties::efron ? "cox_efron_" : "cox_breslow_";
    const auto fit = cox_regression(ctx, x, order, {.tie_method = method});
    CHECK(of.says(start + "loglik_null", fit.null_log_likelihood));
    CHECK(of.says(start + "loglik", fit.log_likelihood));
    CHECK(of.says(start + "score_test", fit.score_test.statistic));
    CHECK(of.says(start + "wald_test", fit.wald_test.statistic));
    std::vector<double> risk(of.time.size());
    for (index_t j = 0; j < 5; ++j) {
      const auto& name = columns[static_cast<std::size_t>(j)];
      CHECK(of.says(start + "coef_" + name, fit.coefficient[j]));
      CHECK(of.says(start + "se_" + name, fit.standard_error[j]));
      for (index_t i = 0; i < order.size(); ++i) risk[static_cast<std::size_t>(i)] += x(i, j) * fit.coefficient[j];
    }
    CHECK(of.says(start + "concordance", concordance(ctx, risk, order).value));
  }
}

TEST_CASE("tcga_blca_reference: concordance by Harrell and by Uno") {
  const auto shared = shared_folder();
  if (!shared) return;
  const blca of(*shared / "data");
  cpu_context ctx;
  const risk_order order(ctx, of.time, of.event);
  for (const std::string name : {"age", "EGFR_rnaseq", "TP53_rnaseq", "CDKN2A_cnv"}) {
    const auto risk = of.patients.numbers(name);
    const auto found = concordance(ctx, risk, order);
    CHECK(of.says("harrell_c_" + name, found.value));
    const std::string start = "harrell_" + name + "_";
    CHECK(of.says(start + "concordant", found.concordant));
    CHECK(of.says(start + "discordant", found.discordant));
    CHECK(of.says(start + "tied.x", found.tied_score));
    CHECK(of.says(start + "tied.y", found.tied_time));
    CHECK(of.says(start + "tied.xy", found.tied_both));
    CHECK(of.says("uno_c_" + name,
                  concordance(ctx, risk, order, {.weighting = pair_weighting::inverse_censoring}).value));
  }
}

TEST_CASE("tcga_blca_reference: time bins by the quartiles of the deaths") {
  const auto shared = shared_folder();
  if (!shared) return;
  const blca of(*shared / "data");
  cpu_context ctx;
  std::vector<double> edge(3);
  quantile_edges(ctx, of.time, of.event, edge);
  for (std::size_t b = 0; b < 3; ++b) CHECK(of.says("bin_edge_" + std::to_string(b + 1), edge[b]));
  std::vector<int> bin(of.time.size());
  discretise(ctx, of.time, edge, bin);
  std::map<std::string, double> count;
  for (std::size_t i = 0; i < bin.size(); ++i)
    ++count["bin_" + std::to_string(bin[i]) + "_censorship_" + (of.event[i] == 1 ? "0" : "1") + "_count"];
  CHECK(count.size() == 8);
  for (const auto& [name, rows] : count) CHECK(of.says(name, rows));
}
