#include <cmath>

#include <stroma/survival/detail/inverse_censoring.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

TEST_CASE("cuda: censoring_curve: the host's steps, then steps that change nothing") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const auto& [name, c] : cohorts<double>()) {
    const auto& cohort_name = name;  // clang 14 does not capture a binding
    CAPTURE(cohort_name);
    const cohort_on_device<double> d(ctx, c);
    const auto n = static_cast<index_t>(c.time.size());
    const auto entry = on_device(ctx, c.entry);
    for (const bool late : {false, true}) {
      stroma::risk_order_options<> columns{.weight = c.weight};
      stroma::risk_order_options<stroma::device_space> device_columns{.weight = d.weight};
      if (late) columns.entry = c.entry;
      if (late) device_columns.entry = entry;
      const stroma::censoring_curve expected(host, stroma::risk_order(host, c.time, c.event, columns));
      const stroma::censoring_curve curve(ctx, stroma::risk_order(ctx, d.time, d.event, device_columns));
      REQUIRE(curve.steps().time.size == n);
      device_vector<double> time(n), value(n);
      stroma::detail::each(ctx, n, stroma::detail::copy_times<double>{curve.steps().time, time.data()});
      stroma::detail::each(ctx, n, stroma::detail::copy_times<double>{curve.steps().value, value.data()});
      const auto found_time = on_host(ctx, time), found_value = on_host(ctx, value);
      const auto steps = expected.steps();
      for (index_t k = 0; k < n; ++k) {
        const bool real = k < steps.time.size;
        CHECK((real ? found_time[k] == steps.time[k] : std::isinf(found_time[k])));
        CHECK(std::abs(found_value[k] - (real ? steps.value[k] : steps.at(1e300))) <=
              4 * static_cast<double>(n) * std::numeric_limits<double>::epsilon());
      }
    }
  }
}
