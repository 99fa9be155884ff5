#pragma once
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

#include <stroma/core/utf8.hpp>

namespace stroma::detail {

/// A label of anybody's as XML's text or attribute: what XML cannot hold becomes U+FFFD. At most `most` characters,
/// the last of more being an ellipsis.
[[nodiscard]] inline std::string xml_text(std::string_view text, std::size_t most = std::string_view::npos) {
  std::string out;
  for (std::size_t count = 0; !text.empty(); ++count) {
    const std::size_t length = utf8_length(text);
    if (count + 1 == most && text.size() > std::max<std::size_t>(length, 1)) return out + "\xE2\x80\xA6";
    const std::string_view character = text.substr(0, std::max<std::size_t>(length, 1));
    text.remove_prefix(character.size());
    const char c = character[0];
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (c == '\'') out += "&#39;";
    else if (c == '\t' || c == '\n' || c == '\r') out += ' ';
    else if (length == 0 || static_cast<unsigned char>(c) < 0x20 || character == "\xEF\xBF\xBE" ||
             character == "\xEF\xBF\xBF")
      out += "\xEF\xBF\xBD";
    else out += character;
  }
  return out;
}
[[nodiscard]] inline std::size_t character_count(std::string_view text) {
  std::size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(std::max<std::size_t>(utf8_length(text), 1));
  return count;
}

/// A coordinate: hundredths, without zeros at the end, whatever the locale.
[[nodiscard]] inline std::string coordinate(double x) {
  std::array<char, 400> text{};
  std::string_view all(
      text.data(), static_cast<std::size_t>(std::to_chars(text.data(), text.data() + text.size(),
                                                          std::round(x * 100) / 100 + 0.0, std::chars_format::fixed, 2)
                                                .ptr -
                                            text.data()));
  while (all.back() == '0') all.remove_suffix(1);
  if (all.back() == '.') all.remove_suffix(1);
  return std::string(all);
}
/// A number for readers.
[[nodiscard]] inline std::string short_number(double x, int digits = 6) {
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), x, std::chars_format::general, digits).ptr;
  return {text.data(), end};
}

/// 1, 2 or 5 times a power of ten: the step of at most `most` ticks between 0 and `length`.
[[nodiscard]] inline double nice_step(double length, int most) {
  const double least = length / most;
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= least * (1 - 1e-12)) return factor * power;
  return 10 * power;
}

/// Text of an SVG that grows: coordinates are rounded, everything else is taken as it is.
class svg_text {
 public:
  template <class... Parts>
  svg_text& operator()(const Parts&... parts) {
    (add(parts), ...);
    return *this;
  }
  [[nodiscard]] const std::string& str() const { return text_; }

 private:
  void add(double x) { text_ += coordinate(x); }
  void add(std::string_view part) { text_ += part; }

  std::string text_;
};

}  // namespace stroma::detail
