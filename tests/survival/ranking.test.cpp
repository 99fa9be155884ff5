#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/io/safetensors_reader.hpp>
#include <stroma/survival/ranking.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "support/shared.hpp"
#include "survival/cohort.hpp"

using namespace stroma;

namespace {

struct pairs {
  long double loss = 0;
  int count = 0;
  std::vector<int> net;
};
/// Every pair.
template <class T>
pairs oracle(const cohort<T>& c, double margin) {
  const std::size_t n = c.time.size();
  pairs p;
  p.net.assign(n, 0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      if (c.event[i] == 0 || !(c.time[i] < c.time[j])) continue;
      ++p.count;
      const long double hinge = margin + static_cast<long double>(c.score[i]) - static_cast<long double>(c.score[j]);
      if (hinge <= 0) continue;
      p.loss += hinge;
      ++p.net[i];
      --p.net[j];
    }
  return p;
}

}  // namespace

TEST_CASE_TEMPLATE("ranking: PyTorch", T, double, float) {
  const double tolerance = sizeof(T) == 8 ? 1e-10 : 1e-5;
  const safetensors_reader file(test_data("models/loss_ranking.safetensors"));
  const auto z = file.read<T>("input.z"), time = file.read<T>("input.time"), event = file.read<T>("input.event");
  const auto loss = file.read<double>("output.loss"), expected = file.read<double>("grad.input.z");
  cpu_context ctx;
  T value{};
  std::vector<T> gradient(41);
  ranking(ctx, z.flat(), time.flat(), event.flat(), {&value, as_view(gradient)},
          {.margin = std::stod(file.metadata().at("gamma"))});
  CHECK(std::abs(value - loss.flat()[0]) < tolerance);
  for (index_t i = 0; i < 41; ++i)
    CHECK(std::abs(gradient[static_cast<std::size_t>(i)] - expected.flat()[i]) < tolerance);
}

TEST_CASE_TEMPLATE("ranking: every pair", T, double, float) {
  cpu_context ctx;
  for (const std::size_t n : {0u, 1u, 2u, 31u, 32u, 33u, 1025u})
    for (const int times : {1, 7, 5000})
      for (const double spread : {1.0, 4096.0})
        for (const double margin : {0.0, 1.0, 2.5}) {
          const auto c = random_cohort<T>(n, times, static_cast<unsigned>(n), spread);
          const auto expected = oracle(c, margin);
          T value{};
          std::vector<T> gradient(n);
          ranking(ctx, c.score, c.time, c.event, {&value, as_view(gradient)},
                  {.margin = margin, .reduce = reduction::sum});
          CHECK(value == static_cast<T>(expected.loss));  // multiples of 1/8: exact
          for (std::size_t i = 0; i < n; ++i) CHECK(gradient[i] == static_cast<T>(expected.net[i]));
          const T mean = ranking(ctx, c.score, c.time, c.event, {.margin = margin});
          CHECK(mean == doctest::Approx(static_cast<double>(expected.count == 0 ? 0 : expected.loss / expected.count))
                            .epsilon(1e-6));
        }
}

TEST_CASE("ranking: gradient by central differences, sums to 0, large predictions that differ little") {
  cpu_context ctx;
  auto c = random_cohort(33, 9, 4);
  for (std::size_t i = 0; i < 33; ++i) c.score[i] += 0.003 * static_cast<double>(i);  // off the kinks
  std::vector<double> gradient(33);
  double value{};
  ranking(ctx, c.score, c.time, c.event, {&value, as_view(gradient)});
  const auto f = [&](const std::vector<double>& x) { return ranking(ctx, x, c.time, c.event); };
  CHECK(gradient_error(f, c.score, gradient) < gradient_tolerance);
  double sum = 0;
  for (const double d : gradient) sum += d;
  CHECK(std::abs(sum) < 1e-15);
  cohort<> d = random_cohort(33, 9, 4);
  const double before = f(d.score);
  for (double& s : d.score) s -= 1e9;
  CHECK(f(d.score) == before);
}

TEST_CASE("ranking: no event, one time, strides, recorded, without taking memory") {
  cpu_context ctx;
  std::vector<double> z{1, 2, 3}, gradient(3, 9);
  double value = 9;
  ranking(ctx, z, std::vector<int>{4, 5, 6}, std::vector<int>{0, 0, 0}, {&value, as_view(gradient)});
  CHECK(value == 0);
  CHECK(gradient == std::vector<double>{0, 0, 0});
  CHECK(ranking(ctx, z, std::vector<int>{4, 4, 4}, std::vector<int>{1, 0, 1}) == 0);

  const auto c = random_cohort(100, 12, 5);
  const risk_order order(ctx, c.time, c.event);
  std::vector<double> expected(100), wide(300, 5), recorded(100);
  const auto run = [&] { ranking(ctx, c.score, order, {&value, as_view(expected)}); };
  run();
  CHECK(allocations_in(run) == 0);
  auto score = spread_out(c.score, 2, std::nan(""));
  double again{};
  ranking(ctx, strided(score, 2), c.time, c.event, {&again, strided(wide, 3)});
  CHECK(again == value);
  for (std::size_t i = 0; i < 100; ++i) CHECK(wide[3 * i] == expected[i]);
  CHECK(wide[1] == 5);

  graph<double> g(ctx);
  const node p =
      g.variable(matrix_view<const double>(c.score.data(), 100, 1), matrix_view<double>(recorded.data(), 100, 1));
  const node loss = ranking(g, p, order);
  CHECK(g.scalar_value(loss) == value);
  g.backward(loss, 2.0);
  for (std::size_t i = 0; i < 100; ++i) CHECK(recorded[i] == 2 * expected[i]);
  CHECK(g.scalar_value(ranking(g, p, c.time, c.event)) == value);
}

TEST_CASE("ranking: refuses what does not fit") {
  cpu_context ctx;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> z{1, 2, 3}, time{1, 2, 3}, bad{1, 2, nan}, four(4);
  const std::vector<int> event{1, 0, 1};
  CHECK(message_of<shape_error>([&] { (void)ranking(ctx, z, four, event); }) ==
        "ranking: time: length 4, expected 3 (the length of prediction)");
  CHECK(message_of<value_error>([&] { (void)ranking(ctx, bad, time, event); }) ==
        "ranking: prediction: nan at 2, expected finite values");
  CHECK(message_of<value_error>([&] { (void)ranking(ctx, z, time, event, {.margin = -1}); }) ==
        "ranking: margin: -1, expected a finite number of 0 or more");
  (void)ranking(ctx, bad, time, event, {.check_values = false});
}
