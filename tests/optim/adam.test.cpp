#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/optim/adam.hpp>

#include "../support/counting_allocator.hpp"
#include "model.hpp"

using stroma::adam;
using stroma::adam_options;
using stroma::adamw;
using stroma::cpu_context;
using stroma::decay_on;

namespace {

/// The definition, one number at a time.
struct reference {
  adam_options options;
  bool decoupled;
  std::vector<long double> p, m, v;
  std::vector<bool> matrix;
  int t = 0;

  void step(const std::vector<long double>& gradient, long double rate) {
    ++t;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const long double decay = options.decay == decay_on::all || matrix[i] ? options.weight_decay : 0;
      const long double b1 = options.beta1, b2 = options.beta2;
      const long double d = decoupled ? gradient[i] : gradient[i] + decay * p[i];
      if (decoupled) p[i] *= 1 - rate * decay;
      m[i] = b1 * m[i] + (1 - b1) * d;
      v[i] = b2 * v[i] + (1 - b2) * d * d;
      const long double mean = m[i] / (1 - std::pow(b1, t)), square = v[i] / (1 - std::pow(b2, t));
      p[i] -= rate * mean / (std::sqrt(square) + options.epsilon);
    }
  }
};

template <class T, template <class> class Optimizer>
void check_against_reference(const adam_options& options, bool decoupled) {
  cpu_context ctx;
  small_model<T> model, gradient;
  fill_normal(model, 0);
  Optimizer<small_model<T>> optimizer(model, options);
  const std::vector<long double> zero(flat(model).size());
  reference expected{options, decoupled, flat(model), zero, zero, in_matrix(model)};
  constexpr int steps = 25;
  for (int i = 0; i < steps; ++i) {
    fill_normal(gradient, static_cast<std::uint32_t>(1 + i), std::pow(10.0, i % 5 - 2));
    const double rate = i == 0 ? 0 : 0.01 * (1 + i % 3);  // the first as at the start of a warm-up
    expected.step(flat(gradient), rate);
    if (i % 2 == 0) optimizer.step(ctx, model, gradient, rate);
    else optimizer.step_and_clear(ctx, model, gradient, rate);
  }
  CHECK(optimizer.steps == steps);
  CHECK(flat(gradient)[0] != 0);
  // Each step moves by at most about 10 rates, with an error of some 20 roundings (more where m cancels), and rounds p.
  const double tolerance = steps * std::numeric_limits<T>::epsilon() * (4 + 0.03 * 10 * 100);
  const auto found = flat(model);
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i)
    worst = std::fmax(worst, std::fabs(static_cast<double>(found[i] - expected.p[i])));
  CHECK(worst <= tolerance);
  CHECK(worst > 0);
}

}  // namespace

TEST_CASE_TEMPLATE("adam: steps follow the definition", T, float, double) {
  check_against_reference<T, adam>({}, false);
  check_against_reference<T, adam>({.weight_decay = 0.1}, false);
  check_against_reference<T, adam>({.weight_decay = 0.1, .decay = decay_on::matrices}, false);
  check_against_reference<T, adam>({.beta1 = 0, .beta2 = 0.9, .epsilon = 1e-3}, false);
  check_against_reference<T, adamw>({}, true);
  check_against_reference<T, adamw>({.weight_decay = 0.1}, true);
  check_against_reference<T, adamw>({.weight_decay = 0.1, .decay = decay_on::matrices}, true);
}

TEST_CASE("adam: the first step moves by the rate, against the gradient's sign") {
  cpu_context ctx;
  small_model<double> model, gradient;
  gradient.bias.fill(123);
  gradient.one.fill(-1e-4);
  adam optimizer(model, {.epsilon = 1e-12});
  optimizer.step(ctx, model, gradient, 0.25);
  CHECK(std::fabs(model.bias[2] + 0.25) < 1e-12);
  CHECK(std::fabs(model.one[0] - 0.25) < 1e-8);
  CHECK(model.weight(0, 0) == 0);
}

TEST_CASE("adam: decoupled decay is independent of the gradient and spares vectors when told") {
  cpu_context ctx;
  small_model<double> model, gradient;
  stroma::for_each_parameter([](std::string_view, auto& p) { p.fill(2); }, model);
  adamw optimizer(model, {.weight_decay = 0.5, .decay = decay_on::matrices});
  for (int i = 0; i < 10; ++i) optimizer.step(ctx, model, gradient, 0.1);
  CHECK(model.weight(12, 6) ==
        doctest::Approx(2 * std::pow(1 - 0.1 * 0.5, 10)).epsilon(10 * 3 * std::numeric_limits<double>::epsilon()));
  CHECK(model.row(0, 32) == model.weight(12, 6));
  CHECK(model.bias[12] == 2);
  CHECK(model.one[0] == 2);
}

TEST_CASE("adam: moments are objects of the model's struct under the optimiser's names") {
  small_model<float> model;
  adamw optimizer(model);
  std::vector<std::string> names;
  stroma::for_each_parameter([&](std::string_view name, const auto&) { names.emplace_back(name); }, optimizer);
  CHECK(names.size() == 10);
  CHECK(names[0] == "first.weight");
  CHECK(names[7] == "second.bias");
}

TEST_CASE_TEMPLATE("adam: the same bits for any number of threads, and no memory", T, float, double) {
  const auto run = [](int threads) {
    cpu_context ctx(threads);
    large_model<T> model, gradient;
    fill_normal(model, 0);
    adamw optimizer(model, {.weight_decay = 1e-3});
    for (int i = 0; i < 4; ++i) {
      fill_normal(gradient, static_cast<std::uint32_t>(i + 1));
      CHECK(allocations_in([&] { optimizer.step_and_clear(ctx, model, gradient, 0.1); }) == 0);
    }
    CHECK(same_bits(gradient, large_model<T>()));
    return model;
  };
  const auto one = run(1);
  CHECK(same_bits(one, run(2)));
  CHECK(same_bits(one, run(3)));
}

TEST_CASE("adam: an element's result does not depend on where it stands") {
  cpu_context ctx;
  small_model<float> model, gradient;
  stroma::for_each_parameter([](std::string_view, auto& p) { p.fill(0.3f); }, model);
  stroma::for_each_parameter([](std::string_view, auto& p) { p.fill(0.7f); }, gradient);
  adam optimizer(model, {.weight_decay = 0.1});
  for (int i = 0; i < 3; ++i) optimizer.step(ctx, model, gradient, 0.1);
  for (const auto x : flat(model)) CHECK(x == static_cast<long double>(model.one[0]));
}

TEST_CASE("adam: mistakes are named and change nothing") {
  cpu_context ctx;
  small_model<double> model, gradient;
  CHECK_THROWS_WITH_AS(adam(model, {.beta1 = 1}), "adam: options.beta1: 1, expected 0 to below 1", stroma::value_error);
  CHECK_THROWS_AS(adam(model, {.beta2 = -0.1}), stroma::value_error);
  CHECK_THROWS_AS(adamw(model, {.epsilon = 0}), stroma::value_error);
  CHECK_THROWS_AS(adamw(model, {.weight_decay = -1}), stroma::value_error);
  adam optimizer(model);
  fill_normal(gradient, 1);
  CHECK_THROWS_AS(optimizer.step(ctx, model, gradient, std::numeric_limits<double>::infinity()), stroma::value_error);
  gradient.weight = stroma::array<double, 2>(7, 13);
  CHECK_THROWS_WITH_AS(optimizer.step(ctx, model, gradient, 1),
                       "adam::step: weight: a gradient or moment of 7 x 13, expected 13 x 7 (the parameter's)",
                       stroma::shape_error);
  CHECK(optimizer.steps == 0);
  CHECK(same_bits(model, small_model<double>()));
}
