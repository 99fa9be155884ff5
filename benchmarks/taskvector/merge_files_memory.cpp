#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/taskvector/merge_files.hpp>
#include <stroma/taskvector/task_arithmetic.hpp>
#include <stroma/taskvector/ties_merging.hpp>
#include <stroma/taskvector/weighted_average.hpp>

#include "../support/inputs.hpp"
#include "../support/resident.hpp"

// What merging two models of many GiB takes: peak resident memory of the process, and seconds beside those of copying
// as many bytes. usage: merge_files_memory [GiB of a model, default 4] [folder] [threads]
namespace {

using clock_type = std::chrono::steady_clock;
double seconds_since(clock_type::time_point start) {
  return std::chrono::duration<double>(clock_type::now() - start).count();
}

constexpr stroma::index_t extent = 4096;  // of a square matrix of float: 64 MiB, a layer of a large encoder

void write_model(const std::filesystem::path& path, stroma::index_t matrices, std::uint64_t seed) {
  std::vector<stroma::tensor_plan> plans;
  for (stroma::index_t i = 0; i < matrices; ++i)
    plans.push_back({"layer" + std::to_string(i), stroma::tensor_type::f32, {extent, extent}});
  stroma::safetensors_writer writer(path, std::move(plans));
  std::vector<float> row(extent);
  stroma::random_stream random(seed);
  for (float& x : row) x = static_cast<float>(random.normal());
  for (stroma::index_t i = 0; i < matrices; ++i)
    for (stroma::index_t r = 0; r < extent; ++r) {
      row[static_cast<std::size_t>(r)] += 1;  // no two rows are equal
      writer.append("layer" + std::to_string(i), row);
    }
  writer.finish();
}

/// Reads all bytes of the first and second file and writes those of the first: the least that a merge does.
double copy_seconds(const std::vector<std::filesystem::path>& from, const std::filesystem::path& to) {
  const auto start = clock_type::now();
  std::vector<char> buffer(std::size_t{8} << 20), other(buffer.size());
  std::ifstream first(from[0], std::ios::binary), second(from[1], std::ios::binary);
  std::ofstream out(to, std::ios::binary);
  while (first.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || first.gcount() > 0) {
    second.read(other.data(), static_cast<std::streamsize>(other.size()));
    out.write(buffer.data(), first.gcount());
  }
  out.close();
  const double seconds = seconds_since(start);
  std::filesystem::remove(to);
  return seconds;
}

template <class Rule>
void measure(const char* name, const Rule& rule, const std::filesystem::path& base,
             const std::vector<std::filesystem::path>& models, int threads) {
  bench::forget_peak();
  const auto start = clock_type::now();
  const auto out = models[0].parent_path() / "merged.safetensors";
  {
    stroma::cpu_context ctx(threads);
    const stroma::model_files files(base, models);
    stroma::merge_files(ctx, rule, files, out);
  }
  std::printf("%-24s %8.1f s   peak %6.0f MiB\n", name, seconds_since(start), bench::resident_mib("VmHWM"));
  std::fflush(stdout);
  std::filesystem::remove(out);
}

}  // namespace

int main(int argc, char** argv) {
  const double gib = argc > 1 ? std::stod(argv[1]) : 4;
  const std::filesystem::path folder =
      (argc > 2 ? std::filesystem::path(argv[2]) : std::filesystem::temp_directory_path()) / "stroma_merge_memory";
  const int threads = argc > 3 ? std::stoi(argv[3]) : 1;
  const auto matrices = static_cast<stroma::index_t>(gib * 16);
  std::filesystem::create_directories(folder);
  const std::vector<std::filesystem::path> models{folder / "a.safetensors", folder / "b.safetensors"};
  for (std::size_t i = 0; i < 2; ++i) write_model(models[i], matrices, i + 1);
  std::printf("2 models of %.2f GiB, tensors of 64 MiB, %d threads\n", static_cast<double>(matrices) / 16, threads);
  std::printf("%-24s %8.1f s\n", "copy", copy_seconds(models, folder / "copy"));
  measure("average", stroma::weighted_average(), {}, models, threads);
  write_model(folder / "base.safetensors", matrices, 3);
  measure("task arithmetic, base", stroma::task_arithmetic(), folder / "base.safetensors", models, threads);
  measure("TIES, base", stroma::ties_merging(), folder / "base.safetensors", models, threads);
  std::filesystem::remove_all(folder);
}
