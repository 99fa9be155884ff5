#pragma once
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include <stroma/backend/cpu/simd.hpp>

namespace bench {

/// Flops of a second's multiply-adds that never leave the registers: what no product can exceed.
template <class T>
double register_flops(double seconds) {
  using s = stroma::detail::simd<T>;
  using clock = std::chrono::steady_clock;
  constexpr int chains = 12, rounds = 2000;  // four cycles of latency at two multiply-adds a cycle need eight chains
  typename s::packet sums[chains];
  for (auto& sum : sums) sum = s::set(T(1));
  T near_one = T(0.9999), little = T(1e-4);
  benchmark::DoNotOptimize(near_one);
  benchmark::DoNotOptimize(little);
  const auto factor = s::set(near_one), term = s::set(little);
  const auto begin = clock::now();
  double flops = 0, passed = 0;
  do {
    for (int i = 0; i < rounds; ++i)
#pragma GCC unroll 12
      for (auto& sum : sums) sum = s::fma(sum, factor, term);
    flops += 2.0 * chains * rounds * s::lanes;
    passed = std::chrono::duration<double>(clock::now() - begin).count();
  } while (passed < seconds);
  T total = 0;
  for (const auto& sum : sums) total += s::sum(sum);
  benchmark::DoNotOptimize(total);
  return flops / passed;
}

/// The same on several threads at once: the best of many windows that are shorter than a time slice, so that on a busy
/// machine some are undisturbed. Measured once a process.
template <class T>
double peak_flops(int threads) {
  static std::map<int, double> known;
  if (const auto found = known.find(threads); found != known.end()) return found->second;
  double best = 0;
  for (int window = 0; window < 100; ++window) {
    std::vector<double> each(static_cast<std::size_t>(threads));
    std::vector<std::thread> others;
    for (std::size_t t = 1; t < each.size(); ++t)
      others.emplace_back([&each, t] { each[t] = register_flops<T>(0.002); });
    each[0] = register_flops<T>(0.002);
    for (auto& other : others) other.join();
    double sum = 0;
    for (const double flops : each) sum += flops;
    best = std::max(best, sum);
  }
  return known[threads] = best;
}

/// Rate of an iteration's flops, and its share of the peak.
template <class T>
void count_flops(benchmark::State& state, double flops, int threads = 1) {
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(flops * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = Counter(flops / peak_flops<T>(threads), Counter::kIsIterationInvariantRate);
}

/// Rates of instances (patches, patients, ..) and of the bytes that are read and written at least.
inline void count_items(benchmark::State& state, double items, double bytes) {
  state.SetItemsProcessed(static_cast<std::int64_t>(items) * static_cast<std::int64_t>(state.iterations()));
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes) * static_cast<std::int64_t>(state.iterations()));
}

}  // namespace bench
