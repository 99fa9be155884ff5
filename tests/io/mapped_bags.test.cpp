#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/mapped_bags.hpp>
#include <stroma/io/safetensors_writer.hpp>

#include "scratch.hpp"

using stroma::array;
using stroma::format_error;
using stroma::half;
using stroma::index_t;
using stroma::mapped_bags;
using stroma::named_tensor;
using stroma::tensor_type;
using stroma::write_safetensors;

namespace {

template <class T>
array<T, 2> filled(index_t rows, index_t cols, double value) {
  array<T, 2> out(rows, cols);
  out.fill(stroma::narrow<T>(value));
  return out;
}
std::string refusal(const std::filesystem::path& path) {
  return message_of<format_error>([&] { mapped_bags bags(path); });
}
double sum(const mapped_bags& bags, index_t b) {
  return bags.visit(b, [](auto view) {
    double total = 0;
    for (index_t r = 0; r < view.rows; ++r)
      for (index_t c = 0; c < view.cols; ++c) total += stroma::widen<double>(view(r, c));
    return total;
  });
}

}  // namespace

TEST_CASE("mapped_bags: bags of every float type, an empty one, unaligned ones") {
  const scratch_folder folder;
  const auto path = folder / "bags.safetensors";
  write_safetensors(path,
                    {named_tensor("h", filled<half>(3, 1, 0.5)), named_tensor("f", filled<float>(2, 1, 0.25)),
                     named_tensor("b", filled<stroma::bfloat16>(1, 1, 2)), named_tensor("none", array<float, 2>(0, 1)),
                     named_tensor("d", filled<double>(4, 1, 1.5))},
                    {{"label.h", "1"}, {"label.f", "0"}, {"label.b", "1"}, {"label.none", "0"}, {"label.d", "2.5"}});
  const mapped_bags bags(path);
  CHECK(bags.count() == 5);
  CHECK(bags.features() == 1);
  CHECK(bags.rows() == 10);
  CHECK(bags.ids() == std::vector<std::string>{"h", "f", "b", "none", "d"});
  CHECK(bags.labels() == std::vector<double>{1, 0, 1, 0, 2.5});
  CHECK(bags.type(2) == tensor_type::bf16);
  CHECK(sum(bags, 0) == 1.5);
  CHECK(sum(bags, 1) == 0.5);
  CHECK(sum(bags, 2) == 2);
  CHECK(sum(bags, 3) == 0);
  CHECK(sum(bags, 4) == 6);
  CHECK(bags.visit(0, [](auto view) { return std::is_same_v<typename decltype(view)::value_type, half>; }));
  array<float, 2> copy(4, 1);
  bags.copy_to(4, copy);
  CHECK(copy(3, 0) == 1.5f);
  CHECK_THROWS_AS(bags.copy_to(0, copy), format_error);
  CHECK_THROWS_AS(static_cast<void>(bags.rows(5)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(bags.id(-1)), stroma::value_error);
}

TEST_CASE("mapped_bags: in_place says whether visit shows the file's own bytes") {
  const scratch_folder folder;
  const auto path = folder / "bags.safetensors";
  // The data begin on a multiple of 8 bytes: 6 bytes of half leave the float bag behind them unaligned.
  write_safetensors(path, {named_tensor("h", filled<half>(3, 1, 0.5)), named_tensor("f", filled<float>(2, 1, 0.25)),
                           named_tensor("none", array<float, 2>(0, 1))});
  const mapped_bags bags(path);
  const auto misaligned = [&](index_t b) {
    return bags.visit(b, [](auto view) {
      return reinterpret_cast<std::uintptr_t>(view.data) % alignof(typename decltype(view)::value_type);
    });
  };
  const auto address = [&](index_t b) {
    return bags.visit(b, [](auto view) { return reinterpret_cast<std::uintptr_t>(view.data); });
  };
  CHECK(bags.in_place(0));
  CHECK(bags.in_place(2));
  CHECK(address(0) == address(0));
  const auto distance = address(1) > address(0) ? address(1) - address(0) : address(0) - address(1);
  CHECK(bags.in_place(1) == (distance == 6));  // beside the first bag of the file, or a copy elsewhere
  CHECK_FALSE(bags.in_place(1));
  CHECK(misaligned(1) == 0);
}

TEST_CASE("mapped_bags: a folder, one slide a file or several") {
  const scratch_folder folder;
  write_safetensors(folder / "s2.safetensors", {named_tensor("features", filled<float>(2, 3, 2)),
                                                named_tensor("coords", array<std::int32_t, 2>(2, 2))});
  write_safetensors(folder / "s1.safetensors", {named_tensor("features", filled<half>(1, 3, 1))});
  write_safetensors(folder / "s3.safetensors",
                    {named_tensor("x", filled<float>(1, 3, 3)), named_tensor("w", filled<float>(4, 3, 4))});
  folder.file("readme.txt", "not a bag");
  const mapped_bags bags(folder.path());
  CHECK(bags.ids() == std::vector<std::string>{"s1", "s2", "x", "w"});
  CHECK(bags.rows(3) == 4);
  CHECK(sum(bags, 1) == 12);
}

TEST_CASE("mapped_bags: what is wrong is named") {
  const scratch_folder folder;
  const auto path = folder / "bags.safetensors";
  const std::string where = "mapped_bags: " + path.string() + ": ";
  write_safetensors(path, {});
  CHECK(refusal(path) == where + "no tensor, expected at least one bag");
  write_safetensors(path, {named_tensor("a", filled<float>(2, 3, 0)), named_tensor("b", filled<float>(2, 4, 0))});
  CHECK(refusal(path) == where + "tensor 'b': 4 features, expected 3 (those of bag 'a')");
  write_safetensors(path, {named_tensor("a", array<float, 1>(2))});
  CHECK(refusal(path) == where + "tensor 'a': shape [2], expected [instances, features]");
  write_safetensors(path, {named_tensor("a", array<float, 2>(2, 0))});
  CHECK(refusal(path) == where + "tensor 'a': shape [2, 0], expected [instances, features]");
  write_safetensors(path, {named_tensor("a", array<std::int64_t, 2>(2, 2))});
  CHECK(refusal(path) == where + "tensor 'a': dtype I64, expected F64, F32, F16 or BF16");
  write_safetensors(path, {named_tensor("a", filled<float>(2, 3, 0)), named_tensor("b", filled<float>(2, 3, 0))},
                    {{"label.a", "1"}});
  CHECK(refusal(path) == where + "1 labels, expected 2 (one a bag) or none");
  write_safetensors(path, {named_tensor("a", filled<float>(2, 3, 0))}, {{"label.a", "one"}});
  CHECK(refusal(path) == where + "tensor 'a': label 'one', expected a number");
  CHECK(contains(refusal(folder / "none"), "does not exist"));
}

TEST_CASE("mapped_bags: ids are unique over a folder, and a folder without files is refused") {
  const scratch_folder folder;
  CHECK(contains(refusal(folder.path()), "no tensor, expected at least one bag"));
  write_safetensors(folder / "one.safetensors", {named_tensor("two", filled<float>(1, 2, 0))});
  write_safetensors(folder / "two.safetensors", {named_tensor("features", filled<float>(1, 2, 0))});
  CHECK(refusal(folder.path()) == "mapped_bags: " + (folder / "two.safetensors").string() +
                                      ": tensor 'features': bag 'two' twice, expected each id once");
  folder.file("two.safetensors", "damaged");
  CHECK(contains(refusal(folder.path()), "two.safetensors: 7 bytes"));
}

TEST_CASE("mapped_bags: empty bags of absurd size take no memory") {
  const scratch_folder folder;
  const auto path = folder.file(
      "a.safetensors", raw_safetensors(R"({"a":{"dtype":"F32","shape":[0,1152921504606846976],"data_offsets":[0,0]},)"
                                       R"("b":{"dtype":"F32","shape":[0,1152921504606846976],"data_offsets":[0,0]}})"));
  const mapped_bags bags(path);
  CHECK(bags.rows() == 0);
  CHECK(sum(bags, 1) == 0);
}
