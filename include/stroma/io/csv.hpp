#pragma once
#include <charconv>
#include <cmath>
#include <cstddef>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <stroma/core/view.hpp>
#include <stroma/io/file_error.hpp>

namespace stroma::detail {

/// Walks the rows of a CSV text (RFC 4180): cells between commas, quoted ones may hold commas, line ends and doubled
/// quotes; lines end with LF or CRLF; a UTF-8 mark at the start and blank lines are skipped. A quote inside an unquoted
/// cell stands for itself. Copies nothing but cells with doubled quotes.
class csv_rows {
 public:
  /// @param text  must outlive the object and its cells   @param function, file  named in messages
  csv_rows(std::string_view text, std::string_view function, std::string file)
      : text_(text), function_(function), file_(std::move(file)) {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
  }

  /// Goes to the next row; false at the end.
  /// @throws format_error  a quote that does not close, text behind a closing quote, a lone carriage return
  bool next() {
    cells_.clear();
    unescaped_.clear();
    while (line_end()) {
    }
    if (at_ == text_.size()) return false;
    line_ = next_line_;
    for (;;) {
      cells_.push_back(text_.substr(at_, 1) == "\"" ? quoted_cell() : plain_cell());
      if (text_.substr(at_, 1) != ",") break;
      ++at_;
    }
    if (!line_end() && at_ != text_.size()) refuse_line("text behind a closing quote", "a comma or the line's end");
    return true;
  }

  /// Of the current row; until the next call of `next`, those without doubled quotes as long as the text.
  [[nodiscard]] const std::vector<std::string_view>& cells() const noexcept { return cells_; }
  /// Where the current row begins; the first line is 1.
  [[nodiscard]] index_t line() const noexcept { return line_; }

  /// @throws format_error  the current row has another number of cells
  void require_cells(std::size_t expected) const {
    if (cells_.size() != expected)
      refuse_line(std::to_string(cells_.size()) + " cells", std::to_string(expected) + " (the columns of the header)");
  }

 private:
  bool line_end() {
    const std::string_view rest = text_.substr(at_, 2);
    const std::size_t length = rest == "\r\n" ? 2 : rest.substr(0, 1) == "\n" || rest == "\r" ? 1 : 0;
    at_ += length;
    if (length > 0) ++next_line_;
    return length > 0;
  }

  std::string_view plain_cell() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
    if (at_ + 1 < text_.size() && text_[at_] == '\r' && text_[at_ + 1] != '\n')
      refuse_line("a lone carriage return", "lines that end with LF or CRLF");
    return text_.substr(begin, at_ - begin);
  }

  std::string_view quoted_cell() {
    const std::size_t begin = ++at_;
    std::string* copy = nullptr;
    for (std::size_t piece = begin;; ++at_) {
      if (at_ == text_.size()) refuse_line("a quote that never closes", "a closing quote");
      if (text_[at_] == '\n') ++next_line_;
      if (text_[at_] != '"') continue;
      const std::string_view until = text_.substr(piece, at_ - piece);
      const bool doubled = text_.substr(at_ + 1, 1) == "\"";
      if (doubled && copy == nullptr) copy = &unescaped_.emplace_back();
      if (copy != nullptr) copy->append(until);
      if (!doubled) {
        ++at_;
        return copy != nullptr ? std::string_view(*copy) : until;
      }
      piece = ++at_;  // the second quote of the pair opens the next piece
    }
  }

  [[noreturn]] void refuse_line(std::string_view found, std::string_view expected) const {
    refuse_file(function_, file_ + ": line " + std::to_string(line_), found, expected);
  }

  std::string_view text_;
  std::string_view function_;
  std::string file_;
  std::size_t at_ = 0;
  index_t line_ = 1, next_line_ = 1;
  std::vector<std::string_view> cells_;
  std::deque<std::string> unescaped_;  // a deque: its strings stay where they are
};

/// The number in a cell: blanks around it are dropped, a plus sign may lead, the decimal point is a point in every
/// locale. NaN for a missing one (empty, NA, N/A, nan, null in any case); nothing for any other text, for infinities
/// and for what double cannot hold.
[[nodiscard]] inline std::optional<double> parse_number(std::string_view cell) {
  const std::size_t first = cell.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::numeric_limits<double>::quiet_NaN();
  cell = cell.substr(first, cell.find_last_not_of(" \t") + 1 - first);
  const auto same = [&](std::string_view word) {
    if (cell.size() != word.size()) return false;
    for (std::size_t i = 0; i < word.size(); ++i)
      if ((cell[i] >= 'A' && cell[i] <= 'Z' ? cell[i] + ('a' - 'A') : cell[i]) != word[i]) return false;
    return true;
  };
  if (same("na") || same("n/a") || same("nan") || same("null")) return std::numeric_limits<double>::quiet_NaN();
  if (cell.size() > 1 && cell[0] == '+' && cell[1] != '-') cell.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc{} || end != cell.data() + cell.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace stroma::detail
