#include <benchmark/benchmark.h>

#include <stroma/optim/sgd.hpp>

#include "../support/measure.hpp"
#include "abmil_workload.hpp"

// A slide of STEPH's size and a bag of the classical sets. peers/abmil_pytorch.py runs the same.
namespace {

using stroma::index_t;
using model = stroma::abmil<float>;

model made(const stroma::abmil_shape& shape) {
  model m(shape);
  bench::initialise(m);
  return m;
}

template <class Run>
void measure(benchmark::State& state, const stroma::abmil_shape& shape, double flops, double bytes, Run&& run) {
  const index_t n = state.range(0);
  run();
  run();  // the first step's blocks of memory become one
  for (auto _ : state) benchmark::DoNotOptimize(run());
  bench::count_flops<float>(state, flops, static_cast<int>(state.range(2)));
  bench::count_items(state, static_cast<double>(n), bytes * static_cast<double>(n * shape.features));
}

template <class S, auto Shape>
void inference(benchmark::State& state) {
  const auto shape = Shape();
  const model m = made(shape);
  const auto& bag = bench::random_matrix<S>(state.range(0), shape.features);
  bench::inference_run run(m, static_cast<int>(state.range(2)));
  measure(state, shape, bench::inference_flops(shape, bag.rows()), sizeof(S), [&] { return run(bag); });
}

template <class S, auto Shape>
void training(benchmark::State& state) {
  const auto shape = Shape();
  model m = made(shape);
  const auto& bag = bench::random_matrix<S>(state.range(0), shape.features);
  bench::training_run<stroma::adamw<model>> run(m, static_cast<int>(state.range(2)),
                                                stroma::adam_options{.weight_decay = 1e-2});
  measure(state, shape, bench::training_flops(shape, bag.rows()), sizeof(S), [&] { return run(bag, 1e-4); });
}

void small_training(benchmark::State& state) {
  const auto shape = bench::small_shape();
  model m = made(shape);
  const auto& bag = bench::random_matrix<float>(state.range(0), shape.features);
  bench::training_run<stroma::sgd<model>> run(m, static_cast<int>(state.range(2)),
                                              stroma::sgd_options{.momentum = 0.9, .weight_decay = 5e-3});
  measure(state, shape, bench::training_flops(shape, bag.rows()), sizeof(float), [&] { return run(bag, 5e-4); });
}

void slide(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "D", "threads"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const int threads : {1, 2}) b->Args({10000, 1536, threads});
}
void small_bag(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "D", "threads"})->UseRealTime()->Unit(benchmark::kMicrosecond)->Args({5, 166, 1});
}

constexpr auto plain = [] { return bench::slide_shape(); };
constexpr auto dropout = [] { return bench::slide_shape(0.25); };

BENCHMARK(inference<float, plain>)->Name("BM_abmil/float")->Apply(slide);
BENCHMARK(inference<stroma::half, plain>)->Name("BM_abmil/half")->Apply(slide);
BENCHMARK(training<float, plain>)->Name("BM_abmil_training/float")->Apply(slide);
BENCHMARK(training<float, dropout>)->Name("BM_abmil_training_dropout/float")->Apply(slide);
BENCHMARK(training<stroma::half, plain>)->Name("BM_abmil_training/half")->Apply(slide);
BENCHMARK(inference<float, bench::small_shape>)->Name("BM_abmil_small/float")->Apply(small_bag);
BENCHMARK(small_training)->Name("BM_abmil_small_training/float")->Apply(small_bag);

}  // namespace
