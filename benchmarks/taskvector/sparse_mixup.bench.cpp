#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include <benchmark/benchmark.h>

#include <stroma/adapt/std.hpp>
#include <stroma/taskvector/sparse_mixup.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// A merge of task vectors and its derivative against the triad a = b + s c over as many bytes, which is what this
// machine's memory gives: bytes_per_second are to be compared. 12 sources of STEPH's size, of which 5 are mixed, and 3
// sources of a hundred million parameters, all mixed.
namespace {

using bench::index_t;

/// A model that is one array.
struct flat_model {
  stroma::array<float, 1> values;
  static auto members(auto& self) { return std::tuple{stroma::member{"values", self.values}}; }
};

struct setting {
  std::unique_ptr<stroma::vector_stack<float>> stack;
  std::vector<float> weight, share, merged, coefficient;
  std::vector<index_t> selected;
  index_t read = 0;  // rows with a coefficient

  setting(index_t size, index_t sources, index_t top_k)
      : merged(static_cast<std::size_t>(size)),
        coefficient(static_cast<std::size_t>(sources) + 1),
        selected(static_cast<std::size_t>(top_k)),
        read(top_k + 1) {
    const auto model = [&](std::uint64_t seed) {
      flat_model m{stroma::array<float, 1>(size)};
      stroma::random_stream random(seed);
      for (float& x : m.values) x = stroma::unit_float(random());
      return m;
    };
    {
      const flat_model origin = model(1), target = model(2);
      std::vector<flat_model> others;
      for (index_t j = 0; j < sources; ++j) others.push_back(model(static_cast<std::uint64_t>(3 + j)));
      stack = std::make_unique<stroma::vector_stack<float>>(origin, std::span<const flat_model>(others), target,
                                                            [](std::string_view) { return true; });
    }
    for (index_t j = 0; j < sources; ++j) {
      weight.push_back(0.1f + 0.01f * static_cast<float>(j % 7));
      share.push_back(0.4f);
    }
    merged.resize(static_cast<std::size_t>(stack->size()));
  }
  static setting& of(benchmark::State& state) {
    static std::map<index_t, std::unique_ptr<setting>> made;
    auto& s = made[state.range(0)];
    if (!s) {
      made.clear();  // one at a time: the largest takes two gigabytes
      made[state.range(0)] = std::make_unique<setting>(state.range(0), state.range(1), state.range(2));
    }
    return *made[state.range(0)];
  }
};

void BM_sparse_mixup(benchmark::State& state) {
  setting& s = setting::of(state);
  stroma::cpu_context ctx(static_cast<int>(state.range(3)));
  const stroma::sparse_mixup_output<float> out{stroma::as_view(s.merged), stroma::as_view(s.selected),
                                               stroma::as_view(s.coefficient)};
  for (auto _ : state) {
    stroma::sparse_mixup(ctx, s.weight, s.share, *s.stack, out, {.top_k = state.range(2)});
    benchmark::ClobberMemory();
  }
  bench::count_items(state, 0, 4.0 * static_cast<double>(s.stack->size()) * static_cast<double>(s.read + 2));
}

void BM_sparse_mixup_backward(benchmark::State& state) {
  setting& s = setting::of(state);
  stroma::cpu_context ctx(static_cast<int>(state.range(3)));
  std::fill(s.merged.begin(), s.merged.end(), 0.5f);  // takes the place of the derivative
  for (index_t j = 0; j < state.range(2); ++j) s.selected[static_cast<std::size_t>(j)] = j;
  std::vector<float> d_weight(s.weight.size()), d_share(s.share.size());
  using kernel = stroma::detail::sparse_mixup_kernel<stroma::backend::cpu>;
  for (auto _ : state) {
    kernel::backward(ctx, stroma::as_const_view(s.merged), s.stack->rows(), stroma::as_const_view(s.weight),
                     stroma::as_const_view(s.share), stroma::as_const_view(s.selected), stroma::as_view(d_weight),
                     stroma::as_view(d_share));
    benchmark::ClobberMemory();
  }
  bench::count_items(state, 0, 4.0 * static_cast<double>(s.stack->size()) * static_cast<double>(s.read + 1));
}

/// Over three arrays that have together the bytes of the merge.
void BM_triad(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0) * (state.range(2) + 3) / 3);
  static std::vector<float> a, b, c;
  if (a.size() != size) {
    a.assign(size, 1);
    b.assign(size, 2);
    c.assign(size, 3);
  }
  stroma::cpu_context ctx(static_cast<int>(state.range(3)));
  constexpr std::size_t piece = 1 << 16;
  float factor = 0.5f;
  benchmark::DoNotOptimize(factor);
  const auto triad = [factor](std::size_t count, float* __restrict to, const float* x, const float* y) {
    for (std::size_t i = 0; i < count; ++i) to[i] = x[i] + factor * y[i];
  };
  for (auto _ : state) {
    ctx.parallel(static_cast<index_t>((size + piece - 1) / piece), [&](index_t task, int) {
      const std::size_t first = static_cast<std::size_t>(task) * piece;
      triad(std::min(piece, size - first), a.data() + first, b.data() + first, c.data() + first);
    });
    benchmark::ClobberMemory();
  }
  bench::count_items(state, 0, 12.0 * static_cast<double>(size));
}

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"P", "sources", "top_k", "threads"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const int threads : {1, 2}) b->Args({1200000, 12, 5, threads});
  for (const int threads : {1, 2}) b->Args({100000000, 3, 3, threads});
}

BENCHMARK(BM_triad)->Apply(sizes);
BENCHMARK(BM_sparse_mixup)->Apply(sizes);
BENCHMARK(BM_sparse_mixup_backward)->Apply(sizes);

}  // namespace
