#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/nn/linear.hpp>
#include <stroma/optim/adam.hpp>
#include <stroma/taskvector/adaptive_merge.hpp>
#include <stroma/taskvector/prediction_entropy.hpp>
#include <stroma/taskvector/task_arithmetic.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "support/matrices.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

TEST_CASE_TEMPLATE("adaptive_merge: by definition, one coefficient a task or one a tensor, clamped", T, float, double) {
  cpu_context ctx(2);
  const auto base = random_model<small_model<T>>(1);
  const auto vectors = tuned_from(small_model<T>{}, 3);
  small_model<T> out;
  for (const coefficients_of each : {coefficients_of::task, coefficients_of::tensor}) {
    merge_coefficients<T> lambda(base, 3, {.each = each});
    CHECK(lambda.value.rows() == (each == coefficients_of::task ? 1 : 5));
    for (index_t i = 0; i < lambda.value.size(); ++i) lambda.value[i] = T(0.25) * static_cast<T>(i - 2);  // -0.5 ..
    adaptive_merge(ctx, lambda, base, vectors, out);
    index_t row = 0;
    for_each_parameter(
        [&](std::string_view, const auto& o, const auto& b, const auto& x, const auto& y, const auto& z) {
          for (index_t i = 0; i < o.size(); ++i) {
            long double expected = b[i], size = std::fabs(static_cast<long double>(b[i]));
            const long double values[3] = {x[i], y[i], z[i]};
            for (index_t t = 0; t < 3; ++t) {
              const long double c = std::min(1.0L, std::max(0.0L, static_cast<long double>(lambda.value(row, t))));
              expected += c * values[t];
              size += std::fabs(c * values[t]);
            }
            CHECK(std::fabs(static_cast<long double>(o[i]) - expected) <=
                  std::numeric_limits<T>::epsilon() * std::fabs(expected) +
                      8 * std::numeric_limits<double>::epsilon() * size);
          }
          if (each == coefficients_of::tensor) ++row;
        },
        out, base, vectors[0], vectors[1], vectors[2]);
    CHECK(allocations_in([&] { adaptive_merge(ctx, lambda, base, vectors, out); }) == 0);
  }
  merge_coefficients<T> uniform(base, 3, {.each = coefficients_of::task, .initial = 0.5});
  small_model<T> expected;
  adaptive_merge(ctx, uniform, base, vectors, out);
  merge(ctx, task_arithmetic({.scale = 0.5}), vectors, expected);
  for (std::size_t i = 0; i < flat(out).size(); ++i)
    CHECK(std::fabs(flat(out)[i] - flat(base)[i] - flat(expected)[i]) <= 4 * std::numeric_limits<T>::epsilon() * 4);
}

TEST_CASE("adaptive_merge: gradients by central differences, none beyond the limits") {
  cpu_context ctx;
  const auto base = random_model<small_model<double>>(1), weight = random_model<small_model<double>>(2);
  const auto vectors = tuned_from(small_model<double>{}, 3, 1.0);
  for (const coefficients_of each : {coefficients_of::task, coefficients_of::tensor}) {
    merge_coefficients<double> lambda(base, 3, {.each = each}), d(base, 3, {.each = each});
    lambda.value[1] = 1.5;  // beyond: the merge does not change with it
    // The loss is a quadratic one, so that its gradient changes with the model.
    const auto loss = [&](const std::vector<double>& x) {
      merge_coefficients<double> at = lambda;
      std::copy(x.begin(), x.end(), at.value.begin());
      small_model<double> out;
      adaptive_merge(ctx, at, base, vectors, out);
      double sum = 0;
      for_each_parameter(
          [&](std::string_view, const auto& o, const auto& w) {
            for (index_t i = 0; i < o.size(); ++i) sum += 0.5 * (o[i] - w[i]) * (o[i] - w[i]);
          },
          out, weight);
      return sum;
    };
    small_model<double> out, d_out;
    adaptive_merge(ctx, lambda, base, vectors, out);
    for_each_parameter(
        [](std::string_view, auto& g, const auto& o, const auto& w) {
          for (index_t i = 0; i < g.size(); ++i) g[i] = o[i] - w[i];
        },
        d_out, out, weight);
    d.value.fill(0);
    adaptive_merge_backward(ctx, lambda, vectors, d_out, d);
    CHECK(d.value[1] == 0);
    CHECK(gradient_error(loss, {lambda.value.begin(), lambda.value.end()}, {d.value.begin(), d.value.end()}) <
          gradient_tolerance);
    CHECK(allocations_in([&] { adaptive_merge_backward(ctx, lambda, vectors, d_out, d); }) == 0);
  }
}

TEST_CASE("adaptive_merge: AdaMerging finds the task whose data it sees, without labels") {
  cpu_context ctx;
  // Two tasks read two features each and are sure of their own data; a third vector is noise, which makes unsure.
  using model = linear_layer<double>;
  model base(6, 2);
  std::vector<model> vectors(3, base);
  for (index_t t = 0; t < 2; ++t) {
    vectors[static_cast<std::size_t>(t)].weight(0, 2 * t) = 3;
    vectors[static_cast<std::size_t>(t)].weight(1, 2 * t + 1) = 3;
  }
  // Where the first task says one class, the third pulls to the other.
  vectors[2].weight(0, 1) = vectors[2].weight(1, 0) = 1.5;
  vectors[2].weight(0, 3) = vectors[2].weight(1, 2) = 1.5;
  array<double, 2> bags(40, 6);
  random_stream draw(5);
  for (index_t r = 0; r < 40; ++r) bags(r, 2 * (r % 2) + static_cast<index_t>(draw.below(2))) = 1 + draw.uniform();

  merge_coefficients<double> lambda(base, 3, {.each = coefficients_of::task});
  adam<merge_coefficients<double>> optimizer(lambda);
  model merged(6, 2), gradient(6, 2);
  double first = 0, last = 0;
  for (int step = 0; step < 500; ++step) {
    adaptive_merge(ctx, lambda, base, vectors, merged);
    graph<double> g(ctx);
    g.bind(merged, gradient);
    set_zero(gradient);
    const node loss = prediction_entropy(g, merged(g, g.input(bags)));
    last = g.value(loss)(0, 0);
    if (step == 0) first = last;
    g.backward(loss);
    merge_coefficients<double> d = zeros_like(lambda);
    adaptive_merge_backward(ctx, lambda, vectors, gradient, d);
    optimizer.step(ctx, lambda, d, 5e-3);
  }
  CHECK(lambda.value[0] >= 1);
  CHECK(lambda.value[1] >= 1);
  CHECK(lambda.value[2] <= 0);
  CHECK(first > 0.4);  // of at most log 2
  CHECK(last < 0.1);
}

TEST_CASE("adaptive_merge: mistakes") {
  cpu_context ctx;
  const small_model<double> base;
  const std::vector<small_model<double>> vectors(2);
  small_model<double> out;
  CHECK_THROWS_AS(merge_coefficients<double>(base, 0), value_error);
  CHECK(message_of<value_error>([&] { merge_coefficients<double>(base, 2, {.initial = 1.5}); }) ==
        "merge_coefficients: options.initial: 1.5, expected 0 to 1");
  CHECK_THROWS_AS(merge_coefficients<double>(base, 2, {.low = 2}), value_error);
  const merge_coefficients<double> three(base, 3);
  CHECK(message_of<shape_error>([&] { adaptive_merge(ctx, three, base, vectors, out); }) ==
        "adaptive_merge: coefficients: 3 columns, expected 2 (the number of task vectors)");
  merge_coefficients<double> two(base, 2), of_task(base, 2, {.each = coefficients_of::task});
  two.value = array<double, 2>(4, 2);
  CHECK_THROWS_AS(adaptive_merge(ctx, two, base, vectors, out), shape_error);
  CHECK_THROWS_AS(adaptive_merge_backward(ctx, three, vectors, base, of_task), shape_error);
}
