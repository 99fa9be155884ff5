#pragma once
#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/core/error.hpp>
#include <stroma/report/detail/svg.hpp>
#include <stroma/survival/kaplan_meier.hpp>

namespace stroma {

/// One of the groups of a picture.
struct plotted_group {
  survival_curve<> curve;
  std::string name;
};

struct survival_plot_options {
  std::string title{};
  std::string time_label = "Time";
  std::string survival_label = "Survival probability";
  std::optional<double> p_value{};  ///< of the log-rank test, written into the picture
  double plot_width = 560;          ///< of the area of the curves, in pixels, 100 to 10000; the picture grows around it
  double plot_height = 340;
  double last_time = 0;                ///< at which the axis ends; 0: at the latest time of all curves
  double tick_step = 0;                ///< between ticks of time, say 12 months; 0: 1, 2 or 5 times a power of ten
  bool bands = true;                   ///< where curves have limits
  bool censoring_marks = true;         ///< a stroke across the curve where patients are followed no longer
  bool numbers_at_risk = true;         ///< the table below
  std::vector<std::string> colours{};  ///< as CSS has them; empty: a palette that the colour-blind can tell apart
};

namespace detail {

class survival_picture {
 public:
  survival_picture(std::span<const plotted_group> groups, const survival_plot_options& options)
      : groups_(groups), options_(options) {
    for (const auto& g : groups)
      if (g.curve.size() > 0) last_time_ = std::max(last_time_, g.curve.time[g.curve.size() - 1]);
    if (options.last_time > 0) last_time_ = options.last_time;
    if (!(last_time_ > 0)) last_time_ = 1;
    step_ = options.tick_step > 0 ? options.tick_step : nice_step(last_time_, 8);
    if (options.last_time == 0) last_time_ = std::max(last_time_, step_ * std::ceil(last_time_ / step_ - 0.75));
    std::size_t widest = 0;
    for (const auto& g : groups) widest = std::max(widest, character_count(g.name));
    name_width_ = std::min(options.numbers_at_risk ? text_width(widest) : 0, 0.4 * options.plot_width);
    left_ = std::max(64.0, name_width_ + 34);
    top_ = (options.title.empty() ? 14 : 38) + row * static_cast<double>(legend_rows()) + 8;
  }

  [[nodiscard]] std::string draw() {
    const double height = bottom() + 54 + (options_.numbers_at_risk ? 24 + row * rows() : 0);
    const double width = left_ + options_.plot_width + 30;
    out_("<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"", width, "\" height=\"", height,
         "\" viewBox=\"0 0 ", width, " ", height, "\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"",
         font_size, "\" fill=\"#222\">\n<title>", xml_text(options_.title.empty() ? "Survival" : options_.title),
         "</title>\n<rect width=\"", width, "\" height=\"", height, "\" fill=\"#fff\"/>\n");
    if (!options_.title.empty())
      text(left_, 26, xml_text(options_.title, characters(options_.plot_width) * 13 / 16),
           " font-size=\"16\" font-weight=\"bold\"");
    legend();
    axes();
    for (std::size_t g = 0; g < groups_.size() && options_.bands; ++g) band(g);
    for (std::size_t g = 0; g < groups_.size(); ++g) curve(g);
    if (options_.p_value) p_value(*options_.p_value);
    if (options_.numbers_at_risk) table();
    out_("</svg>\n");
    return out_.str();
  }

 private:
  static constexpr double font_size = 13, row = 18, sample = 24;
  static constexpr std::string_view palette[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                 "#E69F00", "#56B4E9", "#000000"};
  static constexpr std::string_view dashes[] = {"", " stroke-dasharray=\"7 3\"", " stroke-dasharray=\"2 3\"",
                                                " stroke-dasharray=\"9 3 2 3\""};

  // Fonts are the reader's: a letter's mean width is a guess.
  [[nodiscard]] static double text_width(std::size_t count) { return 0.56 * font_size * static_cast<double>(count); }
  [[nodiscard]] static std::size_t characters(double width) {
    return static_cast<std::size_t>(std::max(2.0, width / (0.56 * font_size)));
  }
  [[nodiscard]] double rows() const { return static_cast<double>(groups_.size()); }
  [[nodiscard]] double bottom() const { return top_ + options_.plot_height; }
  [[nodiscard]] double x(double time) const {
    return left_ + options_.plot_width * std::clamp(time / last_time_, 0.0, 1.0);
  }
  [[nodiscard]] double y(double survival) const { return bottom() - options_.plot_height * survival; }
  [[nodiscard]] std::string colour(std::size_t g) const {
    if (options_.colours.empty()) return std::string(palette[g % std::size(palette)]);
    return xml_text(options_.colours[g % options_.colours.size()]);
  }
  [[nodiscard]] std::string_view dash(std::size_t g) const {
    const std::size_t colours = options_.colours.empty() ? std::size(palette) : options_.colours.size();
    return dashes[g / colours % std::size(dashes)];
  }
  void text(double at_x, double at_y, std::string_view escaped, std::string_view attributes = {}) {
    out_("<text x=\"", at_x, "\" y=\"", at_y, "\"", attributes, ">", escaped, "</text>\n");
  }

  [[nodiscard]] double legend_width(std::size_t g) const {
    return std::min(sample + 24 + text_width(character_count(groups_[g].name)), options_.plot_width);
  }
  /// Entries side by side as far as they fit: place(g, x, row); returns the rows.
  template <class Place>
  std::size_t lay_legend(const Place& place) const {
    double at = 0;
    std::size_t line = 0;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (at > 0 && at + legend_width(g) > options_.plot_width) {
        at = 0;
        ++line;
      }
      place(g, at, line);
      at += legend_width(g);
    }
    return groups_.empty() ? 0 : line + 1;
  }
  [[nodiscard]] std::size_t legend_rows() const {
    return lay_legend([](std::size_t, double, std::size_t) {});
  }
  void legend() {
    out_("<g class=\"legend\">\n");
    lay_legend([&](std::size_t g, double at, std::size_t line) {
      const double middle = (options_.title.empty() ? 14 : 38) + row * static_cast<double>(line) + row / 2;
      out_("<path d=\"M", left_ + at, " ", middle, "h", sample, "\" fill=\"none\" stroke=\"", colour(g),
           "\" stroke-width=\"2\"", dash(g), "/>\n");
      text(left_ + at + sample + 6, middle + 4.5,
           xml_text(groups_[g].name, characters(options_.plot_width - sample - 6)));
    });
    out_("</g>\n");
  }

  template <class Tick>
  void for_each_tick(const Tick& tick) const {
    const double ticks = std::floor(last_time_ / step_ + 1e-9);
    for (double i = 0; i <= ticks; ++i) tick(i * step_);
  }
  void axes() {
    const double right = left_ + options_.plot_width;
    out_("<g class=\"survival-axis\" text-anchor=\"end\">\n");
    for (int i = 0; i <= 5; ++i) {
      const double at = y(i / 5.0);
      out_("<path d=\"M", left_ - 5, " ", at, "H", left_, "\" stroke=\"#222\"/>\n");
      text(left_ - 9, at + 4.5, i == 0 ? "0" : i == 5 ? "1.0" : short_number(i / 5.0));
    }
    out_("</g>\n<g class=\"time-axis\" text-anchor=\"middle\">\n");
    for_each_tick([&](double time) {
      out_("<path d=\"M", x(time), " ", bottom(), "v5\" stroke=\"#222\"/>\n");
      text(x(time), bottom() + 19, short_number(time));
    });
    out_("</g>\n<path class=\"frame\" d=\"M", left_, " ", top_, "V", bottom(), "H", right,
         "\" fill=\"none\" stroke=\"#222\"/>\n");
    text(left_ + options_.plot_width / 2, bottom() + 40, xml_text(options_.time_label, characters(options_.plot_width)),
         " text-anchor=\"middle\"");
    const double middle = top_ + options_.plot_height / 2;
    out_("<text transform=\"translate(", left_ - 46, " ", middle, ") rotate(-90)\" text-anchor=\"middle\">",
         xml_text(options_.survival_label, characters(options_.plot_height)), "</text>\n");
  }

  /// Where a step function goes from at_y on: line(x, y) at every step. Steps of less than a tenth of
  /// a pixel both ways wait for the next, so that a picture of a million patients stays small.
  template <class Value, class Line>
  void steps(const survival_curve<>& c, index_t first, index_t last, double at_y, const Value& value,
             const Line& line) const {
    double at_x = -1;
    for (index_t i = first; i < last && c.time[i] <= last_time_; ++i) {
      const double next_x = x(c.time[i]), next_y = y(value(i));
      const bool small = std::abs(next_x - at_x) < 0.1 && std::abs(next_y - at_y) < 0.1;
      if (next_y == at_y || (small && i + 1 < last)) continue;
      line(next_x, next_y);
      at_x = next_x;
      at_y = next_y;
    }
  }
  [[nodiscard]] double end_of(const survival_curve<>& c) const { return x(c.time[c.size() - 1]); }

  void curve(std::size_t g) {
    const auto& c = groups_[g].curve;
    if (c.size() == 0) return;
    out_("<path class=\"curve\" fill=\"none\" stroke=\"", colour(g), "\" stroke-width=\"2\"", dash(g), " d=\"M", left_,
         " ", y(1));
    steps(
        c, 0, c.size(), y(1), [&](index_t i) { return c.survival[i]; },
        [&](double at_x, double at_y) { out_("H", at_x, "V", at_y); });
    out_("H", end_of(c), "\"/>\n");
    if (options_.censoring_marks) marks(g);
  }
  void marks(std::size_t g) {
    const auto& c = groups_[g].curve;
    out_("<path class=\"censored\" stroke=\"", colour(g), "\" d=\"");
    double at_x = -1, at_y = -1;
    for (index_t i = 0; i < c.size() && c.time[i] <= last_time_; ++i) {
      const double next_x = x(c.time[i]), next_y = y(c.survival[i]);
      if (!(c.censored[i] > 0) || (next_x - at_x < 0.5 && at_y - next_y < 0.5 && at_x >= 0)) continue;
      out_("M", at_x = next_x, " ", (at_y = next_y) - 4, "v8");
    }
    out_("\"/>\n");
  }
  /// A closed outline for each run of rows with limits; before the first row both limits are 1.
  void band(std::size_t g) {
    const auto& c = groups_[g].curve;
    if (c.lower.size == 0) return;
    const auto defined = [&](index_t i) { return !std::isnan(c.lower[i]) && !std::isnan(c.upper[i]); };
    out_("<path class=\"band\" stroke=\"none\" fill-opacity=\"0.15\" fill=\"", colour(g), "\" d=\"");
    for (index_t first = 0, last = 0; first < c.size(); first = last + 1) {
      for (last = first; last < c.size() && defined(last);) ++last;
      if (last == first || c.time[first] > last_time_) continue;
      const double end = last < c.size() ? x(c.time[last]) : end_of(c);
      const double begin_x = first == 0 ? left_ : x(c.time[first]);
      const double begin_upper = first == 0 ? y(1) : y(c.upper[first]);
      double before_y = first == 0 ? y(1) : y(c.lower[first]);
      out_("M", begin_x, " ", begin_upper);
      steps(
          c, first, last, begin_upper, [&](index_t i) { return c.upper[i]; },
          [&](double at_x, double at_y) { out_("H", at_x, "V", at_y); });
      std::vector<std::string> lower;  // from the first to the last
      steps(
          c, first, last, before_y, [&](index_t i) { return c.lower[i]; },
          [&](double at_x, double at_y) {
            lower.push_back("H" + coordinate(at_x) + "V" + coordinate(std::exchange(before_y, at_y)));
          });
      std::string back;
      for (auto step = lower.rbegin(); step != lower.rend(); ++step) back += *step;
      out_("H", end, "V", before_y, back, "H", begin_x, "Z");
    }
    out_("\"/>\n");
  }

  /// In the lower left corner, or in the upper right one where a curve comes so low.
  void p_value(double p) {
    const std::string shown = "Log-rank p " + (p < 0.0001 ? "&lt; 0.0001" : "= " + short_number(p, p < 0.1 ? 2 : 3));
    const double reach = last_time_ * std::min(1.0, (24 + text_width(shown.size())) / options_.plot_width);
    const double level = (20 + font_size) / options_.plot_height;
    const bool free = std::all_of(groups_.begin(), groups_.end(),
                                  [&](const plotted_group& g) { return survival_at(g.curve, reach) > level; });
    if (free) text(left_ + 14, bottom() - 14, shown);
    else text(left_ + options_.plot_width - 8, top_ + 16, shown, " text-anchor=\"end\"");
  }
  void table() {
    double at = bottom() + 66;
    out_("<g class=\"numbers-at-risk\">\n");
    text(12, at, "Number at risk", " font-weight=\"bold\"");
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      at += row;
      text(12, at, xml_text(groups_[g].name, characters(name_width_ + 1)), " fill=\"" + colour(g) + "\"");
      for_each_tick([&](double time) {
        text(x(time), at, short_number(std::round(10 * at_risk_at(groups_[g].curve, time)) / 10, 12),
             " text-anchor=\"middle\"");
      });
    }
    out_("</g>\n");
  }

  std::span<const plotted_group> groups_;
  const survival_plot_options& options_;
  double last_time_ = 0, step_ = 1, name_width_ = 0, left_ = 0, top_ = 0;
  svg_text out_;
};

inline void check_survival_plot(std::span<const plotted_group> groups, const survival_plot_options& options) {
  constexpr auto name = "survival_plot";
  check::in_range(name, "plot_width", options.plot_width, 100.0, 10000.0);
  check::in_range(name, "plot_height", options.plot_height, 100.0, 10000.0);
  check::in_range(name, "last_time", options.last_time, 0.0, 1e300);
  check::in_range(name, "tick_step", options.tick_step, 0.0, 1e300);
  if (options.p_value) check::in_range(name, "p_value", *options.p_value, 0.0, 1.0);
  double last = options.last_time;
  for (const auto& g : groups) {
    check::finite(name, "time", g.curve.time);
    if (options.last_time == 0 && g.curve.size() > 0) last = std::max(last, g.curve.time[g.curve.size() - 1]);
  }
  if (options.tick_step > 0 && last / options.tick_step > 1000)
    throw value_error(error_message(name, "tick_step", number_text(options.tick_step), "at most 1000 ticks"));
}

}  // namespace detail

/// Survival curves of groups as journals print them, an SVG picture: steps with confidence bands and a stroke where
/// patients are censored, the log-rank test's p, and below the numbers at risk at every tick of time.
///
/// `const log_rank_result test = log_rank(ctx, arm, order);`
/// `survival_plot(groups, {.title = "Overall survival", .time_label = "Months", .p_value = test.test.p_value})`
///
/// Names may hold anything: what XML cannot hold is replaced, long ones end in an ellipsis. A group without patients
/// has a legend and no curve. The text depends on the numbers alone, not on the locale.
/// Cost: O(rows of all curves); the text's length is bounded by pixels, not patients.
/// @throws value_error   Reference: Pocock, Clayton and Altman 2002 (how to plot survival).
[[nodiscard]] inline std::string survival_plot(std::span<const plotted_group> groups,
                                               const survival_plot_options& options = {}) {
  detail::check_survival_plot(groups, options);
  return detail::survival_picture(groups, options).draw();
}
/// The curves of a stratified cohort, named in the order of their strata.
/// @throws shape_error, value_error
[[nodiscard]] inline std::string survival_plot(const kaplan_meier_curves<>& curves, std::span<const std::string> names,
                                               const survival_plot_options& options = {}) {
  check::length("survival_plot", "names", static_cast<index_t>(names.size()), curves.size(), "the curves");
  std::vector<plotted_group> groups;
  for (index_t s = 0; s < curves.size(); ++s) groups.push_back({curves[s], names[static_cast<std::size_t>(s)]});
  return survival_plot(groups, options);
}

}  // namespace stroma
