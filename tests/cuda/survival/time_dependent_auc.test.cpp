#include <cmath>

#include <stroma/survival/time_dependent_auc.cuh>

#include "cuda/nn/device_cases.hpp"
#include "cuda/survival/device_estimate.hpp"

using namespace stroma_test;

namespace {

constexpr stroma::auc_weights all_weights[] = {stroma::auc_weights::left_limit, stroma::auc_weights::right_limit,
                                               stroma::auc_weights::none};

}  // namespace

TEST_CASE_TEMPLATE("cuda: time_dependent_auc: the host's, in every convention", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const std::vector<double> times{-1, 0, 2, 2, 3.5, 6, 15};
  const auto device_times = on_device(ctx, times);
  for (const auto& [name, c] : cohorts<T>()) {
    const auto& cohort_name = name;  // clang 14 does not capture a binding
    CAPTURE(cohort_name);
    const auto n = static_cast<index_t>(c.time.size());
    if (n > 1025) continue;
    const cohort_on_device<T> d(ctx, c);
    auto of_time = normal_matrix<T>(n, 7, 4);
    for (T& x : of_time) x = std::round(4 * x);
    const auto device_of_time = on_device(ctx, of_time);
    const stroma::risk_order order(host, c.time, c.event, {.weight = c.weight});
    const stroma::risk_order device_order(ctx, d.time, d.event, {.weight = d.weight});
    for (const auto cases : {stroma::auc_cases::cumulative, stroma::auc_cases::incident})
      for (const auto weights : all_weights) {
        if (n > 500 && weights == stroma::auc_weights::right_limit) continue;
        host_result<double> expected(7);
        device_result<double> found(7);
        stroma::time_dependent_auc(host, c.score, times, order, expected.out(), {.cases = cases, .weights = weights});
        stroma::time_dependent_auc(ctx, d.score, device_times, device_order, found.out(),
                                   {.cases = cases, .weights = weights});
        check_same(ctx, found, expected, n);
        if (n > 500) continue;
        stroma::time_dependent_auc(host, of_time, times, order, expected.out(), {.cases = cases, .weights = weights});
        stroma::time_dependent_auc(ctx, device_of_time, device_times, device_order, found.out(),
                                   {.cases = cases, .weights = weights});
        check_same(ctx, found, expected, n);
      }
  }
}

TEST_CASE("cuda: time_dependent_auc: G of another cohort, which may be 0; the mean over times") {
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
  host_result<double> expected(5);
  device_result<double> found(5);
  for (const auto weights : all_weights) {
    stroma::time_dependent_auc(host, c.score, times, order, expected.out(),
                               {.weights = weights, .censoring = g.steps()});
    stroma::time_dependent_auc(ctx, d.score, device_times, device_order, found.out(),
                               {.weights = weights, .censoring = device_g.steps()});
    check_same(ctx, found, expected, 300);
  }
  CHECK(std::abs(stroma::mean_time_dependent_auc(ctx, found.value, device_times, device_order) -
                 stroma::mean_time_dependent_auc(host, expected.value, times, order)) <=
        600 * std::numeric_limits<double>::epsilon());
}

TEST_CASE("cuda: time_dependent_auc: nobody, no time, bad values; the second call allocates nothing, and none waits") {
  stroma::cuda_context ctx;
  const auto times = on_device(ctx, std::vector<double>{1, 2, 3}),
             falling = on_device(ctx, std::vector<double>{1, 3, 2});
  const device_vector<double> none;
  device_result<double> found(3), empty(0);
  stroma::time_dependent_auc(ctx, none, times, stroma::risk_order(ctx, none, none), found.out());
  for (const double x : on_host(ctx, found.value)) CHECK(std::isnan(x));
  auto c = random_cohort<double>(40, 5, 3);
  const cohort_on_device<double> d(ctx, c);
  const stroma::risk_order order(ctx, d.time, d.event);
  stroma::time_dependent_auc(ctx, d.score, none, order, empty.out());
  CHECK_THROWS_ON_DEVICE(ctx, stroma::time_dependent_auc(ctx, d.score, falling, order, found.out()),
                         stroma::value_error);
  c.score[39] = std::numeric_limits<double>::quiet_NaN();
  const auto bad = on_device(ctx, c.score);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::time_dependent_auc(ctx, bad, times, order, found.out()), stroma::value_error);
  CHECK_THROWS_AS(stroma::time_dependent_auc(ctx, d.score, times, order, empty.out()), stroma::shape_error);
  check_called_again([&] { stroma::time_dependent_auc(ctx, d.score, times, order, found.out()); });
  ctx.synchronize();
}
