#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/cox_partial_likelihood.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// Value and gradient for N patients: with the sorting, and with the order made before as in a training loop.
namespace {

enum class order { made_in_the_call, made_before };

template <class T, stroma::ties Method, order Order>
void cox(benchmark::State& state) {
  const auto& c = bench::cohort::of(state.range(0));
  const std::vector<T> score(c.score.begin(), c.score.end());
  std::vector<T> gradient(score.size());
  T value{};
  stroma::cpu_context ctx;
  const stroma::cox_options options{.tie_method = Method};
  const stroma::cox_output<T> out{&value, stroma::as_view(gradient)};
  const stroma::risk_order<> sorted(ctx, c.time, c.event);
  const auto step = [&] {
    if constexpr (Order == order::made_before) stroma::cox_partial_likelihood(ctx, score, sorted, out, options);
    else stroma::cox_partial_likelihood(ctx, score, c.time, c.event, out, options);
  };
  step();
  for (auto _ : state) {
    step();
    benchmark::ClobberMemory();
  }
  bench::count_items(state, static_cast<double>(score.size()),
                     static_cast<double>(score.size() * (2 * sizeof(T) + sizeof(double) + 1)));
}

void cohorts(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N"})->RangeMultiplier(10)->Range(1000, 1000000)->Unit(benchmark::kMicrosecond);
}

BENCHMARK(cox<double, stroma::ties::breslow, order::made_in_the_call>)
    ->Name("BM_cox_partial_likelihood/double")
    ->Apply(cohorts);
BENCHMARK(cox<float, stroma::ties::breslow, order::made_in_the_call>)
    ->Name("BM_cox_partial_likelihood/float")
    ->Apply(cohorts);
BENCHMARK(cox<double, stroma::ties::efron, order::made_in_the_call>)
    ->Name("BM_cox_partial_likelihood_efron/double")
    ->Apply(cohorts);
BENCHMARK(cox<double, stroma::ties::breslow, order::made_before>)
    ->Name("BM_cox_partial_likelihood_sorted/double")
    ->Apply(cohorts);
BENCHMARK(cox<float, stroma::ties::breslow, order::made_before>)
    ->Name("BM_cox_partial_likelihood_sorted/float")
    ->Apply(cohorts);

}  // namespace
