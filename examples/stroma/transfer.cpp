// stroma transfer: trains a model for each cancer, then whatever carries knowledge from the others to one of them, all
// under one protocol, and compares.
#include "transfer.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include <stroma/adapt/std.hpp>
#include <stroma/io/safetensors.hpp>
#include <stroma/io/table.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/taskvector/fingerprint.hpp>
#include <stroma/train/progress.hpp>

#include "program.hpp"

namespace program {
namespace {

/// Runs jobs, several at once if there are threads for it, each with a context of its own.
template <class Job>
void run_jobs(const transfer_options& o, const std::string& title, std::size_t count, const Job& job) {
  const int workers = std::max(1, std::min<int>(o.threads, static_cast<int>(count)));
  stroma::cpu_context outer(workers);
  std::vector<std::unique_ptr<stroma::cpu_context>> inner;
  for (int w = 0; w < workers; ++w) inner.push_back(std::make_unique<stroma::cpu_context>(1));
  std::mutex mutex;
  index_t done = 0;
  stroma::progress bar(stderr, title, static_cast<index_t>(count),
                       {.style = o.quiet ? stroma::progress_style::silent : stroma::progress_style::automatic});
  outer.parallel(static_cast<index_t>(count), [&](index_t j, int worker) {
    job(static_cast<std::size_t>(j), *inner[static_cast<std::size_t>(worker)]);
    const std::lock_guard lock(mutex);
    bar.update(++done);
  });
}

std::vector<transfer_cohort> cohorts_of(const transfer_options& o, const cohort& data) {
  std::map<std::string, std::vector<index_t>> members;
  for (index_t b = 0; b < data.bags.count(); ++b) members[data.known.cohort[static_cast<std::size_t>(b)]].push_back(b);
  if (members.size() < 2)
    stroma::detail::refuse_file("transfer", o.clinical, "one cohort", "two or more, one of them the target");
  std::vector<transfer_cohort> cohorts;
  for (const auto& [name, bags] : members) {
    std::vector<int> event;
    for (const index_t b : bags) event.push_back(static_cast<int>(data.known.event[static_cast<std::size_t>(b)]));
    const auto fold =
        stroma::assign_folds(event, {.folds = o.folds, .seed = o.seed, .absent = stroma::absent_class::allow});
    transfer_cohort c{name, stroma::folds_from_assignment(fold)};
    for (stroma::split& s : c.folds)
      for (auto* part : {&s.train, &s.test})
        for (index_t& i : *part) i = bags[static_cast<std::size_t>(i)];
    cohorts.push_back(std::move(c));
  }
  return cohorts;
}

std::filesystem::path base_file(const transfer_options& o, const std::string& name, std::size_t fold) {
  return std::filesystem::path(o.out) / "base" / (name + "_fold" + std::to_string(fold) + ".safetensors");
}

/// All that the base models depend on, beside the data.
std::string base_run(const transfer_options& o, const std::string& origin) {
  return json{
      {"origin", origin},        {"epochs", o.epochs},  {"batch", o.batch},         {"learning_rate", o.learning_rate},
      {"decay", o.weight_decay}, {"bins", o.bins},      {"bin_width", o.bin_width}, {"folds", o.folds},
      {"seed", o.seed},          {"dropout", o.dropout}}
      .dump();
}

/// Trains the models of all cohorts and folds, or takes those that an earlier run left.
base_models train_bases(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts) {
  base_models bases;
  bases.origin = untrained(o, data.bags.features());
  const std::string origin = stroma::fingerprint_of(bases.origin), run = base_run(o, origin);
  stroma::save_parameters(std::filesystem::path(o.out) / "base" / "theta_0.safetensors", bases.origin,
                          {{"fingerprint", origin}});
  const auto folds = static_cast<std::size_t>(o.folds);
  bases.of.assign(cohorts.size(), std::vector<encoder_model>(folds, bases.origin));
  run_jobs(o, "models", cohorts.size() * folds, [&](std::size_t j, stroma::cpu_context& ctx) {
    const std::size_t c = j / folds, f = j % folds;
    const auto file = base_file(o, cohorts[c].name, f);
    encoder_model& model = bases.of[c][f];
    if (std::filesystem::exists(file)) {
      const stroma::safetensors_reader reader(file);
      const auto found = reader.metadata().find("run");
      if (found == reader.metadata().end() || found->second != run)
        stroma::detail::refuse_file("transfer", file.string(),
                                    "a model trained from another base or with other options",
                                    "the same options, or another --out");
      stroma::load_parameters(reader, model);
      return;
    }
    model = train_encoder(ctx, o, data, cohorts[c].folds[f].train, bases.origin);
    stroma::save_parameters(file, model, {{"run", run}, {"base", origin}});
  });
  return bases;
}

/// One model of all cohorts for each fold.
void train_joint(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                 base_models& bases) {
  bases.joint.assign(static_cast<std::size_t>(o.folds), bases.origin);
  run_jobs(o, "joint", bases.joint.size(), [&](std::size_t f, stroma::cpu_context& ctx) {
    std::vector<index_t> bags;
    for (const auto& c : cohorts) bags.insert(bags.end(), c.folds[f].train.begin(), c.folds[f].train.end());
    std::sort(bags.begin(), bags.end());
    bases.joint[f] = train_encoder(ctx, o, data, bags, bases.origin);
  });
}

struct judged {
  std::string method;
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
    if (r.method != method) continue;
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

/// transfer.json, c_index.csv, and the table on the screen.
void write_table(const transfer_options& o, const std::vector<transfer_cohort>& cohorts,
                 const std::vector<method_description>& methods, const std::vector<judged>& results) {
  stroma::table_writer out(std::filesystem::path(o.out) / "c_index.csv", {"method", "target", "fold", "c_index"});
  std::vector<judged> own;
  for (const judged& r : results) {
    for (std::size_t f = 0; f < r.c.size(); ++f) out.row(r.method, cohorts[r.target].name, static_cast<int>(f), r.c[f]);
    if (r.method == transfer_methods[0].name) own.push_back(r);
  }
  out.finish();
  json table = json::object();
  const auto add = [&](const method_description& m) {
    table[m.name] = summarise_method(results, m.name, own, o.seed);
    table[m.name]["what"] = m.text;
  };
  for (const auto& m : methods) {
    add(m);
    if (m.method == transfer_method::steph) add(static_steph);
  }
  json result = {{"methods", table}};
  const auto gain = [&](const char* name) {
    return table.contains(name) && table[name].contains("gain") ? table[name]["gain"].get<double>() : std::nan("");
  };
  if (const double whole = gain("steph"), control = gain("share=1"); std::isfinite(whole + control) && whole > 0)
    result["gain_without_other_cancers"] = control / whole;
  write_json(std::filesystem::path(o.out) / "transfer.json", result);
  print_table(table);
  std::cout
      << "C-index: mean over targets of the mean over folds; SE: over folds. gain, better, p: against 'specific', "
         "target by target\n(p: exact sign-flip test of the mean gain).\n";
  if (result.contains("gain_without_other_cancers"))
    std::cout << "Of STEPH's gain, " << fixed(100 * result["gain_without_other_cancers"].get<double>(), 0)
              << " % is there already without any other cancer (share=1).\n";
  std::cout << "written: " << o.out << "/transfer.json, c_index.csv, mixtures_*.csv, base/\n";
}

/// What each test patient was given: source by source.
void write_mixtures(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                    std::size_t target, const std::vector<transfer_result>& folds) {
  std::vector<std::string> columns{"patient", "fold", "risk", "selected"};
  for (const char* what : {"w_", "share_"})
    for (std::size_t c = 0; c < cohorts.size(); ++c)
      if (c != target) columns.push_back(what + cohorts[c].name);
  stroma::table_writer out(std::filesystem::path(o.out) / ("mixtures_" + cohorts[target].name + ".csv"), columns);
  for (std::size_t f = 0; f < folds.size(); ++f)
    for (std::size_t i = 0; i < folds[f].mixtures.size(); ++i) {
      const mixture_record& m = folds[f].mixtures[i];
      std::string selected;
      for (index_t s : m.selected) {
        if (static_cast<std::size_t>(s) >= target) ++s;  // sources are all cohorts but the target
        selected.append(selected.empty() ? "" : " ").append(cohorts[static_cast<std::size_t>(s)].name);
      }
      out.cell(data.bags.ids()[static_cast<std::size_t>(m.bag)]);
      out.cell(static_cast<int>(f));
      out.cell(folds[f].risk[i]);
      out.cell(selected);
      for (const float w : m.weight) out.cell(w);
      for (const float s : m.share) out.cell(s);
      out.end_row();
    }
  out.finish();
}

std::vector<std::size_t> targets_of(const transfer_options& o, const std::vector<transfer_cohort>& cohorts) {
  std::vector<std::size_t> targets;
  std::string list;
  for (std::size_t c = 0; c < cohorts.size(); ++c) list.append(c == 0 ? "" : ", ").append(cohorts[c].name);
  for (std::size_t c = 0; c < cohorts.size() && o.targets.empty(); ++c) targets.push_back(c);
  for (const std::string& name : o.targets) {
    const auto found = std::find_if(cohorts.begin(), cohorts.end(), [&](const auto& c) { return c.name == name; });
    if (found == cohorts.end())
      stroma::detail::refuse_file("transfer", o.clinical, "no cohort '" + name + "'", "one of " + list);
    targets.push_back(static_cast<std::size_t>(found - cohorts.begin()));
  }
  return targets;
}

std::vector<method_description> methods_of(const transfer_options& o) {
  std::vector<method_description> methods;
  for (const auto& m : transfer_methods)
    if (o.methods.empty() || std::find(o.methods.begin(), o.methods.end(), m.name) != o.methods.end())
      methods.push_back(m);
  return methods;
}

double concordance_of(const cohort& data, const std::vector<index_t>& bags, const std::vector<double>& risk) {
  stroma::cpu_context ctx;
  std::vector<double> time, event;
  for (const index_t b : bags) {
    time.push_back(data.known.time[static_cast<std::size_t>(b)]);
    event.push_back(data.known.event[static_cast<std::size_t>(b)]);
  }
  return stroma::concordance(ctx, risk, time, event).value;
}

}  // namespace

void transfer(const transfer_options& o) {
  train_options reading;
  reading.bags = o.bags;
  reading.clinical = o.clinical;
  reading.columns = o.columns;
  const cohort data = read_cohort(reading);
  if (data.known.cohort.empty())
    stroma::detail::refuse_file("transfer", o.clinical, "no cohort column", "a column that names the cancer");
  const auto cohorts = cohorts_of(o, data);
  const auto targets = targets_of(o, cohorts);
  const auto methods = methods_of(o);
  const auto folds = static_cast<std::size_t>(o.folds);
  for (const std::size_t t : targets)
    for (std::size_t f = 0; f < folds; ++f) {
      const auto& test = cohorts[t].folds[f].test;
      std::vector<double> time;
      for (const index_t b : test) time.push_back(data.known.time[static_cast<std::size_t>(b)]);
      if (!std::isfinite(concordance_of(data, test, time)))
        stroma::detail::refuse_file("transfer", "cohort " + cohorts[t].name + ", fold " + std::to_string(f),
                                    std::to_string(test.size()) + " test patients without a comparable pair",
                                    "an event and a patient followed longer: fewer folds");
    }
  make_folder(std::filesystem::path(o.out) / "base");
  std::cout << data.bags.count() << " patients of " << cohorts.size() << " cohorts, " << data.bags.features()
            << " features; " << cohorts.size() * folds << " models, then " << methods.size() << " methods for "
            << targets.size() << " targets in " << folds << " folds\n"
            << std::flush;
  base_models bases = train_bases(o, data, cohorts);

  if (std::any_of(methods.begin(), methods.end(), [](const auto& m) { return m.method == transfer_method::joint; }))
    train_joint(o, data, cohorts, bases);

  const std::size_t jobs = methods.size() * targets.size() * folds;
  std::vector<transfer_result> found(jobs);
  run_jobs(o, "methods", jobs, [&](std::size_t j, stroma::cpu_context& ctx) {
    const std::size_t m = j / (targets.size() * folds), t = j / folds % targets.size(), f = j % folds;
    found[j] = transfer_fold(ctx, o, data, cohorts, bases).run(methods[m].method, targets[t], f);
  });

  std::vector<judged> results;
  const auto judge = [&](const std::string& name, std::size_t target, auto&& risk_in_fold) {
    judged r{name, target, {}};
    for (std::size_t f = 0; f < folds; ++f)
      r.c.push_back(concordance_of(data, cohorts[target].folds[f].test, risk_in_fold(f)));
    results.push_back(std::move(r));
  };
  for (std::size_t m = 0; m < methods.size(); ++m)
    for (std::size_t t = 0; t < targets.size(); ++t) {
      const auto of_fold = [&](std::size_t f) -> transfer_result& {
        return found[(m * targets.size() + t) * folds + f];
      };
      judge(methods[m].name, targets[t], [&](std::size_t f) { return of_fold(f).risk; });
      if (methods[m].method != transfer_method::steph) continue;
      judge(static_steph.name, targets[t], [&](std::size_t f) { return of_fold(f).static_risk; });
      std::vector<transfer_result> of_target;
      for (std::size_t f = 0; f < folds; ++f) of_target.push_back(std::move(of_fold(f)));
      write_mixtures(o, data, cohorts, targets[t], of_target);
    }
  write_table(o, cohorts, methods, results);
}

}  // namespace program
