#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/csv.hpp>

#include "scratch.hpp"

using stroma::format_error;
using stroma::detail::csv_rows;
using stroma::detail::parse_number;

namespace {

std::string shown(std::string_view text) {
  csv_rows csv(text, "csv", "f");
  std::string out;
  while (csv.next()) {
    out += std::to_string(csv.line()) + ":";
    for (const auto cell : csv.cells()) out.append("[").append(cell).append("]");
  }
  return out;
}
std::string refusal(std::string_view text) {
  return message_of<format_error>([&] { static_cast<void>(shown(text)); });
}

}  // namespace

TEST_CASE("csv: cells, line ends, blank lines, byte order mark") {
  CHECK(shown("") == "");
  CHECK(shown("a,b\n1,2\n") == "1:[a][b]2:[1][2]");
  CHECK(shown("\xef\xbb\xbf"
              "a,b\r\n1,2") == "1:[a][b]2:[1][2]");
  CHECK(shown("\n\r\na\n\n\nb\r\n") == "3:[a]6:[b]");
  CHECK(shown(",\n,,\n") == "1:[][]2:[][][]");
  CHECK(shown("a,\r\n") == "1:[a][]");
  CHECK(shown("a\r") == "1:[a]");
  CHECK(shown(" a ,b") == "1:[ a ][b]");
}

TEST_CASE("csv: quotes") {
  CHECK(shown("\"a,b\",\"c\nd\"\r\n2") == "1:[a,b][c\nd]3:[2]");
  CHECK(shown("\"say \"\"hi\"\"\",\"\",\"\"\"\"\n") == "1:[say \"hi\"][][\"]");
  CHECK(shown("5\" nail,x") == "1:[5\" nail][x]");
  CHECK(shown("\"\"\n") == "1:[]");
}

TEST_CASE("csv: what is broken is named by its line") {
  CHECK(refusal("a\n\"b\nc") == "csv: f: line 2: a quote that never closes, expected a closing quote");
  CHECK(refusal("a\n\n\"b\"c\n") == "csv: f: line 3: text behind a closing quote, expected a comma or the line's end");
  CHECK(refusal("a\rb\n") == "csv: f: line 1: a lone carriage return, expected lines that end with LF or CRLF");
  CHECK(contains(refusal("\"a\"\rb\n"), "text behind a closing quote") == contains(refusal("\"a\"\rb\n"), "line 1"));
  CHECK(contains(refusal("\""), "never closes"));
  CHECK(contains(refusal("\"\"\""), "never closes"));
}

TEST_CASE("csv: numbers") {
  CHECK(parse_number("1.5") == 1.5);
  CHECK(parse_number(" -2e3\t") == -2000);
  CHECK(parse_number("+.5") == 0.5);
  CHECK(parse_number("1e-310") == 1e-310);
  for (const char* missing : {"", "  ", "NA", "nan", "NaN", "n/a", "NULL"})
    CHECK(std::isnan(parse_number(missing).value()));
  for (const char* bad :
       {"abc", "1,5", "1.5x", "1 2", "inf", "-Infinity", "1e999", "+-1", "+", "--1", "0x10", "nan(1)"})
    CHECK_FALSE(parse_number(bad).has_value());
}
