#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/optim/sgd.hpp>

#include "../support/counting_allocator.hpp"
#include "model.hpp"

using stroma::cpu_context;
using stroma::decay_on;
using stroma::momentum_kind;
using stroma::sgd;
using stroma::sgd_options;

namespace {

/// The definition, one number at a time.
struct reference {
  sgd_options options;
  std::vector<long double> p, v;
  std::vector<bool> matrix;

  void step(const std::vector<long double>& gradient, double rate) {
    for (std::size_t i = 0; i < p.size(); ++i) {
      const long double decay = options.decay == decay_on::all || matrix[i] ? options.weight_decay : 0;
      const long double d = gradient[i] + decay * p[i];
      v[i] = options.momentum * v[i] + d;
      p[i] -= rate * (options.kind == momentum_kind::nesterov ? d + options.momentum * v[i] : v[i]);
    }
  }
};

template <class T>
void check_against_reference(const sgd_options& options) {
  cpu_context ctx;
  small_model<T> model, gradient;
  fill_normal(model, 0);
  sgd optimizer(model, options);
  reference expected{options, flat(model), std::vector<long double>(flat(model).size()), in_matrix(model)};
  constexpr int steps = 12;
  for (int i = 0; i < steps; ++i) {
    fill_normal(gradient, static_cast<std::uint32_t>(1 + i));
    const double rate = 0.05 * (1 + i % 3);
    expected.step(flat(gradient), rate);
    const auto before = flat(gradient);
    if (i % 2 == 0) {
      optimizer.step(ctx, model, gradient, rate);
      CHECK(flat(gradient) == before);
    } else {
      optimizer.step_and_clear(ctx, model, gradient, rate);
      CHECK(flat(gradient) == std::vector<long double>(before.size()));
    }
  }
  CHECK(optimizer.steps == steps);
  // A step rounds a handful of times numbers below 16.
  const double tolerance = 16.0 * 6 * steps * std::numeric_limits<T>::epsilon();
  const auto found = flat(model);
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i)
    worst = std::fmax(worst, std::fabs(static_cast<double>(found[i] - expected.p[i])));
  CHECK(worst <= tolerance);
  CHECK(worst > 0);
}

}  // namespace

TEST_CASE_TEMPLATE("sgd: steps follow the definition", T, float, double) {
  check_against_reference<T>({});
  check_against_reference<T>({.weight_decay = 0.1});
  check_against_reference<T>({.momentum = 0.9});
  check_against_reference<T>({.momentum = 0.9, .weight_decay = 5e-3});
  check_against_reference<T>({.momentum = 0.9, .weight_decay = 0.2, .decay = decay_on::matrices});
  check_against_reference<T>({.momentum = 0.8, .weight_decay = 0.2, .kind = momentum_kind::nesterov});
}

TEST_CASE("sgd: momentum on a parabola has a closed form") {
  // p'' = p - rate v with gradient p: a linear recurrence, x = 1 - rate, 1 + mu - rate and -mu as its coefficients.
  cpu_context ctx;
  small_model<double> model;
  stroma::for_each_parameter([](std::string_view, auto& p) { p.fill(1); }, model);
  sgd optimizer(model, {.momentum = 0.5});
  double older = 1, old = 1 - 0.1;
  optimizer.step(ctx, model, small_model<double>(model), 0.1);
  for (int i = 0; i < 20; ++i) {
    CHECK(std::fabs(model.weight(3, 3) - old) < 1e-15);
    optimizer.step(ctx, model, small_model<double>(model), 0.1);
    const double next = (1 + 0.5 - 0.1) * old - 0.5 * older;
    older = old;
    old = next;
  }
}

TEST_CASE("sgd: the state is absent without momentum, and part of the optimiser's members with it") {
  small_model<float> model;
  std::vector<std::string> names;
  const auto collect = [&](std::string_view name, const auto&) { names.emplace_back(name); };
  sgd plain(model);
  stroma::for_each_parameter(collect, plain);
  CHECK(names.empty());
  sgd heavy(model, {.momentum = 0.9});
  stroma::for_each_parameter(collect, heavy);
  CHECK(names ==
        std::vector<std::string>{"velocity.weight", "velocity.row", "velocity.bias", "velocity.one", "velocity.none"});
}

TEST_CASE("sgd: the same bits for any number of threads, and no memory") {
  const auto run = [](int threads) {
    cpu_context ctx(threads);
    large_model<float> model, gradient;
    fill_normal(model, 0);
    sgd optimizer(model, {.momentum = 0.9, .weight_decay = 1e-3});
    for (int i = 0; i < 4; ++i) {
      fill_normal(gradient, static_cast<std::uint32_t>(i + 1));
      CHECK(allocations_in([&] { optimizer.step_and_clear(ctx, model, gradient, 0.1); }) == 0);
    }
    return model;
  };
  const auto one = run(1);
  CHECK(same_bits(one, run(2)));
  CHECK(same_bits(one, run(3)));
}

TEST_CASE("sgd: an element's result does not depend on where it stands") {
  cpu_context ctx;
  small_model<float> model, gradient;
  stroma::for_each_parameter([](std::string_view, auto& p) { p.fill(0.3f); }, model);
  stroma::for_each_parameter([](std::string_view, auto& p) { p.fill(0.7f); }, gradient);
  sgd optimizer(model, {.momentum = 0.9, .weight_decay = 0.1});
  for (int i = 0; i < 3; ++i) optimizer.step(ctx, model, gradient, 0.1);
  for (const auto x : flat(model)) CHECK(x == static_cast<long double>(model.one[0]));
}

TEST_CASE("sgd: mistakes are named and change nothing") {
  cpu_context ctx;
  small_model<double> model;
  CHECK_THROWS_WITH_AS(sgd(model, {.momentum = 1}), "sgd: options.momentum: 1, expected 0 to below 1",
                       stroma::value_error);
  CHECK_THROWS_AS(sgd(model, {.weight_decay = -1}), stroma::value_error);
  CHECK_THROWS_AS(sgd(model, {.weight_decay = std::nan("")}), stroma::value_error);
  CHECK_THROWS_AS(sgd(model, {.kind = momentum_kind::nesterov}), stroma::value_error);
  sgd optimizer(model);
  small_model<double> gradient;
  fill_normal(gradient, 1);
  CHECK_THROWS_AS(optimizer.step(ctx, model, gradient, -1), stroma::value_error);
  CHECK_THROWS_AS(optimizer.step(ctx, model, gradient, std::nan("")), stroma::value_error);
  gradient.one = stroma::array<double, 1>(2);
  CHECK_THROWS_WITH_AS(optimizer.step(ctx, model, gradient, 1),
                       "sgd::step: one: a gradient or moment of 2, expected 1 (the parameter's)", stroma::shape_error);
  CHECK(optimizer.steps == 0);
  CHECK(same_bits(model, small_model<double>()));
}
