// What `stroma train` leaves behind: metrics.json, a table of scores, the attention, and a summary on the screen.
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <stroma/io/safetensors_writer.hpp>
#include <stroma/io/table.hpp>

#include "cross_validation.hpp"
#include "program.hpp"

namespace program {
namespace {

std::string title_of(const std::string& metric) {
  return metric == "c_index" ? "C-index" : metric == "auc" ? "AUC" : metric;
}

/// values[metric][repetition] of all folds, repetitions apart.
using metric_table = std::map<std::string, std::vector<std::vector<double>>>;

metric_table gather(const std::vector<fold_job>& jobs, const std::vector<judged_fold>& judged) {
  metric_table table;
  for (std::size_t j = 0; j < jobs.size(); ++j)
    for (const auto& [name, value] : judged[j].metrics) {
      auto& repetitions = table[name];
      repetitions.resize(std::max(repetitions.size(), static_cast<std::size_t>(jobs[j].repetition) + 1));
      repetitions.back().push_back(value);
    }
  return table;
}

std::vector<double> all_of(const std::vector<std::vector<double>>& repetitions) {
  std::vector<double> all;
  for (const auto& r : repetitions) all.insert(all.end(), r.begin(), r.end());
  return all;
}

json metrics_json(const train_options& o, const std::vector<fold_job>& jobs, const std::vector<judged_fold>& judged,
                  const metric_table& table) {
  json folds = json::array(), mean = json::object(), deviation = json::object(), repetitions = json::array();
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    json fold = {{"repetition", jobs[j].repetition},
                 {"fold", jobs[j].fold},
                 {"train", jobs[j].parts.train.size()},
                 {"test", jobs[j].parts.test.size()}};
    if (o.recipe.model.task == task_kind::survival) fold["events"] = judged[j].events;
    fold["epochs"] = judged[j].epochs;
    for (const auto& [name, value] : judged[j].metrics) fold[name] = number_or_null(value);
    folds.push_back(fold);
  }
  for (const auto& [name, values] : table) {
    const auto [m, d] = summarise(all_of(values));
    mean[name] = number_or_null(m);
    deviation[name] = number_or_null(d);
    repetitions.get_ref<json::array_t&>().resize(values.size());
    for (std::size_t r = 0; r < values.size(); ++r) {
      repetitions[r]["repetition"] = r;
      repetitions[r][name] = number_or_null(summarise(values[r]).mean);
    }
  }
  return {{"folds", folds},
          {"mean", mean},
          {"std", deviation},
          {"repetitions", repetitions},
          {"options", json::parse(run_text(o))}};
}

void write_risks(const std::filesystem::path& path, const cohort& data, const std::vector<fold_job>& jobs,
                 const std::vector<judged_fold>& judged, const model_spec& spec) {
  stroma::table_writer out(path, {"repetition", "fold", "patient", "cohort", "time", "event", "score"});
  for (std::size_t j = 0; j < jobs.size(); ++j)
    for (std::size_t i = 0; i < jobs[j].parts.test.size(); ++i) {
      const auto b = static_cast<std::size_t>(jobs[j].parts.test[i]);
      out.row(jobs[j].repetition, jobs[j].fold, data.bags.ids()[b],
              data.known.cohort.empty() ? std::string("all") : data.known.cohort[b], data.known.time[b],
              static_cast<int>(data.known.event[b]), risk(spec, judged[j].predictions[i]));
    }
  out.finish();
}

void write_classes(const std::filesystem::path& path, const cohort& data, const std::vector<fold_job>& jobs,
                   const std::vector<judged_fold>& judged) {
  std::vector<std::string> columns{"repetition", "fold", "bag", "label", "predicted"};
  for (std::size_t c = 0; c < probabilities(judged.front().predictions.front()).size(); ++c)
    columns.push_back("p" + std::to_string(c));
  stroma::table_writer out(path, columns);
  for (std::size_t j = 0; j < jobs.size(); ++j)
    for (std::size_t i = 0; i < jobs[j].parts.test.size(); ++i) {
      const auto b = static_cast<std::size_t>(jobs[j].parts.test[i]);
      const auto p = probabilities(judged[j].predictions[i]);
      out.cell(jobs[j].repetition);
      out.cell(jobs[j].fold);
      out.cell(data.bags.ids()[b]);
      out.cell(data.known.label[b]);
      out.cell(predicted_class(p));
      for (const double q : p) out.cell(q);
      out.end_row();
    }
  out.finish();
}

void write_attention(const std::filesystem::path& path, const cohort& data, const std::vector<fold_job>& jobs,
                     const std::vector<judged_fold>& judged, int repetition) {
  std::vector<stroma::tensor_source> tensors;
  for (std::size_t j = 0; j < jobs.size(); ++j)
    for (std::size_t i = 0; i < jobs[j].parts.test.size() && jobs[j].repetition == repetition; ++i)
      tensors.push_back(stroma::named_tensor(data.bags.ids()[static_cast<std::size_t>(jobs[j].parts.test[i])],
                                             judged[j].predictions[i].attention));
  stroma::write_safetensors(path, tensors);
}

void print_summary(const metric_table& table) {
  const std::size_t repetitions = table.begin()->second.size();
  std::cout << '\n' << left("", 16);
  for (const auto& [name, values] : table) std::cout << left(title_of(name), 20);
  std::cout << '\n';
  const auto row = [&](const std::string& title, auto&& values_of) {
    std::cout << left(title, 16);
    for (const auto& [name, values] : table) {
      const auto [mean, deviation] = summarise(values_of(values));
      std::cout << left(fixed(mean, 4) + " +- " + fixed(deviation, 4), 20);
    }
    std::cout << '\n';
  };
  for (std::size_t r = 0; r < repetitions && repetitions > 1; ++r)
    row("repetition " + std::to_string(r), [r](const auto& values) { return values[r]; });
  row("all folds", [](const auto& values) { return all_of(values); });
}

}  // namespace

void write_results(const train_options& o, const cohort& data, const std::vector<fold_job>& jobs,
                   const std::vector<judged_fold>& judged) {
  const std::filesystem::path out = o.out;
  const model_spec& spec = o.recipe.model;
  const metric_table table = gather(jobs, judged);
  if (spec.task == task_kind::survival) write_risks(out / "risks.csv", data, jobs, judged, spec);
  else write_classes(out / "predictions.csv", data, jobs, judged);
  const int repetitions = jobs.back().repetition + 1;
  for (int r = 0; r < repetitions && spec.has_attention(); ++r)
    write_attention(
        out / (repetitions == 1 ? "attention.safetensors" : "attention_rep" + std::to_string(r) + ".safetensors"), data,
        jobs, judged, r);
  write_json(out / "metrics.json", metrics_json(o, jobs, judged, table));
  print_summary(table);
  std::cout << "written: " << out.string() << "/metrics.json, "
            << (spec.task == task_kind::survival ? "risks.csv" : "predictions.csv") << ", " << jobs.size() << " models"
            << (spec.has_attention() ? ", attention" : "") << '\n';
}

}  // namespace program
