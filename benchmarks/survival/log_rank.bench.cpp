#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/log_rank.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// The log-rank test of k groups of N patients altogether, sorted before.
namespace {

void compared(benchmark::State& state) {
  const auto& c = bench::cohort::of(state.range(0));
  std::vector<int> group;
  stroma::random_stream random(9);
  for (std::size_t i = 0; i < c.time.size(); ++i)
    group.push_back(static_cast<int>(random.uniform() * static_cast<double>(state.range(1))));
  stroma::cpu_context ctx;
  const stroma::risk_order<> sorted(ctx, c.time, c.event);
  stroma::log_rank_result result;
  log_rank(ctx, group, sorted, result);
  for (auto _ : state) {
    log_rank(ctx, group, sorted, result);
    benchmark::DoNotOptimize(result.test.p_value);
  }
  bench::count_items(state, static_cast<double>(group.size()), static_cast<double>(group.size() * sizeof(int)));
}

BENCHMARK(compared)
    ->Name("BM_log_rank")
    ->ArgNames({"N", "groups"})
    ->ArgsProduct({{1000, 1000000}, {2, 8}})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
