#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/dare.hpp>
#include <stroma/taskvector/task_arithmetic.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

namespace {

small_model<double> dropped(const std::vector<small_model<double>>& vectors, const dare_options& o) {
  cpu_context ctx;
  small_model<double> out;
  merge(ctx, dare(o), vectors, out);
  return out;
}

/// Two of small_model's tensors the other way round.
template <class T>
struct reordered {
  array<T, 1> bias{13};
  array<T, 2> weight{13, 7};
  static auto members(auto& s) { return std::tuple{member{"bias", s.bias}, member{"weight", s.weight}}; }
};

}  // namespace

TEST_CASE("dare: what is kept is divided by the density, the rest is 0") {
  const std::vector<small_model<double>> one{random_model<small_model<double>>(1)};
  for (const double density : {0.1, 0.5, 0.9}) {
    const auto x = flat(one[0]), y = flat(dropped(one, {.density = density}));
    double kept = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (y[i] == 0) continue;
      ++kept;
      CHECK(std::fabs(y[i] - x[i] / static_cast<long double>(density)) <=
            2 * std::numeric_limits<double>::epsilon() * std::fabs(y[i]));
    }
    const double n = static_cast<double>(x.size());
    CHECK(std::fabs(kept - n * density) < 5 * std::sqrt(n * density * (1 - density)));  // five standard deviations
  }
}

TEST_CASE("dare: density 1 is task arithmetic, density 0 the base") {
  cpu_context ctx;
  const auto base = random_model<small_model<float>>(1);
  const auto tuned = tuned_from(base, 3);
  small_model<float> out, expected;
  const std::vector<double> weights{1, -2, 0.5};
  for (const rescaling rescale : {rescaling::probability, rescaling::magnitude, rescaling::none}) {
    merge(ctx, dare({.density = 0, .rescale = rescale}), base, tuned, out);
    CHECK(same_bits(out, base));
    merge(ctx, dare({.density = 1, .rescale = rescale, .weights = weights, .scale = 0.5}), base, tuned, out);
    merge(ctx, task_arithmetic({.weights = weights, .scale = 0.5}), base, tuned, expected);
    const auto a = flat(out), b = flat(expected);
    for (std::size_t i = 0; i < a.size(); ++i)  // task vectors of size 0.1 are rounded to float once, then the result
      CHECK(std::fabs(a[i] - b[i]) <= std::numeric_limits<float>::epsilon() * (1 + std::fabs(b[i])));
  }
}

TEST_CASE("dare: the mean over seeds is the task vector") {
  const std::vector<small_model<double>> one{random_model<small_model<double>>(1)};
  const double density = 0.3;
  const int seeds = 4000;
  const auto x = flat(one[0]);
  std::vector<long double> sum(x.size(), 0);
  for (int s = 0; s < seeds; ++s) {
    const auto y = flat(dropped(one, {.density = density, .seed = static_cast<std::uint64_t>(s)}));
    for (std::size_t i = 0; i < x.size(); ++i) sum[i] += y[i];
  }
  // The mean of `seeds` draws has the deviation |x| sqrt((1 - d) / (d seeds)); 5.5 of them in 151 elements: 1 in
  // 170,000.
  const double deviation = std::sqrt((1 - density) / (density * seeds));
  for (std::size_t i = 0; i < x.size(); ++i)
    CHECK(std::fabs(sum[i] / seeds - x[i]) <= 5.5 * deviation * std::fabs(x[i]));
}

TEST_CASE("dare: mergekit's rescaling keeps the sum of magnitudes of each tensor") {
  const std::vector<small_model<double>> one{random_model<small_model<double>>(1)};
  const auto out = dropped(one, {.density = 0.4, .rescale = rescaling::magnitude});
  long double before = 0, after = 0;
  for (const double v : one[0].weight) before += std::fabs(v);
  for (const double v : out.weight) after += std::fabs(v);
  CHECK(std::fabs(after / before - 1) <= 91 * std::numeric_limits<double>::epsilon());
}

TEST_CASE("dare: draws belong to seed, tensor, task and element alone") {
  const auto base = random_model<large_model<float>>(1);
  const auto tuned = tuned_from(base, 3);
  const auto run = [&](int threads, std::uint64_t seed) {
    cpu_context ctx(threads);
    large_model<float> out;
    merge(ctx, dare({.density = 0.5, .seed = seed}), base, tuned, out);
    return out;
  };
  CHECK(same_bits(run(1, 7), run(3, 7)));
  CHECK(!same_bits(run(1, 7), run(1, 8)));

  cpu_context ctx;
  const std::vector<small_model<double>> one{random_model<small_model<double>>(1)};
  const auto whole = dropped(one, {.density = 0.5});
  reordered<double> part, out;
  part.bias = one[0].bias;
  part.weight = one[0].weight;
  merge(ctx, dare({.density = 0.5}), std::vector(1, part), out);
  CHECK(std::equal(out.weight.begin(), out.weight.end(), whole.weight.begin()));
  CHECK(std::equal(out.bias.begin(), out.bias.end(), whole.bias.begin()));

  // Two tasks with the same vector are not dropped alike, nor are two tensors.
  const auto twice = dropped({one[0], one[0]}, {.density = 0.5, .rescale = rescaling::none});
  int both = 0, either = 0;
  const auto x = flat(one[0]), y = flat(twice);
  for (std::size_t i = 0; i < x.size(); ++i) {
    both += y[i] == 2 * x[i];
    either += y[i] == x[i];
  }
  CHECK(both > 10);
  CHECK(either > 40);
}

TEST_CASE("dare: with a vote, disagreeing elements are left out") {
  small_model<double> up, down;
  up.bias.fill(3);
  down.bias.fill(-1);
  const auto out = dropped({up, down}, {.density = 1, .vote = sign_vote::sum});
  CHECK(out.bias[4] == 3);
}

TEST_CASE("dare: mistakes") {
  CHECK(message_of<value_error>([&] { (void)dropped({small_model<double>{}}, {.density = 1.5}); }) ==
        "dare: options.density: 1.5, expected 0 to 1");
  CHECK_THROWS_AS((void)dropped({small_model<double>{}}, {.density = std::nan("")}), value_error);
}
