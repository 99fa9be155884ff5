// stroma transfer: trains a model for each cancer, then whatever carries knowledge from the others to one of them, all
// under one protocol, and compares.
#include "transfer.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <stroma/io/file_error.hpp>
#include <stroma/train/progress.hpp>

#include "program.hpp"

namespace program {
namespace {

/// The bags of one cohort in the folds of a file, which are those of all.
std::vector<stroma::split> folds_among(const std::vector<index_t>& bags, const std::vector<fold_job>& jobs) {
  std::vector<stroma::split> folds;
  const auto common = [&](const std::vector<index_t>& part) {  // both are in rising order
    std::vector<index_t> both;
    std::set_intersection(bags.begin(), bags.end(), part.begin(), part.end(), std::back_inserter(both));
    return both;
  };
  for (const fold_job& job : jobs) folds.push_back({common(job.parts.train), common(job.parts.test)});
  return folds;
}

/// By number: stratified by the event in each cohort.
std::vector<stroma::split> assigned_folds(const transfer_options& o, const cohort& data,
                                          const std::vector<index_t>& bags) {
  std::vector<int> event;
  for (const index_t b : bags) event.push_back(static_cast<int>(data.known.event[static_cast<std::size_t>(b)]));
  auto folds = stroma::folds_from_assignment(stroma::assign_folds(
      event, {.folds = std::stol(o.folds.substr(0, 9)), .seed = o.seed, .absent = stroma::absent_class::allow}));
  for (stroma::split& s : folds)
    for (auto* part : {&s.train, &s.test})
      for (index_t& i : *part) i = bags[static_cast<std::size_t>(i)];
  return folds;
}

/// The folds of a file, of all cohorts together.
std::vector<fold_job> folds_in_file(const transfer_options& o, train_options reading, const cohort& data) {
  reading.folds = o.folds;
  auto jobs = plan_folds(reading, data);
  if (jobs.back().repetition > 0)
    stroma::detail::refuse_file("transfer", o.folds, std::to_string(jobs.back().repetition + 1) + " columns of folds",
                                "one beside the bag");
  return jobs;
}

std::vector<transfer_cohort> cohorts_of(const transfer_options& o, const train_options& reading, const cohort& data) {
  std::map<std::string, std::vector<index_t>> members;
  for (index_t b = 0; b < data.bags.count(); ++b) members[data.known.cohort[static_cast<std::size_t>(b)]].push_back(b);
  if (members.size() < 2)
    stroma::detail::refuse_file("transfer", o.clinical, "one cohort", "two or more, one of them the target");
  const bool by_number = is_number(o.folds);
  const auto jobs = by_number ? std::vector<fold_job>() : folds_in_file(o, reading, data);
  std::vector<transfer_cohort> cohorts;
  for (const auto& [name, bags] : members) {
    cohorts.push_back({name, by_number ? assigned_folds(o, data, bags) : folds_among(bags, jobs)});
    for (std::size_t f = 0; f < cohorts.back().folds.size(); ++f)
      if (cohorts.back().folds[f].train.empty())
        stroma::detail::refuse_file("transfer", "cohort " + name + ", fold " + std::to_string(f),
                                    "no patient to train on", "one or more outside the fold");
  }
  return cohorts;
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

}  // namespace

void run_jobs(const transfer_options& o, const std::string& title, std::size_t count,
              const std::function<void(std::size_t, stroma::cpu_context&)>& job) {
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

void transfer(const transfer_options& o) {
  train_options reading;
  reading.bags = o.bags;
  reading.clinical = o.clinical;
  reading.columns = o.columns;
  const cohort data = read_cohort(reading);
  if (data.known.cohort.empty())
    stroma::detail::refuse_file("transfer", o.clinical, "no cohort column", "a column that names the cancer");
  const auto cohorts = cohorts_of(o, reading, data);
  const auto targets = targets_of(o, cohorts);
  const auto methods = methods_of(o);
  const std::size_t folds = cohorts.front().folds.size();
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
  for (const char* part : {"base", "steph"}) make_folder(std::filesystem::path(o.out) / part);
  if (!o.export_static.empty()) make_folder(o.export_static);
  std::cout << data.bags.count() << " patients of " << cohorts.size() << " cohorts, " << data.bags.features()
            << " features; " << methods.size() << " methods for " << targets.size() << " targets in " << folds
            << " folds\n"
            << std::flush;
  base_models bases = train_bases(o, data, cohorts, targets);
  if (std::any_of(methods.begin(), methods.end(), [](const auto& m) { return m.method == transfer_method::joint; }))
    train_joint(o, data, cohorts, bases);

  std::vector<method_results> results;
  for (const auto& m : methods)
    for (const std::size_t t : targets) results.push_back({m, t, std::vector<transfer_result>(folds)});
  run_jobs(o, "methods", results.size() * folds, [&](std::size_t j, stroma::cpu_context& ctx) {
    method_results& r = results[j / folds];
    const std::size_t f = j % folds;
    r.folds[f] = run_method({ctx, o, data, cohorts, bases, r.target, f}, r.method.method);
  });
  write_transfer(o, data, cohorts, results);
}

}  // namespace program
