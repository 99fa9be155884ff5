#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>

#include <doctest/doctest.h>
#include <support/shared.hpp>

#include <stroma/io/safetensors_reader.hpp>
#include <stroma/io/safetensors_writer.hpp>

#include "scratch.hpp"

using stroma::array;
using stroma::format_error;
using stroma::half;
using stroma::index_t;
using stroma::matrix_view;
using stroma::safetensors_reader;
using stroma::vector_view;

namespace {

template <class T>
std::string bytes_as(std::initializer_list<T> values) {
  std::string out(values.size() * sizeof(T), '\0');
  std::memcpy(out.data(), values.begin(), out.size());
  return out;
}
std::span<const std::byte> as_bytes(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

/// An odd byte, then a tensor that therefore lies unaligned, then integers.
std::string mixed_file() {
  return raw_safetensors(R"({"odd":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                         R"("m":{"dtype":"F32","shape":[2,3],"data_offsets":[1,25]},)"
                         R"("i":{"dtype":"I64","shape":[3],"data_offsets":[25,49]},)"
                         R"("s":{"dtype":"F64","shape":[],"data_offsets":[49,57]}} )",
                         bytes_as<std::uint8_t>({7}) + bytes_as<float>({1, 2, 3, 4, 5, 6.5f}) +
                             bytes_as<std::int64_t>({-1, 255, std::int64_t{1} << 40}) + bytes_as<double>({0.5}));
}

}  // namespace

TEST_CASE("safetensors_reader: unaligned elements are copied, aligned ones are not") {
  const std::string file = mixed_file();
  const safetensors_reader reader(as_bytes(file), "mixed");
  CHECK(reader.tensors().size() == 4);
  CHECK(reader.contains("odd"));
  CHECK_FALSE(reader.contains("od"));
  CHECK(reader.read<std::uint8_t>("odd").in_place());
  int in_place = 0;
  for (std::size_t shift = 0; shift < 4; ++shift) {
    std::string moved(shift, ' ');
    moved += file;
    const safetensors_reader at(as_bytes(moved).subspan(shift), "mixed");
    const auto m = at.read<float>("m");
    in_place += m.in_place();
    CHECK(m.matrix()(1, 2) == 6.5f);
    CHECK(m.flat()[3] == 4);
  }
  CHECK(in_place == 1);
  CHECK(reader.read<double>("m").matrix()(0, 1) == 2);
  CHECK_THROWS_AS(static_cast<void>(reader.read<double>("i").matrix()), stroma::shape_error);
}

TEST_CASE("safetensors_reader: a moved reader keeps its tensors") {
  const scratch_folder folder;
  safetensors_reader reader(folder.file("a", mixed_file()));
  const auto* const tensor = reader.find("m");
  const safetensors_reader other = std::move(reader);
  CHECK(other.find("m") == tensor);
  CHECK(other.read<float>("m").matrix()(0, 0) == 1);
}

TEST_CASE("safetensors_reader: copy_to converts, into any strides") {
  const std::string file = mixed_file();
  const safetensors_reader reader(as_bytes(file), "mixed");
  array<double, 2> columns(3, 2);
  reader.copy_to("m", matrix_view<double>(columns.data(), 2, 3, 1, 2));
  CHECK(columns(2, 1) == 6.5);
  CHECK(columns(0, 1) == 4);
  array<half, 2> halves(2, 3);
  reader.copy_to("m", halves);
  CHECK(stroma::to_float(halves(1, 2)) == 6.5f);
  array<float, 1> spread(6);
  reader.copy_to("i", vector_view<float>(spread.data(), 3, 2));
  CHECK(spread[2] == 255);
  CHECK(spread[1] == 0);
  array<std::int64_t, 1> integers(3);
  reader.copy_to("i", integers);
  CHECK(integers[2] == std::int64_t{1} << 40);
  array<float, 1> scalar(1);
  reader.copy_to("s", scalar);
  CHECK(scalar[0] == 0.5f);
}

TEST_CASE("safetensors_reader: what does not fit is named and nothing is written") {
  const std::string file = mixed_file();
  const safetensors_reader reader(as_bytes(file), "mixed");
  array<float, 2> m(3, 2);
  CHECK(message_of<format_error>([&] { reader.copy_to("m", m); }) ==
        "safetensors: mixed: tensor 'm': shape [2, 3], expected [3, 2]");
  array<float, 1> flat(6);
  CHECK(message_of<format_error>([&] { reader.copy_to("m", flat); }) ==
        "safetensors: mixed: tensor 'm': shape [2, 3], expected [6]");
  array<std::int32_t, 1> narrow(3);
  CHECK(message_of<format_error>([&] { reader.copy_to("i", narrow); }) ==
        "safetensors: mixed: tensor 'i': element 2 out of range, expected what I32 can hold");
  CHECK(narrow[0] == 0);
  CHECK(contains(message_of<format_error>([&] { static_cast<void>(reader.read<std::uint8_t>("i")); }),
                 "element 0 out of range"));
  CHECK(message_of<format_error>([&] { static_cast<void>(reader.read<std::int64_t>("m")); }) ==
        "safetensors: mixed: tensor 'm': dtype F32, expected I64, I32, I16, I8 or U8");
  CHECK(message_of<format_error>([&] { static_cast<void>(reader.read<float>("x")); }) ==
        "safetensors: mixed: no tensor 'x', expected one among the 4");
}

TEST_CASE("safetensors_reader: golden files of PyTorch") {
  const safetensors_reader gated(test_data("models/abmil_gated.safetensors"));
  CHECK(gated.tensors().size() == 29);
  CHECK(gated.metadata().at("dim_emb") == "16");
  const auto x = gated.read<double>("input.x");
  CHECK(x.in_place());
  CHECK(x.matrix().rows == 37);
  CHECK(x.matrix().cols == 25);
  CHECK(gated.read<double>("output.loss").flat()[0] == 2.7359026962571847);
  const safetensors_reader cox(test_data("models/loss_cox_efron.safetensors"));
  CHECK(cox.read<std::int64_t>("input.bin").flat()[0] == 5);
  CHECK(cox.read<double>("input.z").shape() == std::vector<index_t>{41, 1});
  for (const char* name : {"abmil_plain", "loss_cox_breslow", "loss_cox_breslow_weighted", "loss_cox_efron_weighted",
                           "loss_nll_hazard", "loss_nll_incidence", "loss_ranking"})
    CHECK(safetensors_reader(test_data("models/" + std::string(name) + ".safetensors")).contains("output.loss"));
}

TEST_CASE("safetensors_reader: damaged files are refused or read, never worse") {
  const std::string good = bytes_of(test_data("models/loss_cox_efron.safetensors"));
  REQUIRE(good.size() > 1000);
  std::mt19937 random(20240717);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    const std::size_t header = 8 + 528;
    for (std::size_t flips = 1 + below(3); flips-- > 0;) {
      char& byte = bad[below(round % 2 == 0 ? header : bad.size())];
      byte = static_cast<char>(byte ^ (1 << below(8)));
    }
    if (round % 5 == 0) bad.resize(below(bad.size()));
    if (round % 7 == 0) bad.insert(below(std::min(header, bad.size() + 1)), 1, "0123456789{}[],:\"\\"[below(18)]);
    try {
      const safetensors_reader reader(as_bytes(bad), "bad");
      for (const auto& tensor : reader.tensors()) {
        const auto values = reader.read<float>(tensor.name);
        double sum = 0;
        for (index_t i = 0; i < values.flat().size; ++i) sum += static_cast<double>(values.flat()[i]);
        static_cast<void>(sum);
      }
    } catch (const format_error&) {
      ++refused;
    }
  }
  CHECK(refused > 500);
}

TEST_CASE("safetensors_reader: an index opens the files that it names") {
  const scratch_folder folder;
  const auto tensor = [](const std::string& name, float value) {
    return raw_safetensors(R"({"__metadata__":{"from":")" + name + R"("},")" + name +
                               R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                           bytes_as<float>({value}));
  };
  folder.file("m-2.safetensors", tensor("b", 2));
  folder.file("m-1.safetensors", tensor("a", 1));
  const auto index = [&](std::string_view text) { return folder.file("m.safetensors.index.json", text); };
  {
    const safetensors_reader reader(
        index(R"({"metadata": {"total_size": 8, "x": -1.5e3, "y": "z", "n": null, "t": true},
        "weight_map": {"b": "m-2.safetensors", "a": "m-1.safetensors"}}
)"));
    REQUIRE(reader.tensors().size() == 2);
    CHECK(reader.read<float>("a").flat()[0] == 1);
    CHECK(reader.read<float>("b").flat()[0] == 2);
    CHECK(reader.metadata().at("from") == "a");
    for (const auto& t : reader.tensors()) reader.release(t);
    CHECK(reader.read<float>("b").flat()[0] == 2);
  }
  const auto refusal = [&](std::string_view text) {
    return message_of<format_error>([&] { const safetensors_reader reader(index(text)); });
  };
  CHECK(contains(refusal(R"({"weight_map":{"a":"m-1.safetensors","b":"m-1.safetensors"}})"),
                 "tensor 'b': nothing of that name in m-1.safetensors"));
  CHECK(contains(refusal(R"({"weight_map":{"c":"m-1.safetensors"}})"), "m-1.safetensors: tensor 'a': not in "));
  CHECK(contains(refusal(R"({"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors"}})"),
                 "m-1.safetensors: tensor 'a': in m-2.safetensors"));
  CHECK(contains(refusal(R"({"weight_map":{"a":"m-3.safetensors"}})"), "m-3.safetensors: does not exist"));
  for (const char* name : {"../m-1.safetensors", "/m-1.safetensors", "..", "", "a\\\\b"})
    CHECK(contains(refusal(R"({"weight_map":{"a":")" + std::string(name) + R"("}})"), "a file beside the index"));
  CHECK(contains(refusal(R"({"weight_map":{"a":"m-1.safetensors","a":"m-1.safetensors"}})"), "'a': this name twice"));
  CHECK(contains(refusal(R"({"metadata":{}})"), "no weight_map"));
  CHECK(contains(refusal(R"({"weight_map":{},"weight_map":{}})"), "each once"));
  CHECK(contains(refusal(R"({"metadata":{"a":[1]},"weight_map":{}})"), "a string, a number, true, false or null"));
  CHECK(contains(refusal(""), "expected '{'"));
}
