#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/io/safetensors_reader.hpp>
#include <stroma/survival/discrete_hazard.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "support/shared.hpp"
#include "survival/cohort.hpp"
#include "survival/discrete.hpp"
#include "survival/discrete_golden.hpp"

using namespace stroma;

namespace {

/// The published form: products of hazards, in long double.
template <class T>
long double oracle(const discrete_cohort<T>& c, double alpha) {
  long double sum = 0;
  for (std::size_t r = 0; r < c.bin.size(); ++r) {
    const auto hazard = [&](std::int64_t k) { return 1 / (1 + std::exp(-static_cast<long double>(c.at(r, k)))); };
    long double survived = 1;
    for (int k = 0; k < c.bin[r]; ++k) survived *= 1 - hazard(k);
    if (c.event[r] != 0) sum -= std::log(survived) + std::log(hazard(c.bin[r]));
    else sum -= (1 - static_cast<long double>(alpha)) * std::log(survived * (1 - hazard(c.bin[r])));
  }
  return sum;
}

}  // namespace

TEST_CASE("discrete_hazard: the four published values") {
  cpu_context ctx;
  const std::vector<double> z{-1, 0, 1, 2};
  const matrix_view<const double> logit(z.data(), 1, 4);
  struct row {
    int bin, event;
    double loss;
    std::vector<double> gradient;
  };
  for (const row& r :
       {row{2, 1, 1.3196706, {.268941, .5, -.268941, 0}}, row{2, 0, 1.1598353, {.134471, .25, .365529, 0}},
        row{0, 1, 1.3132617, {-.731059, 0, 0, 0}}, row{3, 0, 2.2232993, {.134471, .25, .365529, .440399}}}) {
    const std::vector<int> bin{r.bin}, event{r.event};
    CHECK(std::abs(discrete_hazard(ctx, logit, bin, event, {.alpha = 0.5}) - r.loss) < 6e-8);
    std::vector<double> gradient(4);
    const double seed = 1;
    discrete_hazard_backward(ctx, logit, bin, event, &seed, matrix_view<double>(gradient.data(), 1, 4), {.alpha = 0.5});
    for (std::size_t k = 0; k < 4; ++k) CHECK(std::abs(gradient[k] - r.gradient[k]) < 6e-7);
  }
}

TEST_CASE_TEMPLATE("discrete_hazard: PyTorch", T, double, float) {
  const double tolerance = sizeof(T) == 8 ? 1e-10 : 1e-5;
  const safetensors_reader file(test_data("models/loss_nll_hazard.safetensors"));
  const auto z = file.read<T>("input.z"), event = file.read<T>("input.event");
  const auto bin = file.read<std::int64_t>("input.bin");
  const auto loss = file.read<double>("output.loss"), expected = file.read<double>("grad.input.z");
  cpu_context ctx;
  const discrete_hazard_options options{.alpha = std::stod(file.metadata().at("alpha"))};
  CHECK(std::abs(discrete_hazard(ctx, z.matrix(), bin.flat(), event.flat(), options) - loss.flat()[0]) < tolerance);
  array<T, 2> gradient(41, 8);
  const T seed = 1;
  discrete_hazard_backward(ctx, z.matrix(), bin.flat(), event.flat(), &seed, gradient, options);
  for (index_t i = 0; i < gradient.size(); ++i) CHECK(std::abs(gradient[i] - expected.flat()[i]) < tolerance);
}

TEST_CASE_TEMPLATE("discrete_hazard: the definition", T, double, float) {
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
                  discrete_hazard(ctx, c.logits(), c.bin, c.event, {.alpha = alpha, .reduce = reduction::sum}) -
                  expected)) < scale);
        CHECK(std::abs(static_cast<double>(discrete_hazard(ctx, c.logits(), c.bin, c.event, {.alpha = alpha}) -
                                           expected / static_cast<long double>(rows))) < scale);
      }
}

TEST_CASE("discrete_hazard: the golden definition, row by row") {
  cpu_context ctx;
  check_golden_rows(
      "logistic_hazard_nll", "logistic_hazard_grad",
      [&](const golden_row& row) { return discrete_hazard(ctx, row.logit, row.bin, row.event); },
      [&](const golden_row& row, const double* seed, const matrix_view<double>& d) {
        discrete_hazard_backward(ctx, row.logit, row.bin, row.event, seed, d);
      });
}

TEST_CASE("discrete_hazard: gradient by central differences, added to what is there") {
  cpu_context ctx;
  const auto c = random_discrete<double>(9, 5, 3);
  for (const reduction reduce : {reduction::sum, reduction::mean}) {
    const discrete_hazard_options options{.alpha = 0.4, .reduce = reduce};
    std::vector<double> gradient(45);
    const double seed = 1;
    discrete_hazard_backward(ctx, c.logits(), c.bin, c.event, &seed, matrix_view<double>(gradient.data(), 9, 5),
                             options);
    const auto f = [&](const std::vector<double>& z) {
      return discrete_hazard(ctx, matrix_view<const double>(z.data(), 9, 5), c.bin, c.event, options);
    };
    CHECK(gradient_error(f, c.logit, gradient) < gradient_tolerance);
    auto twice = gradient;
    const double double_seed = 2;
    discrete_hazard_backward(ctx, c.logits(), c.bin, c.event, &double_seed, matrix_view<double>(twice.data(), 9, 5),
                             options);
    for (std::size_t i = 0; i < 45; ++i) CHECK(twice[i] == doctest::Approx(3 * gradient[i]));
  }
}

TEST_CASE_TEMPLATE("discrete_hazard: logits of 1e4 either way", T, double, float) {
  cpu_context ctx;
  const std::vector<T> z{T(-1e4), T(1e4), T(-1e4), T(1e4)};
  const matrix_view<const T> logit(z.data(), 2, 2);
  const std::vector<int> bin{1, 0}, event{1, 1};
  std::vector<T> gradient(4);
  const T seed = 1;
  const discrete_hazard_options sum{.reduce = reduction::sum};
  // Row 0 outlives bin 0 and dies in bin 1 as foretold: 0. Row 1 dies where no hazard was seen: 1e4.
  CHECK(discrete_hazard(ctx, logit, bin, event, sum) == T(1e4));
  discrete_hazard_backward(ctx, logit, bin, event, &seed, matrix_view<T>(gradient.data(), 2, 2), sum);
  CHECK(gradient == std::vector<T>{0, 0, -1, 0});
}

TEST_CASE("discrete_hazard: strided, transposed, recorded, empty, without taking memory") {
  cpu_context ctx;
  const auto c = random_discrete<double>(33, 6, 4);
  const double expected = discrete_hazard(ctx, c.logits(), c.bin, c.event);
  std::vector<double> gradient(33 * 6), other(33 * 6), columns(33 * 6);
  for (std::size_t r = 0; r < 33; ++r)
    for (std::size_t k = 0; k < 6; ++k) columns[k * 33 + r] = c.logit[r * 6 + k];
  const matrix_view<const double> by_columns(columns.data(), 33, 6, 1, 33);
  CHECK(discrete_hazard(ctx, by_columns, c.bin, c.event) == expected);
  const double seed = 3;
  const matrix_view<double> into(gradient.data(), 33, 6);
  CHECK(allocations_in([&] { discrete_hazard_backward(ctx, c.logits(), c.bin, c.event, &seed, into); }) == 0);
  discrete_hazard_backward(ctx, by_columns, c.bin, c.event, &seed, matrix_view<double>(other.data(), 33, 6, 1, 33));
  for (std::size_t r = 0; r < 33; ++r)
    for (std::size_t k = 0; k < 6; ++k) CHECK(other[k * 33 + r] == gradient[r * 6 + k]);

  graph<double> g(ctx);
  std::vector<double> recorded(33 * 6);
  const node logit = g.variable(c.logits(), matrix_view<double>(recorded.data(), 33, 6));
  const node loss = discrete_hazard(g, logit, c.bin, c.event);
  CHECK(g.scalar_value(loss) == expected);
  g.backward(loss, 3.0);
  CHECK(recorded == gradient);

  const std::vector<int> nothing;
  CHECK(discrete_hazard(ctx, matrix_view<const double>(c.logit.data(), 0, 6), nothing, nothing) == 0);
}

TEST_CASE("discrete_hazard: refuses what does not fit") {
  cpu_context ctx;
  std::vector<double> z(6);
  const matrix_view<const double> logit(z.data(), 2, 3);
  const std::vector<int> bin{0, 2}, event{1, 0}, three(3), high{0, 3}, low{-1, 0}, twos{0, 2};
  CHECK(message_of<shape_error>([&] { (void)discrete_hazard(ctx, logit, three, event); }) ==
        "discrete_hazard: bin: length 3, expected 2 (the rows of logit)");
  CHECK(message_of<shape_error>([&] { (void)discrete_hazard(ctx, logit, bin, three); }) ==
        "discrete_hazard: event: length 3, expected 2 (the rows of logit)");
  CHECK(message_of<value_error>([&] { (void)discrete_hazard(ctx, logit, high, event); }) ==
        "discrete_hazard: bin: 3 at 1, expected 0 to 2");
  CHECK(message_of<value_error>([&] { (void)discrete_hazard(ctx, logit, low, event); }) ==
        "discrete_hazard: bin: -1 at 0, expected 0 to 2");
  CHECK(message_of<value_error>([&] { (void)discrete_hazard(ctx, logit, bin, twos); }) ==
        "discrete_hazard: event: 2 at 1, expected 0 (censored) or 1 (observed)");
  CHECK(message_of<value_error>([&] { (void)discrete_hazard(ctx, logit, bin, event, {.alpha = 1.5}); }) ==
        "discrete_hazard: alpha: 1.5, expected 0 to 1");
  std::vector<double> gradient(4);
  const double seed = 1;
  CHECK(message_of<shape_error>([&] {
          discrete_hazard_backward(ctx, logit, bin, event, &seed, matrix_view<double>(gradient.data(), 2, 2));
        }) == "discrete_hazard_backward: d_logit: shape 2 x 2, expected 2 x 3");
  z[4] = std::numeric_limits<double>::quiet_NaN();
  CHECK(message_of<value_error>([&] { (void)discrete_hazard(ctx, logit, bin, event); }) ==
        "discrete_hazard: logit: nan at row 1, column 1, expected finite values");
  CHECK(std::isnan(discrete_hazard(ctx, logit, bin, event, {.check_values = false})));
}

TEST_CASE_TEMPLATE("discrete_hazard_survival: products of what is left", T, double, float) {
  cpu_context ctx;
  const double eps = 16 * static_cast<double>(std::numeric_limits<T>::epsilon());
  auto c = random_discrete<T>(33, 7, 5);
  c.logit[0] = T(1e4);
  c.logit[7] = T(-1e4);
  array<T, 2> curve(33, 7);
  discrete_hazard_survival(ctx, c.logits(), curve);
  for (std::size_t r = 0; r < 33; ++r) {
    double survived = 1;
    for (int k = 0; k < 7; ++k) {
      survived *= 1 / (1 + std::exp(static_cast<double>(c.at(r, k))));
      CHECK(std::abs(curve(static_cast<index_t>(r), k) - survived) < eps);
    }
  }
  CHECK(curve(0, 6) == T(0));
  CHECK(curve(1, 0) == T(1));
  const matrix_view<T> in_place(c.logit.data(), 33, 7);
  discrete_hazard_survival(ctx, in_place, in_place);
  CHECK(std::equal(curve.begin(), curve.end(), c.logit.begin()));
  CHECK(message_of<shape_error>([&] { discrete_hazard_survival(ctx, c.logits(), array<T, 2>(33, 6)); }) ==
        "discrete_hazard_survival: survival: shape 33 x 6, expected 33 x 7");
}
