#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/brier_score.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// Brier scores of N patients at T times, from the order made before: the predictions are read once. And of the
// Kaplan-Meier reference, which reads none.
namespace {

struct judged_cohort {
  stroma::risk_order<> order;
  std::vector<double> times;
  judged_cohort(stroma::cpu_context& ctx, bench::index_t n, bench::index_t count)
      : order(ctx, bench::cohort::of(n).time, bench::cohort::of(n).event) {
    for (bench::index_t k = 0; k < count; ++k)
      times.push_back(2000.0 * static_cast<double>(k + 1) / static_cast<double>(count));
  }
};

template <class T>
void judged(benchmark::State& state) {
  stroma::cpu_context ctx(static_cast<int>(state.range(2)));
  const judged_cohort c(ctx, state.range(0), state.range(1));
  auto survival = bench::random_matrix<T>(state.range(0), state.range(1));
  for (T& s : survival) s = (s + 1) / 2;
  std::vector<T> score(c.times.size());
  const stroma::estimate_at_times<T> out{stroma::as_view(score), {}};
  const auto judge = [&] { stroma::brier_score(ctx, survival, c.times, c.order, out, {.check_values = false}); };
  judge();
  for (auto _ : state) {
    judge();
    benchmark::DoNotOptimize(score.data());
  }
  bench::count_items(state, static_cast<double>(survival.size()),
                     static_cast<double>(survival.size()) * static_cast<double>(sizeof(T)));
}
void reference(benchmark::State& state) {
  stroma::cpu_context ctx;
  const judged_cohort c(ctx, state.range(0), state.range(1));
  std::vector<double> score(c.times.size());
  const stroma::estimate_at_times<double> out{stroma::as_view(score), {}};
  const auto judge = [&] { stroma::reference_brier_score(ctx, c.times, c.order, out); };
  judge();
  for (auto _ : state) {
    judge();
    benchmark::DoNotOptimize(score.data());
  }
  bench::count_items(state, static_cast<double>(state.range(0)), static_cast<double>(state.range(0)) * 24);
}

void cohorts(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "T", "threads"})->Unit(benchmark::kMicrosecond);
  for (const bench::index_t n : {1000, 10000, 100000})
    for (const bench::index_t t : {10, 100}) b->Args({n, t, 1});
  b->Args({100000, 100, 2});
}

BENCHMARK(judged<double>)->Name("BM_brier_score/double")->Apply(cohorts);
BENCHMARK(judged<float>)->Name("BM_brier_score/float")->Apply(cohorts);
BENCHMARK(reference)
    ->Name("BM_reference_brier_score")
    ->ArgNames({"N", "T"})
    ->Args({10000, 100})
    ->Args({1000000, 100})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
