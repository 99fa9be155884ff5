#pragma once
#include <cstddef>
#include <random>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/survival/risk_order.hpp>

#include "survival/cohort.hpp"

/// Covariates of random patients: multiples of 1/8, so that moments are nearly exact and shifts are.
struct study {
  cohort<> patients;
  stroma::array<double, 2> x;
  std::vector<double> offset;

  study(std::size_t n, stroma::index_t p, int times, unsigned seed)
      : patients(random_cohort(n, times, seed)), x(static_cast<stroma::index_t>(n), p), offset(n) {
    std::mt19937 draw(seed + 7);
    for (double& value : x) value = (static_cast<double>(draw() % 33) - 16) / 8;
    for (double& value : offset) value = (static_cast<double>(draw() % 17) - 8) / 16;
  }
  [[nodiscard]] stroma::risk_order<> order(stroma::cpu_context& ctx, bool weighted = true, bool late = true,
                                           bool strata = true) const {
    stroma::risk_order_options<> columns;
    if (weighted) columns.weight = patients.weight;
    if (late) columns.entry = patients.entry;
    if (strata) columns.stratum = patients.stratum;
    return {ctx, patients.time, patients.event, columns};
  }
};
