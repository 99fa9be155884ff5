#include <cmath>
#include <map>
#include <vector>

#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/survival/cox_partial_likelihood.hpp>
#include <stroma/survival/kaplan_meier.hpp>

#include "../support/inputs.hpp"

// What benchmarks/peers/survival.py compares with R's survival and torchsurv: the same tasks under the same names, one
// thread. Sorted: with the order made before.
namespace {

struct patients {
  std::vector<double> time, score;
  std::vector<std::uint8_t> event;
  stroma::cpu_context ctx;
  stroma::risk_order<> order;

  patients(stroma::index_t n, bool fine) {
    stroma::random_stream random(static_cast<std::uint64_t>(n));
    for (stroma::index_t i = 0; i < n; ++i) {
      score.push_back(random.normal());
      const double t = 1000 * random.exponential() * std::exp(-score.back() / 2);
      time.push_back(fine ? t : std::ceil(t));
      event.push_back(random.uniform() < 0.4 ? 1 : 0);
    }
    order.remake(ctx, time, event);
  }
  static patients& of(stroma::index_t n, bool fine) {
    static std::map<std::pair<stroma::index_t, bool>, patients> made;
    return made.try_emplace({n, fine}, n, fine).first->second;
  }
};

template <class Task>
void run(benchmark::State& state, bool fine, bool kept, const Task& task) {
  patients& p = patients::of(state.range(0), fine);
  const auto once = [&] {
    if (!kept) p.order.remake(p.ctx, p.time, p.event);
    task(p);
  };
  once();
  for (auto _ : state) {
    once();
    benchmark::ClobberMemory();
  }
}

void cox(benchmark::State& state, stroma::ties method, bool fine, bool kept) {
  std::vector<double> gradient(static_cast<std::size_t>(state.range(0)));
  double value = 0;
  run(state, fine, kept, [&](patients& p) {
    stroma::cox_partial_likelihood(p.ctx, p.score, p.order, {&value, stroma::as_view(gradient)},
                                   {.tie_method = method});
  });
}
void concordance(benchmark::State& state, const stroma::concordance_options& options, bool fine, bool kept) {
  run(state, fine, kept,
      [&](patients& p) { benchmark::DoNotOptimize(stroma::concordance(p.ctx, p.score, p.order, options).value); });
}
void kaplan_meier(benchmark::State& state, bool fine, bool kept) {
  stroma::kaplan_meier_curves<> curves;
  run(state, fine, kept,
      [&](patients& p) { curves.remake(p.ctx, p.order, {.interval = stroma::curve_interval::log}); });
}

const int registered = [] {
  for (const bool fine : {false, true})
    for (const bool kept : {false, true}) {
      const auto add = [&](const std::string& name, auto&& body) {
        benchmark::RegisterBenchmark(
            ("peer/" + name + (fine ? "_fine" : "_days") + (kept ? "/sorted" : "/whole")).c_str(), body)
            ->RangeMultiplier(10)
            ->Range(10000, 1000000)
            ->Unit(benchmark::kMillisecond);
      };
      add("cox_breslow", [=](benchmark::State& s) { cox(s, stroma::ties::breslow, fine, kept); });
      add("cox_efron", [=](benchmark::State& s) { cox(s, stroma::ties::efron, fine, kept); });
      add("concordance", [=](benchmark::State& s) { concordance(s, {}, fine, kept); });
      add("concordance_se", [=](benchmark::State& s) { concordance(s, {.standard_error = true}, fine, kept); });
      add("concordance_uno", [=](benchmark::State& s) {
        concordance(s, {.weighting = stroma::pair_weighting::inverse_censoring}, fine, kept);
      });
      add("kaplan_meier", [=](benchmark::State& s) { kaplan_meier(s, fine, kept); });
    }
  return 0;
}();

}  // namespace
