#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/io/safetensors_reader.hpp>
#include <stroma/survival/discrete_incidence.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "support/shared.hpp"
#include "survival/cohort.hpp"
#include "survival/discrete.hpp"

using namespace stroma;

namespace {

template <class T>
long double oracle(const discrete_cohort<T>& c, double alpha) {
  long double sum = 0;
  for (std::size_t r = 0; r < c.bin.size(); ++r) {
    long double all = 0, inside = 0;
    for (int k = 0; k < c.bins; ++k) {
      const long double e = std::exp(static_cast<long double>(c.at(r, k)));
      all += e;
      if (c.event[r] != 0 ? k == c.bin[r] : k > c.bin[r]) inside += e;
    }
    const long double p = inside == 0 ? 1e-7L : inside / all;
    sum -= (c.event[r] != 0 ? 1 : 1 - static_cast<long double>(alpha)) * std::log(p);
  }
  return sum;
}

}  // namespace

TEST_CASE_TEMPLATE("discrete_incidence: PyTorch", T, double, float) {
  const double tolerance = sizeof(T) == 8 ? 1e-10 : 1e-5;
  const safetensors_reader file(test_data("models/loss_nll_incidence.safetensors"));
  const auto z = file.read<T>("input.z"), event = file.read<T>("input.event");
  const auto bin = file.read<std::int64_t>("input.bin");
  const auto loss = file.read<double>("output.loss"), expected = file.read<double>("grad.input.z");
  cpu_context ctx;
  const discrete_incidence_options options{.alpha = std::stod(file.metadata().at("alpha"))};
  CHECK(std::abs(discrete_incidence(ctx, z.matrix(), bin.flat(), event.flat(), options) - loss.flat()[0]) < tolerance);
  array<T, 2> gradient(41, 8);
  const T seed = 1;
  discrete_incidence_backward(ctx, z.matrix(), bin.flat(), event.flat(), &seed, gradient, options);
  for (index_t i = 0; i < gradient.size(); ++i) CHECK(std::abs(gradient[i] - expected.flat()[i]) < tolerance);
}

TEST_CASE_TEMPLATE("discrete_incidence: the definition", T, double, float) {
  cpu_context ctx;
  for (const std::size_t rows : {1u, 31u, 32u, 33u, 1025u})
    for (const int bins : {1, 4, 32})
      for (const double alpha : {0.0, 0.3, 1.0}) {
        const auto c = random_discrete<T>(rows, bins, static_cast<unsigned>(rows));
        const long double expected = oracle(c, alpha);
        // The result is rounded to T, the sum of its rows in double.
        const double scale = static_cast<double>(std::max(expected, 1.0L)) *
                             (8.0 * std::numeric_limits<T>::epsilon() + static_cast<double>(rows) * 2.3e-16);
        CHECK(std::abs(static_cast<double>(
                  discrete_incidence(ctx, c.logits(), c.bin, c.event, {.alpha = alpha, .reduce = reduction::sum}) -
                  expected)) < scale);
        CHECK(std::abs(static_cast<double>(discrete_incidence(ctx, c.logits(), c.bin, c.event, {.alpha = alpha}) -
                                           expected / static_cast<long double>(rows))) < scale);
      }
}

TEST_CASE("discrete_incidence: gradient by central differences, sums to 0 in each row, shifts change nothing") {
  cpu_context ctx;
  auto c = random_discrete<double>(9, 5, 3);
  for (double& z : c.logit) z = std::round(z * 8) / 8;
  for (const reduction reduce : {reduction::sum, reduction::mean}) {
    const discrete_incidence_options options{.alpha = 0.4, .reduce = reduce};
    std::vector<double> gradient(45), moved(45);
    const double seed = 1;
    discrete_incidence_backward(ctx, c.logits(), c.bin, c.event, &seed, matrix_view<double>(gradient.data(), 9, 5),
                                options);
    const auto f = [&](const std::vector<double>& z) {
      return discrete_incidence(ctx, matrix_view<const double>(z.data(), 9, 5), c.bin, c.event, options);
    };
    CHECK(gradient_error(f, c.logit, gradient) < gradient_tolerance);
    auto far_away = c;
    for (double& z : far_away.logit) z += 8192;
    CHECK(discrete_incidence(ctx, far_away.logits(), c.bin, c.event, options) ==
          doctest::Approx(f(c.logit)).epsilon(1e-11));
    for (std::size_t r = 0; r < 9; ++r) {
      double sum = 0;
      for (std::size_t k = 0; k < 5; ++k) sum += gradient[r * 5 + k];
      CHECK(std::abs(sum) < 1e-15);
    }
  }
}

TEST_CASE_TEMPLATE("discrete_incidence: logits of 1e4 either way", T, double, float) {
  cpu_context ctx;
  const std::vector<T> z{T(-1e4), T(1e4), 0, T(-1e4), T(1e4), 0, T(-1e4), T(1e4), 0};
  const matrix_view<const T> logit(z.data(), 3, 3);
  const std::vector<int> bin{1, 0, 1}, event{1, 1, 0};
  std::vector<T> gradient(9);
  const T seed = 1;
  const discrete_incidence_options sum{.reduce = reduction::sum};
  CHECK(discrete_incidence(ctx, logit, bin, event, sum) == T(30000));  // 0 + 20000 + 10000
  discrete_incidence_backward(ctx, logit, bin, event, &seed, matrix_view<T>(gradient.data(), 3, 3), sum);
  CHECK(gradient == std::vector<T>{0, 0, 0, -1, 1, 0, 0, 1, -1});
}

TEST_CASE("discrete_incidence: censored in the last bin is a constant, one bin is certain") {
  cpu_context ctx;
  const std::vector<double> z{1, 2, 3};
  const std::vector<int> last{2}, first{0}, censored{0}, died{1};
  const matrix_view<const double> logit(z.data(), 1, 3), single(z.data(), 1, 1);
  std::vector<double> gradient(3, 0.25);
  const double seed = 1;
  CHECK(discrete_incidence(ctx, logit, last, censored) == doctest::Approx(7 * std::log(10.0)));
  CHECK(discrete_incidence(ctx, logit, last, censored, {.alpha = 0.5, .beyond_last_bin = 1}) == 0);
  discrete_incidence_backward(ctx, logit, last, censored, &seed, matrix_view<double>(gradient.data(), 1, 3));
  CHECK(gradient == std::vector<double>(3, 0.25));
  CHECK(discrete_incidence(ctx, single, first, died) == 0);
  discrete_incidence_backward(ctx, single, first, died, &seed, matrix_view<double>(gradient.data(), 1, 1));
  CHECK(gradient[0] == 0.25);
}

TEST_CASE("discrete_incidence: recorded, strided, empty, without taking memory") {
  cpu_context ctx;
  const auto c = random_discrete<double>(33, 6, 4);
  std::vector<double> gradient(33 * 6), recorded(33 * 6), columns(33 * 6);
  for (std::size_t r = 0; r < 33; ++r)
    for (std::size_t k = 0; k < 6; ++k) columns[k * 33 + r] = c.logit[r * 6 + k];
  const double expected = discrete_incidence(ctx, c.logits(), c.bin, c.event);
  CHECK(discrete_incidence(ctx, matrix_view<const double>(columns.data(), 33, 6, 1, 33), c.bin, c.event) == expected);
  const double seed = 3;
  const matrix_view<double> into(gradient.data(), 33, 6);
  CHECK(allocations_in([&] { discrete_incidence_backward(ctx, c.logits(), c.bin, c.event, &seed, into); }) == 0);
  graph<double> g(ctx);
  const node logit = g.variable(c.logits(), matrix_view<double>(recorded.data(), 33, 6));
  const node loss = discrete_incidence(g, logit, c.bin, c.event);
  CHECK(g.scalar_value(loss) == expected);
  g.backward(loss, 3.0);
  CHECK(recorded == gradient);
  const std::vector<int> nothing;
  CHECK(discrete_incidence(ctx, matrix_view<const double>(c.logit.data(), 0, 6), nothing, nothing) == 0);
}

TEST_CASE("discrete_incidence: refuses what does not fit") {
  cpu_context ctx;
  std::vector<double> z(6);
  const matrix_view<const double> logit(z.data(), 2, 3);
  const std::vector<int> bin{0, 2}, event{1, 0}, three(3), high{0, 3};
  CHECK(message_of<shape_error>([&] { (void)discrete_incidence(ctx, logit, three, event); }) ==
        "discrete_incidence: bin: length 3, expected 2 (the rows of logit)");
  CHECK(message_of<value_error>([&] { (void)discrete_incidence(ctx, logit, high, event); }) ==
        "discrete_incidence: bin: 3 at 1, expected 0 to 2");
  CHECK(message_of<value_error>([&] { (void)discrete_incidence(ctx, logit, bin, event, {.alpha = -1}); }) ==
        "discrete_incidence: alpha: -1, expected 0 to 1");
  CHECK(message_of<value_error>([&] { (void)discrete_incidence(ctx, logit, bin, event, {.beyond_last_bin = 0}); }) ==
        "discrete_incidence: beyond_last_bin: 0, expected a number above 0");
  z[4] = std::numeric_limits<double>::quiet_NaN();
  CHECK(message_of<value_error>([&] { (void)discrete_incidence(ctx, logit, bin, event); }) ==
        "discrete_incidence: logit: nan at row 1, column 1, expected finite values");
}
