#include <random>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/npy_header.hpp>

#include "scratch.hpp"

using stroma::format_error;
using stroma::index_t;
using stroma::tensor_type;

namespace {

stroma::detail::npy_contents parse(std::string_view file) {
  return stroma::detail::npy_parser(std::as_bytes(std::span(file.data(), file.size())), "f").parse();
}
std::string file(std::string_view header, std::string_view data = "", char version = 1) {
  std::string out("\x93NUMPY", 6);
  out += version;
  out += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) out += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return out.append(header).append(data);
}
std::string refusal(std::string_view bytes) {
  return message_of<format_error>([&] { static_cast<void>(parse(bytes)); });
}

}  // namespace

TEST_CASE("npy_header: headers as numpy writes them, keys in any order") {
  const auto a = parse(file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", std::string(24, 'x')));
  CHECK(a.type == tensor_type::f32);
  CHECK_FALSE(a.fortran_order);
  CHECK(a.shape == std::vector<index_t>{2, 3});
  CHECK(a.data.size() == 24);
  const auto b = parse(file("{\"shape\":(2,),\"fortran_order\":True,\"descr\":\"|u1\"}\n", "xy", 2));
  CHECK(b.shape == std::vector<index_t>{2});
  CHECK(b.fortran_order);
  CHECK(parse(file("{'descr': '<i8', 'fortran_order': False, 'shape': ()}", std::string(8, 'x'), 3)).shape.empty());
  for (const auto type : {tensor_type::f64, tensor_type::f32, tensor_type::i64, tensor_type::i32, tensor_type::i16,
                          tensor_type::i8, tensor_type::u8})
    for (const std::vector<index_t>& shape : {std::vector<index_t>{}, {4}, {0, 7}, {12, 34}}) {
      index_t count = 1;
      for (const index_t extent : shape) count *= extent;
      const std::string preamble = stroma::detail::npy_preamble(type, true, shape);
      CHECK(preamble.size() % 64 == 0);
      const auto back =
          parse(preamble + std::string(static_cast<std::size_t>(count * stroma::element_size(type)), 'x'));
      CHECK(back.type == type);
      CHECK(back.shape == shape);
    }
}

TEST_CASE("npy_header: what is wrong is named") {
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }\n";
  CHECK(refusal("") == "npy: f: another beginning, expected an .npy file");
  CHECK(refusal("PK\x03\x04 a zip") == "npy: f: another beginning, expected an .npy file");
  CHECK(refusal(std::string("\x93NUMPY", 6)) == "npy: f: 6 bytes, expected a whole header");
  CHECK(refusal(std::string("\x93NUMPY\x01\x00\xff", 9)) == "npy: f: 9 bytes, expected a whole header");
  CHECK(refusal(file(good, "", 9)) == "npy: f: version 9.0, expected 1.0, 2.0 or 3.0");
  CHECK(refusal(file(good).substr(0, 30)) == "npy: f: a header of 60 bytes, expected at most 20 (the file's rest)");
  CHECK(refusal(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12)) ==
        "npy: f: a header of 4294967295 bytes, expected at most 0 (the file's rest)");
  CHECK(refusal(file(good, "abc")) == "npy: f: 3 bytes of data, expected 4 (shape [1, 1])");
  CHECK(refusal(file(good, "abcde")) == "npy: f: 5 bytes of data, expected 4 (shape [1, 1])");
  CHECK(contains(refusal(file("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 1), }")),
                 "descr '>f4', expected <f8"));
  CHECK(contains(refusal(file("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }")),
                 "descr '|O', expected <f8"));
  CHECK(
      contains(refusal(file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1), }")), "a quoted text"));
  CHECK(contains(refusal(file("{'descr': '<f4', 'fortran_order': 1, 'shape': (1, 1), }")), "True or False"));
  CHECK(contains(refusal(file("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1), }")),
                 "an integer of 0 or more"));
  CHECK(contains(refusal(file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }")),
                 "2^63 - 1"));
  CHECK(contains(refusal(file("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }")),
                 "shape [4611686018427387904, 4], expected at most 2^63 - 1 bytes"));
  CHECK(contains(refusal(file("{'descr': '<f4', 'fortran_order': False}")), "without shape"));
  CHECK(contains(refusal(file("{'descr': '<f4', 'descr': '<f4'}")), "key 'descr'"));
  CHECK(contains(refusal(file("{'evil': __import__('os')}")), "key 'evil'"));
  CHECK(contains(refusal(file("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), } x")), "the header's end"));
  CHECK(contains(refusal(file("{'descr")), "a closing quote"));
  CHECK(contains(refusal(file("")), "expected '{'"));
}

TEST_CASE("npy_header: damaged headers are refused or read, never worse") {
  const std::string good =
      stroma::detail::npy_preamble(tensor_type::f32, false, std::vector<index_t>{2, 3}) + std::string(24, 'x');
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    for (std::size_t flips = 1 + below(3); flips-- > 0;) {
      char& byte = bad[below(80)];
      byte = static_cast<char>(byte ^ (1 << below(8)));
    }
    if (round % 5 == 0) bad.resize(below(bad.size()));
    const std::string said = refusal(bad);
    CHECK((said == "no error" || said.starts_with("npy: f: ")));
  }
}
