#include <span>
#include <string>

#include <doctest/doctest.h>

#include <stroma/io/safetensors_header.hpp>

#include "scratch.hpp"

using stroma::format_error;

namespace {

stroma::detail::safetensors_contents parse(std::string_view file) {
  return stroma::detail::safetensors_parser(std::as_bytes(std::span(file.data(), file.size())), "f").parse();
}
std::string refusal(std::string_view header, std::string_view data = "") {
  const std::string file = raw_safetensors(header, data);
  return message_of<format_error>([&] { static_cast<void>(parse(file)); });
}
std::string tensor(std::string_view name, std::string_view type, std::string_view shape, std::string_view offsets) {
  std::string out = "\"";
  return out.append(name)
      .append("\":{\"dtype\":\"")
      .append(type)
      .append("\",\"shape\":")
      .append(shape)
      .append(",\"data_offsets\":")
      .append(offsets)
      .append("}");
}

}  // namespace

TEST_CASE("safetensors_header: a good file") {
  const std::string file =
      raw_safetensors("{\"__metadata__\":{\"k\":\"v\"}," + tensor("b", "U8", "[1,2]", "[1,3]") + "," +
                          tensor("a", "U8", "[]", "[0,1]") + "," + tensor("e", "F32", "[0,7]", "[3,3]") + "}   ",
                      "xyz");
  const auto contents = parse(file);
  REQUIRE(contents.tensors.size() == 3);
  CHECK(contents.tensors[0].name == "b");
  CHECK(contents.tensors[0].shape == std::vector<stroma::index_t>{1, 2});
  CHECK(contents.tensors[0].size() == 2);
  CHECK(static_cast<char>(contents.tensors[1].bytes[0]) == 'x');
  CHECK(contents.tensors[2].size() == 0);
  CHECK(contents.by_name == std::vector<std::size_t>{1, 0, 2});
  CHECK(contents.metadata.at("k") == "v");
  CHECK(parse(raw_safetensors("{}")).tensors.empty());
}

TEST_CASE("safetensors_header: the length") {
  CHECK(message_of<format_error>([] { parse("1234567"); }) ==
        "safetensors: f: 7 bytes, expected at least 8 (the header's length)");
  CHECK(message_of<format_error>([] { parse(""); }) ==
        "safetensors: f: 0 bytes, expected at least 8 (the header's length)");
  CHECK(message_of<format_error>([] { parse(std::string_view("\x03\0\0\0\0\0\0\0{}", 10)); }) ==
        "safetensors: f: a header of 3 bytes, expected at most 2 (the file's rest)");
  CHECK(message_of<format_error>([] { parse(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)); }) ==
        "safetensors: f: a header of 18446744073709551615 bytes, expected at most 100000000");
  const std::string just_over = std::string("\x01\xe1\xf5\x05\0\0\0\0", 8) + "{}";
  CHECK(contains(message_of<format_error>([&] { parse(just_over); }), "a header of 100000001 bytes"));
}

TEST_CASE("safetensors_header: malformed JSON") {
  CHECK(refusal("") == "safetensors: f: header byte 0 is '', expected '{'");
  CHECK(refusal(" {}") == "safetensors: f: header byte 0 is ' ', expected '{'");
  CHECK(contains(refusal("{\"a\":"), "header byte 5 is the end"));
  CHECK(contains(refusal("{} x"), "header byte 3 is 'x', expected the end"));
  CHECK(contains(refusal("{\"a\":[]}"), "expected '{'"));
  CHECK(contains(refusal("{\"__metadata__\":{\"k\":1}}"), "expected '\"'"));
  CHECK(contains(refusal("{\"__metadata__\":null}"), "expected '{'"));
  std::string deep(1000000, '[');
  CHECK(contains(refusal("{\"a\":" + deep), "expected '{'"));
  deep.assign(200000, '{');
  CHECK_FALSE(refusal(deep) == "no error");
}

TEST_CASE("safetensors_header: names and keys come once") {
  const std::string a = tensor("a", "U8", "[1]", "[0,1]");
  CHECK(refusal("{" + a + "," + a + "}", "x") ==
        "safetensors: f: tensor 'a': this name twice, expected each name once");
  CHECK(refusal("{" + a + "," + tensor("\\u0061", "U8", "[1]", "[1,2]") + "}", "xy") ==
        "safetensors: f: tensor 'a': this name twice, expected each name once");
  CHECK(contains(refusal("{\"__metadata__\":{},\"__metadata__\":{}}"), "__metadata__ twice"));
  CHECK(contains(refusal("{\"__metadata__\":{\"k\":\"1\",\"k\":\"1\"}}"), "metadata 'k' twice"));
  CHECK(contains(refusal("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}"), "tensor 'a': dtype twice"));
  CHECK(contains(refusal("{\"a\":{\"shape\":[],\"shape\":[]}}"), "tensor 'a': shape twice"));
  CHECK(contains(refusal("{\"a\":{\"data_offsets\":[0,0],\"data_offsets\":[0,0]}}"), "tensor 'a': data_offsets twice"));
}

TEST_CASE("safetensors_header: fields of a tensor") {
  CHECK(contains(refusal("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", "x"), "tensor 'a': no dtype, expected one"));
  CHECK(contains(refusal("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", "x"),
                 "tensor 'a': no shape, expected one"));
  CHECK(
      contains(refusal("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", "x"), "tensor 'a': no data_offsets, expected one"));
  CHECK(contains(refusal("{\"a\":{\"dtype\":\"U8\",\"more\":1}}"), "tensor 'a': field 'more'"));
  CHECK(contains(refusal("{" + tensor("a", "F8_E4M3", "[1]", "[0,1]") + "}", "x"),
                 "tensor 'a': dtype 'F8_E4M3', expected F64, F32, F16, BF16, I64, I32, I16, I8 or U8"));
  CHECK(contains(refusal("{" + tensor("a", "U8", "[1]", "[0]") + "}", "x"), "tensor 'a': data_offsets without an end"));
  CHECK(contains(refusal("{" + tensor("a", "U8", "[1]", "[0,1,1]") + "}", "x"), "more than 2 numbers in data_offsets"));
  std::string ones = "[1";
  for (int i = 0; i < 32; ++i) ones += ",1";
  CHECK(contains(refusal("{" + tensor("a", "U8", ones + "]", "[0,1]") + "}", "x"), "more than 32 numbers in shape"));
}

TEST_CASE("safetensors_header: sizes") {
  CHECK(contains(refusal("{" + tensor("a", "U8", "[-1]", "[0,1]") + "}", "x"), "an integer of 0 or more"));
  CHECK(contains(refusal("{" + tensor("a", "U8", "[9223372036854775808]", "[0,1]") + "}", "x"), "2^63 - 1"));
  CHECK(refusal("{" + tensor("a", "F32", "[1152921504606846976,16]", "[0,0]") + "}") ==
        "safetensors: f: tensor 'a': shape [1152921504606846976, 16], expected at most 2^63 - 1 bytes");
  CHECK(contains(refusal("{" + tensor("a", "F64", "[1152921504606846976]", "[0,0]") + "}"), "at most 2^63 - 1 bytes"));
  CHECK(
      contains(refusal("{" + tensor("a", "U8", "[4294967296,0,4294967296]", "[0,0]") + "}"), "at most 2^63 - 1 bytes"));
  CHECK(refusal("{" + tensor("a", "F32", "[2,3]", "[0,4]") + "}", "abcd") ==
        "safetensors: f: tensor 'a': 4 bytes, expected 24 (F32, shape [2, 3])");
  CHECK(contains(refusal("{" + tensor("a", "F32", "[]", "[0,0]") + "}"), "0 bytes, expected 4 (F32, shape [])"));
}

TEST_CASE("safetensors_header: offsets") {
  CHECK(refusal("{" + tensor("slide_1", "U8", "[4096]", "[0,4096]") + "}", std::string(2048, 'x')) ==
        "safetensors: f: tensor 'slide_1': ends at byte 4096, expected at most 2048 (the file's data)");
  CHECK(refusal("{" + tensor("a", "U8", "[1]", "[2,1]") + "}", "xy") ==
        "safetensors: f: tensor 'a': begins at byte 2 and ends at 1, expected a begin up to the end");
  CHECK(refusal("{" + tensor("a", "U8", "[2]", "[0,2]") + "," + tensor("b", "U8", "[2]", "[1,3]") + "}", "xyz") ==
        "safetensors: f: tensor 'b': begins at byte 1, expected 2 (where tensor 'a' ends: tensors must not overlap)");
  CHECK(contains(refusal("{" + tensor("a", "U8", "[2]", "[0,2]") + "," + tensor("b", "U8", "[2]", "[0,2]") + "}", "xy"),
                 "must not overlap"));
  CHECK(refusal("{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("b", "U8", "[1]", "[2,3]") + "}", "xyz") ==
        "safetensors: f: tensor 'b': begins at byte 2, expected 1 (the data must have no holes)");
  CHECK(contains(refusal("{" + tensor("a", "U8", "[1]", "[1,2]") + "}", "xy"),
                 "expected 0 (the data must have no holes)"));
  CHECK(refusal("{" + tensor("a", "U8", "[1]", "[0,1]") + "}", "xyz") ==
        "safetensors: f: 3 bytes of data, expected 1 (where the last tensor ends)");
  CHECK(contains(refusal("{" + tensor("a", "U8", "[2]", "[0,2]") + "," + tensor("e", "U8", "[0]", "[1,1]") + "}", "xy"),
                 "tensor 'e': begins at byte 1, expected 2"));
}
