#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/time_dependent_auc.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// Cumulative/dynamic AUC of N patients at T times, from the order made before: one score for all times, and one for
// each.
namespace {

std::vector<double> evaluation_times(bench::index_t count) {
  std::vector<double> times;
  for (bench::index_t k = 0; k < count; ++k)
    times.push_back(2000.0 * static_cast<double>(k + 1) / static_cast<double>(count));
  return times;
}

template <class Scores>
void judge(benchmark::State& state, const Scores& score, int threads, double items) {
  stroma::cpu_context ctx(threads);
  const auto& c = bench::cohort::of(state.range(0));
  const stroma::risk_order<> order(ctx, c.time, c.event);
  const auto times = evaluation_times(state.range(1));
  std::vector<double> auc(times.size());
  const stroma::estimate_at_times<double> out{stroma::as_view(auc), {}};
  const auto judged = [&] { stroma::time_dependent_auc(ctx, score, times, order, out); };
  judged();
  for (auto _ : state) {
    judged();
    benchmark::DoNotOptimize(auc.data());
  }
  bench::count_items(state, items, items * 8);
}
void one_score(benchmark::State& state) {
  judge(state, bench::cohort::of(state.range(0)).score, 1, static_cast<double>(state.range(0)));
}
void score_of_each_time(benchmark::State& state) {
  judge(state, bench::random_matrix<double>(state.range(0), state.range(1)), static_cast<int>(state.range(2)),
        static_cast<double>(state.range(0) * state.range(1)));
}

BENCHMARK(one_score)
    ->Name("BM_time_dependent_auc/one_score")
    ->ArgNames({"N", "T"})
    ->ArgsProduct({{1000, 10000, 100000, 1000000}, {1, 10, 100, 1000}})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(score_of_each_time)
    ->Name("BM_time_dependent_auc/each_time")
    ->ArgNames({"N", "T", "threads"})
    ->Args({10000, 10, 1})
    ->Args({10000, 100, 1})
    ->Args({100000, 10, 1})
    ->Args({100000, 10, 2})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
