#include <cmath>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/survival/ranking.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;
using stroma::ranking_options, stroma::reduction;

namespace {

template <class T>
struct outcome {
  stroma::array<T, 1> value{1}, gradient;
};
template <class T>
outcome<T> on_the_host(const cohort<T>& c, const ranking_options& options) {
  stroma::cpu_context ctx;
  outcome<T> out{stroma::array<T, 1>(1), stroma::array<T, 1>(static_cast<index_t>(c.score.size()))};
  stroma::ranking(ctx, c.score, c.time, c.event, {out.value.data(), as_view(out.gradient)}, options);
  return out;
}

/// Gradients are counts times one factor, so they are the host's bits. A loss is joined from differences of sums of
/// up to n predictions: what is rounded is as large as these.
template <class T>
void check_same(stroma::cuda_context& ctx, const cohort<T>& c, const ranking_options& options,
                const device_vector<T>& value, const device_vector<T>& gradient) {
  const auto expected = on_the_host(c, options);
  const auto n = static_cast<double>(c.score.size());
  double spread = options.margin;
  for (const T s : c.score) spread = std::max(spread, std::abs(static_cast<double>(s)) * 2);
  const double pairs = options.reduce == reduction::mean ? 1 : n * n;
  const double allowed =
      std::numeric_limits<double>::epsilon() * (n + 64) * spread * pairs +
      static_cast<double>(std::numeric_limits<T>::epsilon()) * std::abs(static_cast<double>(expected.value[0]));
  CHECK(device_error(ctx, value, expected.value, allowed) <= 1);
  CHECK(device_error(ctx, gradient, expected.gradient, std::numeric_limits<double>::denorm_min()) == 0);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: ranking: value and gradient of the host", T, STROMA_DEVICE_SCALARS) {
  stroma::cuda_context ctx;
  for (const auto& [name, c] : cohorts<T>()) {
    const cohort_on_device<T> d(ctx, c);
    const stroma::risk_order order(ctx, d.time, d.event, {.weight = d.weight});
    for (const ranking_options& options :
         {ranking_options{}, ranking_options{.margin = 0.3, .reduce = reduction::sum}, ranking_options{.margin = 0}}) {
      const auto& cohort_name = name;  // clang 14 does not capture a binding
      CAPTURE(cohort_name);
      CAPTURE(options.margin);
      device_vector<T> value(1), gradient(static_cast<index_t>(c.score.size()));
      const stroma::ranking_output<T, stroma::device_space> out{value.data(), as_view(gradient)};
      stroma::ranking(ctx, d.score, d.time, d.event, out, options);
      check_same(ctx, c, options, value, gradient);
      const T first = on_host(ctx, value)[0];
      gradient.fill(T(7));
      stroma::ranking(ctx, d.score, order, out, options);
      check_same(ctx, c, options, value, gradient);
      value.fill(T(-1));
      stroma::ranking(ctx, d.score, order, {value.data(), {}}, options);
      CHECK(same_bits(on_host(ctx, value)[0], first));
    }
  }
}

TEST_CASE("cuda: ranking: sizes around powers of two") {
  stroma::cuda_context ctx;
  for (const std::size_t n : {2u, 3u, 63u, 64u, 65u, 127u, 128u, 129u})
    for (const int times : {4, 1 << 20})
      for (const double margin : {0.0, 0.25, 1.0, 100.0}) {
        CAPTURE(n);
        CAPTURE(margin);
        const auto c = random_cohort<double>(n, times, static_cast<unsigned>(n) + 51);
        const cohort_on_device<double> d(ctx, c);
        device_vector<double> value(1), gradient(static_cast<index_t>(n));
        const ranking_options options{.margin = margin, .reduce = reduction::sum};
        stroma::ranking(ctx, d.score, d.time, d.event, {value.data(), as_view(gradient)}, options);
        const auto expected = on_the_host(c, options);
        CHECK(on_host(ctx, value)[0] == expected.value[0]);  // sums of multiples of 1/8
        CHECK(device_error(ctx, gradient, expected.gradient, std::numeric_limits<double>::denorm_min()) == 0);
      }
}

TEST_CASE("cuda: ranking: large predictions that differ little, apart in memory") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  auto c = random_cohort<double>(500, 90, 41);
  for (auto& s : c.score) s += 1048576;
  const cohort_on_device<double> d(ctx, c);
  const auto apart = on_device(ctx, spread_out(c.score, 2, std::numeric_limits<double>::quiet_NaN()));
  device_vector<double> value(1), gradient(500);
  stroma::ranking(ctx, stroma::vector_view<const double, stroma::device_space>(apart.data(), 500, 2), d.time, d.event,
                  {value.data(), as_view(gradient)}, {.reduce = reduction::sum});
  // Sums of multiples of 1/8 are exact.
  const auto expected = on_the_host(c, {.reduce = reduction::sum});
  CHECK(on_host(ctx, value)[0] == expected.value[0]);
  CHECK(device_error(ctx, gradient, expected.gradient, 1e-300) == 0);
}

TEST_CASE_TEMPLATE("cuda: ranking: recorded on a graph", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::graph<T> g(host);
  stroma::graph<T, stroma::backend::cuda> on_gpu(ctx);
  const auto c = random_cohort<T>(333, 50, 42);
  const cohort_on_device<T> d(ctx, c);
  const stroma::risk_order order(ctx, d.time, d.event);
  stroma::array<T, 1> expected(333);
  device_vector<T> gradient(333);
  const auto score = g.variable({c.score.data(), 1, 333}, {expected.data(), 1, 333});
  const auto loss = stroma::ranking(g, score, c.time, c.event);
  g.backward(loss, T(3));
  for (const bool kept : {false, true}) {
    on_gpu.reset();
    gradient.fill(T(0));
    const auto device_score = on_gpu.variable({d.score.data(), 1, 333}, {gradient.data(), 1, 333});
    const auto device_loss =
        kept ? stroma::ranking(on_gpu, device_score, order) : stroma::ranking(on_gpu, device_score, d.time, d.event);
    on_gpu.backward(device_loss, T(3));
    CHECK(std::abs(on_gpu.scalar_value(device_loss) - g.scalar_value(loss)) <=
          350 * static_cast<double>(std::numeric_limits<T>::epsilon()));
    CHECK(device_error(ctx, gradient, expected, 1e-300) == 0);
  }
  stroma::graph<T, stroma::backend::cuda> inference(ctx, stroma::graph_mode::inference);
  CHECK(std::isfinite(inference.scalar_value(stroma::ranking(inference, inference.input(d.score), order))));
}

TEST_CASE("cuda: ranking: nobody, one number, and values that were not checked") {
  stroma::cuda_context ctx;
  const device_vector<double> none;
  device_vector<double> value(1), gradient(3);
  value.fill(7);
  stroma::ranking(ctx, none, none, none, {value.data(), {}});
  CHECK(on_host(ctx, value)[0] == 0);
  const auto bad = on_device(ctx, std::vector<double>{1, std::numeric_limits<double>::quiet_NaN(), 0});
  stroma::ranking(ctx, bad, bad, bad, {value.data(), as_view(gradient)}, {.check_values = false});
  CHECK_NOTHROW(ctx.synchronize());
}

TEST_CASE("cuda: ranking: the second call allocates nothing, and none waits") {
  stroma::cuda_context ctx;
  const auto c = random_cohort<float>(1500, 200, 43);
  const cohort_on_device<float> d(ctx, c);
  const stroma::risk_order order(ctx, d.time, d.event);
  device_vector<float> value(1), gradient(1500);
  const stroma::ranking_output<float, stroma::device_space> out{value.data(), as_view(gradient)};
  check_called_again([&] { stroma::ranking(ctx, d.score, order, out); });
  check_called_again([&] { stroma::ranking(ctx, d.score, d.time, d.event, out); });
}

TEST_CASE("cuda: ranking: bad values and lengths") {
  stroma::cuda_context ctx;
  const auto time = on_device(ctx, std::vector<double>{1, 2, 3}), event = on_device(ctx, std::vector<double>{1, 1, 0});
  const auto bad = on_device(ctx, std::vector<double>{1, std::numeric_limits<double>::quiet_NaN(), 0});
  const auto two = on_device(ctx, std::vector<double>{1, 1});
  const stroma::risk_order order(ctx, time, event);
  device_vector<double> value(1), gradient(3);
  const stroma::ranking_output<double, stroma::device_space> out{value.data(), as_view(gradient)};
  CHECK_THROWS_ON_DEVICE(ctx, stroma::ranking(ctx, bad, order, out), stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::ranking(ctx, time, bad, event, out), stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::ranking(ctx, time, time, bad, out), stroma::value_error);
  CHECK_THROWS_AS(stroma::ranking(ctx, time, order, out, {.margin = -1}), stroma::value_error);
  CHECK_THROWS_AS(stroma::ranking(ctx, two, order, out), stroma::shape_error);
}
