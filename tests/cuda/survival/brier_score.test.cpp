#include <cmath>

#include <stroma/survival/brier_score.cuh>

#include "cuda/nn/device_cases.hpp"
#include "cuda/survival/device_estimate.hpp"

using namespace stroma_test;

namespace {

constexpr stroma::brier_weights all_weights[] = {stroma::brier_weights::left_limit, stroma::brier_weights::right_limit,
                                                 stroma::brier_weights::normalised};

template <class T>
stroma::array<T, 2> predictions(index_t n, index_t times) {
  stroma::array<T, 2> s(n, times);
  stroma::random_stream draw(3);
  for (T& x : s) x = static_cast<T>(draw.uniform());
  return s;
}
}  // namespace

TEST_CASE_TEMPLATE("cuda: brier_score: the host's, in every convention, and the reference", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const std::vector<double> times{0, 2, 2, 3.5, 6, 15};
  const auto device_times = on_device(ctx, times);
  for (const auto& [name, c] : cohorts<T>()) {
    const auto& cohort_name = name;  // clang 14 does not capture a binding
    CAPTURE(cohort_name);
    const auto n = static_cast<index_t>(c.time.size());
    if (n > 1025) continue;
    const cohort_on_device<T> d(ctx, c);
    const auto s = predictions<T>(n, 6);
    const stroma::risk_order order(host, c.time, c.event, {.weight = c.weight});
    const stroma::risk_order device_order(ctx, d.time, d.event, {.weight = d.weight});
    laid_out_on_device<T> device_s(ctx, stroma::as_const_view(s), n % 2 == 0 ? layouts[1] : layouts[0]);
    for (const auto weights : all_weights) {
      host_result<T> expected(6);
      device_result<T> found(6);
      stroma::brier_score(host, s, times, order, expected.out(), {.weights = weights});
      stroma::brier_score(ctx, device_s.view(), device_times, device_order, found.out(), {.weights = weights});
      check_same(ctx, found, expected, n);
      stroma::reference_brier_score(host, times, order, expected.out(), {.weights = weights});
      stroma::reference_brier_score(ctx, device_times, device_order, found.out(), {.weights = weights});
      check_same(ctx, found, expected, n);
    }
  }
}

TEST_CASE("cuda: brier_score: G of another cohort, which may be 0; the integral") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const auto c = random_cohort<double>(300, 20, 2), train = random_cohort<double>(60, 12, 7);
  const cohort_on_device<double> d(ctx, c), device_train(ctx, train);
  const stroma::risk_order order(host, c.time, c.event);
  const stroma::risk_order device_order(ctx, d.time, d.event);
  const stroma::censoring_curve g(host, stroma::risk_order(host, train.time, train.event));
  const stroma::censoring_curve device_g(ctx, stroma::risk_order(ctx, device_train.time, device_train.event));
  const std::vector<double> times{1, 5, 9, 13, 17};
  const auto device_times = on_device(ctx, times);
  const auto s = predictions<double>(300, 5);
  const auto device_s = on_device(ctx, s);
  for (const auto weights : all_weights) {
    host_result<double> expected(5);
    device_result<double> found(5);
    stroma::brier_score(host, s, times, order, expected.out(), {.weights = weights, .censoring = g.steps()});
    stroma::brier_score(ctx, device_s, device_times, device_order, found.out(),
                        {.weights = weights, .censoring = device_g.steps()});
    check_same(ctx, found, expected, 300);
  }
  device_result<double> found(5);
  stroma::brier_score(ctx, device_s, device_times, device_order, found.out());
  const auto score = on_host(ctx, found.value);
  CHECK(std::abs(stroma::integrated_brier_score(ctx, found.value, device_times) -
                 stroma::integrated_brier_score(host, score, times)) <= 1e-15);
}

TEST_CASE("cuda: brier_score: nobody, no time, bad values; the second call allocates nothing, and none waits") {
  stroma::cuda_context ctx;
  const auto times = on_device(ctx, std::vector<double>{1, 2, 3}),
             falling = on_device(ctx, std::vector<double>{1, 3, 2});
  const device_vector<double> none;
  device_result<double> found(3), empty(0);
  stroma::brier_score(ctx, device_array<double>(0, 3), times, stroma::risk_order(ctx, none, none), found.out());
  for (const double x : on_host(ctx, found.value)) CHECK(std::isnan(x));
  const auto c = random_cohort<double>(40, 5, 3);
  const cohort_on_device<double> d(ctx, c);
  const stroma::risk_order order(ctx, d.time, d.event);
  stroma::brier_score(ctx, device_array<double>(40, 0), none, order, empty.out());
  auto s = predictions<double>(40, 3);
  const auto good = on_device(ctx, s);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::brier_score(ctx, good, falling, order, found.out()), stroma::value_error);
  s(39, 2) = 1.5;
  const auto bad = on_device(ctx, s);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::brier_score(ctx, bad, times, order, found.out()), stroma::value_error);
  CHECK_THROWS_AS(stroma::brier_score(ctx, good, times, order, empty.out()), stroma::shape_error);
  check_called_again([&] { stroma::brier_score(ctx, good, times, order, found.out()); });
  check_called_again([&] { stroma::reference_brier_score(ctx, times, order, found.out()); });
  ctx.synchronize();
}
