#include <doctest/doctest.h>

#include <stroma/io/file_error.hpp>

#include "scratch.hpp"

TEST_CASE("file_error: text from files is made harmless") {
  using stroma::detail::in_quotes;
  CHECK(in_quotes("slide_1") == "'slide_1'");
  CHECK(in_quotes(std::string_view("a\nb\x1b[2J\0", 8)) == "'a?b?[2J?'");
  CHECK(in_quotes(std::string(1000, 'x')) == "'" + std::string(80, 'x') + "...'");
}

TEST_CASE("file_error: a cell is named by line and column") {
  CHECK(message_of<stroma::format_error>([] {
          stroma::detail::refuse_cell("table", "risks.csv", 7, "months", "'abc'", "a number");
        }) == "table: risks.csv: line 7, column 'months': 'abc', expected a number");
}
