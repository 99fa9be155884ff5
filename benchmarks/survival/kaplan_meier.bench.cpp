#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/kaplan_meier.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// The curve of N patients with errors and 95 % limits: with the sorting by time, and with the order made before. Times
// in whole days, some thousand distinct ones, or fine, nearly all distinct.
namespace {

enum class times { days, fine };
enum class order { made_in_the_call, made_before };

template <times Times, order Order, stroma::curve_error Error = stroma::curve_error::greenwood>
void drawn(benchmark::State& state) {
  const auto& c = bench::cohort::of(state.range(0));
  auto time = c.time;
  stroma::random_stream random(7);
  if (Times == times::fine)
    for (double& t : time) t -= random.uniform();
  stroma::cpu_context ctx;
  stroma::risk_order<> sorted(ctx, time, c.event);
  stroma::kaplan_meier_curves<> curves;
  const auto draw = [&] {
    if constexpr (Order == order::made_in_the_call) sorted.remake(ctx, time, c.event);
    curves.remake(ctx, sorted, {.error = Error});
  };
  draw();
  for (auto _ : state) {
    draw();
    benchmark::DoNotOptimize(curves.stacked().survival.data);
  }
  bench::count_items(state, static_cast<double>(time.size()), static_cast<double>(time.size() * (sizeof(double) + 1)));
}

void cohorts(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N"})->RangeMultiplier(10)->Range(1000, 1000000)->Unit(benchmark::kMicrosecond);
}

BENCHMARK(drawn<times::days, order::made_in_the_call>)->Name("BM_kaplan_meier/days")->Apply(cohorts);
BENCHMARK(drawn<times::fine, order::made_in_the_call>)->Name("BM_kaplan_meier/fine")->Apply(cohorts);
BENCHMARK(drawn<times::days, order::made_before>)->Name("BM_kaplan_meier_sorted/days")->Apply(cohorts);
BENCHMARK(drawn<times::fine, order::made_before>)->Name("BM_kaplan_meier_sorted/fine")->Apply(cohorts);
BENCHMARK(drawn<times::fine, order::made_before, stroma::curve_error::robust>)
    ->Name("BM_kaplan_meier_sorted_robust/fine")
    ->Apply(cohorts);

}  // namespace
