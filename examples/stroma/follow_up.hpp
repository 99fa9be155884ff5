#pragma once
#include <string>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/io/table.hpp>
#include <stroma/survival/risk_order.hpp>

namespace CLI {
class App;
}

namespace program {

/// The columns of a table that say who was followed, how long, and how it ended. An empty name: no such column.
struct follow_up_options {
  std::string table, time, event, weights, strata, entry;
  bool censored = false;  ///< the event column says 1 for censored
};

/// Those columns as numbers, checked; messages name file, line and column.
struct followed_patients {
  std::vector<double> time, event, weight, entry, stratum;
  std::vector<std::string> stratum_names;  ///< in the order of the risk order's strata

  /// @throws stroma::format_error
  followed_patients(const char* function, const stroma::table& table, const follow_up_options& columns);
  [[nodiscard]] stroma::risk_order<> order(stroma::cpu_context& ctx) const {
    return stroma::risk_order<>(ctx, time, event, {.weight = weight, .entry = entry, .stratum = stratum});
  }
  [[nodiscard]] double events() const;
};

/// The flags that fill follow_up_options.
void add_follow_up_options(CLI::App& command, follow_up_options& options);

}  // namespace program
