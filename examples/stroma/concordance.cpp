// stroma concordance: how well a column of a table orders patients by the time of their event.
#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <stroma/adapt/std.hpp>
#include <stroma/core/array.hpp>
#include <stroma/io/table.hpp>
#include <stroma/survival/concordance.hpp>

#include "command_line.hpp"
#include "follow_up.hpp"
#include "json_option.hpp"
#include "program.hpp"

namespace program {
namespace {

using stroma::pair_weighting;

struct concordance_command {
  follow_up_options columns;
  std::string score, time_weight = "n";
  json_option as_json;
  double horizon = std::numeric_limits<double>::infinity(), tolerance = 0;
};

/// R's names.
const std::map<std::string, pair_weighting> weightings{{"n", pair_weighting::equal},
                                                       {"S", pair_weighting::survival},
                                                       {"S/G", pair_weighting::survival_over_censoring},
                                                       {"n/G2", pair_weighting::inverse_censoring},
                                                       {"I", pair_weighting::inverse_risk}};
constexpr const char* count_names[] = {"concordant", "discordant", "tied.x", "tied.y", "tied.xy"};

void run(const concordance_command& o) {
  const stroma::table table(o.columns.table);
  const followed_patients patients("concordance", table, o.columns);
  const auto score = table.numbers(o.score);
  stroma::cpu_context ctx;
  const auto order = patients.order(ctx);
  stroma::array<double, 2> by_stratum(order.strata(), 5);
  const auto c = stroma::concordance(ctx, score, order, {.influence = {}, .by_stratum = stroma::as_view(by_stratum)},
                                     {.weighting = weightings.at(o.time_weight),
                                      .horizon = o.horizon,
                                      .tolerance = o.tolerance,
                                      .standard_error = true});
  if (!std::isfinite(c.value))
    stroma::detail::refuse_file(
        "concordance", o.columns.table,
        std::to_string(patients.time.size()) + " rows, " + fixed(patients.events(), 0) + " events, no comparable pair",
        "an event and a patient followed longer");
  if (c.undefined > 0)
    std::cerr << "stroma: note: " << c.undefined
              << " events are left out: nobody is left uncensored there, and their weight divides by that part\n";
  const double counts[] = {c.concordant, c.discordant, c.tied_score, c.tied_time, c.tied_both};
  json count = json::object();
  for (std::size_t k = 0; k < 5; ++k) count[count_names[k]] = counts[k];
  const auto interval = c.interval();
  json result = {{"n", patients.time.size()},
                 {"events", static_cast<std::int64_t>(patients.events())},
                 {"timewt", o.time_weight},
                 {"count", count},
                 {"concordance", c.value},
                 {"var", c.variance},
                 {"cvar", number_or_null(c.null_variance_once)},
                 {"se", c.standard_error()},
                 {"interval", {interval.lower, interval.upper}},
                 {"undefined", c.undefined}};
  if (order.stratified())
    for (stroma::index_t s = 0; s < by_stratum.rows(); ++s)
      for (std::size_t k = 0; k < 5; ++k)
        result["count_by_stratum"][patients.stratum_names[static_cast<std::size_t>(s)]][count_names[k]] =
            by_stratum(s, static_cast<stroma::index_t>(k));
  if (!o.as_json.give(result)) return;
  std::cout << "n = " << patients.time.size() << ", events = " << fixed(patients.events(), 0) << "\n"
            << "concordance = " << fixed(c.value, 4) << "  se " << fixed(c.standard_error(), 4) << "  95 % interval "
            << fixed(interval.lower, 4) << " to " << fixed(interval.upper, 4) << "\n\n";
  const auto row = [](const std::string& name, const auto& value_of) {
    std::cout << left(name, 12);
    for (std::size_t k = 0; k < 5; ++k) std::cout << right(value_of(k), 14);
    std::cout << '\n';
  };
  row("", [](std::size_t k) { return std::string(count_names[k]); });
  const auto digits = [](double x) { return x == std::floor(x) && std::abs(x) < 1e15 ? 0 : 4; };
  if (order.stratified())
    for (stroma::index_t s = 0; s < by_stratum.rows(); ++s)
      row(patients.stratum_names[static_cast<std::size_t>(s)], [&](std::size_t k) {
        const double x = by_stratum(s, static_cast<stroma::index_t>(k));
        return fixed(x, digits(x));
      });
  row("all", [&](std::size_t k) { return fixed(counts[k], digits(counts[k])); });
}

}  // namespace

void add_concordance(CLI::App& app) {
  const auto o = std::make_shared<concordance_command>();
  CLI::App* command = app.add_subcommand("concordance", "How well a column orders patients by the time of their event");
  add_follow_up_options(*command, o->columns);
  command->add_option("--score", o->score, "column: the risk; larger means an earlier event")
      ->required()
      ->type_name("COL");
  command
      ->add_option("--timewt", o->time_weight,
                   "weight of a pair by the time of its event: n none (Harrell), n/G2 (Uno), S, S/G, I")
      ->check(CLI::IsMember(weightings).description(""))
      ->type_name("n|S|S/G|n/G2|I")
      ->capture_default_str();
  command->add_option("--ymax", o->horizon, "events later than this make no pairs")->type_name("TIME");
  command->add_option("--tolerance", o->tolerance, "scores no further apart than this are tied")
      ->check(CLI::Range(0.0, 1e300).description(""))
      ->type_name("NUMBER");
  o->as_json.add_to(*command);
  command->footer(
      "Names are those of R's survival: tied.x pairs with equal scores, tied.y two events at one time, tied.xy both.\n"
      "concordance = (concordant + tied.x / 2) / (concordant + discordant + tied.x); var by the infinitesimal "
      "jackknife.\n"
      "JSON: {\"count\": {\"concordant\", ..}, \"concordance\", \"var\", \"cvar\", \"se\", \"interval\", ..}\n\n"
      "Example:\n  stroma concordance --table risks.csv --time time --event event --score score --timewt n/G2 --json");
  command->callback([o] { run(*o); });
}

}  // namespace program
