#include <cmath>

#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/concordance.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// Concordance of N patients whose times are whole days: with the sorting by time, and with the order made before as
// when many scores of one cohort are judged. Scores are all distinct, or rounded to 3 decimals as in the figures of R's
// survival.
namespace {

enum class order { made_in_the_call, made_before };
enum class scores { distinct, rounded };
enum class weights { ones, given };

std::vector<double> scores_of(const bench::cohort& c, scores kind) {
  auto score = c.score;
  if (kind == scores::rounded)
    for (double& x : score) x = std::round(1000 * x) / 1000;
  return score;
}
void count(benchmark::State& state, std::size_t rows, std::size_t bytes_of_score) {
  bench::count_items(state, static_cast<double>(rows),
                     static_cast<double>(rows * (bytes_of_score + sizeof(double) + 1)));
}

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
  count(state, score.size(), sizeof(T));
}

/// With the order made in the call, as R's times have it. The second argument: threads.
template <scores Scores, weights Weights, stroma::pair_weighting Weighting, bool Error>
void weighed(benchmark::State& state) {
  const auto& c = bench::cohort::of(state.range(0));
  const auto score = scores_of(c, Scores);
  std::vector<double> weight(score.size());
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = 0.5 + static_cast<double>(i % 97) / 97;
  stroma::cpu_context ctx(static_cast<int>(state.range(1)));
  stroma::risk_order<> sorted;
  const stroma::concordance_options options{.weighting = Weighting, .standard_error = Error};
  const auto judge = [&] {
    if constexpr (Weights == weights::given) sorted.remake(ctx, c.time, c.event, {.weight = weight});
    else sorted.remake(ctx, c.time, c.event);
    return stroma::concordance(ctx, score, sorted, options);
  };
  judge();
  for (auto _ : state) benchmark::DoNotOptimize(judge());
  count(state, score.size(), sizeof(double));
}

void cohorts(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N"})->RangeMultiplier(10)->Range(1000, 10000000)->Unit(benchmark::kMicrosecond);
}
void large_cohorts(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "threads"})->Unit(benchmark::kMicrosecond)->UseRealTime();
  for (const int n : {10000, 100000, 1000000}) b->Args({n, 1});
  b->Args({1000000, 2})->Args({10000000, 1});
}

BENCHMARK(judged<double, order::made_in_the_call>)->Name("BM_concordance/double")->Apply(cohorts);
BENCHMARK(judged<float, order::made_in_the_call>)->Name("BM_concordance/float")->Apply(cohorts);
BENCHMARK(judged<double, order::made_before>)->Name("BM_concordance_sorted/double")->Apply(cohorts);

using enum stroma::pair_weighting;
BENCHMARK(weighed<scores::rounded, weights::ones, equal, false>)->Name("BM_concordance_rounded")->Apply(large_cohorts);
BENCHMARK(weighed<scores::distinct, weights::ones, equal, true>)->Name("BM_concordance_error")->Apply(large_cohorts);
BENCHMARK(weighed<scores::rounded, weights::ones, equal, true>)
    ->Name("BM_concordance_rounded_error")
    ->Apply(large_cohorts);
BENCHMARK(weighed<scores::distinct, weights::given, equal, false>)
    ->Name("BM_concordance_weighted")
    ->Apply(large_cohorts);
BENCHMARK(weighed<scores::distinct, weights::given, equal, true>)
    ->Name("BM_concordance_weighted_error")
    ->Apply(large_cohorts);
BENCHMARK(weighed<scores::rounded, weights::ones, inverse_censoring, false>)
    ->Name("BM_concordance_uno_rounded")
    ->Apply(large_cohorts);
BENCHMARK(weighed<scores::distinct, weights::ones, inverse_censoring, true>)
    ->Name("BM_concordance_uno_error")
    ->Apply(large_cohorts);

}  // namespace
