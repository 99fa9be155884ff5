#pragma once
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/io/atomic_file.hpp>
#include <stroma/io/csv.hpp>
#include <stroma/io/memory_map.hpp>

namespace stroma {

/// What a column of numbers does with empty cells, NA and nan.
enum class missing_numbers { refuse, as_nan };

/// A CSV file as text cells under named columns (see `csv_rows` for the dialect). Rows are counted from 0; messages
/// give the file's line, in which the header is line 1. Copies share one immutable store. Memory: 16 bytes a cell
/// beside the mapped file. No locale is consulted.
class table {
 public:
  /// @throws format_error  no header, a row with more or fewer cells than the header, broken quotes
  explicit table(const std::filesystem::path& path) : table(std::make_shared<store>()) {
    store_->map = memory_map(path, "table");
    store_->file = path.string();
    read(store_->map.text());
  }
  /// A table whose text is in memory already; `name` stands in messages.
  [[nodiscard]] static table from_text(std::string text, std::string name) {
    table t(std::make_shared<store>());
    t.store_->own = std::move(text);
    t.store_->file = std::move(name);
    t.read(t.store_->own);
    return t;
  }

  [[nodiscard]] index_t rows() const noexcept { return static_cast<index_t>(store_->lines.size()); }
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return store_->names; }
  [[nodiscard]] const std::string& file() const noexcept { return store_->file; }
  /// The line of the file on which a row begins.
  [[nodiscard]] index_t line(index_t row) const { return store_->lines[at(row)]; }
  [[nodiscard]] bool contains(std::string_view column) const noexcept {
    for (const std::string& name : names())
      if (name == column) return true;
    return false;
  }

  /// @throws format_error  no such column (the message lists those there are), or more than one
  [[nodiscard]] std::string_view text(index_t row, std::string_view column) const {
    return cell(at(row), find(column));
  }
  [[nodiscard]] std::vector<std::string> texts(std::string_view column) const {
    const std::size_t c = find(column);
    std::vector<std::string> values;
    values.reserve(store_->lines.size());
    for (std::size_t r = 0; r < store_->lines.size(); ++r) values.emplace_back(cell(r, c));
    return values;
  }
  /// @throws format_error  as `text`; a cell that is not a finite number, or a missing one that is not allowed:
  ///   `table: risks.csv: line 7, column 'months': 'abc', expected a number`
  [[nodiscard]] std::vector<double> numbers(std::string_view column,
                                            missing_numbers missing = missing_numbers::refuse) const {
    const std::size_t c = find(column);
    std::vector<double> values;
    values.reserve(store_->lines.size());
    for (std::size_t r = 0; r < store_->lines.size(); ++r) {
      const auto value = detail::parse_number(cell(r, c));
      if (!value || (std::isnan(*value) && missing == missing_numbers::refuse))
        refuse("table", static_cast<index_t>(r), column, "a number");
      values.push_back(*value);
    }
    return values;
  }

  /// Refuses a cell in the name of a function that reads this table. @throws format_error  always
  [[noreturn]] void refuse(std::string_view function, index_t row, std::string_view column,
                           std::string_view expected) const {
    detail::refuse_cell(function, file(), line(row), column, detail::in_quotes(text(row, column)), expected);
  }

 private:
  struct store {
    memory_map map;
    std::string own, file;
    std::vector<std::string> names;
    std::vector<std::string_view> cells;
    std::vector<index_t> lines;
    std::deque<std::string> unescaped;
  };
  explicit table(std::shared_ptr<store> s) : store_(std::move(s)) {}

  void read(std::string_view text) {
    detail::csv_rows csv(text, "table", file());
    if (!csv.next()) detail::refuse_file("table", file(), "no line", "a header");
    store_->names.assign(csv.cells().begin(), csv.cells().end());
    const auto within = [&](std::string_view cell) {
      return !std::less<>{}(cell.data(), text.data()) && !std::less<>{}(text.data() + text.size(), cell.data());
    };
    while (csv.next()) {
      csv.require_cells(names().size());
      for (const std::string_view cell : csv.cells())
        store_->cells.push_back(within(cell) ? cell : store_->unescaped.emplace_back(cell));
      store_->lines.push_back(csv.line());
    }
  }

  [[nodiscard]] std::string_view cell(std::size_t row, std::size_t column) const {
    return store_->cells[row * names().size() + column];
  }
  [[nodiscard]] std::size_t at(index_t row) const {
    check::require(row >= 0 && row < rows(), "table", "row", std::to_string(row),
                   "a row below " + std::to_string(rows()));
    return static_cast<std::size_t>(row);
  }
  [[nodiscard]] std::size_t find(std::string_view column) const {
    std::size_t found = names().size();
    std::string list;
    for (std::size_t c = 0; c < names().size(); ++c) {
      if (c < 20) list.append(c == 0 ? "" : ", ").append(names()[c]);
      if (names()[c] != column) continue;
      if (found < names().size())
        detail::refuse_file("table", file(), "column " + detail::in_quotes(column) + " twice", "it once");
      found = c;
    }
    if (names().size() > 20) list += ", ... (" + std::to_string(names().size()) + " in all)";
    if (found == names().size())
      detail::refuse_file("table", file(), "no column " + detail::in_quotes(column), "one of " + list);
    return found;
  }

  std::shared_ptr<store> store_;
};

/// Writes a CSV file row by row; it appears, whole, with `finish` (see `atomic_file`). Text is quoted where it must be;
/// numbers take the fewest digits that read back as the same value, NaN becomes an empty cell.
/// `table_writer out("risks.csv", {"patient", "risk"}); out.row("TCGA-01", -0.25); out.finish();`
class table_writer {
 public:
  /// @throws format_error  the file cannot be made   @throws value_error  no column
  table_writer(const std::filesystem::path& path, const std::vector<std::string>& names)
      : columns_(names.size()), file_(path, "table_writer") {
    check::require(columns_ > 0, "table_writer", "names", "none", "at least one");
    for (const std::string& name : names) cell(name);
    end_row();
  }

  template <class... Cells>
  void row(const Cells&... cells) {
    (cell(cells), ...);
    end_row();
  }
  void cell(std::string_view text) {
    // A blank line would be skipped when read; blanks at the ends would be lost by some readers.
    const bool needed = text.find_first_of(",\"\r\n") != std::string_view::npos || (text.empty() && columns_ == 1) ||
                        (!text.empty() && (text.front() == ' ' || text.back() == ' ')) ||
                        (line_.empty() && filled_ == 0 && text.starts_with("\xef\xbb\xbf"));
    next();
    if (!needed) {
      line_ += text;
      return;
    }
    line_ += '"';
    for (const char c : text) line_.append(c == '"' ? 2 : 1, c);
    line_ += '"';
  }
  template <class Number>
    requires std::is_arithmetic_v<Number>
  void cell(Number value) {
    if constexpr (std::is_same_v<Number, bool>) return cell(static_cast<int>(value));
    else {
      if constexpr (std::is_floating_point_v<Number>)
        if (std::isnan(value)) return cell(std::string_view{});
      std::array<char, 64> digits;
      const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
      next();
      line_.append(digits.data(), end);
    }
  }
  /// @throws value_error  the row has more or fewer cells than there are columns
  void end_row() {
    check::require(filled_ == columns_, "table_writer", "row", std::to_string(filled_) + " cells",
                   std::to_string(columns_));
    line_ += '\n';
    file_.write(std::string_view(line_));
    line_.clear();
    filled_ = 0;
  }
  /// @throws value_error  an unfinished row   @throws format_error  the disk is full or fails
  void finish() {
    check::require(filled_ == 0, "table_writer", "finish", "an unfinished row", "whole rows");
    file_.commit();
  }

 private:
  void next() {
    if (filled_++ > 0) line_ += ',';
  }

  std::size_t columns_, filled_ = 0;
  std::string line_;
  atomic_file file_;
};

}  // namespace stroma
