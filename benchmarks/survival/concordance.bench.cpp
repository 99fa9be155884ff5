#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/concordance.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// Harrell's concordance of N patients: with the sorting by time, and with the order made before as when many scores
// of one cohort are judged.
namespace {

enum class order { made_in_the_call, made_before };

template <class T, order Order>
void judged(benchmark::State& state) {
  const auto& c = bench::cohort::of(state.range(0));
  const std::vector<T> score(c.score.begin(), c.score.end());
  stroma::cpu_context ctx;
  const stroma::risk_order<> sorted(ctx, c.time, c.event);
  const auto judge = [&] {
    if constexpr (Order == order::made_before) return stroma::concordance(ctx, score, sorted);
    else return stroma::concordance(ctx, score, c.time, c.event);
  };
  judge();
  for (auto _ : state) benchmark::DoNotOptimize(judge());
  bench::count_items(state, static_cast<double>(score.size()),
                     static_cast<double>(score.size() * (sizeof(T) + sizeof(double) + 1)));
}

void cohorts(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N"})->RangeMultiplier(10)->Range(1000, 1000000)->Unit(benchmark::kMicrosecond);
}

BENCHMARK(judged<double, order::made_in_the_call>)->Name("BM_concordance/double")->Apply(cohorts);
BENCHMARK(judged<float, order::made_in_the_call>)->Name("BM_concordance/float")->Apply(cohorts);
BENCHMARK(judged<double, order::made_before>)->Name("BM_concordance_sorted/double")->Apply(cohorts);

}  // namespace
