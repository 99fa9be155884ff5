#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/json_header.hpp>

#include "scratch.hpp"

using stroma::format_error;
using stroma::index_t;
using stroma::detail::json_cursor;

namespace {

json_cursor cursor(std::string_view text) { return {text, "json", "f"}; }
std::string string_in(std::string_view text) { return cursor(text).string(); }
std::string refusal(std::string_view text) {
  return message_of<format_error>([&] { static_cast<void>(string_in(text)); });
}
std::string integer_refusal(std::string_view text) {
  return message_of<format_error>([&] {
    auto json = cursor(text);
    static_cast<void>(json.integer());
    json.end();
  });
}

}  // namespace

TEST_CASE("json_header: strings and escapes") {
  CHECK(string_in(R"( "abc" )") == "abc");
  CHECK(string_in(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
  CHECK(string_in(R"("\u0041\u00e9\u20AC\uD83D\uDE00")") == "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(string_in(R"("\u0000")") == std::string(1, '\0'));
  CHECK(string_in("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"") == "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST_CASE("json_header: strings that are none") {
  CHECK(refusal("abc") == "json: f: header byte 0 is 'a', expected '\"'");
  CHECK(refusal("\"ab") == "json: f: header byte 3 is the end, expected a closing quote");
  CHECK(contains(refusal("\"a\nb\""), "an escaped control character"));
  CHECK(contains(refusal("\"\\x\""), "an escape that JSON knows"));
  CHECK(contains(refusal("\"\\"), "an escape that JSON knows"));
  CHECK(contains(refusal(std::string_view("\"\\\0\"", 4)), "an escape that JSON knows"));
  CHECK(contains(refusal("\"\\u12g4\""), "four hexadecimal digits"));
  CHECK(contains(refusal("\"\\u12"), "four hexadecimal digits"));
  CHECK(contains(refusal("\"\\ud83d\""), "the second half of a surrogate pair"));
  CHECK(contains(refusal("\"\\ud83d\\u0041\""), "the second half of a surrogate pair"));
  CHECK(contains(refusal("\"\\ude00\""), "surrogate pair"));
  for (const char* bad : {"\"\x80\"", "\"\xc0\xaf\"", "\"\xc3\"", "\"\xe0\x80\xaf\"", "\"\xed\xa0\x80\"",
                          "\"\xf0\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"", "\"\xff\"", "\"\xe2\x82"})
    CHECK(contains(refusal(bad), "UTF-8"));
}

TEST_CASE("json_header: scalars of any type") {
  for (const char* text : {"\"a,\"", "0", "-1.5e+3", "true", "false", " null "}) {
    auto json = cursor(text);
    json.scalar();
    json.end();
  }
  for (const char* text : {"", "nul", "[1]", "{}", "NaN", ",", "\"a"})
    CHECK(contains(message_of<format_error>([&] { cursor(text).scalar(); }), "json: f: header byte"));
}

TEST_CASE("json_header: integers") {
  CHECK(cursor("0").integer() == 0);
  CHECK(cursor(" 42,").integer() == 42);
  CHECK(cursor("9223372036854775807").integer() == 9223372036854775807);
  CHECK(contains(integer_refusal("9223372036854775808"), "an integer up to 2^63 - 1"));
  CHECK(contains(integer_refusal("99999999999999999999999"), "an integer up to 2^63 - 1"));
  CHECK(contains(integer_refusal("-1"), "an integer of 0 or more"));
  CHECK(contains(integer_refusal("1.0"), "an integer"));
  CHECK(contains(integer_refusal("1e3"), "an integer"));
  CHECK(contains(integer_refusal("007"), "without leading zeros"));
  CHECK(contains(integer_refusal("00"), "without leading zeros"));
  CHECK(contains(integer_refusal(""), "the end"));
  CHECK(contains(integer_refusal("null"), "an integer of 0 or more"));
}

TEST_CASE("json_header: objects and lists") {
  std::vector<index_t> values;
  auto json = cursor("{\"a\" : [1, 2 ,3],\n\"b\":[]} \t\r\n");
  std::string keys;
  json.object([&](const std::string& key) {
    keys += key;
    json.list([&] { values.push_back(json.integer()); });
  });
  json.end();
  CHECK(keys == "ab");
  CHECK(values == std::vector<index_t>{1, 2, 3});
  for (const char* bad :
       {"{", "{\"a\"}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "{\"a\":1}}", "{\"a\":1}x", "[1]", "{,}"})
    CHECK_THROWS_AS(
        [&] {
          auto c = cursor(bad);
          c.object([&](const std::string&) { static_cast<void>(c.integer()); });
          c.end();
        }(),
        format_error);
}

TEST_CASE("json_header: what is written is read back") {
  std::string all;
  for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
  all += "\xc3\xa9";
  CHECK(string_in(stroma::detail::json_string(all)) == all);
  CHECK(stroma::detail::is_utf8(all));
  CHECK_FALSE(stroma::detail::is_utf8("a\xc3"));
}
