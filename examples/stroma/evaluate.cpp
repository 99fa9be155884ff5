// stroma evaluate: how good the risks in a table are, by group and fold.
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <stroma/adapt/std.hpp>
#include <stroma/core/context.hpp>
#include <stroma/io/atomic_file.hpp>
#include <stroma/io/table.hpp>
#include <stroma/survival/concordance.hpp>

#include "commands.hpp"
#include "judgement.hpp"
#include "program.hpp"

namespace program {
namespace {

struct patients {
  std::vector<double> time, event, score;

  void add(double t, double e, double s) {
    time.push_back(t);
    event.push_back(e);
    score.push_back(s);
  }
  [[nodiscard]] double events() const {
    double sum = 0;
    for (const double e : event) sum += e;
    return sum;
  }
  [[nodiscard]] double c_index(stroma::cpu_context& ctx) const {
    return stroma::concordance(ctx, score, time, event).value;
  }
};

struct group {
  std::string name;
  patients all;
  std::vector<std::pair<std::string, patients>> folds;  ///< in order of appearance
};

template <class List>
auto& find_or_add(List& list, std::map<std::string, std::size_t>& index, const std::string& key, const auto& make) {
  const auto [at, fresh] = index.emplace(key, list.size());
  if (fresh) list.push_back(make());
  return list[at->second];
}

/// The event flags, 1 for an observed event, and the times, both checked; messages name the line.
std::pair<std::vector<double>, std::vector<double>> read_follow_up(const stroma::table& table,
                                                                   const evaluate_options& o) {
  auto time = table.numbers(o.time), event = table.numbers(o.event);
  for (stroma::index_t r = 0; r < table.rows(); ++r) {
    const auto at = static_cast<std::size_t>(r);
    if (time[at] < 0) table.refuse("evaluate", r, o.time, "a time of 0 or later");
    if (event[at] != 0 && event[at] != 1) table.refuse("evaluate", r, o.event, "0 or 1");
    if (o.censored) event[at] = 1 - event[at];
  }
  return {std::move(time), std::move(event)};
}

std::vector<group> read_groups(const evaluate_options& o) {
  const stroma::table table(o.table);
  const auto [time, event] = read_follow_up(table, o);
  const auto score = table.numbers(o.score);
  if (table.rows() == 0) stroma::detail::refuse_file("evaluate", table.file(), "no row", "at least one patient");
  std::vector<group> groups;
  std::map<std::string, std::size_t> group_index;
  std::vector<std::map<std::string, std::size_t>> fold_index;
  for (stroma::index_t r = 0; r < table.rows(); ++r) {
    const auto at = static_cast<std::size_t>(r);
    const std::string name = o.group.empty() ? "all" : std::string(table.text(r, o.group));
    group& g = find_or_add(groups, group_index, name, [&] { return group{name, {}, {}}; });
    fold_index.resize(groups.size());
    std::string fold;
    for (const std::string& column : o.fold) fold.append(fold.empty() ? "" : "/").append(table.text(r, column));
    auto& in_fold = find_or_add(g.folds, fold_index[group_index.at(name)], fold, [&] {
      return std::pair{fold, patients{}};
    });
    g.all.add(time[at], event[at], score[at]);
    in_fold.second.add(time[at], event[at], score[at]);
  }
  return groups;
}

json judge(const group& g, const evaluate_options& o, stroma::cpu_context& ctx) {
  const double pooled = g.all.c_index(ctx);
  if (!std::isfinite(pooled))
    stroma::detail::refuse_file(
        "evaluate", o.table + ": group '" + g.name + "'",
        std::to_string(g.all.time.size()) + " rows, " + fixed(g.all.events(), 0) + " events, no comparable pair",
        "an event and a patient followed longer");
  std::vector<double> values;
  json folds = json::array();
  for (const auto& [name, rows] : g.folds) {
    values.push_back(rows.c_index(ctx));
    if (!std::isfinite(values.back()))
      std::cerr << "stroma: note: group '" << g.name << "', fold '" << name
                << "' has no comparable pair and is left out of the mean\n";
    folds.push_back({{"fold", name},
                     {"n", rows.time.size()},
                     {"events", static_cast<std::int64_t>(rows.events())},
                     {"c_index", number_or_null(values.back())}});
  }
  const auto over_folds = summarise(values);
  json result = {{"n", g.all.time.size()},
                 {"events", static_cast<std::int64_t>(g.all.events())},
                 {"c_index_mean", number_or_null(over_folds.mean)},
                 {"c_index_std", number_or_null(over_folds.deviation)},
                 {"c_index_pooled", pooled},
                 {"judgement", judge_scores(ctx, g.all.score, g.all.time, g.all.event)}};
  if (!o.fold.empty()) result["folds"] = folds;
  return result;
}

/// A group's name without what a file's name cannot hold.
std::string file_name(std::string name) {
  for (char& c : name)
    if (c == '/' || c == '\\' || c == ':' || static_cast<unsigned char>(c) < 32) c = '_';
  return name.empty() || name[0] == '.' ? "_" + name : name;
}

void print_table(const json& groups) {
  std::size_t width = 5;
  for (const auto& [name, g] : groups.items()) width = std::max(width, name.size());
  std::cout << left("group", width) << right("n", 7) << right("events", 8) << "  C-index: mean over folds   pooled\n";
  for (const auto& [name, g] : groups.items()) {
    const auto number = [&g = g](const char* key) { return g[key].is_null() ? std::nan("") : g[key].get<double>(); };
    std::cout << left(name, width) << right(fixed(number("n"), 0), 7) << right(fixed(number("events"), 0), 8)
              << right(fixed(number("c_index_mean"), 4), 16) << " +- " << fixed(number("c_index_std"), 4)
              << right(fixed(number("c_index_pooled"), 4), 10) << '\n';
  }
  for (const auto& [name, g] : groups.items()) {
    std::cout << '\n' << name << " (all folds together)\n";
    print_judgement(std::cout, g["judgement"]);
  }
}

}  // namespace

void evaluate(const evaluate_options& o) {
  stroma::cpu_context ctx;
  json groups = json::object();
  if (!o.plots.empty()) make_folder(o.plots);
  for (const group& g : read_groups(o)) {
    groups[g.name] = judge(g, o, ctx);
    if (o.plots.empty()) continue;
    stroma::atomic_file picture(std::filesystem::path(o.plots) / (file_name(g.name) + ".svg"), "evaluate");
    picture.write(median_split_picture(ctx, g.name, g.all.score, g.all.time, g.all.event));
    picture.commit();
  }
  if (o.as_json.give({{"groups", groups}})) print_table(groups);
}

}  // namespace program
