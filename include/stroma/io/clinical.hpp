#pragma once
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/io/table.hpp>

namespace stroma {

/// What 1 means in the file's event column; in memory 1 is always an observed event.
enum class event_coding { observed, censored };

/// The columns of a clinical table. An empty name: the table has no such column.
struct follow_up_columns {
  std::string id = "patient";
  std::string time = "time";
  std::string event = "event";
  event_coding coding = event_coding::observed;
  std::string cohort = "";
  std::string label = "";
};

/// Who was followed, for how long, and how it ended.
struct follow_up {
  std::vector<std::string> ids;     ///< [patients], each once
  std::vector<double> time;         ///< [patients] the file's unit, 0 or later
  std::vector<double> event;        ///< [patients] 1 observed, 0 censored
  std::vector<std::string> cohort;  ///< [patients], or empty
  std::vector<std::string> label;   ///< [patients], or empty
};

/// Takes follow-up from a table; rows keep their order.
/// @throws format_error  a column is missing; a time missing, negative or not a number; an event not 0 or 1; an id
/// empty
///   or there twice. The message names line and column.
[[nodiscard]] inline follow_up read_follow_up(const table& clinical, const follow_up_columns& columns = {}) {
  follow_up out;
  out.ids = clinical.texts(columns.id);
  out.time = clinical.numbers(columns.time);
  out.event = clinical.numbers(columns.event);
  if (!columns.cohort.empty()) out.cohort = clinical.texts(columns.cohort);
  if (!columns.label.empty()) out.label = clinical.texts(columns.label);
  std::unordered_map<std::string_view, index_t> first;
  for (index_t r = 0; r < clinical.rows(); ++r) {
    const auto at = static_cast<std::size_t>(r);
    const auto refuse = [&](std::string_view column, std::string_view expected) {
      clinical.refuse("read_follow_up", r, column, expected);
    };
    if (out.ids[at].empty()) refuse(columns.id, "an id");
    const auto [earlier, fresh] = first.emplace(out.ids[at], r);
    if (!fresh)
      refuse(columns.id, "each id once (it is on line " + std::to_string(clinical.line(earlier->second)) + ")");
    if (out.time[at] < 0) refuse(columns.time, "a time of 0 or later");
    if (out.event[at] != 0 && out.event[at] != 1) refuse(columns.event, "0 or 1");
    if (columns.coding == event_coding::censored) out.event[at] = 1 - out.event[at];
  }
  return out;
}
[[nodiscard]] inline follow_up read_follow_up(const std::filesystem::path& path,
                                              const follow_up_columns& columns = {}) {
  return read_follow_up(table(path), columns);
}

/// How a bag's id names its patient: `exact`, or by its beginning up to a `-`, `_` or `.`, the longest that is known
/// (slide `TCGA-2F-A9KO-01Z-00-DX1` belongs to patient `TCGA-2F-A9KO`).
enum class id_match { exact, beginning };

/// The row of `clinical` for each bag. Several bags may share one. O(bags + patients).
/// @throws value_error  a bag has no follow-up; the message names the first
[[nodiscard]] inline std::vector<index_t> match_bags(std::span<const std::string> ids, const follow_up& clinical,
                                                     id_match match = id_match::exact) {
  std::unordered_map<std::string_view, index_t> row;
  for (std::size_t i = 0; i < clinical.ids.size(); ++i) row.emplace(clinical.ids[i], static_cast<index_t>(i));
  std::vector<index_t> rows;
  rows.reserve(ids.size());
  for (const std::string& id : ids) {
    std::string_view name = id;
    auto found = row.find(name);
    while (found == row.end() && match == id_match::beginning) {
      const std::size_t cut = name.find_last_of("-_.");
      if (cut == std::string_view::npos) break;
      name = name.substr(0, cut);
      found = row.find(name);
    }
    check::require(found != row.end(), "match_bags", "ids",
                   detail::in_quotes(id) + " at " + std::to_string(rows.size()), "an id with follow-up");
    rows.push_back(found->second);
  }
  return rows;
}

}  // namespace stroma
