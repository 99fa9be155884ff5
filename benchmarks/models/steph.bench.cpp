#include <benchmark/benchmark.h>

#include "../support/measure.hpp"
#include "steph_workload.hpp"

// STEPH's training step (16 bags) and inference (one bag) of 10,000 patches; peers/steph.py compares with PyTorch.
namespace {

template <class Storage>
bench::steph_setting<Storage>& setting() {
  static bench::steph_setting<Storage> made;
  return made;
}

template <class Storage>
void BM_steph_inference(benchmark::State& state) {
  const auto& bag = bench::random_matrix<float>(state.range(0), 1536);
  bench::steph_inference<Storage> run(setting<Storage>(), static_cast<int>(state.range(1)));
  run(bag);
  run(bag);
  for (auto _ : state) benchmark::DoNotOptimize(run(bag));
  bench::count_flops<float>(state, bench::steph_inference_flops(bag.rows()), static_cast<int>(state.range(1)));
}
template <class Storage>
void BM_steph_training(benchmark::State& state) {
  const auto& bag = bench::random_matrix<float>(state.range(0), 1536);
  bench::steph_training<Storage> run(setting<Storage>(), static_cast<int>(state.range(1)));
  run(bag);
  for (auto _ : state) benchmark::DoNotOptimize(run(bag));
  bench::count_flops<float>(state, 16 * bench::steph_training_flops(bag.rows()), static_cast<int>(state.range(1)));
}
void slides(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "threads"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const int threads : {1, 2}) b->Args({10000, threads});
}

BENCHMARK(BM_steph_inference<float>)->Name("BM_steph_inference/float")->Apply(slides);
BENCHMARK(BM_steph_inference<stroma::half>)->Name("BM_steph_inference/half_vectors")->Apply(slides);
BENCHMARK(BM_steph_training<float>)->Name("BM_steph_training/float")->Apply(slides)->Iterations(1);
BENCHMARK(BM_steph_training<stroma::half>)->Name("BM_steph_training/half_vectors")->Apply(slides)->Iterations(1);

}  // namespace
