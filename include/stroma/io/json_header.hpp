#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include <stroma/core/utf8.hpp>
#include <stroma/core/view.hpp>
#include <stroma/io/file_error.hpp>

namespace stroma::detail {

/// Text as a JSON string with its quotes; the text must be UTF-8.
[[nodiscard]] inline std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += "0123456789abcdef"[byte >> 4];
      out += "0123456789abcdef"[byte & 15];
    } else {
      out += c;
    }
  }
  return out += '"';
}

/// Walks the strict JSON of a file's header, called for what the format allows at each place. It does not recurse:
/// nesting goes as deep as the caller's own calls and no deeper. Every failure is a format_error that names the byte.
class json_cursor {
 public:
  /// @param text  must outlive the cursor   @param file  named in messages
  json_cursor(std::string_view text, std::string_view function, std::string file)
      : text_(text), function_(function), file_(std::move(file)) {}

  /// Calls f(key) for each key of an object; f must consume the value. Repeated keys are the caller's to refuse.
  template <class F>
  void object(F&& f) {
    expect('{');
    if (accept('}')) return;
    do {
      std::string key = string();
      expect(':');
      f(std::move(key));
    } while (accept(','));
    expect('}');
  }
  /// Calls f() for each element of a list; f must consume it.
  template <class F>
  void list(F&& f) {
    expect('[');
    if (accept(']')) return;
    do f();
    while (accept(','));
    expect(']');
  }

  [[nodiscard]] std::string string() {
    expect('"');
    std::string out;
    for (;;) {
      if (at_ == text_.size()) refuse("a closing quote");
      const char c = text_[at_];
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) refuse("an escaped control character");
      if (c == '\\') {
        escape(out);
      } else {
        const std::size_t length = utf8_length(text_.substr(at_));
        if (length == 0) refuse("UTF-8");
        out.append(text_, at_, length);
        at_ += length;
      }
    }
    ++at_;
    return out;
  }

  /// An integer from 0 to 2^63 - 1 without sign, fraction or exponent.
  [[nodiscard]] index_t integer() {
    constexpr index_t largest = std::numeric_limits<index_t>::max();
    space();
    const auto digit = [&] { return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; };
    if (!digit()) refuse("an integer of 0 or more");
    const std::size_t begin = at_;
    index_t value = 0;
    for (; digit(); ++at_) {
      const index_t next = text_[at_] - '0';
      if (at_ > begin && text_[begin] == '0') refuse("an integer without leading zeros");
      if (value > (largest - next) / 10) refuse("an integer up to 2^63 - 1");
      value = value * 10 + next;
    }
    if (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')) refuse("an integer");
    return value;
  }

  /// A string, number, true, false or null, whatever it is.
  void scalar() {
    space();
    if (at_ < text_.size() && text_[at_] == '"') return static_cast<void>(string());
    const std::size_t begin = at_;
    while (at_ < text_.size() && std::string_view(" \t\n\r,]}").find(text_[at_]) == std::string_view::npos) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    const bool number = !word.empty() && word.find_first_not_of("0123456789+-.eE") == std::string_view::npos;
    if (number || word == "true" || word == "false" || word == "null") return;
    at_ = begin;
    refuse("a string, a number, true, false or null");
  }

  /// Nothing but white space is left.
  void end() {
    space();
    if (at_ != text_.size()) refuse("the end");
  }

 private:
  void space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool accept(char c) {
    space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) refuse(std::string("'") + c + "'");
  }

  void escape(std::string& out) {
    constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
    const char kind = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (kind == 'u') return unicode(out);
    const std::size_t which = kind == '\0' ? std::string_view::npos : names.find(kind);
    if (which == std::string_view::npos) refuse("an escape that JSON knows");
    out += values[which];
    at_ += 2;
  }
  void unicode(std::string& out) {
    std::uint32_t code = four_digits();
    if (code >= 0xdc00 && code <= 0xdfff) refuse("the first half of a surrogate pair before its second");
    if (code >= 0xd800 && code <= 0xdbff) {
      const std::uint32_t low = text_.substr(at_, 2) == "\\u" ? four_digits() : 0;
      if (low < 0xdc00 || low > 0xdfff) refuse("the second half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    const auto put = [&](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80) return put(code);
    if (code < 0x800) {
      put(0xc0 | (code >> 6));
    } else {
      if (code < 0x10000) {
        put(0xe0 | (code >> 12));
      } else {
        put(0xf0 | (code >> 18));
        put(0x80 | ((code >> 12) & 63));
      }
      put(0x80 | ((code >> 6) & 63));
    }
    put(0x80 | (code & 63));
  }
  std::uint32_t four_digits() {
    at_ += 2;  // the backslash and the u
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      if (c >= '0' && c <= '9') value = value * 16 + static_cast<std::uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f') value = value * 16 + static_cast<std::uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') value = value * 16 + static_cast<std::uint32_t>(c - 'A' + 10);
      else refuse("four hexadecimal digits");
    }
    return value;
  }

  [[noreturn]] void refuse(std::string_view expected) const {
    const std::string found = at_ < text_.size() ? in_quotes(text_.substr(at_, 1)) : "the end";
    refuse_file(function_, file_, "header byte " + std::to_string(at_) + " is " + found, expected);
  }

  std::string_view text_;
  std::string_view function_;
  std::string file_;
  std::size_t at_ = 0;
};

}  // namespace stroma::detail
