#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/io/file_error.hpp>
#include <stroma/io/tensor_type.hpp>

namespace stroma::detail {

/// What an .npy file says about itself, checked against its size.
struct npy_contents {
  tensor_type type{};
  bool fortran_order = false;
  std::vector<index_t> shape;
  std::span<const std::byte> data;
};

/// `<f8` and its kin, in numpy's notation; nothing for F16 and BF16.
[[nodiscard]] constexpr std::string_view npy_type_name(tensor_type type) {
  switch (type) {
    case tensor_type::f64:
      return "<f8";
    case tensor_type::f32:
      return "<f4";
    case tensor_type::i64:
      return "<i8";
    case tensor_type::i32:
      return "<i4";
    case tensor_type::i16:
      return "<i2";
    case tensor_type::i8:
      return "|i1";
    case tensor_type::u8:
      return "|u1";
    default:
      return "";
  }
}

/// Everything before the data, as numpy writes it for these values.
[[nodiscard]] inline std::string npy_preamble(tensor_type type, bool fortran_order, std::span<const index_t> shape) {
  std::string header = "{'descr': '" + std::string(npy_type_name(type)) + "', 'fortran_order': ";
  header.append(fortran_order ? "True" : "False").append(", 'shape': (");
  for (const index_t extent : shape) header.append(std::to_string(extent)).append(", ");
  if (shape.size() > 1) header.resize(header.size() - 2);
  header += "), }";
  constexpr std::size_t before = 10;  // magic, version, length
  header.append(63 - (before + header.size()) % 64, ' ').append("\n");
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xff);
  out += static_cast<char>(header.size() >> 8 & 0xff);
  return out + header;
}

/// Reads the preamble of an .npy file (versions 1 to 3) as the literal it must be; nothing is evaluated.
class npy_parser {
 public:
  npy_parser(std::span<const std::byte> bytes, std::string file) : file_(std::move(file)) {
    text_ = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    if (!text_.starts_with("\x93NUMPY")) refuse("another beginning", "an .npy file");
    const auto byte = [&](std::size_t i) -> std::size_t {
      if (i >= bytes.size()) refuse(std::to_string(bytes.size()) + " bytes", "a whole header");
      return std::to_integer<std::size_t>(bytes[i]);
    };
    const std::size_t version = byte(6), length_bytes = version == 1 ? 2 : 4;
    if (version < 1 || version > 3 || byte(7) != 0)
      refuse("version " + std::to_string(version) + "." + std::to_string(byte(7)), "1.0, 2.0 or 3.0");
    std::size_t length = 0;
    for (std::size_t i = length_bytes; i-- > 0;) length = length << 8 | byte(8 + i);
    const std::size_t begin = 8 + length_bytes;
    if (length > bytes.size() - begin)
      refuse("a header of " + std::to_string(length) + " bytes",
             "at most " + std::to_string(bytes.size() - begin) + " (the file's rest)");
    text_ = text_.substr(begin, length);
    out_.data = bytes.subspan(begin + length);
  }

  npy_contents parse() {
    bool seen[3] = {};
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      const std::size_t which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : 3;
      if (which == 3 || std::exchange(seen[which], true)) refuse("key " + in_quotes(key), "each of three keys once");
      if (which == 0) descr();
      else if (which == 1) out_.fortran_order = boolean();
      else shape();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    space();
    if (at_ != text_.size()) refuse_at("the header's end");
    if (!seen[0] || !seen[1] || !seen[2])
      refuse("a header without " + std::string(!seen[0] ? "descr" : !seen[1] ? "fortran_order" : "shape"), "it");
    check_size();
    return std::move(out_);
  }

 private:
  void descr() {
    const std::string_view name = string();
    for (const auto type : tensor_types)
      if (!name.empty() && npy_type_name(type) == name) {
        out_.type = type;
        return;
      }
    refuse("descr " + in_quotes(name), "<f8, <f4, <i8, <i4, <i2, |i1 or |u1");
  }
  bool boolean() {
    space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    refuse_at("True or False");
  }
  void shape() {
    expect('(');
    while (!accept(')')) {
      if (out_.shape.size() == 32) refuse("more than 32 extents", "fewer");
      out_.shape.push_back(integer());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }
  index_t integer() {
    space();
    index_t value = 0;
    const std::size_t begin = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const index_t digit = text_[at_] - '0';
      if (value > (std::numeric_limits<index_t>::max() - digit) / 10) refuse_at("an integer up to 2^63 - 1");
      value = value * 10 + digit;
    }
    if (at_ == begin) refuse_at("an integer of 0 or more");
    return value;
  }
  std::string_view string() {
    space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') refuse_at("a quoted text");
    const std::size_t begin = ++at_;
    while (at_ < text_.size() && text_[at_] != quote && text_[at_] != '\\') ++at_;
    if (at_ == text_.size() || text_[at_] != quote) refuse_at("a closing quote");
    return text_.substr(begin, at_++ - begin);
  }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool accept(char c) {
    space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) refuse_at(std::string("'") + c + "'");
  }

  void check_size() const {
    const auto count = element_count(out_.shape);
    const index_t size = element_size(out_.type);
    if (!count || *count > std::numeric_limits<index_t>::max() / size)
      refuse("shape " + shape_text(out_.shape), "at most 2^63 - 1 bytes");
    if (*count * size != static_cast<index_t>(out_.data.size()))
      refuse(std::to_string(out_.data.size()) + " bytes of data",
             std::to_string(*count * size) + " (shape " + shape_text(out_.shape) + ")");
  }

  [[noreturn]] void refuse(std::string_view found, std::string_view expected) const {
    refuse_file("npy", file_, found, expected);
  }
  [[noreturn]] void refuse_at(std::string_view expected) const {
    const std::string found = at_ < text_.size() ? in_quotes(text_.substr(at_, 1)) : "the end";
    refuse("header byte " + std::to_string(at_) + " is " + found, expected);
  }

  std::string file_;
  std::string_view text_;
  std::size_t at_ = 0;
  npy_contents out_;
};

}  // namespace stroma::detail
