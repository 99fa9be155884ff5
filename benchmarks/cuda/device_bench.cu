// Figures of one device, one line of a Markdown table each: time of the median call by CUDA events, and the floor from
// what the device was measured to copy and to multiply in the same run. No Google Benchmark: it is built where no
// package can be installed. Random data; several input sets, so that no cache holds them.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <stroma/models/abmil.cuh>
#include <stroma/nn/initialise.hpp>
#include <stroma/optim/adam.cuh>
#include <stroma/survival/concordance.cuh>
#include <stroma/survival/cox_partial_likelihood.cuh>
#include <stroma/survival/discrete_hazard.cuh>

namespace {

using stroma::index_t;
using device = stroma::backend::cuda;
template <class T, int Rank>
using device_array = stroma::array<T, Rank, stroma::device_space>;

/// Milliseconds of the median of 20 calls after 3 that warm up.
double median_ms(stroma::cuda_context& ctx, const std::function<void()>& call) {
  cudaEvent_t start, stop;
  cudaEventCreate(&start);
  cudaEventCreate(&stop);
  for (int i = 0; i < 3; ++i) call();
  std::vector<float> ms(20);
  for (float& t : ms) {
    cudaEventRecord(start, ctx.stream());
    call();
    cudaEventRecord(stop, ctx.stream());
    cudaEventSynchronize(stop);
    cudaEventElapsedTime(&t, start, stop);
  }
  ctx.synchronize();
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  std::nth_element(ms.begin(), ms.begin() + 10, ms.end());
  return ms[10];
}
void row(const std::string& what, double ms, double floor_ms) {
  std::printf("| %s | %.3f ms | %.3f ms | %.0f %% |\n", what.c_str(), ms, floor_ms, 100 * floor_ms / ms);
}

template <class T>
struct uniform_elements {
  T* x;
  std::uint32_t seed;
  __device__ void operator()(index_t i) const {
    const stroma::random_key key{seed, 0, 0};
    const float u = 2 * stroma::unit_float(key.words(static_cast<std::uint64_t>(i))[0]) - 1;
    x[i] = stroma::narrow<T>(u);
  }
};
template <class T, int Rank>
void randomise(stroma::cuda_context& ctx, device_array<T, Rank>& a, std::uint32_t seed) {
  stroma::detail::each(ctx, a.size(), uniform_elements<T>{a.data(), seed});
}

struct ceilings {
  double bytes_per_ms, half_flops_per_ms, float_flops_per_ms;
};
ceilings measure_ceilings(stroma::cuda_context& ctx) {
  const index_t n = index_t{1} << 29;
  device_array<float, 1> a(n), b(n);
  randomise(ctx, a, 1);
  const double copy = median_ms(ctx, [&] {
    cudaMemcpyAsync(b.data(), a.data(), static_cast<std::size_t>(n) * 4, cudaMemcpyDeviceToDevice, ctx.stream());
  });
  const index_t m = 8192;
  device_array<stroma::bfloat16, 2> x(m, m), y(m, m);
  device_array<float, 2> u(m, m), v(m, m), z(m, m);
  randomise(ctx, x, 2);
  randomise(ctx, y, 3);
  randomise(ctx, u, 4);
  randomise(ctx, v, 5);
  const double half = median_ms(ctx, [&] {
    stroma::detail::blas_gemm<stroma::bfloat16, float>(ctx, stroma::as_const_view(x), stroma::as_const_view(y),
                                                       stroma::as_view(z), false);
  });
  const double full = median_ms(ctx, [&] {
    stroma::detail::blas_gemm<float, float>(ctx, stroma::as_const_view(u), stroma::as_const_view(v), stroma::as_view(z),
                                            false);
  });
  const double flops = 2.0 * m * m * m;
  std::printf("copy %.2f TB/s (read and written), products %.0f TFLOP/s in bf16, %.0f in float\n\n", 8e-9 * n / copy,
              1e-9 * flops / half, 1e-9 * flops / full);
  return {8.0 * n / copy, flops / half, flops / full};
}

/// Gated attention over 64 bags of about 8,000 patches of 1024 features, stored as bf16.
void attention(const ceilings& top, stroma::matrix_precision precision, const char* name) {
  stroma::cuda_context ctx(nullptr, {precision});
  constexpr index_t bags = 64, features = 1024, width = 384;
  stroma::array<index_t, 1> ends(bags + 1);
  for (index_t b = 0; b < bags; ++b) ends[b + 1] = ends[b] + 7000 + 2000 * ((b * 37) % bags) / bags;
  const index_t rows = ends[bags];
  device_array<index_t, 1> offsets(bags + 1);
  stroma::transfer(ctx, ends, offsets);
  device_array<stroma::bfloat16, 2> x(rows, features);
  randomise(ctx, x, 1);
  device_array<float, 2> v(width, features), u(width, features), c(1, width), slide(bags, features), weight(rows, 1);
  device_array<float, 1> a(width), b(width), d(1);
  randomise(ctx, v, 2);
  randomise(ctx, u, 3);
  randomise(ctx, c, 4);
  using stroma::as_const_view;
  const stroma::attention_view<const float, stroma::device_space> p{
      as_const_view(v), as_const_view(a), as_const_view(u), as_const_view(b), as_const_view(c), as_const_view(d)};
  const stroma::attention_output<float, stroma::device_space> out{
      stroma::as_view(slide), stroma::as_view(weight), {}, {}};
  const stroma::bag_view<const stroma::bfloat16, stroma::device_space> in{as_const_view(x), as_const_view(offsets)};
  const double ms = median_ms(ctx, [&] { stroma::attention_pool(ctx, in, p, out, {.check_values = false}); });
  // The patches are read twice: for the scores, and for the sum that needs all of them.
  const double bytes = 2.0 * 2 * static_cast<double>(rows) * features,
               flops = 4.0 * static_cast<double>(rows) * features * width;
  const double rate = precision == stroma::matrix_precision::full ? top.float_flops_per_ms : top.half_flops_per_ms;
  row(std::string("gated attention, 64 bags x ~8,000 x 1024, bf16, ") + name, ms,
      std::max(bytes / top.bytes_per_ms, flops / rate));
}

void survival(const ceilings& top) {
  stroma::cuda_context ctx;
  const index_t n = 1000000;
  device_array<float, 1> score(n), time(n), gradient(n), value(1);
  stroma::array<int, 1> events(n);
  for (index_t i = 0; i < n; ++i) events[i] = i % 5 < 2;
  device_array<int, 1> event(n);
  stroma::transfer(ctx, events, event);
  randomise(ctx, score, 1);
  stroma::array<float, 1> times(n);
  stroma::random_stream draw(2);
  for (float& t : times) t = static_cast<float>(draw.exponential());
  stroma::transfer(ctx, times, time);
  const stroma::risk_order<device> order(ctx, time, event);
  const stroma::cox_output<float, stroma::device_space> out{value.data(), stroma::as_view(gradient)};
  const double floor = 12.0 * static_cast<double>(n) / top.bytes_per_ms;  // score in, order in, gradient out
  row("Cox, value and gradient, N = 1e6, order kept",
      median_ms(ctx, [&] { stroma::cox_partial_likelihood(ctx, score, order, out, {.check_values = false}); }), floor);
  row("Cox, value and gradient, N = 1e6, with the sort",
      median_ms(ctx, [&] { stroma::cox_partial_likelihood(ctx, score, time, event, out, {.check_values = false}); }),
      floor);
  row("concordance, N = 1e6, order kept",
      median_ms(ctx, [&] { static_cast<void>(stroma::concordance(ctx, score, order, {.check_values = false})); }),
      floor);
}

/// A training step of STEPH's model: one bag of 10,000 x 1536.
void training(const ceilings& top) {
  stroma::cuda_context ctx;
  using model_of = stroma::abmil<float, stroma::gated_attention, device>;
  stroma::abmil<float> start({});
  stroma::initialise(start, 1);
  model_of model({}), gradient({});
  stroma::transfer_parameters(ctx, start, model);
  stroma::adamw optimiser(model, {});
  device_array<float, 2> x(10000, 1536);
  randomise(ctx, x, 1);
  device_array<int, 1> bin(1), event(1);
  stroma::graph<float, device> g(ctx);
  g.bind(model, gradient);
  const double flops = 3 * 2.0 * 10000 * (1536.0 * 512 + 2 * 512.0 * 384) - 2.0 * 10000 * 1536 * 512;
  row("training step of abmil, 10,000 x 1536, float",
      median_ms(ctx,
                [&] {
                  g.reset();
                  g.backward(stroma::discrete_hazard(g, model(g, g.input(x), {.check_values = false}).logits, bin,
                                                     event, {.check_values = false}));
                  optimiser.step_and_clear(ctx, model, gradient, 1e-4);
                }),
      flops / top.float_flops_per_ms);
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("SKIPPED: there is no CUDA device");
    return 0;
  }
  stroma::cuda_context ctx;
  const ceilings top = measure_ceilings(ctx);
  std::puts("| what | stroma | floor | of the floor |\n| --- | --- | --- | --- |");
  attention(top, stroma::matrix_precision::full, "float products");
  attention(top, stroma::matrix_precision::storage, "bf16 products");
  training(top);
  survival(top);
}
