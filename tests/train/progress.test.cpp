#include <cstdio>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include <stroma/train/progress.hpp>

using stroma::progress;
using stroma::progress_style;

namespace {

/// A clock that the test sets.
struct hand_clock {
  double now = 100;
  std::function<double()> function() {
    return [this] { return now; };
  }
};

}  // namespace

TEST_CASE("progress: a stream gets lines, at most one an interval, and the last") {
  hand_clock clock;
  std::ostringstream out;
  {
    progress bar(out, "fold 2", 100, {.line_interval = 10, .clock = clock.function()});
    for (int i = 0; i <= 100; ++i) {
      bar.update(i, "loss " + std::to_string(i));
      clock.now += 1;
    }
    bar.update(100, "again");
  }
  const std::string text = out.str();
  CHECK(text.starts_with("fold 2 0/100 loss 0\nfold 2 10/100 1 min 30 s left loss 10\n"));
  CHECK(text.ends_with("fold 2 90/100 10 s left loss 90\nfold 2 100/100 1 min 40 s loss 100\n"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 11);
}

TEST_CASE("progress: a bar is drawn over itself and ends its line once") {
  hand_clock clock;
  std::ostringstream out;
  {
    progress bar(out, "", 4, {.style = progress_style::bar, .width = 8, .clock = clock.function()});
    bar.update(0, "a long note");
    clock.now += 0.05;
    bar.update(1);  // too soon
    clock.now += 0.35;
    bar.update(2);
    clock.now += 0.2;
    bar.update(4);
  }
  CHECK(out.str() == "\r[>       ] 0/4 a long note\r[====>   ] 2/4 0.4 s left \r[========] 4/4 0.6 s     \n");
  std::ostringstream broken_off;
  {
    progress bar(broken_off, "x", 3, {.style = progress_style::bar, .width = 3, .clock = clock.function()});
    bar.update(1);
  }
  CHECK(broken_off.str() == "\rx [=> ] 1/3 0.0 s left\n");
}

TEST_CASE("progress: a file that is no terminal gets lines; silence; nothing to do") {
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  progress(file, "all", 2).update(2, "done");
  std::rewind(file);
  char text[100] = {};
  const std::size_t length = std::fread(text, 1, sizeof(text) - 1, file);
  std::fclose(file);
  CHECK(std::string(text, length) == "all 2/2 0.0 s done\n");
  std::ostringstream out;
  progress(out, "x", 2, {.style = progress_style::silent}).update(2);
  CHECK(out.str().empty());
  progress(out, "none", 0, {.style = progress_style::bar, .width = 2, .clock = [] { return 0.0; }}).update(0);
  CHECK(out.str() == "\rnone [==] 0/0 0.0 s\n");
}

TEST_CASE("progress: long times, and mistakes") {
  hand_clock clock;
  std::ostringstream out;
  progress lines(out, "t", 10, {.line_interval = 0, .clock = clock.function()});
  clock.now += 3600;
  lines.update(1);
  clock.now += 7200;
  lines.update(10);
  CHECK(out.str() == "t 1/10 9 h 0 min left\nt 10/10 3 h 0 min\n");
  CHECK_THROWS_AS(progress(out, "", -1), stroma::value_error);
  CHECK_THROWS_AS(progress(out, "", 1, {.width = -1}), stroma::value_error);
}
