#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/safetensors_reader.hpp>
#include <stroma/io/safetensors_writer.hpp>

#include "scratch.hpp"

using stroma::array;
using stroma::half;
using stroma::index_t;
using stroma::matrix_view;
using stroma::named_tensor;
using stroma::safetensors_reader;
using stroma::safetensors_writer;
using stroma::tensor_type;
using stroma::value_error;
using stroma::vector_view;
using stroma::write_safetensors;

namespace {

template <class T>
T number(index_t i) {
  return stroma::narrow<T>(i);
}
template <class T>
double widened(T value) {
  return stroma::widen<double>(value);
}

}  // namespace

TEST_CASE_TEMPLATE("safetensors_writer: round trip of every type", T, double, float, half, stroma::bfloat16,
                   std::int64_t, std::int32_t, std::int16_t, std::int8_t, std::uint8_t) {
  const scratch_folder folder;
  array<T, 2> matrix(5, 3);
  for (index_t i = 0; i < 15; ++i) matrix.data()[i] = number<T>(i);
  const array<T, 1> none(0);
  write_safetensors(folder / "a", {named_tensor("rows", matrix), named_tensor("none", none),
                                   named_tensor("columns", matrix_view<T>(matrix.data(), 3, 5, 1, 3)),
                                   named_tensor("every other", vector_view<T>(matrix.data(), 7, 2)),
                                   named_tensor("cube", vector_view<T>(matrix.data(), 12), {2, 3, 2})});
  const safetensors_reader file(folder / "a");
  CHECK(folder.count() == 1);
  REQUIRE(file.tensors().size() == 5);
  CHECK(file.tensors()[0].name == "rows");
  CHECK(file.tensors()[2].type == stroma::tensor_type_of<T>);
  CHECK(file.read<T>("cube").shape() == std::vector<index_t>{2, 3, 2});
  CHECK(file.read<T>("none").flat().size == 0);
  for (index_t r = 0; r < 5; ++r)
    for (index_t c = 0; c < 3; ++c) {
      CHECK(widened(file.read<T>("rows").matrix()(r, c)) == widened(matrix(r, c)));
      CHECK(widened(file.read<T>("columns").matrix()(c, r)) == widened(matrix(r, c)));
    }
  for (index_t i = 0; i < 7; ++i) CHECK(widened(file.read<T>("every other").flat()[i]) == 2.0 * static_cast<double>(i));
}

TEST_CASE("safetensors_writer: the data begin at a multiple of 8, names and metadata may be any UTF-8") {
  const scratch_folder folder;
  const std::string name = "q\"\\\n\xc3\xa9";
  const array<double, 1> x(3);
  for (std::size_t n = 0; n < 9; ++n) {
    write_safetensors(folder / "a", {named_tensor(name + std::string(n, 'x'), x)}, {{"k\t", name}});
    const safetensors_reader file(folder / "a");
    CHECK(file.read<double>(name + std::string(n, 'x')).in_place());
    CHECK(file.metadata().at("k\t") == name);
  }
}

TEST_CASE("safetensors_writer: strides longer than the buffer") {
  const scratch_folder folder;
  array<float, 2> matrix(300, 70);
  for (index_t i = 0; i < matrix.size(); ++i) matrix.data()[i] = static_cast<float>(i);
  write_safetensors(folder / "a", {named_tensor("t", stroma::as_view(matrix).transposed())});
  const safetensors_reader file(folder / "a");
  const auto t = file.read<float>("t");
  bool same = true;
  for (index_t r = 0; r < 70; ++r)
    for (index_t c = 0; c < 300; ++c) same = same && t.matrix()(r, c) == matrix(c, r);
  CHECK(same);
}

TEST_CASE("safetensors_writer: piece by piece") {
  const scratch_folder folder;
  safetensors_writer out(
      folder / "a",
      {{"empty", tensor_type::f32, {0, 2}}, {"a", tensor_type::f32, {3, 2}}, {"b", tensor_type::u8, {2}}});
  array<float, 2> piece(2, 2);
  piece.fill(1.5f);
  out.append("a", piece);
  CHECK(message_of<value_error>([&] { out.append("b", array<std::uint8_t, 1>(2)); }) ==
        "safetensors_writer: append: tensor 'b', expected 'a'");
  CHECK(message_of<value_error>([&] { out.append("a", array<double, 2>(1, 2)); }) ==
        "safetensors_writer: a: F64, expected F32");
  CHECK(message_of<stroma::shape_error>([&] { out.append("a", piece); }) ==
        "safetensors_writer: a: 4 elements, expected 2 or fewer (what its shape leaves)");
  CHECK(message_of<value_error>([&] { out.finish(); }) ==
        "safetensors_writer: finish: tensor 'a' incomplete, expected all elements of all tensors");
  CHECK_FALSE(std::filesystem::exists(folder / "a"));
  out.append("a", stroma::as_view(piece).row(0));
  out.append("b", array<std::uint8_t, 1>(2));
  CHECK_THROWS_AS(out.append("b", array<std::uint8_t, 1>(1)), value_error);
  out.finish();
  CHECK(safetensors_reader(folder / "a").read<float>("a").matrix()(2, 1) == 1.5f);
}

TEST_CASE("safetensors_writer: what cannot be written is refused before the file is made") {
  const scratch_folder folder;
  const array<float, 1> x(2);
  const auto refusal = [&](std::vector<stroma::tensor_plan> plans, const stroma::file_metadata& metadata = {}) {
    return message_of<value_error>([&] { safetensors_writer out(folder / "a", std::move(plans), metadata); });
  };
  const index_t big = index_t{1} << 60;
  CHECK(contains(refusal({{"a", tensor_type::u8, {1}}, {"a", tensor_type::u8, {1}}}), "tensor 'a': this name twice"));
  CHECK(contains(refusal({{"__metadata__", tensor_type::u8, {1}}}), "the format's own name"));
  CHECK(contains(refusal({{"\xff", tensor_type::u8, {1}}}), "not UTF-8"));
  CHECK(contains(refusal({{"a", tensor_type::u8, {-1}}}), "shape [-1]"));
  CHECK(contains(refusal({{"a", tensor_type::f64, {big}}}), "shape"));
  CHECK(contains(refusal({{"a", tensor_type::f32, {big}}, {"b", tensor_type::f32, {big}}}), "tensor 'b': shape"));
  CHECK(contains(refusal({}, {{"k", "\xff"}}), "metadata 'k': text that is not UTF-8"));
  CHECK_THROWS_AS(static_cast<void>(named_tensor("a", x, {3})), stroma::shape_error);
  CHECK(folder.count() == 0);
}

TEST_CASE("safetensors_writer: a writer that throws midway leaves the old file") {
  const scratch_folder folder;
  array<float, 1> x(2);
  write_safetensors(folder / "a", {named_tensor("x", x)});
  const std::string before = bytes_of(folder / "a");
  CHECK_THROWS_AS(
      [&] {
        safetensors_writer out(folder / "a", {{"y", tensor_type::f32, {4}}});
        out.append("y", x);
        throw std::runtime_error("cancelled");
      }(),
      std::runtime_error);
  CHECK(bytes_of(folder / "a") == before);
  CHECK(folder.count() == 1);
}
