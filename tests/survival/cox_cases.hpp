#pragma once
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/core/array.hpp>
#include <stroma/survival/cox_regression.hpp>

#include "survival/golden.hpp"

/// R's Cox models as data and what R found, for the tests of the fit and of what is made from it.
namespace golden {

struct cox_case {
  const json& expected;
  stroma::ties tie_method{};
  stroma::array<double, 2> covariates;
  std::vector<double> time, entry, weight, stratum, offset;
  std::vector<std::uint8_t> event;

  [[nodiscard]] stroma::risk_order<> order(stroma::cpu_context& ctx) const {
    return {ctx, time, event, {.weight = weight, .entry = entry, .stratum = stratum}};
  }
};

/// use(case) for all sets' cases at a point of the coefficients, "zero", "fixed" or "optimum"; returns how many.
template <class Use>
int for_each_cox_case(std::string_view point, const Use& use) {
  int count = 0;
  for (const auto& set : sets("cox")) {
    const auto all = table(set);
    const auto file = cases(set, "cox");
    for (const auto& c : file.at("cox")) {
      if (c.at("point") != point) continue;
      const auto& names = c.at("covariates");
      stroma::array<double, 2> x(static_cast<stroma::index_t>(all.rows()), static_cast<stroma::index_t>(names.size()));
      for (stroma::index_t j = 0; j < x.cols(); ++j)
        for (stroma::index_t i = 0; i < x.rows(); ++i)
          x(i, j) = all[names[static_cast<std::size_t>(j)].get<std::string>()][static_cast<std::size_t>(i)];
      const auto method = c.at("ties").get<std::string>();
      CAPTURE(set);
      const auto id = c.at("id").get<std::string>();
      CAPTURE(id);
      use(cox_case{c,
                   method == "exact"   ? stroma::ties::exact
                   : method == "efron" ? stroma::ties::efron
                                       : stroma::ties::breslow,
                   x, all.named_by(c, "stop"), all.named_by(c, "start"), all.named_by(c, "weights"),
                   all.named_by(c, "strata"), all.named_by(c, "offset"), all.event()});
      ++count;
    }
  }
  return count;
}

}  // namespace golden
