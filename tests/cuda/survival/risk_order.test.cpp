#include <stroma/survival/risk_order.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

namespace {

template <class X>
std::vector<X> list(stroma::cuda_context& ctx, const X* p, index_t n) {
  stroma::array<X, 1> copy(n);
  stroma::transfer(ctx, stroma::vector_view<const X, stroma::device_space>(p, n), copy);
  return {copy.begin(), copy.end()};
}
template <class X>
std::vector<X> list(const X* p, index_t n) {
  return {p, p + n};
}

void check_same_plan(stroma::cuda_context& ctx, const stroma::risk_order<stroma::backend::cuda>& device,
                     const stroma::risk_order<>& host) {
  const auto found = device.plan();
  const auto expected = host.plan();
  const index_t n = expected.rows, groups = expected.groups;
  REQUIRE(found.rows == n);
  REQUIRE(device.groups(ctx) == groups);
  CHECK(device.events(ctx) == host.events());
  CHECK(device.size() == host.size());
  CHECK(list(ctx, found.row, n) == list(expected.row, n));
  CHECK(list(ctx, found.first, groups + 1) == list(expected.first, groups + 1));
  CHECK(list(ctx, found.deaths, groups) == list(expected.deaths, groups));
  const auto times = list(ctx, found.time, groups);
  for (index_t g = 0; g < groups; ++g)  // as keys, for NaN equals NaN
    CHECK(stroma::sort_key(times[static_cast<std::size_t>(g)]) == stroma::sort_key(expected.time[g]));
  std::vector<index_t> group;
  for (index_t g = 0; g < groups; ++g)
    for (index_t k = expected.first[g]; k < expected.first[g + 1]; ++k) group.push_back(g);
  CHECK(list(ctx, found.group, n) == group);
  CHECK(device.weighted() == host.weighted());
  if (host.weighted()) CHECK(list(ctx, found.weight, n) == list(expected.weight, n));
  REQUIRE(device.strata(ctx) == host.strata());
  CHECK(list(ctx, found.stratum, host.strata() + 1) == list(expected.stratum, host.strata() + 1));
  CHECK(device.late_entry() == host.late_entry());
  if (host.late_entry()) CHECK(list(ctx, found.until, n) == list(expected.until, n));
  CHECK(device.stratified() == host.stratified());
  if (!host.stratified()) return;
  std::vector<index_t> stratum_of;
  for (index_t s = 0; s < expected.strata; ++s)
    for (index_t g = expected.stratum[s]; g < expected.stratum[s + 1]; ++g) stratum_of.push_back(s);
  CHECK(list(ctx, found.stratum_of, groups) == stratum_of);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: risk_order: the host's order", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const auto& [name, c] : cohorts<T>()) {
    const auto& cohort_name = name;  // clang 14 does not capture a binding
    CAPTURE(cohort_name);
    const cohort_on_device<T> d(ctx, c);
    check_same_plan(ctx, stroma::risk_order(ctx, d.time, d.event), stroma::risk_order(host, c.time, c.event));
    check_same_plan(ctx, stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight}),
                    stroma::risk_order(host, c.time, c.event, {.weight = c.weight}));
    const auto entry = on_device(ctx, c.entry);
    const auto stratum = on_device(ctx, c.stratum);
    check_same_plan(ctx, stroma::risk_order(ctx, d.time, d.event, {.entry = entry}),
                    stroma::risk_order(host, c.time, c.event, {.entry = c.entry}));
    check_same_plan(ctx, stroma::risk_order(ctx, d.time, d.event, {.entry = entry, .stratum = stratum}),
                    stroma::risk_order(host, c.time, c.event, {.entry = c.entry, .stratum = c.stratum}));
  }
}

TEST_CASE("cuda: risk_order: nobody") {
  stroma::cuda_context ctx;
  stroma::risk_order<stroma::backend::cuda> order;
  CHECK(order.groups(ctx) == 0);
  CHECK(order.events(ctx) == 0);
  const device_vector<double> time;
  const device_vector<int> event;
  order.remake(ctx, time, event);
  CHECK(order.size() == 0);
  CHECK(order.groups(ctx) == 0);
  CHECK(order.events(ctx) == 0);
  CHECK(list(ctx, order.plan().first, 1) == std::vector<index_t>{0});
}

TEST_CASE("cuda: risk_order: values that were not checked have a place too") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const std::vector<double> time{1, nan, -0.0, inf, 0.0, -inf, nan, -3, 1e300, nan};
  const std::vector<double> event{1, 0, 1, nan, 0, 1, 1, 2, -1, 0};
  const stroma::risk_order<stroma::backend::cuda> found(ctx, on_device(ctx, time), on_device(ctx, event),
                                                        {.check_values = false});
  check_same_plan(ctx, found, stroma::risk_order<>(host, time, event, {.check_values = false}));
  ctx.synchronize();
}

TEST_CASE("cuda: risk_order: made again, smaller, larger and copied") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::risk_order<stroma::backend::cuda> order;
  for (const std::size_t n : {40u, 10u, 300u, 299u}) {
    const auto c = random_cohort<double>(n, 9, static_cast<unsigned>(n));
    const cohort_on_device<double> d(ctx, c);
    order.remake(ctx, d.time, d.event, {.weight = d.weight});
    const auto copy = order;
    order.remake(ctx, d.time, d.event);
    check_same_plan(ctx, order, stroma::risk_order(host, c.time, c.event));
    check_same_plan(ctx, copy, stroma::risk_order(host, c.time, c.event, {.weight = c.weight}));
    check_called_again([&] { order.remake(ctx, d.time, d.event, {.weight = d.weight}); });
  }
}

TEST_CASE("cuda: risk_order: bad values and lengths") {
  stroma::cuda_context ctx;
  const auto time = on_device(ctx, std::vector<double>{1, 2, 3}), ones = on_device(ctx, std::vector<double>{1, 1, 0});
  const auto order_of = [&](const auto& t, const auto& e, const auto& w) {
    stroma::risk_order(ctx, t, e, {.weight = w});
  };
  for (const double bad : {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const auto values = on_device(ctx, std::vector<double>{1, bad, 0});
    CHECK_THROWS_ON_DEVICE(ctx, order_of(values, ones, ones), stroma::value_error);
    CHECK_THROWS_ON_DEVICE(ctx, order_of(time, values, ones), stroma::value_error);
    CHECK_THROWS_ON_DEVICE(ctx, order_of(time, ones, values), stroma::value_error);
  }
  CHECK_THROWS_ON_DEVICE(ctx, order_of(time, on_device(ctx, std::vector<int>{1, 2, 0}), ones), stroma::value_error);
  ctx.synchronize();  // reported once
  const auto two = on_device(ctx, std::vector<double>{1, 1});
  CHECK_THROWS_AS(order_of(time, two, ones), stroma::shape_error);
  CHECK_THROWS_AS(order_of(time, ones, two), stroma::shape_error);
}
