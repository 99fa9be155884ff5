#include "follow_up.hpp"

#include <algorithm>
#include <numeric>

#include <CLI/CLI.hpp>

#include <stroma/adapt/std.hpp>

namespace program {

followed_patients::followed_patients(const char* function, const stroma::table& table, const follow_up_options& o)
    : time(table.numbers(o.time)), event(table.numbers(o.event)) {
  if (table.rows() == 0) stroma::detail::refuse_file(function, table.file(), "no row", "at least one patient");
  if (!o.weights.empty()) weight = table.numbers(o.weights);
  if (!o.entry.empty()) entry = table.numbers(o.entry);
  for (stroma::index_t r = 0; r < table.rows(); ++r) {
    const auto at = static_cast<std::size_t>(r);
    if (time[at] < 0) table.refuse(function, r, o.time, "a time of 0 or later");
    if (event[at] != 0 && event[at] != 1) table.refuse(function, r, o.event, "0 or 1");
    if (!weight.empty() && weight[at] < 0) table.refuse(function, r, o.weights, "a weight of 0 or more");
    if (!entry.empty() && !(entry[at] < time[at])) table.refuse(function, r, o.entry, "a number below the time");
    if (o.censored) event[at] = 1 - event[at];
  }
  if (o.strata.empty()) return;
  const auto labels = table.texts(o.strata);
  stratum_names = labels;
  std::sort(stratum_names.begin(), stratum_names.end());
  stratum_names.erase(std::unique(stratum_names.begin(), stratum_names.end()), stratum_names.end());
  for (const std::string& label : labels)
    stratum.push_back(static_cast<double>(std::lower_bound(stratum_names.begin(), stratum_names.end(), label) -
                                          stratum_names.begin()));
}

double followed_patients::events() const { return std::accumulate(event.begin(), event.end(), 0.0); }

void add_follow_up_options(CLI::App& command, follow_up_options& o) {
  const auto column = [&](const char* flag, std::string& name, const char* text) {
    return command.add_option(flag, name, text)->type_name("COL");
  };
  command.add_option("--table", o.table, "CSV file with a header, one row a patient")->required()->type_name("CSV");
  column("--time", o.time, "column: time to the event or to the last follow-up, 0 or more, any unit")->required();
  column("--event", o.event, "column: 1 the event was observed, 0 censored")->required();
  column("--weights", o.weights, "column: case weights, 0 or more");
  column("--strata", o.strata, "column: the stratum; patients are compared within one only");
  column("--entry", o.entry, "column: when a patient came under observation, before its time");
  command.add_flag("--censored", o.censored, "the event column says 1 for censored, 0 for observed");
}

}  // namespace program
