#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/survival/concordance.hpp>
#include <stroma/survival/discretise.hpp>

#include "support/shared.hpp"
#include "survival/cohort.hpp"

using namespace stroma;

namespace {

struct patients {
  std::vector<double> risk, time;
  std::vector<std::uint8_t> event;
};

double concordance_of(const patients& p) {
  cpu_context ctx;
  return concordance(ctx, p.risk, p.time, p.event).value;
}

/// The cells of the report have commas inside brackets; the columns read here come before those or are found by name.
std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> out(1);
  for (const char c : line) {
    if (c == ',') out.emplace_back();
    else if (c != '\r') out.back() += c;
  }
  return out;
}

}  // namespace

TEST_CASE("published risks: concordance by cohort equals what was reported") {
  const auto shared = shared_folder();
  if (!shared) return;
  const auto folder = *shared / "data" / "published_risks";
  for (const std::string model : {"amilsm", "mcatsm_concat"}) {
    const auto table = read_columns(folder / (model + ".csv"));
    std::map<std::string, std::map<std::string, patients>> folds;
    std::map<std::string, patients> pooled;
    for (std::size_t i = 0; i < table.at("risk").size(); ++i) {
      const auto& cohort = table.at("cohort")[i];
      for (patients* p : {&folds[cohort][table.at("fold")[i]], &pooled[cohort]}) {
        p->risk.push_back(std::stod(table.at("risk")[i]));
        p->time.push_back(std::stod(table.at("months")[i]));
        p->event.push_back(table.at("event")[i] == "1" || table.at("event")[i] == "1.0");
      }
    }
    std::ifstream report(folder / (model + "_reported.csv"));
    std::string line;
    std::getline(report, line);
    const auto header = cells(line);
    const auto column = [&](const char* name) {
      return static_cast<std::size_t>(std::find(header.begin(), header.end(), name) - header.begin());
    };
    std::size_t cohorts = 0;
    while (std::getline(report, line)) {
      const auto row = cells(line);
      const auto found = folds.find(row[0]);
      if (found == folds.end()) continue;
      ++cohorts;
      CAPTURE(model);
      CAPTURE(row[0]);
      double mean = 0, variance = 0;
      const auto count = static_cast<double>(found->second.size());
      for (const auto& [fold, p] : found->second) mean += concordance_of(p) / count;
      for (const auto& [fold, p] : found->second) variance += std::pow(concordance_of(p) - mean, 2) / count;
      CHECK(std::abs(mean - std::stod(row[column("Val C-Index (Mean)")])) < 1e-6);
      CHECK(std::abs(std::sqrt(variance) - std::stod(row[column("Val C-Index (STD)")])) < 1e-6);
      CHECK(std::abs(concordance_of(pooled.at(row[0])) - std::stod(row[column("C-Index (All)")])) < 1e-6);
    }
    CHECK(cohorts == folds.size());
  }
}

TEST_CASE("published risks: the quartiles of observed times give the published bins") {
  const auto shared = shared_folder();
  if (!shared) return;
  const auto table = read_columns(*shared / "data" / "published_risks" / "amilsm.csv");
  patients p;
  std::vector<int> expected;
  for (std::size_t i = 0; i < table.at("risk").size(); ++i) {
    if (table.at("cohort")[i] != "blca") continue;
    p.time.push_back(std::stod(table.at("months")[i]));
    p.event.push_back(table.at("event")[i] == "1");
    expected.push_back(std::stoi(table.at("time_bin")[i]));
  }
  cpu_context ctx;
  std::vector<double> edge(3);
  quantile_edges(ctx, p.time, p.event, edge);
  CHECK(edge[0] == doctest::Approx(7.62));
  CHECK(edge[1] == doctest::Approx(13.57));
  CHECK(edge[2] == doctest::Approx(21.85));
  std::vector<int> bin(expected.size());
  discretise(ctx, p.time, edge, bin);
  CHECK(bin == expected);
}
