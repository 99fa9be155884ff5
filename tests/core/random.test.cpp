#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/random.hpp>

using stroma::philox;
using stroma::random_key;
using stroma::random_stream;
using stroma::random_words;

namespace {

/// Six standard errors: what a right generator misses once in 5e8 seeds; the seeds here are fixed.
constexpr double errors_allowed = 6;

struct moments {
  double mean = 0, variance = 0;
  template <class Draw>
  moments(int n, Draw draw) {
    std::vector<double> x(static_cast<std::size_t>(n));
    for (double& v : x) v = draw();
    for (const double v : x) mean += v / n;
    for (const double v : x) variance += (v - mean) * (v - mean) / n;
  }
};

/// Checks mean and variance of n draws; `kurtosis` is the fourth central moment over the squared variance.
void check_moments(const moments& found, int n, double mean, double variance, double kurtosis) {
  CHECK(std::abs(found.mean - mean) < errors_allowed * std::sqrt(variance / n));
  CHECK(std::abs(found.variance - variance) < errors_allowed * variance * std::sqrt((kurtosis - 1) / n));
}

/// Pearson's statistic of counts that should be equal, in standard deviations above its mean.
double excess(const std::vector<int>& counts) {
  const double n = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double expected = n / static_cast<double>(counts.size());
  double chi_square = 0;
  for (const int c : counts) chi_square += (c - expected) * (c - expected) / expected;
  const double degrees = static_cast<double>(counts.size()) - 1;
  return (chi_square - degrees) / std::sqrt(2 * degrees);
}

}  // namespace

TEST_CASE("random: Philox gives the known answers of Random123") {
  constexpr std::uint32_t f = 0xffffffffu;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == random_words<4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({f, f, f, f}, {f, f}) == random_words<4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        random_words<4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  static_assert(philox({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5);
}

TEST_CASE("random: a key's words are Philox of seed, step, layer and group") {
  const random_key key{0x299f31d0a4093822u, 0x13198a2e, 0x03707344};
  CHECK(key.words(0x85a308d3243f6a88u) == random_words<4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  std::set<std::uint32_t> first;
  for (std::uint32_t i = 0; i < 10; ++i)
    for (const auto& k : {random_key{i + 1, 0, 0}, random_key{0, i + 1, 0}, random_key{0, 0, i + 1}})
      first.insert(k.words(0)[0]);
  CHECK(first.size() == 30);
}

TEST_CASE("random: a clock moves the step of a key") {
  std::uint32_t clock = 0;
  random_key moving{5, 6, 7, &clock};
  for (; clock < 3; ++clock) CHECK(moving.words(8) == random_key{5, 6 + clock, 7}.words(8));
  moving.step = 0xffffffff;
  CHECK(moving.words(8) == random_key{5, 2, 7}.words(8));
}

TEST_CASE("random: a stream draws the words of its key in order") {
  const random_key key{42, 7, 3};
  random_stream draw(key), same(42, 7, 3);
  for (std::uint64_t group = 0; group < 5; ++group)
    for (std::size_t i = 0; i < 4; ++i) {
      const auto expected = key.words(group)[i];
      CHECK(draw() == expected);
      CHECK(same() == expected);
    }
  static_assert(std::uniform_random_bit_generator<random_stream>);
}

TEST_CASE("random: words become floats in [0, 1)") {
  CHECK(stroma::unit_float(0) == 0.0f);
  CHECK(stroma::unit_float(0xff) == 0.0f);
  CHECK(stroma::unit_float(0x100) == 0x1p-24f);
  CHECK(stroma::unit_float(0x80000000u) == 0.5f);
  CHECK(stroma::unit_float(0xffffffffu) == 1 - 0x1p-24f);
}

TEST_CASE("random: uniform numbers stay in range and have the moments of their distribution") {
  constexpr int n = 200000;
  random_stream draw(1);
  double low = 1, high = 0;
  check_moments(moments(n,
                        [&] {
                          const double u = draw.uniform();
                          low = std::min(low, u);
                          high = std::max(high, u);
                          return u;
                        }),
                n, 0.5, 1.0 / 12, 1.8);
  CHECK(low >= 0);
  CHECK(high < 1);
  CHECK(low < 50.0 / n);  // no value below has probability e^-50
  CHECK(high > 1 - 50.0 / n);
  check_moments(moments(n, [&] { return draw.uniform(-3, 5); }), n, 1, 64.0 / 12, 1.8);

  std::vector<int> counts(64);
  for (int i = 0; i < n; ++i) ++counts[static_cast<std::size_t>(64 * draw.uniform())];
  CHECK(std::abs(excess(counts)) < errors_allowed);
  std::vector<int> low_bits(64);  // 2^-53 is the grid: its last bits are random too
  for (int i = 0; i < n; ++i) ++low_bits[static_cast<std::size_t>(std::ldexp(draw.uniform(), 53)) % 64];
  CHECK(std::abs(excess(low_bits)) < errors_allowed);
}

TEST_CASE("random: normal and exponential numbers have the moments of their distributions") {
  constexpr int n = 200000;
  random_stream draw(2);
  check_moments(moments(n, [&] { return draw.normal(); }), n, 0, 1, 3);
  check_moments(moments(n, [&] { return draw.exponential(); }), n, 1, 1, 9);
  double least = 1;
  bool finite = true;
  for (int i = 0; i < n; ++i) {
    least = std::min(least, draw.exponential());
    finite = finite && std::isfinite(draw.normal());
  }
  CHECK(least >= 0);
  CHECK(finite);
}

TEST_CASE("random: below is uniform, also where the bound does not divide 2^32") {
  random_stream draw(3);
  for (const std::uint32_t bound : {1u, 2u, 3u, 7u, 1000u}) {
    std::vector<int> counts(bound);
    for (int i = 0; i < 100000; ++i) {
      const auto k = draw.below(bound);
      REQUIRE(k < bound);
      ++counts[k];
    }
    CAPTURE(bound);
    if (bound > 1) CHECK(std::abs(excess(counts)) < errors_allowed);
  }
  // Without rejection every third number of 0 .. 3 * 2^30 - 1 would come twice as often as the others.
  std::vector<int> remainder(3);
  for (int i = 0; i < 100000; ++i) ++remainder[draw.below(3u << 30) % 3];
  CHECK(std::abs(excess(remainder)) < errors_allowed);
}

TEST_CASE("random: shuffle is a permutation, and all permutations come up alike") {
  std::vector<int> order(1000), sorted(1000);
  std::iota(sorted.begin(), sorted.end(), 0);
  order = sorted;
  random_stream draw(4), again(4);
  draw.shuffle(order);
  CHECK(order != sorted);
  CHECK(std::is_permutation(order.begin(), order.end(), sorted.begin()));
  auto same = sorted;
  again.shuffle(same);
  CHECK(same == order);

  std::vector<int> counts(24);
  for (int i = 0; i < 24000; ++i) {
    std::array<int, 4> p{0, 1, 2, 3};
    draw.shuffle(p);
    std::size_t rank = 0;  // of the permutation in lexical order
    for (std::size_t a = 0; a < 4; ++a) {
      std::size_t smaller_ahead = 0;
      for (std::size_t b = a; b < 4; ++b) smaller_ahead += p[b] < p[a] ? 1u : 0u;
      rank = rank * (4 - a) + smaller_ahead;
    }
    ++counts[rank];
  }
  CHECK(std::abs(excess(counts)) < errors_allowed);

  std::vector<int> none, one{5};
  draw.shuffle(none);
  draw.shuffle(one);
  CHECK(one == std::vector<int>{5});
}
