#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/concordance.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// Harrell's concordance of N patients: with the sorting by time, and with the order made before as when many scores
// of one cohort are judged.
namespace {

template <class T>
void run(benchmark::State& state, bool sorted) {
  const auto& c = bench::cohort::of(state.range(0));
  const std::vector<T> score(c.score.begin(), c.score.end());
  stroma::cpu_context ctx;
  const stroma::risk_order<> order(ctx, c.time, c.event);
  const auto judge = [&] { return sorted ? stroma::concordance(ctx, score, order) : stroma::concordance(ctx, score, c.time, c.event); };
  judge();
  for (auto _ : state) benchmark::DoNotOptimize(judge());
  bench::count_items(state, static_cast<double>(score.size()), static_cast<double>(score.size() * (sizeof(T) + sizeof(double) + 1)));
}

void cohorts(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N"})->RangeMultiplier(10)->Range(1000, 1000000)->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(run<double>, unsorted, false)->Name("BM_concordance/double")->Apply(cohorts);
BENCHMARK_CAPTURE(run<float>, unsorted, false)->Name("BM_concordance/float")->Apply(cohorts);
BENCHMARK_CAPTURE(run<double>, sorted, true)->Name("BM_concordance_sorted/double")->Apply(cohorts);

}  // namespace
