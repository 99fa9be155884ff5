#include <cmath>

#include <stroma/survival/concordance_difference.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: concordance_difference: as on the host", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const std::size_t n : {3u, 33u, 1025u}) {
    const auto c = random_cohort<T>(n, 40, 5);
    const cohort_on_device<T> d(ctx, c);
    const auto expected = stroma::concordance_difference(
        host, c.score, c.weight, stroma::risk_order(host, c.time, c.event, {.weight = c.weight}));
    const auto found = stroma::concordance_difference(ctx, d.score, d.weight,
                                                      stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight}));
    // Influences are sums of n terms of up to 1 and their weights, over all pairs.
    const double allowed = 64 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
    CHECK(std::abs(found.difference - expected.difference) <= allowed);
    CHECK(std::abs(found.variance - expected.variance) <= allowed * expected.variance);
  }
}

TEST_CASE("cuda: concordance_difference: without events; the second call allocates nothing") {
  stroma::cuda_context ctx;
  const auto c = random_cohort<double>(300, 40, 6);
  const cohort_on_device<double> d(ctx, c);
  const auto none = on_device(ctx, std::vector<double>(300, 0.0));
  const stroma::risk_order order(ctx, d.time, d.event), censored(ctx, d.time, none);
  CHECK(std::isnan(stroma::concordance_difference(ctx, d.score, d.time, censored).difference));
  double sum = 0;
  // Each concordance is waited for, the checks of its scores too, and the sum of squares.
  check_called_again([&] { sum += stroma::concordance_difference(ctx, d.score, d.time, order).variance; }, 10);
  CHECK(sum > 0);
}
