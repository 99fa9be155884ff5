#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/metrics/roc_auc.hpp>

#include "support/counting_allocator.hpp"
#include "support/message_of.hpp"

using namespace stroma;

namespace {

template <class T>
struct sample {
  std::vector<T> score, weight;
  std::vector<std::uint8_t> label;
};
template <class T>
sample<T> random_sample(std::size_t n, unsigned seed) {
  std::mt19937 draw(seed);
  sample<T> s;
  for (std::size_t i = 0; i < n; ++i) {
    s.score.push_back(static_cast<T>(draw() % 50) - T(25));
    s.weight.push_back(static_cast<T>(draw() % 9) / T(8));
    s.label.push_back(static_cast<std::uint8_t>(draw() % 2));
  }
  return s;
}
/// Every pair.
template <class T>
double oracle(const sample<T>& s, bool weighted) {
  long double won = 0, all = 0;
  for (std::size_t i = 0; i < s.score.size(); ++i)
    for (std::size_t j = 0; j < s.score.size(); ++j) {
      if (s.label[i] == 0 || s.label[j] != 0) continue;
      const long double w = weighted ? static_cast<long double>(s.weight[i]) * s.weight[j] : 1;
      all += w;
      won += s.score[i] > s.score[j] ? w : s.score[i] == s.score[j] ? w / 2 : 0;
    }
  return static_cast<double>(won / all);
}
}  // namespace

TEST_CASE_TEMPLATE("roc_auc: every pair", T, double, float) {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 3u, 31u, 32u, 33u, 1025u}) {
    const auto s = random_sample<T>(n, static_cast<unsigned>(n) + 2);
    const double plain = oracle(s, false), weighted = oracle(s, true);
    const double found = roc_auc(ctx, s.score, s.label),
                 with = roc_auc(ctx, s.score, s.label, {.weight = as_const_view(s.weight)});
    CHECK((std::isnan(plain) ? std::isnan(found) : found == plain));
    CHECK((std::isnan(weighted) ? std::isnan(with) : std::abs(with - weighted) < 1e-15));
  }
}

TEST_CASE("roc_auc: ends, ties, reversal, whole weights, strides") {
  cpu_context ctx;
  const std::vector<double> score{-1e4, 0, 1, 1e4}, tied(4, 2.0);
  const std::vector<int> label{0, 0, 1, 1}, reversed{1, 1, 0, 0}, one(4, 1);
  CHECK(roc_auc(ctx, score, label) == 1);
  CHECK(roc_auc(ctx, score, reversed) == 0);
  CHECK(roc_auc(ctx, tied, label) == 0.5);
  CHECK(std::isnan(roc_auc(ctx, score, one)));
  CHECK(std::isnan(roc_auc(ctx, std::vector<double>{}, std::vector<int>{})));
  const std::vector<double> no_positive{1, 1, 0, 0};
  CHECK(std::isnan(roc_auc(ctx, score, label, {.weight = as_const_view(no_positive)})));
  auto s = random_sample<double>(60, 5), repeated = sample<double>{};
  for (std::size_t i = 0; i < 60; ++i) {
    s.weight[i] = static_cast<double>(i % 3);
    for (std::size_t k = 0; k < i % 3; ++k) {
      repeated.score.push_back(s.score[i]);
      repeated.label.push_back(s.label[i]);
    }
  }
  CHECK(roc_auc(ctx, s.score, s.label, {.weight = as_const_view(s.weight)}) ==
        roc_auc(ctx, repeated.score, repeated.label));
  std::vector<double> wide(120, std::nan(""));
  for (std::size_t i = 0; i < 60; ++i) wide[2 * i] = s.score[i];
  CHECK(roc_auc(ctx, vector_view<double>(wide.data(), 60, 2), s.label) == roc_auc(ctx, s.score, s.label));
  CHECK(allocations_in([&] { (void)roc_auc(ctx, s.score, s.label); }) == 0);
}

TEST_CASE("roc_auc: refuses what does not fit") {
  cpu_context ctx;
  const std::vector<double> score{1, 2}, bad{1, std::numeric_limits<double>::quiet_NaN()}, negative{1, -1}, three(3);
  const std::vector<int> label{0, 1}, twos{0, 2};
  CHECK(message_of<shape_error>([&] { (void)roc_auc(ctx, score, three); }) ==
        "roc_auc: label: length 3, expected 2 (the length of score)");
  CHECK(message_of<shape_error>([&] { (void)roc_auc(ctx, score, label, {.weight = as_const_view(three)}); }) ==
        "roc_auc: weight: length 3, expected 2 (the length of score)");
  CHECK(message_of<value_error>([&] { (void)roc_auc(ctx, bad, label, {.check_values = false}); }) ==
        "roc_auc: score: nan at 1, expected finite values");
  CHECK(message_of<value_error>([&] { (void)roc_auc(ctx, score, twos); }) == "roc_auc: label: 2 at 1, expected 0 or 1");
  CHECK(message_of<value_error>([&] { (void)roc_auc(ctx, score, label, {.weight = as_const_view(negative)}); }) ==
        "roc_auc: weight: -1 at 1, expected finite weights of 0 or more");
}
