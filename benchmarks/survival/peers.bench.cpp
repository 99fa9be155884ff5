#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/survival/cox_partial_likelihood.hpp>
#include <stroma/survival/kaplan_meier.hpp>

#include "../support/inputs.hpp"

// What benchmarks/peers/survival.py compares with R's survival and torchsurv: the same tasks under the same names, one
// thread. Sorted: with the order made before. `growth/` are the same, sort and all, up to ten million patients and with
// two threads.
namespace {

struct patients {
  std::vector<double> time, score;
  std::vector<std::uint8_t> event;
  stroma::cpu_context ctx;
  stroma::risk_order<> order;

  patients(stroma::index_t n, bool fine, int threads) : ctx(threads) {
    stroma::random_stream random(static_cast<std::uint64_t>(n));
    for (stroma::index_t i = 0; i < n; ++i) {
      score.push_back(random.normal());
      const double t = 1000 * random.exponential() * std::exp(-score.back() / 2);
      time.push_back(fine ? t : std::ceil(t));
      event.push_back(random.uniform() < 0.4 ? 1 : 0);
    }
    order.remake(ctx, time, event);
  }
  static patients& of(stroma::index_t n, bool fine, int threads) {
    static std::map<std::tuple<stroma::index_t, bool, int>, patients> made;
    return made.try_emplace({n, fine, threads}, n, fine, threads).first->second;
  }
};

struct manner {
  bool fine, kept;
  int threads = 1;
};

template <class Task>
void run(benchmark::State& state, const manner& how, const Task& task) {
  patients& p = patients::of(state.range(0), how.fine, how.threads);
  const auto once = [&] {
    if (!how.kept) p.order.remake(p.ctx, p.time, p.event);
    task(p);
  };
  once();
  for (auto _ : state) {
    once();
    benchmark::ClobberMemory();
  }
}

void cox(benchmark::State& state, stroma::ties method, const manner& how) {
  std::vector<double> gradient(static_cast<std::size_t>(state.range(0)));
  double value = 0;
  run(state, how, [&](patients& p) {
    stroma::cox_partial_likelihood(p.ctx, p.score, p.order, {&value, stroma::as_view(gradient)},
                                   {.tie_method = method});
  });
}
void concordance(benchmark::State& state, const stroma::concordance_options& options, const manner& how) {
  run(state, how,
      [&](patients& p) { benchmark::DoNotOptimize(stroma::concordance(p.ctx, p.score, p.order, options).value); });
}
void kaplan_meier(benchmark::State& state, const manner& how) {
  stroma::kaplan_meier_curves<> curves;
  run(state, how, [&](patients& p) { curves.remake(p.ctx, p.order, {.interval = stroma::curve_interval::log}); });
}

template <class Add>
void add_tasks(const manner& how, const Add& add) {
  using benchmark::State;
  add("cox_breslow", [=](State& s) { cox(s, stroma::ties::breslow, how); });
  add("cox_efron", [=](State& s) { cox(s, stroma::ties::efron, how); });
  add("concordance", [=](State& s) { concordance(s, {}, how); });
  add("concordance_se", [=](State& s) { concordance(s, {.standard_error = true}, how); });
  add("concordance_uno",
      [=](State& s) { concordance(s, {.weighting = stroma::pair_weighting::inverse_censoring}, how); });
  add("kaplan_meier", [=](State& s) { kaplan_meier(s, how); });
}

const int registered = [] {
  const auto with = [](const std::string& before, const std::string& after, stroma::index_t largest) {
    return [=](const char* name, auto&& body) {
      benchmark::RegisterBenchmark((before + name + after).c_str(), body)
          ->RangeMultiplier(10)
          ->Range(10000, largest)
          ->Unit(benchmark::kMillisecond);
    };
  };
  for (const bool fine : {false, true})
    for (const bool kept : {false, true})
      add_tasks({fine, kept},
                with("peer/", std::string(fine ? "_fine" : "_days") + (kept ? "/sorted" : "/whole"), 1000000));
  for (const int threads : {1, 2})
    add_tasks({true, false, threads}, with("growth/", "/threads:" + std::to_string(threads), 10000000));
  return 0;
}();

}  // namespace
