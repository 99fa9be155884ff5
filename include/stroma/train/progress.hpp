#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include <stroma/core/check.hpp>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace stroma {

/// How progress shows: one line that is drawn over again, a line from time to time, or not at all. `automatic` is a
/// bar on a terminal and lines elsewhere (a std::ostream is taken for no terminal).
enum class progress_style { automatic, bar, lines, silent };

struct progress_options {
  progress_style style = progress_style::automatic;
  double bar_interval = 0.1;           ///< seconds at least between two drawings of the bar
  double line_interval = 10;           ///< seconds at least between two lines
  index_t width = 24;                  ///< of the bar, in characters
  std::function<double()> clock = {};  ///< seconds from any beginning; empty: a steady clock
};

/// Tells how far a run of a known number of steps is: `fold 2 [=====>      ] 41/100 12 s left loss 0.532`. The last
/// step always shows. Not thread-safe; keeps nothing but what it was given, which must outlive it.
class progress {
 public:
  /// @param total  of steps, 0 or more   @throws value_error
  progress(std::FILE* out, std::string title, index_t total, progress_options options = {})
      : progress(std::move(title), total, std::move(options), is_terminal(out)) {
    write_ = [out](const std::string& text) {
      std::fwrite(text.data(), 1, text.size(), out);
      std::fflush(out);
    };
  }
  progress(std::ostream& out, std::string title, index_t total, progress_options options = {})
      : progress(std::move(title), total, std::move(options), false) {
    write_ = [&out](const std::string& text) { out << text << std::flush; };
  }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  /// Leaves the line of a bar that did not reach its end.
  ~progress() {
    if (!open_line_) return;
    try {
      write_("\n");
    } catch (...) {  // nobody could be told
    }
  }

  /// `done` steps are behind us; `note` is shown after them. Between two drawings it costs a look at the clock.
  void update(index_t done, std::string_view note = {}) {
    if (options_.style == progress_style::silent || finished_) return;
    const double now = options_.clock();
    const bool last = done >= total_;
    if (!last && drawn_ && now - drawn_at_ < interval()) return;
    drawn_ = true;
    drawn_at_ = now;
    draw(done, now, note);
    finished_ = last;
  }

 private:
  progress(std::string title, index_t total, progress_options options, bool terminal)
      : title_(std::move(title)), total_(total), options_(std::move(options)) {
    check::require(total >= 0, "progress", "total", std::to_string(total), "0 or more");
    check::in_range("progress", "options.width", options_.width, index_t{0}, index_t{200});
    if (options_.style == progress_style::automatic)
      options_.style = terminal ? progress_style::bar : progress_style::lines;
    if (!options_.clock)
      options_.clock = [] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
      };
    started_at_ = options_.clock();
  }
  static bool is_terminal([[maybe_unused]] std::FILE* out) {
#if defined(__unix__) || defined(__APPLE__)
    return ::isatty(::fileno(out)) == 1;
#else
    return false;
#endif
  }

  [[nodiscard]] bool is_bar() const { return options_.style == progress_style::bar; }
  [[nodiscard]] double interval() const { return is_bar() ? options_.bar_interval : options_.line_interval; }

  void draw(index_t done, double now, std::string_view note) {
    const double part = total_ > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0) : 1;
    std::string line = title_;
    const auto add = [&](std::string_view word) {
      if (!word.empty()) line.append(line.empty() ? "" : " ").append(word);
    };
    if (is_bar()) add(bar(part));
    add(std::to_string(done) + "/" + std::to_string(total_));
    add(done >= total_ ? seconds(now - started_at_)
        : done > 0     ? seconds((now - started_at_) * (1 / part - 1)) + " left"
                       : "");
    add(note);
    const std::size_t length = line.size();
    if (!is_bar()) return write_(line + "\n");
    line.append(shown_ > length ? shown_ - length : 0, ' ');  // over what the last, longer line left
    shown_ = length;
    open_line_ = done < total_;
    write_("\r" + line + (open_line_ ? "" : "\n"));
  }
  [[nodiscard]] std::string bar(double part) const {
    const auto width = static_cast<std::size_t>(options_.width),
               full = static_cast<std::size_t>(part * static_cast<double>(width));
    std::string text = "[" + std::string(full, '=');
    if (full < width) text.append(">").append(width - full - 1, ' ');
    return text + "]";
  }
  /// `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`
  [[nodiscard]] static std::string seconds(double s) {
    if (s < 10)
      return std::to_string(std::llround(s * 10) / 10) + "." + std::to_string(std::llround(s * 10) % 10) + " s";
    const long long whole = std::llround(s);
    if (whole < 60) return std::to_string(whole) + " s";
    if (whole < 3600) return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
    return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
  }

  std::string title_;
  index_t total_;
  progress_options options_;
  std::function<void(const std::string&)> write_;
  double started_at_ = 0, drawn_at_ = 0;
  std::size_t shown_ = 0;
  bool drawn_ = false, open_line_ = false, finished_ = false;
};

}  // namespace stroma
