#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/della.hpp>
#include <stroma/taskvector/ties_merging.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

namespace {

small_model<double> merged(const std::vector<small_model<double>>& vectors, const della_options& o) {
  cpu_context ctx;
  small_model<double> out;
  merge(ctx, della(o), vectors, out);
  return out;
}

/// The probability of each element of one row, by the book.
std::vector<double> probabilities(const std::vector<double>& row, double density, double epsilon) {
  std::vector<std::size_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return std::fabs(row[a]) < std::fabs(row[b]); });
  std::vector<double> q(row.size());
  for (std::size_t k = 0; k < row.size(); ++k)
    q[order[k]] = row.size() == 1
                      ? density
                      : density - epsilon + 2 * epsilon * static_cast<double>(k) / static_cast<double>(row.size() - 1);
  return q;
}

}  // namespace

TEST_CASE("della: large elements are kept more often, each in its row, and divided by their probability") {
  auto model = random_model<small_model<double>>(1);
  for (index_t c = 2; c < 5; ++c) model.weight(4, c) = -model.weight(4, 0);  // ties
  const double density = 0.5, epsilon = 0.3;
  const int seeds = 4000;
  std::vector<std::vector<double>> kept(13, std::vector<double>(7, 0));
  double one = 0;
  for (int s = 0; s < seeds; ++s) {
    const auto out = merged({model}, {.density = density, .epsilon = epsilon, .seed = static_cast<std::uint64_t>(s)});
    one += out.one[0] != 0;
    for (index_t r = 0; r < 13; ++r) {
      const std::vector<double> row(&model.weight(r, 0), &model.weight(r, 0) + 7);
      const auto q = probabilities(row, density, epsilon);
      for (index_t c = 0; c < 7; ++c) {
        const auto i = static_cast<std::size_t>(c);
        if (out.weight(r, c) == 0) continue;
        kept[static_cast<std::size_t>(r)][i] += 1;
        if (s < 20)
          CHECK(std::fabs(out.weight(r, c) * q[i] - row[i]) <=
                8 * std::numeric_limits<double>::epsilon() * std::fabs(row[i]));
      }
    }
  }
  for (index_t r = 0; r < 13; ++r) {
    const std::vector<double> row(&model.weight(r, 0), &model.weight(r, 0) + 7);
    const auto q = probabilities(row, density, epsilon);
    for (std::size_t i = 0; i < 7; ++i)
      CHECK(std::fabs(kept[static_cast<std::size_t>(r)][i] / seeds - q[i]) <= 5 * std::sqrt(q[i] * (1 - q[i]) / seeds));
  }
  CHECK(std::fabs(one / seeds - density) <= 5 * std::sqrt(density * (1 - density) / seeds));  // a row of one element
}

TEST_CASE("della: density 1 elects signs alone, density 0 leaves the base") {
  cpu_context ctx;
  const auto base = random_model<small_model<double>>(1);
  const auto tuned = tuned_from(base, 3);
  small_model<double> out, expected;
  merge(ctx, della({.density = 1, .epsilon = 0}), base, tuned, out);
  merge(ctx, ties_merging({.density = 1, .scope = merge_scope::tensor}), base, tuned, expected);
  CHECK(same_bits(out, expected));
  merge(ctx, della({.density = 0, .epsilon = 0}), base, tuned, out);
  CHECK(same_bits(out, base));
}

TEST_CASE("della: an element that is never kept, and one that always is; magnitudes restored; threads") {
  small_model<double> model = random_model<small_model<double>>(1);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto out = merged({model}, {.density = 0.5, .epsilon = 0.5, .seed = seed});
    for (index_t r = 0; r < 13; ++r) {
      const auto by_size = [](double a, double b) { return std::fabs(a) < std::fabs(b); };
      const double* const row = &model.weight(r, 0);
      CHECK(out.weight(r, std::min_element(row, row + 7, by_size) - row) == 0);
      const auto largest = std::max_element(row, row + 7, by_size) - row;
      CHECK(out.weight(r, largest) == row[largest]);
    }
  }
  const auto out = merged({model}, {.density = 0.6, .rescale = rescaling::magnitude});
  long double before = 0, after = 0;
  for (const double v : model.weight) before += std::fabs(v);
  for (const double v : out.weight) after += std::fabs(v);
  CHECK(std::fabs(after / before - 1) <= 91 * std::numeric_limits<double>::epsilon());

  const auto tuned = tuned_from(large_model<float>{}, 3);
  const auto run = [&](int threads) {
    cpu_context ctx(threads);
    large_model<float> merged_model;
    merge(ctx, della(), tuned, merged_model);
    return merged_model;
  };
  CHECK(same_bits(run(1), run(3)));
}

TEST_CASE("della: mistakes") {
  const small_model<double> model;
  CHECK(message_of<value_error>([&] { (void)merged({model}, {.density = 0.05, .epsilon = 0.1}); }) ==
        "della: options.epsilon: 0.1, expected 0 to 0.05");
  CHECK_THROWS_AS((void)merged({model}, {.density = 0.5, .epsilon = -0.1}), value_error);
}
