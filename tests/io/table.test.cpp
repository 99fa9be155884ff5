#include <cmath>
#include <limits>
#include <locale>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/table.hpp>

#include "scratch.hpp"

using stroma::format_error;
using stroma::missing_numbers;
using stroma::table;
using stroma::table_writer;
using stroma::value_error;

namespace {

struct comma_point : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

}  // namespace

TEST_CASE("table: columns by name") {
  const scratch_folder folder;
  const table t(
      folder.file("risks.csv", "\xef\xbb\xbfpatient,\"months, since\",note\r\nA,1.5,\"x \"\"y\"\"\"\r\n\r\nB,,\r\n"));
  CHECK(t.rows() == 2);
  CHECK(t.names() == std::vector<std::string>{"patient", "months, since", "note"});
  CHECK(t.contains("note"));
  CHECK_FALSE(t.contains("Note"));
  CHECK(t.text(0, "note") == "x \"y\"");
  CHECK(t.line(1) == 4);
  CHECK(t.texts("patient") == std::vector<std::string>{"A", "B"});
  const auto months = t.numbers("months, since", missing_numbers::as_nan);
  CHECK(months[0] == 1.5);
  CHECK(std::isnan(months[1]));
  CHECK_THROWS_AS(static_cast<void>(t.text(2, "note")), value_error);
}

TEST_CASE("table: copies and moved tables keep their text, short ones too") {
  table first = table::from_text("a\n1", "t");
  const table copy = first;
  const table moved = std::move(first);
  CHECK(copy.text(0, "a") == "1");
  CHECK(moved.numbers("a")[0] == 1);
}

TEST_CASE("table: messages name what is wrong") {
  const table t = table::from_text("id,months,twice,twice\nA,1,,\nB,abc,,\nC,NA,,\n", "risks.csv");
  CHECK(message_of<format_error>([&] { static_cast<void>(t.numbers("months")); }) ==
        "table: risks.csv: line 3, column 'months': 'abc', expected a number");
  CHECK(message_of<format_error>([&] { static_cast<void>(t.texts("time")); }) ==
        "table: risks.csv: no column 'time', expected one of id, months, twice, twice");
  CHECK(message_of<format_error>([&] { static_cast<void>(t.texts("twice")); }) ==
        "table: risks.csv: column 'twice' twice, expected it once");
  CHECK(message_of<format_error>([&] { static_cast<void>(table::from_text("a\n1\n\nNA", "t").numbers("a")); }) ==
        "table: t: line 4, column 'a': 'NA', expected a number");
  CHECK(message_of<format_error>([] { static_cast<void>(table::from_text("a,b\n1,2\n\n3\n", "t")); }) ==
        "table: t: line 4: 1 cells, expected 2 (the columns of the header)");
  CHECK(message_of<format_error>([] { static_cast<void>(table::from_text("\n", "t")); }) ==
        "table: t: no line, expected a header");
  CHECK(
      contains(message_of<format_error>([] { table missing("/no/such.csv"); }), "table: /no/such.csv: does not exist"));
}

TEST_CASE("table: what the writer writes reads back, whatever the locale") {
  const scratch_folder folder;
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new comma_point));
  {
    table_writer out(folder / "t.csv", {"name, first", "x", "n"});
    out.row("a\"b\"\n, c", 0.1, 1234567);
    out.row(std::string(" blank "), std::numeric_limits<double>::quiet_NaN(), -1);
    out.row("", 1e-300, true);
    out.row("plain", 0.1f, 0);
    CHECK_FALSE(std::filesystem::exists(folder / "t.csv"));
    out.finish();
  }
  const table t(folder / "t.csv");
  std::locale::global(before);
  CHECK(t.texts("name, first") == std::vector<std::string>{"a\"b\"\n, c", " blank ", "", "plain"});
  const auto x = t.numbers("x", missing_numbers::as_nan);
  CHECK(x[0] == 0.1);
  CHECK(std::isnan(x[1]));
  CHECK(x[2] == 1e-300);
  CHECK(t.text(3, "x") == "0.1");
  CHECK(t.numbers("n") == std::vector<double>{1234567, -1, 1, 0});
}

TEST_CASE("table: a column alone may have empty cells") {
  const scratch_folder folder;
  table_writer out(folder / "t.csv", {"a"});
  out.row("");
  out.row("b");
  out.finish();
  CHECK(table(folder / "t.csv").texts("a") == std::vector<std::string>{"", "b"});
}

TEST_CASE("table: the writer refuses rows that do not fit and leaves an old file") {
  const scratch_folder folder;
  const auto path = folder.file("t.csv", "old");
  {
    table_writer out(path, {"a", "b"});
    CHECK(message_of<value_error>([&] { out.row(1); }) == "table_writer: row: 1 cells, expected 2");
    CHECK_THROWS_AS(out.finish(), value_error);
  }
  CHECK(bytes_of(path) == "old");
  CHECK(folder.count() == 1);
  CHECK_THROWS_AS(table_writer(folder / "u.csv", {}), value_error);
}
