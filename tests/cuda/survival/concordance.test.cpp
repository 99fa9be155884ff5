#include <cmath>

#include <stroma/survival/concordance.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

namespace {

void check_same(const stroma::concordance_result& found, const stroma::concordance_result& expected, double allowed) {
  const auto near = [&](double a, double b) { return std::abs(a - b) <= allowed; };
  CHECK(near(found.concordant, expected.concordant));
  CHECK(near(found.discordant, expected.discordant));
  CHECK(near(found.tied_score, expected.tied_score));
  CHECK(near(found.tied_time, expected.tied_time));
  CHECK(near(found.tied_both, expected.tied_both));
  const double pairs = expected.concordant + expected.discordant + expected.tied_score;
  if (std::isnan(expected.value)) CHECK(std::isnan(found.value));
  else CHECK(std::abs(found.value - expected.value) <= 2 * allowed / pairs);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: concordance: the host's counts", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const auto& [name, c] : cohorts<T>()) {
    const auto& cohort_name = name;  // clang 14 does not capture a binding
    CAPTURE(cohort_name);
    const cohort_on_device<T> d(ctx, c);
    const auto expected = stroma::concordance(host, c.score, c.time, c.event);
    check_same(stroma::concordance(ctx, d.score, d.time, d.event), expected, 0);
    check_same(stroma::concordance(ctx, d.score, stroma::risk_order(ctx, d.time, d.event)), expected, 0);
    const auto weighted =
        stroma::concordance(host, c.score, stroma::risk_order(host, c.time, c.event, {.weight = c.weight}));
    // Weights are multiples of 1/8: sums of their products are exact, too.
    check_same(stroma::concordance(ctx, d.score, stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight})),
               weighted, 0);
  }
}

TEST_CASE("cuda: concordance: weights whose sums are rounded") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  auto c = random_cohort<double>(2000, 300, 31);
  stroma::random_stream draw(5);
  for (auto& w : c.weight) w = draw.uniform();
  const cohort_on_device<double> d(ctx, c);
  const auto expected =
      stroma::concordance(host, c.score, stroma::risk_order(host, c.time, c.event, {.weight = c.weight}));
  const double pairs = expected.concordant + expected.discordant + expected.tied_score;
  check_same(stroma::concordance(ctx, d.score, stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight})),
             expected, 2000 * std::numeric_limits<double>::epsilon() * pairs);
}

TEST_CASE("cuda: concordance: every option but a tolerance, as on the host") {
  using enum stroma::pair_weighting;
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const std::size_t n : {1u, 2u, 3u, 31u, 32u, 33u, 64u, 65u, 300u})
    for (const int times : {7, 400}) {
      const auto c = random_cohort<double>(n, times, static_cast<unsigned>(n) + 3);
      const cohort_on_device<double> d(ctx, c);
      const auto entry = on_device(ctx, c.entry);
      const auto stratum = on_device(ctx, c.stratum);
      const std::pair<stroma::risk_order_options<>, stroma::risk_order_options<stroma::device_space>> columns[] = {
          {{}, {}},
          {{.weight = c.weight, .stratum = c.stratum}, {.weight = d.weight, .stratum = stratum}},
          {{.entry = c.entry}, {.entry = entry}},
          {{.weight = c.weight, .entry = c.entry, .stratum = c.stratum},
           {.weight = d.weight, .entry = entry, .stratum = stratum}}};
      for (const auto& column : columns) {
        const stroma::risk_order on_cpu(host, c.time, c.event, column.first);
        const stroma::risk_order on_gpu(ctx, d.time, d.event, column.second);
        for (const auto weighting : {equal, survival_over_censoring, inverse_censoring, inverse_risk}) {
          CAPTURE(n);
          CAPTURE(times);
          CAPTURE(static_cast<int>(weighting));
          const stroma::concordance_options options{
              .weighting = weighting,
              .censoring = times == 7 ? stroma::censoring_limit::at : stroma::censoring_limit::before,
              .horizon = times * 0.9,
              .standard_error = true};
          std::vector<double> influence(n);
          stroma::array<double, 2> strata(on_cpu.strata(), 5);
          device_vector<double> device_influence(static_cast<index_t>(n));
          device_array<double> device_strata(on_cpu.strata(), 5);
          const auto expected = stroma::concordance(
              host, c.score, on_cpu, {.influence = stroma::as_view(influence), .by_stratum = stroma::as_view(strata)},
              options);
          const auto found = stroma::concordance(
              ctx, d.score, on_gpu,
              {.influence = stroma::as_view(device_influence), .by_stratum = stroma::as_view(device_strata)}, options);
          // The host's sums of n rounded terms, and the device's, each of up to the sum over all pairs at the largest
          // weight of a pair, which is below that of all pairs times n.
          const double pairs = expected.comparable();
          const double rounding = 32 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
          check_same(found, expected, weighting == equal ? 0 : rounding * pairs * static_cast<double>(n));
          CHECK(found.undefined == expected.undefined);
          CHECK(device_error(ctx, device_strata, strata, rounding * pairs * static_cast<double>(n)) <= 1);
          if (!(pairs > 0)) {
            CHECK(std::isnan(found.variance));
            continue;
          }
          double largest = 0;
          for (const double x : influence) largest = std::max(largest, std::abs(x));
          const double allowed = rounding * static_cast<double>(n) * std::max(largest, 1 / static_cast<double>(n));
          const auto found_influence = on_host(ctx, device_influence);
          for (std::size_t i = 0; i < n; ++i)
            CHECK(std::abs(found_influence[static_cast<index_t>(i)] - influence[i]) <= allowed);
          CHECK(std::abs(found.variance - expected.variance) <= 2 * allowed * static_cast<double>(n) * largest);
        }
      }
    }
}

TEST_CASE("cuda: concordance: a stratum's counts know nothing of other strata's weights") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  auto c = random_cohort<double>(700, 60, 33);
  stroma::random_stream draw(34);
  for (std::size_t i = 0; i < 700; ++i) c.weight[i] = c.stratum[i] % 2 == 0 ? 1e12 : draw.uniform();
  const cohort_on_device<double> d(ctx, c);
  const auto stratum = on_device(ctx, c.stratum);
  const stroma::risk_order on_cpu(host, c.time, c.event, {.weight = c.weight, .stratum = c.stratum});
  const stroma::risk_order on_gpu(ctx, d.time, d.event, {.weight = d.weight, .stratum = stratum});
  stroma::array<double, 2> expected(on_cpu.strata(), 5);
  device_array<double> found(on_cpu.strata(), 5);
  static_cast<void>(stroma::concordance(host, c.score, on_cpu, {.by_stratum = stroma::as_view(expected)}));
  static_cast<void>(stroma::concordance(ctx, d.score, on_gpu, {.by_stratum = stroma::as_view(found)}));
  const auto strata = on_host(ctx, found);
  for (index_t s = 0; s < on_cpu.strata(); ++s) {
    double pairs = 0;
    for (index_t i = 0; i < 5; ++i) pairs += expected(s, i);
    CHECK(pairs > 0);
    for (index_t i = 0; i < 5; ++i)
      CHECK(std::abs(strata(s, i) - expected(s, i)) <= 700 * std::numeric_limits<double>::epsilon() * pairs);
  }
}

TEST_CASE("cuda: concordance: a tolerance is refused") {
  stroma::cuda_context ctx;
  const auto time = on_device(ctx, std::vector<double>{1, 2}), event = on_device(ctx, std::vector<double>{1, 1});
  CHECK(message_of<stroma::value_error>([&] {
          static_cast<void>(stroma::concordance(ctx, time, time, event, {.tolerance = 0.5}));
        }) == "concordance: tolerance: 0.5, expected 0 on a device, where scores are tied when they are equal");
}

TEST_CASE("cuda: concordance: without ties nothing is tied, whatever the weights") {
  stroma::cuda_context ctx;
  cohort<double> c;
  stroma::random_stream draw(6);
  for (int i = 0; i < 700; ++i) {
    c.score.push_back(draw.normal());
    c.time.push_back(draw.uniform());
    c.weight.push_back(draw.uniform());
    c.event.push_back(draw.uniform() < 0.5 ? 1 : 0);
  }
  const cohort_on_device<double> d(ctx, c);
  const auto r = stroma::concordance(ctx, d.score, stroma::risk_order(ctx, d.time, d.event, {.weight = d.weight}));
  CHECK(r.tied_score == 0);
  CHECK(r.tied_time == 0);
  CHECK(r.tied_both == 0);
}

TEST_CASE("cuda: concordance: nobody, and values that were not checked") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const device_vector<double> none;
  CHECK(std::isnan(stroma::concordance(ctx, none, none, none).value));
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> time{1, nan, 2, 2, 0, nan}, score{nan, 1, -0.0, 0.0, nan, 3}, event{1, 1, 1, 1, 0, 1};
  const auto t = on_device(ctx, time), s = on_device(ctx, score), e = on_device(ctx, event);
  check_same(stroma::concordance(ctx, s, t, e, {.check_values = false}),
             stroma::concordance(host, score, time, event, {.check_values = false}), 0);
}

TEST_CASE("cuda: concordance: the second call allocates nothing, and waits only for the result") {
  stroma::cuda_context ctx;
  const auto c = random_cohort<float>(1500, 200, 14);
  const cohort_on_device<float> d(ctx, c);
  const stroma::risk_order order(ctx, d.time, d.event, {.weight = d.weight});
  double sum = 0;
  // The result comes as a copy that waits; the checks' findings as another.
  check_called_again([&] { sum += stroma::concordance(ctx, d.score, order).value; }, 4);
  CHECK(sum > 0);
}

#if !defined(__CUDACC__)

TEST_CASE("cuda: concordance: launches grow by as many for every doubling of the cohort") {
  stroma::cuda_context ctx;
  std::vector<std::uint64_t> launches;
  for (const std::size_t n : {256u, 512u, 1024u, 2048u}) {
    const auto c = random_cohort<float>(n, 200, 15);
    const cohort_on_device<float> d(ctx, c);
    const auto entry = on_device(ctx, c.entry);
    const stroma::risk_order order(ctx, d.time, d.event, {.weight = d.weight, .entry = entry});
    const auto before = cuda_emulator::count().kernels;
    static_cast<void>(stroma::concordance(ctx, d.score, order, {.standard_error = true}));
    launches.push_back(cuda_emulator::count().kernels - before);
  }
  // Whoever is compared with events, enters late, and sees events: three launches a bit of a rank for each.
  for (std::size_t i = 1; i < launches.size(); ++i) CHECK(launches[i] - launches[i - 1] == 9);
}

#endif

TEST_CASE("cuda: concordance: bad values and lengths") {
  stroma::cuda_context ctx;
  const auto time = on_device(ctx, std::vector<double>{1, 2, 3}), event = on_device(ctx, std::vector<double>{1, 1, 0});
  const auto bad = on_device(ctx, std::vector<double>{1, -std::numeric_limits<double>::infinity(), 0});
  const auto two = on_device(ctx, std::vector<double>{1, 1});
  const stroma::risk_order order(ctx, time, event);
  CHECK_THROWS_AS(static_cast<void>(stroma::concordance(ctx, bad, order)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(stroma::concordance(ctx, time, bad, event)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(stroma::concordance(ctx, time, time, bad)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(stroma::concordance(ctx, two, order)), stroma::shape_error);
  CHECK(stroma::concordance(ctx, time, order).value == 0);
}
