#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/survival/cox_partial_likelihood.hpp>

#include "survival/golden.hpp"

/// A golden case's cohort: strata, weights and entry as it names them, and the score X beta + offset.
struct golden_cox {
  stroma::ties method;
  std::vector<double> eta, time, weight, entry, stratum;
  std::vector<std::uint8_t> event;
  std::vector<std::vector<double>> x;

  golden_cox(const golden::columns& table, const golden::json& c)
      : method(method_named(c.at("ties").get<std::string>())),
        eta(table.rows()),
        time(table.named_by(c, "stop")),
        weight(table.named_by(c, "weights")),
        entry(table.named_by(c, "start")),
        stratum(table.named_by(c, "strata")),
        event(table.event()) {
    const auto beta = golden::numbers(c.at("beta"));
    for (std::size_t j = 0; j < beta.size(); ++j) {
      x.push_back(table[c.at("covariates")[j].get<std::string>()]);
      for (std::size_t i = 0; i < eta.size(); ++i) eta[i] += x[j][i] * beta[j];
    }
    const auto offset = table.named_by(c, "offset");
    for (std::size_t i = 0; i < offset.size(); ++i) eta[i] += offset[i];
  }
  [[nodiscard]] stroma::risk_order<> order(stroma::cpu_context& ctx) const {
    return {ctx, time, event, {.weight = weight, .entry = entry, .stratum = stratum}};
  }
  static stroma::ties method_named(const std::string& name) {
    using stroma::ties;
    return name == "breslow" ? ties::breslow : name == "efron" ? ties::efron : ties::exact;
  }
};

/// f(cohort, case) for the Cox cases of all sets.
template <class F>
void for_each_golden_cox(const F& f) {
  for (const auto& name : golden::sets("cox")) {
    CAPTURE(name);
    const auto table = golden::table(name);
    const auto file = golden::cases(name, "cox");
    for (const auto& c : file.at("cox")) {
      const auto id = c.at("id").get<std::string>();
      CAPTURE(id);
      f(golden_cox(table, c), c);
    }
  }
}
