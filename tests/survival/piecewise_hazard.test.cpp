#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/survival/discrete_hazard.hpp>
#include <stroma/survival/piecewise_hazard.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "survival/cohort.hpp"
#include "survival/discrete.hpp"
#include "survival/discrete_golden.hpp"

using namespace stroma;

namespace {

std::vector<double> random_parts(std::size_t rows) {
  std::vector<double> part;
  for (std::size_t r = 0; r < rows; ++r) part.push_back(static_cast<double>(r * 5 % 9) / 8);
  return part;
}

template <class T>
long double oracle(const discrete_cohort<T>& c, const std::vector<double>& part) {
  long double sum = 0;
  for (std::size_t r = 0; r < c.bin.size(); ++r) {
    const auto hazard = [&](std::int64_t k) { return std::log1p(std::exp(static_cast<long double>(c.at(r, k)))); };
    for (int k = 0; k < c.bin[r]; ++k) sum += hazard(k);
    sum += static_cast<long double>(part[r]) * hazard(c.bin[r]);
    if (c.event[r] != 0) sum -= std::log(hazard(c.bin[r]));
  }
  return sum;
}

}  // namespace

TEST_CASE("piecewise_hazard: the golden definition, row by row") {
  cpu_context ctx;
  check_golden_rows(
      "pc_hazard_nll", nullptr,
      [&](const golden_row& row) { return piecewise_hazard(ctx, row.logit, row.bin, row.part, row.event); },
      [](const golden_row&, const double*, const matrix_view<double>&) {});
}

TEST_CASE_TEMPLATE("piecewise_hazard: the definition", T, double, float) {
  cpu_context ctx;
  for (const std::size_t rows : {1u, 31u, 32u, 33u, 1025u})
    for (const int bins : {1, 4, 32}) {
      const auto c = random_discrete<T>(rows, bins, static_cast<unsigned>(rows));
      const auto part = random_parts(rows);
      const long double expected = oracle(c, part);
      // The result is rounded to T, the sum of its rows in double.
      const double scale = static_cast<double>(std::max(std::abs(expected), static_cast<long double>(rows))) *
                           (8.0 * std::numeric_limits<T>::epsilon() + static_cast<double>(rows) * 2.3e-16);
      CHECK(std::abs(static_cast<double>(
                piecewise_hazard(ctx, c.logits(), c.bin, part, c.event, {.reduce = reduction::sum}) - expected)) <
            scale);
      CHECK(std::abs(static_cast<double>(piecewise_hazard(ctx, c.logits(), c.bin, part, c.event) -
                                         expected / static_cast<long double>(rows))) < scale);
    }
}

TEST_CASE("piecewise_hazard: gradient by central differences, added to what is there") {
  cpu_context ctx;
  const auto c = random_discrete<double>(9, 5, 3);
  const auto part = random_parts(9);
  for (const reduction reduce : {reduction::sum, reduction::mean}) {
    const piecewise_hazard_options options{.reduce = reduce};
    std::vector<double> gradient(45);
    const double seed = 1, double_seed = 2;
    piecewise_hazard_backward(ctx, c.logits(), c.bin, part, c.event, &seed, matrix_view<double>(gradient.data(), 9, 5),
                              options);
    const auto f = [&](const std::vector<double>& z) {
      return piecewise_hazard(ctx, matrix_view<const double>(z.data(), 9, 5), c.bin, part, c.event, options);
    };
    CHECK(gradient_error(f, c.logit, gradient) < gradient_tolerance);
    auto twice = gradient;
    piecewise_hazard_backward(ctx, c.logits(), c.bin, part, c.event, &double_seed,
                              matrix_view<double>(twice.data(), 9, 5), options);
    for (std::size_t i = 0; i < 45; ++i) CHECK(twice[i] == doctest::Approx(3 * gradient[i]));
  }
}

TEST_CASE_TEMPLATE("piecewise_hazard: logits of 700 and 1e4 either way, parts 0 and 1, one bin", T, double, float) {
  cpu_context ctx;
  const piecewise_hazard_options sum{.reduce = reduction::sum};
  for (const double size : {700.0, 1e4}) {
    const std::vector<T> z{T(-size), T(size), T(size), T(-size)};
    const matrix_view<const T> logit(z.data(), 4, 1);
    const std::vector<int> bin(4), event{1, 1, 0, 0};
    const std::vector<T> part{T(1), T(0), T(1), T(1)};
    // A death where no hazard was seen costs its logarithm; a hazard of `size` that was outlived costs itself.
    const double expected = size - std::log(size) + size;
    CHECK(std::abs(static_cast<double>(piecewise_hazard(ctx, logit, bin, part, event, sum)) - expected) <=
          4 * static_cast<double>(std::numeric_limits<T>::epsilon()) * expected);
    std::vector<T> d(4);
    const T seed = 1;
    piecewise_hazard_backward(ctx, logit, bin, part, event, &seed, matrix_view<T>(d.data(), 4, 1), sum);
    CHECK(d[0] == T(-1));
    CHECK(static_cast<double>(d[1]) == doctest::Approx(-1 / size).epsilon(1e-7));
    CHECK(d[2] == T(1));
    CHECK(std::abs(d[3]) <= static_cast<T>(std::exp(-700.0)));
  }
  // The series that takes over for small hazards meets the logarithm.
  for (const double x : {-30.0, -30.0000001, -29.9999999}) {
    CHECK(std::abs(detail::log_softplus(x) -
                   static_cast<double>(std::log(std::log1p(std::exp(static_cast<long double>(x)))))) < 1e-14);
    CHECK(std::abs(detail::log_softplus_derivative(x) - (1 - std::exp(x) / 2)) < 1e-15);
  }
}

TEST_CASE("piecewise_hazard: censored at the end of a bin it is the logistic hazard") {
  cpu_context ctx;
  auto c = random_discrete<double>(40, 6, 4);
  for (auto& e : c.event) e = 0;
  const std::vector<double> whole(40, 1.0);
  CHECK(piecewise_hazard(ctx, c.logits(), c.bin, whole, c.event) ==
        doctest::Approx(discrete_hazard(ctx, c.logits(), c.bin, c.event)).epsilon(1e-15));
}

TEST_CASE("piecewise_hazard: strided, recorded, empty, without taking memory") {
  cpu_context ctx;
  const auto c = random_discrete<double>(33, 6, 4);
  auto part = random_parts(33);
  const double expected = piecewise_hazard(ctx, c.logits(), c.bin, part, c.event);
  std::vector<double> gradient(33 * 6), recorded(33 * 6), columns(33 * 6);
  for (std::size_t r = 0; r < 33; ++r)
    for (std::size_t k = 0; k < 6; ++k) columns[k * 33 + r] = c.logit[r * 6 + k];
  auto apart = spread_out(part, 3, std::nan(""));
  CHECK(piecewise_hazard(ctx, matrix_view<const double>(columns.data(), 33, 6, 1, 33), c.bin, strided(apart, 3),
                         c.event) == expected);
  const double seed = 3;
  const matrix_view<double> into(gradient.data(), 33, 6);
  CHECK(allocations_in([&] { piecewise_hazard_backward(ctx, c.logits(), c.bin, part, c.event, &seed, into); }) == 0);
  graph<double> g(ctx);
  const node logit = g.variable(c.logits(), matrix_view<double>(recorded.data(), 33, 6));
  const node loss = piecewise_hazard(g, logit, c.bin, part, c.event);
  CHECK(g.scalar_value(loss) == expected);
  g.backward(loss, 3.0);
  CHECK(recorded == gradient);
  const std::vector<int> nothing;
  CHECK(piecewise_hazard(ctx, matrix_view<const double>(c.logit.data(), 0, 6), nothing, nothing, nothing) == 0);
}

TEST_CASE("piecewise_hazard: refuses what does not fit") {
  cpu_context ctx;
  std::vector<double> z(6);
  const matrix_view<const double> logit(z.data(), 2, 3);
  const std::vector<int> bin{0, 2}, event{1, 0}, three(3), high{0, 3}, twos{0, 2};
  const std::vector<double> part{0, 1}, beyond{0, 1.5};
  const auto refusal = [&](const auto& b, const auto& p, const auto& e) {
    try {
      (void)piecewise_hazard(ctx, logit, b, p, e);
    } catch (const std::logic_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refusal(three, part, event) == "piecewise_hazard: bin: length 3, expected 2 (the rows of logit)");
  CHECK(refusal(bin, three, event) == "piecewise_hazard: part: length 3, expected 2 (the rows of logit)");
  CHECK(refusal(bin, part, three) == "piecewise_hazard: event: length 3, expected 2 (the rows of logit)");
  CHECK(refusal(high, part, event) == "piecewise_hazard: bin: 3 at 1, expected 0 to 2");
  CHECK(refusal(bin, beyond, event) == "piecewise_hazard: part: 1.5 at 1, expected 0 to 1");
  CHECK(refusal(bin, part, twos) == "piecewise_hazard: event: 2 at 1, expected 0 (censored) or 1 (observed)");
  std::vector<double> gradient(4);
  const double seed = 1;
  CHECK(message_of<shape_error>([&] {
          piecewise_hazard_backward(ctx, logit, bin, part, event, &seed, matrix_view<double>(gradient.data(), 2, 2));
        }) == "piecewise_hazard_backward: d_logit: shape 2 x 2, expected 2 x 3");
  z[4] = std::numeric_limits<double>::quiet_NaN();
  CHECK(refusal(bin, part, event) == "piecewise_hazard: logit: nan at row 1, column 1, expected finite values");
  CHECK(std::isnan(piecewise_hazard(ctx, logit, bin, part, event, {.check_values = false})));
}
