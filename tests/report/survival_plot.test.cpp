#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/report/survival_plot.hpp>
#include <stroma/survival/log_rank.hpp>

#include "survival/cohort.hpp"

using namespace stroma;

namespace {

struct element {
  std::string name, parents;  // "svg/g.time-axis"
  std::map<std::string, std::string> attributes;
  std::string text;
  [[nodiscard]] double number(const std::string& attribute) const { return std::stod(attributes.at(attribute)); }
};

/// A strict reader of the XML that the picture uses; throws where the text is not well formed.
class xml_reader {
 public:
  explicit xml_reader(std::string_view text) : text_(text) {
    while (at_ < text_.size()) {
      if (text_[at_] != '<') characters();
      else if (text_.substr(at_, 2) == "</") end();
      else begin();
    }
    need(open_.empty());
  }
  std::vector<element> elements;

 private:
  static void need(bool holds) {
    if (!holds) throw std::runtime_error("not well formed");
  }
  std::string name() {
    const std::size_t first = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-')) ++at_;
    need(at_ > first && std::isalpha(static_cast<unsigned char>(text_[first])));
    return std::string(text_.substr(first, at_ - first));
  }
  void expect(char c) { need(at_ < text_.size() && text_[at_++] == c); }
  /// One character, or what an entity stands for.
  std::string character() {
    const char c = text_[at_];
    need(c != '<' && (static_cast<unsigned char>(c) >= 0x20 || c == '\n'));
    if (c != '&') {
      const std::size_t length = detail::utf8_length(text_.substr(at_));
      need(length > 0);
      at_ += length;
      return std::string(text_.substr(at_ - length, length));
    }
    for (const auto& [entity, means] :
         {std::pair{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&#39;", "'"}})
      if (text_.substr(at_).starts_with(entity)) {
        at_ += std::string_view(entity).size();
        return means;
      }
    throw std::runtime_error("unknown entity");
  }
  void characters() {
    std::string found;
    while (at_ < text_.size() && text_[at_] != '<') found += character();
    if (open_.empty()) need(std::all_of(found.begin(), found.end(), [](char c) { return c == '\n'; }));
    else elements[open_.back()].text += found;
  }
  void begin() {
    expect('<');
    need(elements.empty() || !open_.empty());  // one root
    element e;
    e.name = name();
    if (!open_.empty()) {
      const auto& parent = elements[open_.back()];
      e.parents = parent.parents + "/" + parent.name;
      if (parent.attributes.contains("class")) e.parents += "." + parent.attributes.at("class");
    }
    while (text_.at(at_) == ' ') {
      ++at_;
      const std::string attribute = name();
      expect('=');
      expect('"');
      std::string value;
      while (text_.at(at_) != '"') value += character();
      ++at_;
      need(e.attributes.emplace(attribute, value).second);
    }
    const bool closed = text_.at(at_) == '/';
    if (closed) ++at_;
    expect('>');
    elements.push_back(e);
    if (!closed) open_.push_back(elements.size() - 1);
  }
  void end() {
    at_ += 2;
    need(!open_.empty() && name() == elements[open_.back()].name);
    expect('>');
    open_.pop_back();
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<std::size_t> open_;
};

std::vector<element> of_class(const std::vector<element>& all, const std::string& name) {
  std::vector<element> found;
  for (const auto& e : all)
    if (e.attributes.contains("class") && e.attributes.at("class") == name) found.push_back(e);
  return found;
}
std::vector<element> texts_in(const std::vector<element>& all, const std::string& group) {
  std::vector<element> found;
  for (const auto& e : all)
    if (e.name == "text" && e.parents.ends_with("g." + group)) found.push_back(e);
  return found;
}

struct point {
  double x, y;
};
/// The corners of a path of M, H, V, v, h and Z.
std::vector<point> corners(const std::string& d) {
  std::vector<point> found;
  point now{0, 0};
  for (std::size_t i = 0; i < d.size();) {
    const char command = d[i++];
    const auto number = [&] {
      std::size_t used = 0;
      const double v = std::stod(d.substr(i), &used);
      i += used;
      return v;
    };
    if (command == 'Z') continue;
    if (command == 'M') {
      now.x = number();
      now.y = number();
    } else if (command == 'H') now.x = number();
    else if (command == 'V') now.y = number();
    else if (command == 'v') now.y += number();
    else if (command == 'h') now.x += number();
    else throw std::runtime_error("unknown command");
    found.push_back(now);
  }
  return found;
}

/// From pixels back to times and chances, by the labels of the axes' ticks alone.
struct scales {
  double time_0, time_1, x_0, x_1, y_0, y_1;
  explicit scales(const std::vector<element>& all) {
    const auto times = texts_in(all, "time-axis"), levels = texts_in(all, "survival-axis");
    REQUIRE(times.size() >= 2);
    REQUIRE(levels.size() == 6);
    time_0 = std::stod(times.front().text);
    time_1 = std::stod(times.back().text);
    x_0 = times.front().number("x");
    x_1 = times.back().number("x");
    CHECK(levels.front().text == "0");
    CHECK(levels.back().text == "1.0");
    y_0 = levels.front().number("y") - 4.5;  // the baseline of a label lies below its tick
    y_1 = levels.back().number("y") - 4.5;
  }
  [[nodiscard]] double time(double x) const { return time_0 + (x - x_0) / (x_1 - x_0) * (time_1 - time_0); }
  [[nodiscard]] double survival(double y) const { return (y - y_0) / (y_1 - y_0); }
};
/// Half a hundredth of a pixel, and again for the tick: in units of the axes.
constexpr double pixel = 0.011;

kaplan_meier_curves<> two_arms(cpu_context& ctx) {
  const std::vector<double> time{2, 3, 3, 5, 8, 8, 9, 1, 4, 4, 6, 7, 9};
  const std::vector<int> event{1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 1, 1, 1}, arm{0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1};
  return {ctx, risk_order<>(ctx, time, event, {.stratum = arm})};
}

}  // namespace

TEST_CASE("survival_plot: steps, bands, strokes and numbers are those of the curves") {
  cpu_context ctx;
  const auto curves = two_arms(ctx);
  const std::vector<std::string> names{"Standard", "Treatment"};
  const std::string svg = survival_plot(curves, names, {.title = "Overall survival", .p_value = 0.0312});
  const xml_reader xml(svg);
  const auto& all = xml.elements;
  const scales to(all);
  const double t = pixel / (to.x_1 - to.x_0) * (to.time_1 - to.time_0), s = pixel / (to.y_0 - to.y_1);

  const auto drawn = of_class(all, "curve"), bands = of_class(all, "band"), marks = of_class(all, "censored");
  REQUIRE(drawn.size() == 2);
  REQUIRE(bands.size() == 2);
  REQUIRE(marks.size() == 2);
  for (index_t g = 0; g < 2; ++g) {
    CAPTURE(g);
    const auto curve = curves[g];
    const auto steps = corners(drawn[static_cast<std::size_t>(g)].attributes.at("d"));
    // A step at every event: a corner before it and one after.
    std::size_t k = 0;
    CHECK(std::abs(to.time(steps[k].x)) <= t);
    CHECK(std::abs(to.survival(steps[k].y) - 1) <= s);
    for (index_t i = 0; i < curve.size(); ++i) {
      if (curve.events[i] == 0) continue;
      REQUIRE(k + 2 < steps.size());
      CHECK(std::abs(to.time(steps[k + 1].x) - curve.time[i]) <= t);
      CHECK(std::abs(to.survival(steps[k + 1].y) - survival_before(curve, curve.time[i])) <= s);
      CHECK(std::abs(to.time(steps[k + 2].x) - curve.time[i]) <= t);
      CHECK(std::abs(to.survival(steps[k + 2].y) - curve.survival[i]) <= s);
      k += 2;
    }
    REQUIRE(k + 2 == steps.size());
    CHECK(std::abs(to.time(steps.back().x) - curve.time[curve.size() - 1]) <= t);

    const auto strokes = corners(marks[static_cast<std::size_t>(g)].attributes.at("d"));
    std::size_t m = 0;
    for (index_t i = 0; i < curve.size(); ++i) {
      if (curve.censored[i] == 0) continue;
      REQUIRE(m + 1 < strokes.size());
      CHECK(std::abs(to.time(strokes[m].x) - curve.time[i]) <= t);
      CHECK(std::abs(to.survival((strokes[m].y + strokes[m + 1].y) / 2) - curve.survival[i]) <= s);
      m += 2;
    }
    CHECK(m == strokes.size());

    // Every finite limit is a level of the outline; nothing lies outside them.
    const auto outline = corners(bands[static_cast<std::size_t>(g)].attributes.at("d"));
    double lowest = 1;
    for (index_t i = 0; i < curve.size(); ++i) {
      if (std::isnan(curve.lower[i])) continue;
      lowest = std::min(lowest, curve.lower[i]);
      for (const double limit : {curve.lower[i], curve.upper[i]})
        CHECK(std::any_of(outline.begin(), outline.end(), [&](const point& p) {
          return std::abs(to.survival(p.y) - limit) <= s && to.time(p.x) >= curve.time[i] - t;
        }));
    }
    for (const auto& p : outline) CHECK((to.survival(p.y) >= lowest - s && to.survival(p.y) <= 1 + s));
  }

  const auto ticks = texts_in(all, "time-axis"), table = texts_in(all, "numbers-at-risk");
  REQUIRE(table.size() == 1 + 2 * (1 + ticks.size()));
  CHECK(table[0].text == "Number at risk");
  for (std::size_t g = 0; g < 2; ++g) {
    const std::size_t first = 1 + g * (1 + ticks.size());
    CHECK(table[first].text == names[g]);
    for (std::size_t i = 0; i < ticks.size(); ++i) {
      CHECK(table[first + 1 + i].number("x") == ticks[i].number("x"));
      CHECK(std::stod(table[first + 1 + i].text) ==
            at_risk_at(curves[static_cast<index_t>(g)], std::stod(ticks[i].text)));
    }
  }
  CHECK(svg.find(">Log-rank p = 0.031<") != std::string::npos);
  CHECK(svg.find(">Overall survival</text>") != std::string::npos);
  // Everything lies in the picture.
  const double width = all[0].number("width"), height = all[0].number("height");
  for (const auto& e : all) {
    if (e.name == "text" && e.attributes.contains("x")) {
      CHECK((e.number("x") >= 0 && e.number("x") <= width));
      CHECK((e.number("y") >= 0 && e.number("y") <= height));
    }
    if (e.name == "path")
      for (const auto& p : corners(e.attributes.at("d")))
        CHECK((p.x >= 0 && p.x <= width && p.y >= 0 && p.y <= height));
  }
}

TEST_CASE("survival_plot: names that are hostile") {
  cpu_context ctx;
  const auto curves = two_arms(ctx);
  const std::vector<std::string> names{"<script>alert(\"x\" & 'y')</script>",
                                       std::string("a\0b\x01\xFF\xC0\xAF\xED\xA0\x80", 10) + "é日本"};
  const std::string svg = survival_plot(
      curves, names,
      {.title = "]]>&lt;", .time_label = "\"/><g>", .survival_label = "&", .colours = {"red\" onload=\"f()", "blue"}});
  const xml_reader xml(svg);
  const auto labels = texts_in(xml.elements, "legend");
  REQUIRE(labels.size() == 2);
  CHECK(labels[0].text == names[0]);
  const std::string lost = "\xEF\xBF\xBD";
  CHECK(labels[1].text == "a" + lost + "b" + lost + lost + lost + lost + lost + lost + lost + "é日本");
  CHECK(of_class(xml.elements, "curve")[0].attributes.at("stroke") == "red\" onload=\"f()");
  CHECK(std::none_of(xml.elements.begin(), xml.elements.end(),
                     [](const element& e) { return e.name == "script" || e.attributes.contains("onload"); }));
  CHECK(xml.elements[1].text == "]]>&lt;");

  const std::vector<std::string> long_names{std::string(5000, 'W'), std::string(5000, 'W')};
  const xml_reader cut(survival_plot(curves, long_names));
  for (const auto& e : cut.elements) CHECK(e.text.size() < 200);
  CHECK(texts_in(cut.elements, "legend")[0].text.ends_with("W\xE2\x80\xA6"));
}

TEST_CASE("survival_plot: no group, an empty one, one alone, nobody dies, everybody at time 0") {
  cpu_context ctx;
  const xml_reader none(survival_plot(std::span<const plotted_group>()));
  CHECK(of_class(none.elements, "curve").empty());
  CHECK(texts_in(none.elements, "survival-axis").size() == 6);

  const std::vector<plotted_group> empty{{{}, "nobody"}};
  const xml_reader one_empty(survival_plot(empty));
  CHECK(of_class(one_empty.elements, "curve").empty());
  CHECK(texts_in(one_empty.elements, "legend").size() == 1);
  for (std::size_t i = 2; i < texts_in(one_empty.elements, "numbers-at-risk").size(); ++i)
    CHECK(texts_in(one_empty.elements, "numbers-at-risk")[i].text == "0");

  const std::vector<std::string> name{"all"};
  const kaplan_meier_curves<> alive(ctx, risk_order<>(ctx, std::vector<double>{3, 5}, std::vector<int>{0, 0}),
                                    {.interval = curve_interval::log_log});  // without limits at S = 1
  const xml_reader flat(survival_plot(alive, name));
  CHECK(corners(of_class(flat.elements, "curve")[0].attributes.at("d")).size() == 2);
  CHECK(of_class(flat.elements, "band")[0].attributes.at("d").empty());

  const kaplan_meier_curves<> at_once(ctx, risk_order<>(ctx, std::vector<double>{0, 0}, std::vector<int>{1, 1}),
                                      {.interval = curve_interval::none});
  const xml_reader fall(survival_plot(at_once, name));
  CHECK(of_class(fall.elements, "band").empty());
  CHECK(texts_in(fall.elements, "numbers-at-risk")[2].text == "2");
}

TEST_CASE("survival_plot: the axis ends where it is told; ticks; numbers of any size") {
  cpu_context ctx;
  const auto curves = two_arms(ctx);
  const std::vector<std::string> names{"a", "b"};
  const xml_reader xml(survival_plot(curves, names, {.last_time = 6, .tick_step = 1.5}));
  const auto ticks = texts_in(xml.elements, "time-axis");
  REQUIRE(ticks.size() == 5);
  CHECK(ticks[3].text == "4.5");
  const scales to(xml.elements);
  for (const auto& c : of_class(xml.elements, "curve"))
    for (const auto& p : corners(c.attributes.at("d"))) CHECK(p.x <= to.x_1 + pixel);

  for (const double unit : {1e-300, 1e-9, 1.0, 1e9, 1e290}) {
    std::vector<double> time{2 * unit, 3 * unit, 7 * unit};
    const kaplan_meier_curves<> one(ctx, risk_order<>(ctx, time, std::vector<int>{1, 1, 0}));
    const xml_reader any(survival_plot(one, std::vector<std::string>{"a"}));
    const auto labels = texts_in(any.elements, "time-axis");
    CHECK(labels.size() == 8);
    CHECK(std::stod(labels.back().text) == doctest::Approx(7 * unit));
  }
}

TEST_CASE("survival_plot: the text of many patients is bounded by pixels") {
  cpu_context ctx;
  std::vector<double> time;
  std::vector<int> event;
  for (int i = 0; i < 200000; ++i) {
    time.push_back(1 + i * 0.001);
    event.push_back(i % 2);
  }
  const kaplan_meier_curves<> curves(ctx, risk_order<>(ctx, time, event));
  const std::string svg = survival_plot(curves, std::vector<std::string>{"all"});
  CHECK(svg.size() < 400000);
  const xml_reader xml(svg);
  const scales to(xml.elements);
  const auto steps = corners(of_class(xml.elements, "curve")[0].attributes.at("d"));
  for (const auto& p : steps) {
    // Within the tenth of a pixel by which a step may wait, of S somewhere within as much of time.
    const double t = to.time(p.x), dt = 0.2 / (to.x_1 - to.x_0) * (to.time_1 - to.time_0), ds = 0.2 / (to.y_0 - to.y_1);
    CHECK(to.survival(p.y) <= survival_at(curves[0], t - dt) + ds);
    CHECK(to.survival(p.y) >= survival_at(curves[0], t + dt) - ds);
  }
}

TEST_CASE("survival_plot: small p; many groups; bad arguments") {
  cpu_context ctx;
  const auto curves = two_arms(ctx);
  const std::vector<std::string> names{"a", "b"}, one{"a"};
  CHECK(survival_plot(curves, names, {.p_value = 1e-30}).find(">Log-rank p &lt; 0.0001<") != std::string::npos);
  const auto place = [&](const kaplan_meier_curves<>& of) {
    const xml_reader xml(survival_plot(std::vector<plotted_group>{{of[0], "a"}}, {.p_value = 0.5}));
    for (const auto& e : xml.elements)
      if (e.text == "Log-rank p = 0.5") return point{e.number("x"), e.number("y")};
    return point{};
  };
  const std::vector<double> early{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 100},
      late{89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100};
  const std::vector<int> deaths(12, 1);
  const point beside = place({ctx, risk_order<>(ctx, early, deaths)}),
              below = place({ctx, risk_order<>(ctx, late, deaths)});
  CHECK(below.x < beside.x);  // out of the curve's way
  CHECK(below.y > beside.y);
  const std::vector<plotted_group> many(20, {curves[0], "a group with a longer name"});
  const xml_reader xml(survival_plot(many));
  std::map<std::pair<std::string, std::string>, int> looks;
  for (const auto& c : of_class(xml.elements, "curve"))
    ++looks[{c.attributes.at("stroke"),
             c.attributes.contains("stroke-dasharray") ? c.attributes.at("stroke-dasharray") : std::string()}];
  CHECK(looks.size() == 20);
  const auto legend = texts_in(xml.elements, "legend");
  for (std::size_t i = 0; i < 20; ++i)
    for (std::size_t j = 0; j < i; ++j)
      CHECK((legend[i].number("x") != legend[j].number("x") || legend[i].number("y") != legend[j].number("y")));

  CHECK(message_of<shape_error>([&] { static_cast<void>(survival_plot(curves, one)); }) ==
        "survival_plot: names: length 1, expected 2 (the curves)");
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const survival_plot_options& bad : {survival_plot_options{.plot_width = 5},
                                           {.plot_height = nan},
                                           {.last_time = -1},
                                           {.last_time = nan},
                                           {.tick_step = -1},
                                           {.tick_step = 1e-9},
                                           {.p_value = 2},
                                           {.p_value = nan}})
    CHECK_THROWS_AS(static_cast<void>(survival_plot(curves, names, bad)), value_error);
}
