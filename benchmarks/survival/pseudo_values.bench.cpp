#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/pseudo_values.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// Jackknife pseudo-values of N patients at 5 times, sorted before.
namespace {

template <stroma::pseudo_quantity Quantity>
void left_out(benchmark::State& state) {
  const auto& c = bench::cohort::of(state.range(0));
  const std::vector<double> at{100, 200, 400, 800, 1600};
  stroma::cpu_context ctx;
  const stroma::risk_order<> sorted(ctx, c.time, c.event);
  stroma::array<double, 2> out(state.range(0), 5);
  for (auto _ : state) {
    stroma::pseudo_values(ctx, at, sorted, out, {.quantity = Quantity});
    benchmark::DoNotOptimize(out.data());
  }
  bench::count_items(state, static_cast<double>(out.size()), static_cast<double>(out.size()) * sizeof(double));
}

BENCHMARK(left_out<stroma::pseudo_quantity::survival>)
    ->Name("BM_pseudo_values/survival")
    ->ArgNames({"N"})
    ->Arg(1000)
    ->Arg(1000000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(left_out<stroma::pseudo_quantity::restricted_mean>)
    ->Name("BM_pseudo_values/restricted_mean")
    ->ArgNames({"N"})
    ->Arg(1000)
    ->Arg(1000000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
