// What `stroma transfer` leaves behind: transfer.json, the tables of C-indices and mixtures, and a table on the screen.
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <stroma/adapt/std.hpp>
#include <stroma/core/random.hpp>
#include <stroma/io/table.hpp>
#include <stroma/survival/concordance.hpp>

#include "program.hpp"
#include "transfer.hpp"

namespace program {
namespace {

/// One line of the table for one target.
struct judged {
  method_description method;
  std::size_t target;
  std::vector<double> c;  ///< [folds]
};

double mean_of(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}
/// Standard error of the mean.
double error_of(const std::vector<double>& x) {
  if (x.size() < 2) return std::nan("");
  const double mean = mean_of(x);
  double squares = 0;
  for (const double v : x) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / static_cast<double>(x.size() - 1) / static_cast<double>(x.size()));
}

/// The part of all ways to choose signs in which the sum of the differences is as far from 0, in either direction:
/// a paired permutation test over targets. Exact up to 16 targets, else by 65,536 draws.
double sign_flip_p(const std::vector<double>& difference, std::uint64_t seed) {
  const std::size_t n = difference.size();
  double observed = 0, size = 0;
  for (const double d : difference) observed += d, size += std::abs(d);
  const double rounding = size * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
  const std::uint64_t ways = std::uint64_t{1} << std::min<std::size_t>(n, 16);
  stroma::random_stream random(seed);
  double extreme = 0;
  for (std::uint64_t way = 0; way < ways; ++way) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const bool flip = n <= 16 ? (way >> i & 1) != 0 : random.uniform() < 0.5;
      sum += flip ? -difference[i] : difference[i];
    }
    extreme += std::abs(sum) >= std::abs(observed) - rounding ? 1 : 0;
  }
  return extreme / static_cast<double>(ways);
}

/// One method over all targets: for each fold the mean over targets, then their mean and standard error.
json summarise_method(const std::vector<judged>& results, const std::string& method, const std::vector<judged>& own,
                      std::uint64_t seed) {
  std::vector<double> of_target, difference, of_fold;
  for (const judged& r : results) {
    if (r.method.name != method) continue;
    of_target.push_back(mean_of(r.c));
    of_fold.resize(r.c.size());
    for (std::size_t f = 0; f < r.c.size(); ++f) of_fold[f] += r.c[f];
    for (const judged& o : own)
      if (o.target == r.target) difference.push_back(of_target.back() - mean_of(o.c));
  }
  for (double& v : of_fold) v /= static_cast<double>(of_target.size());
  double better = 0;
  for (const double d : difference) better += d > 0 ? 1 : 0;
  json summary = {{"c_index", mean_of(of_target)}, {"standard_error", number_or_null(error_of(of_fold))}};
  if (!difference.empty())
    summary.update({{"gain", mean_of(difference)},
                    {"targets_better", better},
                    {"targets", difference.size()},
                    {"p", sign_flip_p(difference, seed)}});
  return summary;
}

constexpr method_description static_steph{transfer_method::steph, "steph-static",
                                          "STEPH as one encoder for all bags, mixed with mean coefficients"};

void print_table(const json& methods) {
  std::cout << '\n'
            << left("method", 17) << right("C-index", 8) << "   SE    " << right("gain", 8)
            << "  better      p   what it is\n";
  const auto number = [](const json& m, const char* key, int digits) {
    return m.contains(key) && !m[key].is_null() ? fixed(m[key].get<double>(), digits) : std::string("-");
  };
  for (const auto& [name, m] : methods.items())
    std::cout << left(name, 17) << right(number(m, "c_index", 4), 8) << " " << left(number(m, "standard_error", 4), 8)
              << right(number(m, "gain", 4), 8)
              << right(number(m, "targets_better", 0) + "/" + number(m, "targets", 0), 8) << right(number(m, "p", 4), 7)
              << "   " << m["what"].get<std::string>() << '\n';
}

/// C-indices of every method for every target, and of STEPH's static encoders as if they were a method.
std::vector<judged> judge(const cohort& data, const std::vector<transfer_cohort>& cohorts,
                          const std::vector<method_results>& results) {
  std::vector<judged> table;
  const auto add = [&](const method_description& m, const method_results& r,
                       std::vector<double> transfer_result::*risk) {
    table.push_back({m, r.target, {}});
    for (std::size_t f = 0; f < r.folds.size(); ++f)
      table.back().c.push_back(concordance_of(data, cohorts[r.target].folds[f].test, r.folds[f].*risk));
  };
  for (const method_results& r : results) add(r.method, r, &transfer_result::risk);
  for (const method_results& r : results)
    if (r.method.method == transfer_method::steph) add(static_steph, r, &transfer_result::static_risk);
  return table;
}

void write_c_indices(const std::filesystem::path& path, const std::vector<transfer_cohort>& cohorts,
                     const std::vector<judged>& results) {
  stroma::table_writer out(path, {"method", "target", "fold", "c_index"});
  for (const judged& r : results)
    for (std::size_t f = 0; f < r.c.size(); ++f)
      out.row(r.method.name, cohorts[r.target].name, static_cast<int>(f), r.c[f]);
  out.finish();
}

/// The methods, and what STEPH's gain and its static encoders come to.
json summarise_all(const std::vector<judged>& results, std::uint64_t seed) {
  std::vector<judged> own;
  for (const judged& r : results)
    if (r.method.name == transfer_methods[0].name) own.push_back(r);
  json methods = json::object();
  for (const judged& r : results)
    if (!methods.contains(r.method.name)) {
      methods[r.method.name] = summarise_method(results, r.method.name, own, seed);
      methods[r.method.name]["what"] = r.method.text;
    }
  json result = {{"methods", methods}};
  const auto number = [&](const char* name, const char* key) {
    return methods.contains(name) && methods[name].contains(key) ? methods[name][key].get<double>() : std::nan("");
  };
  if (const double whole = number("steph", "gain"), control = number("share=1", "gain");
      std::isfinite(whole + control) && whole > 0)
    result["gain_without_other_cancers"] = control / whole;
  if (const double lost = number("steph", "c_index") - number(static_steph.name, "c_index"); std::isfinite(lost))
    result["lost_by_static"] = lost;
  return result;
}

}  // namespace

double concordance_of(const cohort& data, const std::vector<index_t>& bags, const std::vector<double>& risk) {
  stroma::cpu_context ctx;
  std::vector<double> time, event;
  for (const index_t b : bags) {
    time.push_back(data.known.time[static_cast<std::size_t>(b)]);
    event.push_back(data.known.event[static_cast<std::size_t>(b)]);
  }
  return stroma::concordance(ctx, risk, time, event).value;
}

void write_transfer(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                    const std::vector<method_results>& results) {
  const std::filesystem::path out = o.out;
  const auto table = judge(data, cohorts, results);
  write_c_indices(out / "c_index.csv", cohorts, table);
  for (const method_results& r : results)
    if (r.method.method == transfer_method::steph) write_patients(o, data, cohorts, r);
  const json summary = summarise_all(table, o.seed);
  write_json(out / "transfer.json", summary);
  print_table(summary["methods"]);
  std::cout
      << "C-index: mean over targets of the mean over folds; SE: over folds. gain, better, p: against 'specific', "
         "target by target\n(p: exact sign-flip test of the mean gain).\n";
  if (summary.contains("gain_without_other_cancers"))
    std::cout << "Of STEPH's gain, " << fixed(100 * summary["gain_without_other_cancers"].get<double>(), 0)
              << " % is there already without any other cancer (share=1).\n";
  if (summary.contains("lost_by_static"))
    std::cout << "One static encoder for all patients of a target loses "
              << fixed(summary["lost_by_static"].get<double>(), 4) << " of STEPH's C-index.\n";
  const bool with_steph = summary["methods"].contains("steph");
  std::cout << "written: " << o.out << "/transfer.json, c_index.csv" << (o.models.empty() ? ", base/" : "")
            << (with_steph ? ", mixtures_*.csv, steph/" : "")
            << (with_steph && o.attention_maps ? ", attention_*.safetensors" : "")
            << (with_steph && !o.export_static.empty() ? "; " + o.export_static : "") << '\n';
}

}  // namespace program
