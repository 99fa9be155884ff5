#include <cmath>

#include <stroma/survival/kaplan_meier.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

namespace {

using stroma::curve_error;
using stroma::curve_estimate;
using stroma::curve_interval;

std::vector<double> list(stroma::cuda_context& ctx, stroma::vector_view<const double, stroma::device_space> x) {
  stroma::array<double, 1> copy(x.size);
  if (x.size > 0) stroma::transfer(ctx, x, copy);
  return {copy.begin(), copy.end()};
}
/// The largest difference in units of `allowed` x (1 + |host|); where one is not finite the other must be the same.
double worst(stroma::cuda_context& ctx, stroma::vector_view<const double, stroma::device_space> device,
             stroma::vector_view<const double> host, double allowed) {
  const auto found = list(ctx, device);
  if (static_cast<index_t>(found.size()) != host.size) return stroma::detail::infinity<double>;
  double most = 0;
  for (index_t i = 0; i < host.size; ++i) {
    const double a = found[static_cast<std::size_t>(i)], b = host[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double ratio = std::abs(a - b) / (allowed * (1 + std::abs(b)));
    most = std::isnan(ratio) ? stroma::detail::infinity<double> : std::max(most, ratio);
  }
  return most;
}

void check_same(stroma::cuda_context& ctx, const stroma::kaplan_meier_curves<stroma::backend::cuda>& device,
                const stroma::kaplan_meier_curves<>& host, double allowed) {
  REQUIRE(device.size() == host.size());
  for (index_t s = 0; s < host.size(); ++s) {
    REQUIRE(device[s].size() == host[s].size());
    CHECK(device.patient(s) == host.patient(s));
  }
  const auto a = device.stacked();
  const auto b = host.stacked();
  CHECK(worst(ctx, a.time, b.time, 1e-300) == 0);
  CHECK(worst(ctx, a.at_risk, b.at_risk, allowed) <= 1);
  CHECK(worst(ctx, a.events, b.events, allowed) <= 1);
  CHECK(worst(ctx, a.censored, b.censored, allowed) <= 1);
  CHECK(worst(ctx, a.survival, b.survival, allowed) <= 1);
  CHECK(worst(ctx, a.hazard, b.hazard, allowed) <= 1);
  CHECK(worst(ctx, a.log_error, b.log_error, allowed) <= 1);
  CHECK(worst(ctx, a.hazard_error, b.hazard_error, allowed) <= 1);
  CHECK(worst(ctx, a.lower, b.lower, allowed) <= 1);
  CHECK(worst(ctx, a.upper, b.upper, allowed) <= 1);
  // 0 is exact.
  const auto found = list(ctx, a.survival);
  for (index_t i = 0; i < b.survival.size; ++i)
    CHECK((found[static_cast<std::size_t>(i)] == 0) == (b.survival[i] == 0));
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: kaplan_meier: the host's curves", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const auto& [name, c] : cohorts<T>()) {
    const auto& cohort_name = name;  // clang 14 does not capture a binding
    CAPTURE(cohort_name);
    const cohort_on_device<T> d(ctx, c);
    const auto entry = on_device(ctx, c.entry);
    const auto stratum = on_device(ctx, c.stratum);
    for (int columns = 0; columns < 4; ++columns) {
      const bool with = (columns & 1) != 0, robust = (columns & 2) != 0;
      CAPTURE(columns);
      stroma::risk_order_options<> on_host_columns;
      stroma::risk_order_options<stroma::device_space> on_device_columns;
      if (with) {
        on_host_columns = {.weight = c.weight, .entry = c.entry, .stratum = c.stratum};
        on_device_columns = {.weight = d.weight, .entry = entry, .stratum = stratum};
      }
      const stroma::risk_order host_order(host, c.time, c.event, on_host_columns);
      const stroma::risk_order device_order(ctx, d.time, d.event, on_device_columns);
      const stroma::kaplan_meier_options options{
          .estimate = with != robust ? curve_estimate::kaplan_meier : curve_estimate::fleming_harrington,
          .error = robust ? curve_error::robust : curve_error::greenwood,
          .interval = with     ? curve_interval::log_log
                      : robust ? curve_interval::plain
                               : curve_interval::log};
      // Sums of up to N terms in another order; weights are multiples of 1/8, counts are exact. The root of a
      // variance that is a difference of sums has half its digits where it is small.
      const double n = static_cast<double>(c.time.size() + 8);
      const double allowed = 8 * n * std::numeric_limits<double>::epsilon();
      check_same(ctx, stroma::kaplan_meier_curves(ctx, device_order, options),
                 stroma::kaplan_meier_curves(host, host_order, options), with && robust ? std::sqrt(allowed) : allowed);
    }
  }
}

TEST_CASE("cuda: kaplan_meier: weights whose sums are rounded: who dies last leaves nobody") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  auto c = random_cohort<double>(700, 90, 31);
  stroma::random_stream draw(5);
  for (auto& w : c.weight) w = draw.uniform();
  for (std::size_t i = 0; i < c.time.size(); ++i)
    if (c.time[i] == 89) c.event[i] = 1;
  const cohort_on_device<double> d(ctx, c);
  const auto entry = on_device(ctx, c.entry);
  const stroma::kaplan_meier_curves device(
      ctx, stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight, .entry = entry}));
  const stroma::kaplan_meier_curves expected(
      host, stroma::risk_order(host, c.time, c.event, {.weight = c.weight, .entry = c.entry}));
  check_same(ctx, device, expected, 8 * 700 * std::numeric_limits<double>::epsilon());
  CHECK(list(ctx, device[0].survival).back() == 0);
}

TEST_CASE("cuda: kaplan_meier: nobody, without limits, and again without memory") {
  stroma::cuda_context ctx;
  const device_vector<double> none;
  stroma::kaplan_meier_curves<stroma::backend::cuda> curves;
  CHECK(curves.size() == 0);
  curves.remake(ctx, stroma::risk_order(ctx, none, none));
  CHECK(curves.size() == 0);
  curves.remake(ctx, stroma::risk_order<stroma::backend::cuda>());
  CHECK(curves.size() == 0);
  const auto c = random_cohort<float>(1500, 200, 14);
  const cohort_on_device<float> d(ctx, c);
  const auto entry = on_device(ctx, c.entry);
  const stroma::risk_order order(ctx, d.time, d.event, {.weight = d.weight, .entry = entry});
  curves.remake(ctx, order, {.interval = curve_interval::none});
  CHECK(curves[0].lower.size == 0);
  // Three numbers are read: of times, of strata, and where these begin.
  check_called_again([&] { curves.remake(ctx, order, {.error = curve_error::robust}); }, 3);
  CHECK_THROWS_AS(curves.remake(ctx, order, {.confidence = 1}), stroma::value_error);
}
