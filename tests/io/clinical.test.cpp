#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/clinical.hpp>

#include "scratch.hpp"

using stroma::follow_up;
using stroma::format_error;
using stroma::id_match;
using stroma::index_t;
using stroma::match_bags;
using stroma::read_follow_up;
using stroma::table;

namespace {

std::string refusal(std::string_view rows) {
  return message_of<format_error>([&] {
    static_cast<void>(read_follow_up(table::from_text("patient,time,event\n" + std::string(rows), "c.csv")));
  });
}

}  // namespace

TEST_CASE("clinical: follow-up with its columns' own names") {
  const table t = table::from_text("case,cohort,months,censored,bin\nA,x,1.5,1,2\nB,y,0,0,3\n", "c.csv");
  const follow_up f = read_follow_up(t, {.id = "case",
                                         .time = "months",
                                         .event = "censored",
                                         .coding = stroma::event_coding::censored,
                                         .cohort = "cohort",
                                         .label = "bin"});
  CHECK(f.ids == std::vector<std::string>{"A", "B"});
  CHECK(f.time == std::vector<double>{1.5, 0});
  CHECK(f.event == std::vector<double>{0, 1});
  CHECK(f.cohort == std::vector<std::string>{"x", "y"});
  CHECK(f.label == std::vector<std::string>{"2", "3"});
  const scratch_folder folder;
  const follow_up plain = read_follow_up(folder.file("c.csv", "event,patient,time\n1,A,2\n"));
  CHECK(plain.event[0] == 1);
  CHECK(plain.cohort.empty());
}

TEST_CASE("clinical: what cannot be follow-up is named by line and column") {
  CHECK(refusal("A,1,1\nB,-0.5,0\n") ==
        "read_follow_up: c.csv: line 3, column 'time': '-0.5', expected a time of 0 or later");
  CHECK(refusal("A,1,2\n") == "read_follow_up: c.csv: line 2, column 'event': '2', expected 0 or 1");
  CHECK(refusal("A,1,dead\n") == "table: c.csv: line 2, column 'event': 'dead', expected a number");
  CHECK(refusal("A,,1\n") == "table: c.csv: line 2, column 'time': '', expected a number");
  CHECK(refusal("A,inf,1\n") == "table: c.csv: line 2, column 'time': 'inf', expected a number");
  CHECK(refusal(",1,1\n") == "read_follow_up: c.csv: line 2, column 'patient': '', expected an id");
  CHECK(refusal("A,1,1\n\nB,1,1\nA,2,0\n") ==
        "read_follow_up: c.csv: line 5, column 'patient': 'A', expected each id once (it is on line 2)");
  CHECK(message_of<format_error>([] { static_cast<void>(read_follow_up(table::from_text("patient,time\n", "c"))); }) ==
        "table: c: no column 'event', expected one of patient, time");
}

TEST_CASE("clinical: bags find their patients") {
  const follow_up f = read_follow_up(table::from_text("patient,time,event\nTCGA-2F,1,1\nTCGA-2F-A9,2,0\nB,3,1\n", "c"));
  const std::vector<std::string> ids{"B", "TCGA-2F-A9", "B"};
  CHECK(match_bags(ids, f) == std::vector<index_t>{2, 1, 2});
  const std::vector<std::string> slides{"TCGA-2F-A9-01Z.svs", "TCGA-2F-A8-01Z", "B_1"};
  CHECK(match_bags(slides, f, id_match::beginning) == std::vector<index_t>{1, 0, 2});
  CHECK(message_of<stroma::value_error>([&] { static_cast<void>(match_bags(slides, f)); }) ==
        "match_bags: ids: 'TCGA-2F-A9-01Z.svs' at 0, expected an id with follow-up");
  const std::vector<std::string> unknown{"B", "TCGA2F-A9"};
  CHECK(
      contains(message_of<stroma::value_error>([&] { static_cast<void>(match_bags(unknown, f, id_match::beginning)); }),
               "'TCGA2F-A9' at 1"));
  CHECK(match_bags({}, f).empty());
}
