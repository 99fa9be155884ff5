#include <cmath>

#include <stroma/survival/discretise.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

namespace {

template <class X>
std::vector<X> list(const stroma::array<X, 1>& x) {
  return {x.begin(), x.end()};
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: discretise: edges and bins of the host", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const auto& [name, c] : cohorts<T>()) {
    const auto& cohort_name = name;  // clang 14 does not capture a binding
    CAPTURE(cohort_name);
    const cohort_on_device<T> d(ctx, c);
    const auto n = static_cast<index_t>(c.time.size());
    const bool any = std::find(c.event.begin(), c.event.end(), std::uint8_t{1}) != c.event.end();
    for (const index_t edges : {1, 3, 31}) {
      stroma::array<T, 1> edge(edges);
      device_vector<T> device_edge(edges);
      if (any) stroma::quantile_edges(host, c.time, c.event, edge);
      else stroma::equal_width_edges(host, 9.7, edge);
      if (any) stroma::quantile_edges(ctx, d.time, d.event, device_edge);
      else stroma::equal_width_edges(ctx, 9.7, device_edge);
      // A device may fuse the product and the sum of an interpolation.
      CHECK(device_error(ctx, device_edge, edge,
                         static_cast<double>(std::numeric_limits<T>::epsilon()) * (largest(edge) + 1)) <= 1);
      stroma::array<int, 1> bin(n);
      device_vector<int> device_bin(n);
      stroma::discretise(host, c.time, edge, bin);
      stroma::discretise(ctx, d.time, on_device(ctx, edge), device_bin);
      CHECK(list(on_host(ctx, device_bin)) == list(bin));
      stroma::array<double, 1> part(n);
      device_vector<double> device_part(n);
      const stroma::discretise_options right{.closed = stroma::closed_side::right};
      stroma::discretise(host, c.time, edge, bin, right);
      stroma::discretise(ctx, d.time, on_device(ctx, edge), device_bin, right);
      CHECK(list(on_host(ctx, device_bin)) == list(bin));
      stroma::lived_part(host, c.time, edge, 100, bin, part);
      stroma::lived_part(ctx, d.time, on_device(ctx, edge), 100, device_bin, device_part);
      CHECK(list(on_host(ctx, device_part)) == list(part));
    }
  }
}

TEST_CASE("cuda: discretise: no edge, times at and beyond the edges, and nobody") {
  stroma::cuda_context ctx;
  const auto time = on_device(ctx, std::vector<double>{0, 1, 1.5, 2, 3, 1e300});
  const auto edge = on_device(ctx, std::vector<double>{1, 2, 2, 3});
  device_vector<std::int64_t> bin(6);
  stroma::discretise(ctx, time, edge, bin);
  CHECK(list(on_host(ctx, bin)) == std::vector<std::int64_t>{0, 1, 1, 3, 4, 4});
  stroma::discretise(ctx, time, device_vector<double>(), bin);
  CHECK(list(on_host(ctx, bin)) == std::vector<std::int64_t>(6, 0));
  device_vector<int> no_bins;
  stroma::discretise(ctx, device_vector<double>(), edge, no_bins);
  CHECK_NOTHROW(ctx.synchronize());
}

TEST_CASE("cuda: discretise: bad values and lengths") {
  stroma::cuda_context ctx;
  const auto vector = [&](const std::vector<double>& x) { return on_device(ctx, x); };
  const auto time = vector({1, 2, 3}), event = vector({1, 1, 0}), edge = vector({1, 2});
  const auto bad = vector({1, std::numeric_limits<double>::quiet_NaN(), 0}), falling = vector({2, 3, 1});
  device_vector<int> bin(3), two(2);
  device_vector<double> out(2);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::discretise(ctx, bad, edge, bin), stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::discretise(ctx, time, bad, bin), stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::discretise(ctx, time, falling, bin), stroma::value_error);
  CHECK_THROWS_AS(stroma::discretise(ctx, time, edge, two), stroma::shape_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::quantile_edges(ctx, bad, event, out), stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::quantile_edges(ctx, time, bad, out), stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::quantile_edges(ctx, time, vector({0, 0, 0}), out), stroma::value_error);
  CHECK_THROWS_AS(stroma::quantile_edges(ctx, time, edge, out), stroma::shape_error);
  CHECK_THROWS_AS(stroma::equal_width_edges(ctx, 0.0, out), stroma::value_error);
  const device_vector<double> none;
  CHECK_THROWS_ON_DEVICE(ctx, stroma::quantile_edges(ctx, none, none, out), stroma::value_error);
  stroma::discretise(ctx, bad, falling, bin, {.check_values = false});
  stroma::quantile_edges(ctx, bad, bad, out, {.check_values = false});
  CHECK_NOTHROW(ctx.synchronize());
}

TEST_CASE("cuda: discretise: the second call allocates nothing, and none waits") {
  stroma::cuda_context ctx;
  const auto c = random_cohort<float>(1500, 200, 51);
  const cohort_on_device<float> d(ctx, c);
  device_vector<float> edge(31);
  device_vector<int> bin(1500);
  check_called_again([&] {
    stroma::quantile_edges(ctx, d.time, d.event, edge);
    stroma::discretise(ctx, d.time, edge, bin);
  });
}
