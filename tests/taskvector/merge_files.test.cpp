#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/core/context.hpp>
#include <stroma/io/safetensors.hpp>
#include <stroma/taskvector/dare.hpp>
#include <stroma/taskvector/merge_files.hpp>
#include <stroma/taskvector/task_arithmetic.hpp>
#include <stroma/taskvector/ties_merging.hpp>
#include <stroma/taskvector/weighted_average.hpp>

#include "io/scratch.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

namespace {

template <class Model>
std::vector<std::filesystem::path> saved(const scratch_folder& folder, const std::vector<Model>& models,
                                         const file_metadata& metadata = {}) {
  std::vector<std::filesystem::path> paths;
  for (const Model& m : models) {
    paths.push_back(folder / ("model" + std::to_string(paths.size()) + ".safetensors"));
    save_parameters(paths.back(), m, metadata);
  }
  return paths;
}

/// Tensors of every type and shape: a scalar, a convolution, an empty one, an odd number of bytes before others.
struct mixed_file {
  std::vector<std::uint8_t> odd{1, 2, 3};
  std::vector<half> f16;
  std::vector<bfloat16> bf16;
  std::vector<float> convolution, scalar, none;
  std::vector<double> f64;
  std::vector<std::int64_t> steps{5};
  explicit mixed_file(std::uint32_t seed) {
    random_stream draw(9, seed);
    for (int i = 0; i < 33; ++i) f16.push_back(narrow<half>(draw.normal()));
    for (int i = 0; i < 35; ++i) bf16.push_back(narrow<bfloat16>(draw.normal()));
    for (int i = 0; i < 4 * 3 * 3 * 3; ++i) convolution.push_back(static_cast<float>(draw.normal()));
    scalar.push_back(static_cast<float>(draw.normal()));
    for (int i = 0; i < 6; ++i) f64.push_back(draw.normal());
  }
  void write(const std::filesystem::path& path, const file_metadata& metadata = {}) const {
    write_safetensors(
        path,
        {named_tensor("odd", odd), named_tensor("f16", f16, {3, 11}), named_tensor("bf16", bf16),
         named_tensor("convolution", convolution, {4, 3, 3, 3}), named_tensor("scalar", scalar, {}),
         named_tensor("none", none, {0, 7}), named_tensor("f64", f64, {2, 3}), named_tensor("steps", steps)},
        metadata);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("merge_files: a file has the bits of a model merged in memory", T, float, double) {
  const scratch_folder folder;
  cpu_context ctx;
  const auto base = random_model<small_model<T>>(1);
  const auto tuned = tuned_from(base, 3);
  save_parameters(folder / "base", base, {{"kind", "test"}});
  const model_files files(folder / "base", saved(folder, tuned));
  const auto check = [&](const auto& rule) {
    small_model<T> expected, found;
    merge_report in_memory;
    merge(ctx, rule, base, tuned, expected, &in_memory);
    const auto from_files = merge_files(ctx, rule, files, folder / "out");
    const safetensors_reader out(folder / "out");
    load_parameters(out, found);
    CHECK(same_bits(found, expected));
    CHECK(out.metadata() == file_metadata{{"kind", "test"}});
    REQUIRE(from_files.size() == in_memory.size());
    for (std::size_t i = 0; i < from_files.size(); ++i) {
      CHECK(from_files[i].name == in_memory[i].name);
      CHECK(from_files[i].vector_norms == in_memory[i].vector_norms);
      CHECK(from_files[i].change_norm == in_memory[i].change_norm);
      CHECK(from_files[i].kept == in_memory[i].kept);
    }
  };
  check(ties_merging());
  check(ties_merging({.density = 0.5, .count = trim_count::exact}));
  check(ties_merging(ties_by_tensor(0.4)));
  check(dare({.density = 0.5}));
  check(task_arithmetic({.scale = 0.3}));
  check(weighted_average());
}

TEST_CASE("merge_files: every type is rounded once from the mean in long double; integers are copied") {
  const scratch_folder folder;
  const std::vector<mixed_file> content{mixed_file(1), mixed_file(2), mixed_file(3)};
  std::vector<std::filesystem::path> paths;
  for (const auto& c : content) {
    paths.push_back(folder / std::to_string(paths.size()));
    c.write(paths.back());
  }
  const auto run = [&](int threads, const std::string& name) {
    cpu_context ctx(threads);
    return merge_files(ctx, weighted_average(), model_files({}, paths), folder / name);
  };
  const auto report = run(1, "out");
  run(3, "again");
  CHECK(bytes_of(folder / "out") == bytes_of(folder / "again"));
  const safetensors_reader out(folder / "out");
  REQUIRE(out.tensors().size() == 8);
  CHECK(report.size() == 6);
  const auto check = [&]<class S>(const char* name, const std::vector<S> mixed_file::*values) {
    const auto found = out.read<S>(name);
    CHECK(out.at(name).type == tensor_type_of<S>);
    CHECK(found.shape() == safetensors_reader(paths[0]).at(name).shape);
    for (std::size_t i = 0; i < (content[0].*values).size(); ++i) {
      long double mean = 0;
      for (const auto& c : content) mean += static_cast<long double>(widen<double>((c.*values)[i])) / 3;
      // Rounded to float (double for F64), then to S: half a unit of S and one of the wider type.
      const long double digits = std::is_same_v<S, half>       ? 0x1p-11L
                                 : std::is_same_v<S, bfloat16> ? 0x1p-8L
                                 : std::is_same_v<S, float>    ? 0x1p-24L
                                                               : 0x1p-52L;
      const long double value = widen<double>(found.flat()[static_cast<index_t>(i)]);
      const long double subnormal = std::is_same_v<S, half> ? 0x1p-25L : 0;
      CHECK(std::fabs(value - mean) <= std::fabs(mean) * (digits + 0x1p-23L * (digits > 0x1p-23L)) + subnormal +
                                           8 * std::numeric_limits<double>::epsilon());
    }
  };
  check("f16", &mixed_file::f16);
  check("bf16", &mixed_file::bf16);
  check("convolution", &mixed_file::convolution);
  check("scalar", &mixed_file::scalar);
  check("f64", &mixed_file::f64);
  CHECK(out.read<std::int64_t>("steps").flat()[0] == 5);
  CHECK(out.read<std::uint8_t>("odd").flat()[2] == 3);
}

TEST_CASE("merge_files: a model in several files is as one in one file") {
  const scratch_folder folder;
  cpu_context ctx;
  const std::vector<float> a{1, 2, 3, 4}, b{5, 6}, a2{3, 2, 1, 0}, b2{-5, 7};
  const auto matrix = [](const std::vector<float>& x) { return named_tensor("a", x, {2, 2}); };
  write_safetensors(folder / "one", {matrix(a), named_tensor("b", b)});
  write_safetensors(folder / "two", {matrix(a2), named_tensor("b", b2)});
  write_safetensors(folder / "two-2", {named_tensor("b", b2)});
  write_safetensors(folder / "two-1", {matrix(a2)});
  const auto index = folder / "two.safetensors.index.json";
  std::ofstream(index) << R"({"metadata":{"total_size":24},"weight_map":{"a":"two-1","b":"two-2"}})";

  const auto merged = [&](const std::filesystem::path& first, const std::filesystem::path& second) {
    merge_files(ctx, weighted_average(), model_files({}, {first, second}), folder / "out");
    return bytes_of(folder / "out");
  };
  const std::string expected = merged(folder / "one", folder / "two");
  CHECK(merged(folder / "one", index) == expected);
  CHECK(merged(index, folder / "one") == expected);
}

TEST_CASE("merge_files: 16-bit elements that agree keep their bits, those too large are counted") {
  const scratch_folder folder;
  cpu_context ctx;
  const mixed_file one(1);
  one.write(folder / "a");
  one.write(folder / "b");
  merge_files(ctx, task_arithmetic(), model_files(folder / "a", {folder / "b", folder / "b"}), folder / "out");
  CHECK(bytes_of(folder / "out") == bytes_of(folder / "a"));

  const std::vector<half> base{to_half(0)}, tuned{to_half(60000)};
  write_safetensors(folder / "base", {named_tensor("w", base)});
  write_safetensors(folder / "tuned", {named_tensor("w", tuned)});
  const auto report =
      merge_files(ctx, task_arithmetic({.scale = 2}), model_files(folder / "base", {folder / "tuned"}), folder / "out");
  CHECK(report[0].overflowed == 1);
  CHECK(report[0].change_norm == 120000);
}

TEST_CASE("merge_files: passes and tensors are told") {
  const scratch_folder folder;
  cpu_context ctx;
  const auto base = random_model<small_model<float>>(1);
  const auto paths = saved(folder, tuned_from(base, 2));
  std::vector<merge_progress> seen;
  merge_files(ctx, ties_merging(), model_files({}, paths), folder / "out",
              {.progress = [&](const merge_progress& p) { seen.push_back(p); }, .metadata = {{"method", "ties"}}});
  REQUIRE(seen.size() == 4 * 5);  // two for the threshold, one for the signs, one that writes
  CHECK(seen[0].pass == 1);
  CHECK(seen.back().pass == 4);
  CHECK(seen.back().writes);
  CHECK(!seen[14].writes);
  CHECK(seen.back().tensor == 5);
  CHECK(seen.back().tensors == 5);
  CHECK(safetensors_reader(folder / "out").metadata() == file_metadata{{"method", "ties"}});
}

TEST_CASE("merge_files: what does not fit is named, and nothing is written") {
  const scratch_folder folder;
  cpu_context ctx;
  const std::vector<float> two{1, 2}, three{1, 2, 3};
  const std::vector<double> wide{1, 2};
  const std::vector<std::int64_t> five{5}, six{6};
  const auto at = [&](const char* name) { return (folder / name).string(); };
  write_safetensors(folder / "base", {named_tensor("w", two), named_tensor("n", five)});
  write_safetensors(folder / "shape", {named_tensor("w", three), named_tensor("n", five)});
  write_safetensors(folder / "type", {named_tensor("w", wide), named_tensor("n", five)});
  write_safetensors(folder / "missing", {named_tensor("w", two)});
  write_safetensors(folder / "extra", {named_tensor("w", two), named_tensor("n", five), named_tensor("head", two)});
  write_safetensors(folder / "integer", {named_tensor("w", two), named_tensor("n", six)});
  const auto message = [&](const char* model) {
    return message_of<format_error>([&] { model_files(folder / "base", {folder / "base", folder / model}); });
  };
  CHECK(message("shape") ==
        "model_files: " + at("shape") + ": tensor 'w': shape [3], expected [2] (as in " + at("base") + ")");
  CHECK(message("type") ==
        "model_files: " + at("type") + ": tensor 'w': dtype F64, expected F32 (as in " + at("base") + ")");
  CHECK(message("missing") == "safetensors: " + at("missing") + ": no tensor 'n', expected one among the 1");
  CHECK(message("extra") == "model_files: " + at("extra") + ": tensor 'head': no tensor of that name in " + at("base") +
                                ", expected the same tensors in each file");
  CHECK(message("integer") == "model_files: " + at("integer") + ": tensor 'n': other integers than in " + at("base") +
                                  ", expected the same, or to be told to copy those of the base");
  CHECK_THROWS_AS(model_files(folder / "base", {}), value_error);
  CHECK_THROWS_AS(model_files(folder / "base", {folder / "nothing"}), format_error);
  CHECK_THROWS_AS(model_files(folder / "base", {folder / "base"}, {folder / "base", folder / "base"}), shape_error);

  // Heads and integers can be left to the base.
  merge_files(ctx, weighted_average(),
              model_files(folder / "base", {folder / "extra", folder / "integer", folder / "base"}, {},
                          {.copied = {"head"}, .integers = integer_tensors::from_base}),
              folder / "out");
  CHECK(bytes_of(folder / "out") == bytes_of(folder / "base"));

  const std::vector<float> bad{1, std::numeric_limits<float>::infinity()};
  write_safetensors(folder / "bad", {named_tensor("w", bad), named_tensor("n", five)});
  const model_files files(folder / "base", {folder / "bad"});
  CHECK(message_of<value_error>([&] { merge_files(ctx, ties_merging(), files, folder / "never"); }) ==
        "ties_merging: models[0]: w: inf at 1, expected finite values");
  CHECK_THROWS_AS(merge_files(ctx, weighted_average(), files, folder / "never"), value_error);
  CHECK(!std::filesystem::exists(folder / "never"));
}

TEST_CASE("merge_files: a model of another base is refused, both are named") {
  const scratch_folder folder;
  cpu_context ctx;
  const auto base = random_model<small_model<float>>(1), other = random_model<small_model<float>>(2);
  save_parameters(folder / "base", base);
  save_parameters(folder / "other", other);
  const auto paths = saved(folder, tuned_from(base, 2), {{"base_fingerprint", fingerprint_of(base)}});
  const model_files files(folder / "base", paths);
  CHECK(files.base_fingerprint() == fingerprint_of(base));
  merge_files(ctx, ties_merging(), files, folder / "out");
  CHECK(safetensors_reader(folder / "out").metadata().at("base_fingerprint") == fingerprint_of(base));
  const auto message = message_of<value_error>([&] { model_files(folder / "other", paths); });
  CHECK(message == "model_files: " + (folder / "other").string() + " for " + paths[0].string() +
                       ": the base of fingerprint " + fingerprint_of(other) + ", expected " + fingerprint_of(base));
}
