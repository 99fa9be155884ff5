#include <cstdint>
#include <string>

#include <doctest/doctest.h>

#include <stroma/core/utf8.hpp>

using stroma::detail::is_utf8;
using stroma::detail::utf8_length;

namespace {

/// A number in the form of UTF-8 with so many bytes, whether that is allowed or not.
std::string encoded(std::uint32_t code, std::size_t bytes) {
  if (bytes == 1) return std::string(1, static_cast<char>(code));
  std::string out(bytes, '\0');
  for (std::size_t i = bytes; i-- > 1; code >>= 6) out[i] = static_cast<char>(0x80 | (code & 63));
  out[0] = static_cast<char>((0xf00 >> bytes & 0xff) | code);
  return out;
}

}  // namespace

TEST_CASE("utf8: every number that a character's form can hold") {
  std::size_t wrong = 0;
  for (const std::size_t bytes : {1u, 2u, 3u, 4u}) {
    const std::uint32_t limit = bytes == 1 ? 0x80 : 1u << (bytes == 2 ? 11 : bytes == 3 ? 16 : 21);
    for (std::uint32_t code = 0; code < limit; ++code) {
      const std::size_t shortest = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
      const bool surrogate = code >= 0xd800 && code <= 0xdfff;
      const std::size_t expected = bytes == shortest && !surrogate && code <= 0x10ffff ? bytes : 0;
      wrong += utf8_length(encoded(code, bytes) + "x") == expected ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("utf8: what is cut or no character's beginning") {
  for (const std::uint32_t code : {0xe9u, 0x20acu, 0x1f600u}) {
    const std::size_t bytes = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (std::size_t cut = 1; cut < bytes; ++cut) {
      CHECK(utf8_length(encoded(code, bytes).substr(0, cut)) == 0);
      CHECK(utf8_length(encoded(code, bytes).substr(0, cut) + "a") == 0);
      CHECK(utf8_length(encoded(code, bytes).substr(cut)) == 0);
    }
  }
  for (const char* bad : {"\xc0\x80", "\xc1\xbf", "\xf5\x80\x80\x80", "\xfe", "\xff"}) CHECK(utf8_length(bad) == 0);
  CHECK(utf8_length("") == 0);
  CHECK(is_utf8(""));
  CHECK(is_utf8(std::string("a\0\xc3\xa9", 4)));
  CHECK_FALSE(is_utf8("a\xc3"));
}
