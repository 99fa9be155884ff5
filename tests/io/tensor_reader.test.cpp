#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/tensor_reader.hpp>

#include "memory_file.hpp"
#include "scratch.hpp"

using stroma::array;
using stroma::format_error;
using stroma::index_t;
using stroma::matrix_view;
using stroma::vector_view;

TEST_CASE("tensor_reader: tensors are found by name") {
  const std::vector<float> x{1, 2};
  const memory_file file({tensor_of("b", x, {2}), tensor_of("a", x, {2, 1}), tensor_of("", x, {1, 2})});
  CHECK(file.tensors()[0].name == "b");
  CHECK(file.find("a")->shape == std::vector<index_t>{2, 1});
  CHECK(file.at("").shape == std::vector<index_t>{1, 2});
  CHECK(file.contains("b"));
  CHECK_FALSE(file.contains("c"));
  CHECK(file.format() == "memory");
  CHECK(message_of<format_error>([&] { static_cast<void>(file.at("c")); }) ==
        "memory: f: no tensor 'c', expected one among the 3");
  CHECK(message_of<format_error>([&] {
          memory_file({tensor_of("a", x, {2}), tensor_of("a", x, {2})});
        }) == "memory: f: tensor 'a': this name twice, expected each name once");
}

TEST_CASE("tensor_reader: a transposed tensor reads as its rows, never in place") {
  const std::vector<float> columns{1, 4, 2, 5, 3, 6};
  const memory_file file({tensor_of("t", columns, {2, 3}, {1, 2}), tensor_of("r", columns, {3, 2})});
  CHECK(file.read<float>("r").in_place());
  const auto t = file.read<float>("t");
  CHECK_FALSE(t.in_place());
  for (index_t i = 0; i < 6; ++i) CHECK(t.flat()[i] == static_cast<float>(i + 1));
  CHECK(file.read<double>("t").matrix()(1, 0) == 4);
  array<float, 2> out(2, 3);
  file.copy_to("t", out);
  CHECK(out(0, 2) == 3);
  CHECK(out(1, 2) == 6);
  array<double, 2> turned(3, 2);
  file.copy_to("t", matrix_view<double>(turned.data(), 2, 3, 1, 2));
  CHECK(turned(2, 1) == 6);
  CHECK(turned(0, 1) == 4);
}

TEST_CASE("tensor_reader: every other element of a vector, and integers that do not fit") {
  const std::vector<std::int64_t> integers{1, -1, 127, -1, 128};
  const memory_file file({tensor_of("v", integers, {3}, {2})});
  array<double, 1> spread(6);
  file.copy_to("v", vector_view<double>(spread.data(), 3, 2));
  CHECK(spread[4] == 128);
  CHECK(spread[1] == 0);
  array<std::int16_t, 1> wide(3);
  file.copy_to("v", wide);
  CHECK(wide[2] == 128);
  array<std::int8_t, 1> narrow(3);
  CHECK(message_of<format_error>([&] { file.copy_to("v", narrow); }) ==
        "memory: f: tensor 'v': element 2 out of range, expected what I8 can hold");
  CHECK(narrow[0] == 0);
  const std::vector<float> x{1};
  const memory_file floats({tensor_of("x", x, {1}, {1})});
  CHECK(message_of<format_error>([&] { static_cast<void>(floats.read<std::int8_t>("x")); }) ==
        "memory: f: tensor 'x': dtype F32, expected I64, I32, I16, I8 or U8");
}
