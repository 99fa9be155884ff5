#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include "cohort.hpp"
#include "support/shared.hpp"

/// R's results for survival analysis: `../shared/golden/survival`, whose README says what every field means. Where that
/// folder is absent, what the repository carries of it is read: tests/data/survival/golden (ovarian alone for Cox and
/// curves, synth_ties_a too for concordance; of ovarian.cox neither the whole Hessians nor all residuals).
namespace golden {

using json = nlohmann::json;

/// The file `name.extension`, from either folder.
inline std::optional<std::filesystem::path> file(std::string_view name, std::string_view extension) {
  const std::string file_name = std::string(name) + "." + std::string(extension);
  static const auto shared = find_shared_folder();
  if (shared && std::filesystem::exists(*shared / "golden" / "survival" / file_name))
    return *shared / "golden" / "survival" / file_name;
  auto carried = test_data("survival/golden") / file_name;
  if (std::filesystem::exists(carried)) return carried;
  return std::nullopt;
}

/// Sets that have cases of this kind, "cox", "concordance" or "curves", whichever folder they are in.
inline std::vector<std::string> sets(std::string_view kind = "curves") {
  std::vector<std::string> found;
  for (const auto* name : {"lung", "veteran", "ovarian", "kidney", "heart", "synth_ties_a"})
    if (file(name, std::string(kind) + ".json") && file(name, "csv")) found.emplace_back(name);
  return found;
}

/// A file's contents: "meta", and by kind "cox"; "concordance"; "km", "logrank", "prediction" (null: not there).
inline json cases(std::string_view name, std::string_view kind) {
  const auto path = file(name, std::string(kind) + ".json");
  if (!path) throw std::runtime_error("no golden file: " + std::string(name) + ", " + std::string(kind));
  std::ifstream in(*path);
  return json::parse(in);
}

/// Missing is NaN; infinities are written as text.
inline double number(const json& x) {
  if (x.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (x.is_string()) {
    if (x == "inf") return std::numeric_limits<double>::infinity();
    if (x == "-inf") return -std::numeric_limits<double>::infinity();
  }
  return x.get<double>();
}
/// A list, or one number; rows of a matrix one after another. Null: none.
inline std::vector<double> numbers(const json& x) {
  if (x.is_null()) return {};
  if (!x.is_array()) return {number(x)};
  std::vector<double> all;
  for (const auto& element : x) {
    if (!element.is_array()) {
      all.push_back(number(element));
      continue;
    }
    const auto row = numbers(element);
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}
/// Of a case: `field(c, "weights")`; null where it has none.
inline json field(const json& of, std::string_view name) {
  const auto at = of.find(name);
  return at == of.end() ? json() : *at;
}

/// A set's rows, by column.
struct columns {
  std::map<std::string, std::vector<double>> by_name;

  [[nodiscard]] std::size_t rows() const { return by_name.at("time").size(); }
  [[nodiscard]] const std::vector<double>& operator[](const std::string& name) const { return by_name.at(name); }
  [[nodiscard]] std::vector<std::uint8_t> event() const { return as<std::uint8_t>("status"); }
  template <class T>
  [[nodiscard]] std::vector<T> as(const std::string& name) const {
    const auto& x = by_name.at(name);
    std::vector<T> y(x.size());
    std::transform(x.begin(), x.end(), y.begin(), [](double value) { return static_cast<T>(value); });
    return y;
  }
  /// The column that a case's field names ("weights", "strata", "start", "offset" ...); empty where it names none.
  [[nodiscard]] std::vector<double> named_by(const json& of, std::string_view name) const {
    const json column = field(of, name);
    return column.is_null() ? std::vector<double>{} : by_name.at(column.get<std::string>());
  }
};
inline columns table(std::string_view name) {
  const auto path = file(name, "csv");
  if (!path) throw std::runtime_error("no golden table: " + std::string(name));
  columns all;
  for (const auto& [column, text] : read_columns(*path)) all.by_name[column] = ::numbers(text);
  return all;
}

/// What `CHECK(close(...))` looks at and, where it fails, prints.
struct comparison {
  std::string difference;
  explicit operator bool() const { return difference.empty(); }
  friend std::ostream& operator<<(std::ostream& out, const comparison& c) { return out << c.difference; }
};
/// Equal to within `tolerance` x max(|expected|, scale); NaN and infinities equal themselves alone. Without a scale an
/// expected 0 must be exactly 0: give the size of the terms where a sum may cancel.
inline comparison close(double found, double expected, double tolerance, double scale = 0) {
  const bool same = std::isfinite(found) && std::isfinite(expected)
                        ? std::abs(found - expected) <= tolerance * std::max(std::abs(expected), scale)
                        : found == expected || (std::isnan(found) && std::isnan(expected));
  if (same) return {};
  std::ostringstream text;
  text.precision(17);
  text << "found " << found << ", expected " << expected << ", relative difference "
       << std::abs(found - expected) / std::abs(expected);
  return {text.str()};
}
/// Element by element: of any containers with size() and []; the first difference is told.
template <class Found>
comparison close(const Found& found, const std::vector<double>& expected, double tolerance, double scale = 0) {
  if (static_cast<std::size_t>(found.size()) != expected.size())
    return {"length " + std::to_string(found.size()) + ", expected " + std::to_string(expected.size())};
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (const auto c =
            close(static_cast<double>(found[static_cast<decltype(found.size())>(i)]), expected[i], tolerance, scale);
        !c)
      return {"element " + std::to_string(i) + ": " + c.difference};
  return {};
}
template <class Found, std::same_as<json> Json>
comparison close(const Found& found, const Json& expected, double tolerance, double scale = 0) {
  if constexpr (std::is_arithmetic_v<Found>)
    return close(static_cast<double>(found), number(expected), tolerance, scale);
  else return close(found, numbers(expected), tolerance, scale);
}

}  // namespace golden
