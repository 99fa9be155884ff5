#include <benchmark/benchmark.h>

#include <stroma/pooling/attention_pool.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// Gated attention pooling of N instances in equal bags: values alone, and values kept with their gradients.
namespace {

using stroma::array;
using stroma::index_t;

constexpr index_t width = 384;

template <class T, class S>
struct pool {
  index_t n, d, length;
  int threads;
  stroma::cpu_context ctx;
  stroma::gated_attention<T> layer, gradient;
  std::vector<index_t> offsets;
  array<T, 2> slide, attention;

  explicit pool(const benchmark::State& state)
      : n(state.range(0)),
        d(state.range(1)),
        length(state.range(2)),
        threads(static_cast<int>(state.range(3))),
        ctx(threads),
        layer(d, width),
        attention(n, 1) {
    bench::initialise(layer);
    gradient = stroma::zeros_like(layer);
    for (index_t first = 0; first < n; first += length) offsets.push_back(first);
    offsets.push_back(n);
    slide = {static_cast<index_t>(offsets.size()) - 1, d};
  }
  [[nodiscard]] stroma::bag_view<const S> bags() const {
    return {stroma::as_const_view(bench::random_matrix<S>(n, d)),
            {offsets.data(), static_cast<index_t>(offsets.size())}};
  }
  template <class View, class Layer>
  static View view_of(Layer& l) {
    using stroma::as_view;
    return {as_view(l.hidden.weight), as_view(l.hidden.bias),  as_view(l.gate.weight),
            as_view(l.gate.bias),     as_view(l.score.weight), as_view(l.score.bias)};
  }
  [[nodiscard]] auto parameters() const { return view_of<stroma::attention_view<const T>>(layer); }
  auto gradients() { return view_of<stroma::attention_view<T>>(gradient); }
  /// One product with V and one with U: `products` counts pairs.
  void count(benchmark::State& state, double products) const {
    const double area = static_cast<double>(n) * static_cast<double>(d);
    bench::count_flops<T>(state, products * 4 * area * width, threads);
    bench::count_items(state, static_cast<double>(n), sizeof(S) * area);
  }
};

template <class T, class S>
void inference(benchmark::State& state) {
  pool<T, S> p(state);
  const auto bags = p.bags();
  const stroma::attention_output<T> out{stroma::as_view(p.slide), stroma::as_view(p.attention), {}, {}};
  const auto run = [&] { stroma::attention_pool(p.ctx, bags, p.parameters(), out); };
  run();
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  p.count(state, 1);
}

template <class T>
void training(benchmark::State& state) {
  pool<T, T> p(state);
  const auto bags = p.bags();
  array<T, 2> hidden(p.n, width), gate(p.n, width), d_x(p.n, p.d), d_slide = p.slide;
  d_slide.fill(1);
  const stroma::attention_output<T> out{stroma::as_view(p.slide), stroma::as_view(p.attention), stroma::as_view(hidden),
                                        stroma::as_view(gate)};
  const stroma::attention_derivative<T> derivative{stroma::as_const_view(d_slide), {}};
  const stroma::attention_gradients<T> gradients{stroma::as_view(d_x), p.gradients()};
  const auto run = [&] {
    stroma::attention_pool(p.ctx, bags, p.parameters(), out);
    stroma::attention_pool_backward(p.ctx, bags, p.parameters(), out, derivative, gradients);
  };
  run();
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  p.count(state, 3);
}

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "D", "bag", "threads"})->UseRealTime();
  for (const int threads : {1, 2})
    for (const index_t n : {100, 1000, 10000, 100000}) b->Args({n, 512, n, threads});
  b->Args({10000, 512, 5, 1})->Args({10000, 512, 5, 2});
}

BENCHMARK(inference<float, float>)->Name("BM_attention_pool/float")->Apply(sizes);
BENCHMARK(inference<float, stroma::half>)->Name("BM_attention_pool/half")->Apply(sizes);
BENCHMARK(training<float>)->Name("BM_attention_pool_training/float")->Apply(sizes);

}  // namespace
