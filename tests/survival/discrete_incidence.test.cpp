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
#include "survival/discrete_golden.hpp"

using namespace stroma;

namespace {

constexpr incidence_model all_models[] = {incidence_model::bounded, incidence_model::pmf, incidence_model::mtlr};

/// exp of the terms of a row's softmax, the last for those who outlive all bins.
template <class T>
std::vector<long double> chances(const discrete_cohort<T>& c, std::size_t r, incidence_model model) {
  std::vector<long double> e;
  for (int k = 0; k < c.bins; ++k) {
    long double term = c.at(r, k);
    for (int l = k + 1; l < c.bins && model == incidence_model::mtlr; ++l) term += static_cast<long double>(c.at(r, l));
    e.push_back(std::exp(term));
  }
  e.push_back(model == incidence_model::bounded ? 0 : 1);
  return e;
}

template <class T>
long double oracle(const discrete_cohort<T>& c, double alpha, incidence_model model) {
  long double sum = 0;
  for (std::size_t r = 0; r < c.bin.size(); ++r) {
    const auto e = chances(c, r, model);
    long double all = 0, inside = 0;
    for (int k = 0; k <= c.bins; ++k) {
      all += e[static_cast<std::size_t>(k)];
      if (c.event[r] != 0 ? k == c.bin[r] : k > c.bin[r]) inside += e[static_cast<std::size_t>(k)];
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
      for (const double alpha : {0.0, 0.3, 1.0})
        for (const auto model : all_models) {
          const auto c = random_discrete<T>(rows, bins, static_cast<unsigned>(rows));
          const long double expected = oracle(c, alpha, model);
          // The result is rounded to T, the sums of its rows and of their terms, up to 4 a bin, in double.
          const double scale = static_cast<double>(std::max(expected, 1.0L)) *
                               (8.0 * std::numeric_limits<T>::epsilon() + static_cast<double>(rows) * 2.3e-16 +
                                4.0 * bins * bins * 2.3e-16);
          const auto found = [&](reduction reduce) {
            return discrete_incidence(ctx, c.logits(), c.bin, c.event,
                                      {.model = model, .alpha = alpha, .reduce = reduce});
          };
          CHECK(std::abs(static_cast<double>(found(reduction::sum) - expected)) < scale);
          CHECK(std::abs(static_cast<double>(found(reduction::mean) - expected / static_cast<long double>(rows))) <
                scale);
        }
}

TEST_CASE("discrete_incidence: the golden definitions of PMF and MTLR, row by row") {
  cpu_context ctx;
  for (const auto model : {incidence_model::pmf, incidence_model::mtlr}) {
    const discrete_incidence_options options{.model = model};
    const bool pmf = model == incidence_model::pmf;
    check_golden_rows(
        pmf ? "pmf_nll" : "mtlr_nll", pmf ? "pmf_grad" : nullptr,
        [&](const golden_row& row) { return discrete_incidence(ctx, row.logit, row.bin, row.event, options); },
        [&](const golden_row& row, const double* seed, const matrix_view<double>& d) {
          discrete_incidence_backward(ctx, row.logit, row.bin, row.event, seed, d, options);
        });
  }
}

TEST_CASE("discrete_incidence: PMF is the bounded model with one bin more, of logit 0") {
  cpu_context ctx;
  const auto c = random_discrete<double>(60, 6, 8);
  array<double, 2> wider(60, 7), d_wider(60, 7), d(60, 6);
  for (index_t r = 0; r < 60; ++r)
    for (int k = 0; k < 6; ++k) wider(r, k) = c.at(static_cast<std::size_t>(r), k);
  const discrete_incidence_options pmf{.model = incidence_model::pmf, .alpha = 0.25};
  CHECK(discrete_incidence(ctx, c.logits(), c.bin, c.event, pmf) ==
        doctest::Approx(discrete_incidence(ctx, wider, c.bin, c.event, {.alpha = 0.25})).epsilon(1e-15));
  const double seed = 1;
  discrete_incidence_backward(ctx, c.logits(), c.bin, c.event, &seed, d, pmf);
  discrete_incidence_backward(ctx, wider, c.bin, c.event, &seed, d_wider, {.alpha = 0.25});
  for (index_t r = 0; r < 60; ++r)
    for (index_t k = 0; k < 6; ++k) CHECK(std::abs(d(r, k) - d_wider(r, k)) < 1e-17);
}

TEST_CASE_TEMPLATE("discrete_incidence_survival: what is left after each bin", T, double, float) {
  cpu_context ctx;
  auto c = random_discrete<T>(33, 7, 5);
  for (const auto model : all_models) {
    array<T, 2> curve(33, 7);
    discrete_incidence_survival(ctx, c.logits(), model, curve);
    for (std::size_t r = 0; r < 33; ++r) {
      const auto e = chances(c, r, model);
      long double all = 0, later = e[7];
      for (const auto x : e) all += x;
      for (int k = 7; k-- > 0; later += e[static_cast<std::size_t>(k)])
        CHECK(std::abs(static_cast<double>(curve(static_cast<index_t>(r), k) - later / all)) <
              32 * static_cast<double>(std::numeric_limits<T>::epsilon()));
    }
    auto copy = c.logit;
    const matrix_view<T> in_place(copy.data(), 33, 7);
    discrete_incidence_survival(ctx, in_place, model, in_place);
    CHECK(std::equal(curve.begin(), curve.end(), copy.begin()));
  }
  CHECK(message_of<shape_error>([&] {
          discrete_incidence_survival(ctx, c.logits(), incidence_model::pmf, array<T, 2>(33, 6));
        }) == "discrete_incidence_survival: survival: shape 33 x 6, expected 33 x 7");
}

TEST_CASE("discrete_incidence: logits of 700, one bin, the last bin, in every model") {
  cpu_context ctx;
  for (const auto model : all_models)
    for (const double size : {700.0, -700.0})
      for (const int bins : {1, 2, 5}) {
        discrete_cohort<double> c;
        c.bins = bins;
        for (int r = 0; r < 4; ++r) {
          c.bin.push_back(r < 2 ? 0 : bins - 1);
          c.event.push_back(static_cast<std::uint8_t>(r % 2));
          for (int k = 0; k < bins; ++k) c.logit.push_back(k == r ? -size : size);
        }
        const discrete_incidence_options options{.model = model, .reduce = reduction::sum};
        const double found = discrete_incidence(ctx, c.logits(), c.bin, c.event, options);
        const auto expected = static_cast<double>(oracle(c, 0, model));
        CHECK(std::abs(found - expected) <= 64 * 2.3e-16 * 700 * bins * std::max(1.0, expected));
        std::vector<double> gradient(c.logit.size());
        const double seed = 1;
        discrete_incidence_backward(ctx, c.logits(), c.bin, c.event, &seed,
                                    matrix_view<double>(gradient.data(), 4, bins), options);
        const auto f = [&](const std::vector<double>& z) {
          return discrete_incidence(ctx, matrix_view<const double>(z.data(), 4, bins), c.bin, c.event, options);
        };
        CHECK(gradient_error(f, c.logit, gradient) < gradient_tolerance * 700 * bins);
      }
}

TEST_CASE(
    "discrete_incidence: gradient by central differences; bounded, it sums to 0 in each row and shifts change "
    "nothing") {
  cpu_context ctx;
  auto c = random_discrete<double>(9, 5, 3);
  for (double& z : c.logit) z = std::round(z * 8) / 8;
  for (const auto model : all_models)
    for (const reduction reduce : {reduction::sum, reduction::mean}) {
      const discrete_incidence_options options{.model = model, .alpha = 0.4, .reduce = reduce};
      std::vector<double> gradient(45);
      const double seed = 1;
      discrete_incidence_backward(ctx, c.logits(), c.bin, c.event, &seed, matrix_view<double>(gradient.data(), 9, 5),
                                  options);
      const auto f = [&](const std::vector<double>& z) {
        return discrete_incidence(ctx, matrix_view<const double>(z.data(), 9, 5), c.bin, c.event, options);
      };
      CHECK(gradient_error(f, c.logit, gradient) < gradient_tolerance);
      if (model != incidence_model::bounded) continue;
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
