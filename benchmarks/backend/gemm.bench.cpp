#include <Eigen/Core>
#include <benchmark/benchmark.h>

#include <stroma/backend/cpu/primitives.hpp>

#include "../support/inputs.hpp"
#include "../support/measure.hpp"

// c [M, N] = a [M, K] b [K, N] in the layouts of a fully connected layer, ours and Eigen's own product side by side.
// forward: b is the transpose of row-major weights [N, K]. weights: a is the transpose of row-major derivatives [K, M].
namespace {

using stroma::cpu_context;
using stroma::index_t;
using stroma::matrix_view;

enum class layout { forward, weights };

template <class T, class S, layout L>
struct operands {
  index_t m, k, n;
  int threads;
  matrix_view<const S> a;
  matrix_view<const T> b;

  explicit operands(const benchmark::State& state)
      : m(state.range(0)), k(state.range(1)), n(state.range(2)), threads(static_cast<int>(state.range(3))) {
    if constexpr (L == layout::forward) {
      a = stroma::as_const_view(bench::random_matrix<S>(m, k, 1));
      b = stroma::as_const_view(bench::random_matrix<T>(n, k, 2)).transposed();
    } else {
      a = stroma::as_const_view(bench::random_matrix<S>(k, m, 1)).transposed();
      b = stroma::as_const_view(bench::random_matrix<T>(k, n, 2));
    }
  }
  void count(benchmark::State& state) const {
    const auto x = static_cast<double>(m), y = static_cast<double>(k), z = static_cast<double>(n);
    bench::count_flops<T>(state, 2 * x * y * z, threads);
    bench::count_items(state, x, sizeof(S) * x * y + sizeof(T) * (y * z + x * z));
  }
};

template <class T, class S, layout L>
void gemm(benchmark::State& state) {
  const operands<T, S, L> o(state);
  cpu_context ctx(o.threads);
  stroma::array<T, 2> c(o.m, o.n);
  const auto out = stroma::as_view(c);
  const auto run = [&] { stroma::primitives<stroma::backend::cpu>::gemm(ctx, o.a, o.b, out); };
  run();
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  o.count(state);
}

/// Eigen's product of the same memory; with more threads each makes its share of the rows.
template <class T, layout L>
void eigen(benchmark::State& state) {
  using row_major = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const operands<T, T, L> o(state);
  cpu_context ctx(o.threads);
  row_major c(o.m, o.n);
  const index_t share = (o.m + o.threads - 1) / o.threads;
  const auto run = [&] {
    ctx.parallel(o.threads, [&](index_t t, int) {
      const index_t first = t * share, rows = std::min(share, o.m - first);
      auto part = c.middleRows(first, rows);
      if constexpr (L == layout::forward) {
        const Eigen::Map<const row_major> a(o.a.data, o.m, o.k), w(o.b.data, o.n, o.k);
        part.noalias() = a.middleRows(first, rows) * w.transpose();
      } else {
        const Eigen::Map<const row_major> d(o.a.data, o.k, o.m), x(o.b.data, o.k, o.n);
        part.noalias() = d.middleCols(first, rows).transpose() * x;
      }
    });
  };
  run();
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  o.count(state);
}

void forward_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"M", "K", "N", "threads"})->UseRealTime();
  for (const int threads : {1, 2}) {
    b->Args({10000, 1536, 512, threads})->Args({10000, 512, 384, threads});
    if (threads == 1) b->Args({5, 166, 256, threads});
  }
}
void weight_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"M", "K", "N", "threads"})->UseRealTime();
  for (const int threads : {1, 2}) b->Args({512, 10000, 1536, threads});
}

BENCHMARK(gemm<float, float, layout::forward>)->Name("BM_gemm/float")->Apply(forward_shapes);
BENCHMARK(eigen<float, layout::forward>)->Name("BM_gemm_eigen/float")->Apply(forward_shapes);
BENCHMARK(gemm<float, stroma::half, layout::forward>)->Name("BM_gemm/half")->Apply(forward_shapes);
BENCHMARK(gemm<double, double, layout::forward>)->Name("BM_gemm/double")->Apply(forward_shapes);
BENCHMARK(eigen<double, layout::forward>)->Name("BM_gemm_eigen/double")->Apply(forward_shapes);
BENCHMARK(gemm<float, float, layout::weights>)->Name("BM_gemm_transposed/float")->Apply(weight_shapes);
BENCHMARK(eigen<float, layout::weights>)->Name("BM_gemm_transposed_eigen/float")->Apply(weight_shapes);

}  // namespace
