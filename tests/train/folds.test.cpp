#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/core/random.hpp>
#include <stroma/train/folds.hpp>

#include "../support/shared.hpp"

using stroma::absent_class;
using stroma::index_t;
using stroma::split;

namespace {

std::vector<int> random_labels(std::uint32_t draw, index_t count, std::uint32_t classes) {
  stroma::random_stream random(11, draw);
  std::vector<int> labels;
  for (index_t i = 0; i < count; ++i) labels.push_back(static_cast<int>(random.below(classes) * random.below(classes)));
  return labels;
}

/// Both parts together are exactly the samples, each in ascending order.
bool is_partition(const split& s, std::vector<index_t> samples) {
  std::vector<index_t> all = s.train;
  all.insert(all.end(), s.test.begin(), s.test.end());
  std::sort(all.begin(), all.end());
  std::sort(samples.begin(), samples.end());
  return all == samples && std::is_sorted(s.train.begin(), s.train.end()) &&
         std::is_sorted(s.test.begin(), s.test.end());
}

std::vector<index_t> first_numbers(index_t count) {
  std::vector<index_t> all;
  for (index_t i = 0; i < count; ++i) all.push_back(i);
  return all;
}

}  // namespace

TEST_CASE("folds: sizes and each class's sizes differ by one at most, whatever the labels") {
  for (std::uint32_t draw = 0; draw < 60; ++draw) {
    const index_t count = 10 + static_cast<index_t>(draw) * 3, folds = 2 + static_cast<index_t>(draw) % 9;
    const auto label = random_labels(draw, count, 1 + draw % 4);
    const auto splits = stroma::stratified_folds(label, {.folds = folds, .seed = draw, .absent = absent_class::allow});
    CHECK(static_cast<index_t>(splits.size()) == folds);
    std::vector<index_t> tested;
    std::map<int, std::vector<index_t>> of_class;
    for (std::size_t f = 0; f < splits.size(); ++f) {
      CHECK(is_partition(splits[f], first_numbers(count)));
      tested.insert(tested.end(), splits[f].test.begin(), splits[f].test.end());
      for (const int l : label) of_class[l].resize(splits.size());
      for (const index_t i : splits[f].test) ++of_class[label[static_cast<std::size_t>(i)]][f];
      CHECK(std::abs(static_cast<double>(splits[f].test.size()) -
                     static_cast<double>(count) / static_cast<double>(folds)) < 1);
    }
    std::sort(tested.begin(), tested.end());
    CHECK(tested == first_numbers(count));
    for (const auto& [l, sizes] : of_class) {
      const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
      CHECK(*most - *least <= 1);
    }
  }
}

TEST_CASE("folds: the seed alone decides") {
  const auto label = random_labels(1, 100, 2);
  const auto a = stroma::assign_folds(label, {.seed = 3});
  CHECK(a == stroma::assign_folds(label, {.seed = 3}));
  CHECK(a != stroma::assign_folds(label, {.seed = 4}));
  // The type of the labels does not matter.
  CHECK(a == stroma::assign_folds(std::vector<double>(label.begin(), label.end()), {.seed = 3}));
  // Nor does an order that only depends on the input remain: folds are not 0, 1, 2, ... along the samples.
  CHECK(!std::is_sorted(a.begin(), a.begin() + 20));
}

TEST_CASE("folds: too few samples, and a fold that would have no event, are reported") {
  const std::vector<int> event{0, 0, 0, 0, 0, 0, 0, 1, 1, 1};
  CHECK_THROWS_WITH_AS((void)stroma::assign_folds(event, {.folds = 11}),
                       "assign_folds: label: 10 samples, expected at least 11 (one a fold)", stroma::shape_error);
  CHECK_THROWS_WITH_AS((void)stroma::assign_folds(event, {.folds = 5}),
                       "assign_folds: label: 3 samples of class 1, expected at least 5, or a fold would have none",
                       stroma::value_error);
  CHECK_THROWS_AS((void)stroma::assign_folds(event, {.folds = 1}), stroma::value_error);
  CHECK_THROWS_AS((void)stroma::assign_folds(std::vector<double>{0, std::nan(""), 1}, {.folds = 2}),
                  stroma::value_error);
  CHECK_THROWS_AS((void)stroma::assign_folds(std::vector<int>{}), stroma::shape_error);
  const auto allowed = stroma::stratified_folds(event, {.folds = 5, .absent = absent_class::allow});
  CHECK_THROWS_AS(stroma::check_events(allowed, event), stroma::value_error);
  stroma::check_events(stroma::stratified_folds(event, {.folds = 3}), event);
  const std::vector<split> one{{{7, 0, 1}, {2, 3}}};
  CHECK_THROWS_WITH_AS(stroma::check_events(one, event),
                       "check_events: split 0: no event among its 2 test samples, expected one at least",
                       stroma::value_error);
  CHECK_THROWS_AS(stroma::check_events(one, std::vector<int>{0, 2}), stroma::value_error);
  CHECK_THROWS_AS(stroma::check_events(one, std::vector<int>{0, 1}), stroma::value_error);
}

TEST_CASE("folds: a given assignment is checked") {
  const auto splits = stroma::folds_from_assignment(std::vector<int>{1, 0, 2, 0});
  REQUIRE(splits.size() == 3);
  CHECK(splits[0].test == std::vector<index_t>{1, 3});
  CHECK(splits[0].train == std::vector<index_t>{0, 2});
  CHECK(splits[2].test == std::vector<index_t>{2});
  CHECK_THROWS_WITH_AS((void)stroma::folds_from_assignment(std::vector<int>{0, 2, 0}),
                       "folds_from_assignment: fold: no sample in fold 1, expected samples in each of 0 to 2",
                       stroma::value_error);
  CHECK_THROWS_AS((void)stroma::folds_from_assignment(std::vector<int>{0, -1}), stroma::value_error);
  CHECK_THROWS_AS((void)stroma::folds_from_assignment(std::vector<long>{0, 1, 1L << 60}), stroma::value_error);
  CHECK_THROWS_AS((void)stroma::folds_from_assignment(std::vector<int>{0, 0}), stroma::value_error);
  CHECK_THROWS_AS((void)stroma::folds_from_assignment(std::vector<int>{}), stroma::value_error);
}

TEST_CASE("folds: a validation part inside a fold") {
  for (std::uint32_t draw = 0; draw < 40; ++draw) {
    const auto label = random_labels(draw, 90, 3);
    const auto train = stroma::stratified_folds(label, {.absent = absent_class::allow})[1].train;
    const double fraction = 0.1 + 0.02 * draw;
    const stroma::validation_options options{.fraction = fraction, .seed = draw, .absent = absent_class::allow};
    const auto parts = stroma::validation_split(train, label, options);
    CHECK(is_partition(parts, train));
    CHECK(static_cast<long long>(parts.test.size()) == std::llround(fraction * static_cast<double>(train.size())));
    std::map<int, double> of_class, in_test;
    for (const index_t i : train) of_class[label[static_cast<std::size_t>(i)]] += 1;
    for (const index_t i : parts.test) in_test[label[static_cast<std::size_t>(i)]] += 1;
    for (const auto& [l, n] : of_class) CHECK(std::abs(in_test[l] - fraction * n) <= 1);
    CHECK(parts.test == stroma::validation_split(train, label, options).test);
  }
  const std::vector<int> event{0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  CHECK_THROWS_WITH_AS((void)stroma::validation_split(first_numbers(10), event),
                       "validation_split: label: 1 samples of class 1, expected enough for both parts",
                       stroma::value_error);
  CHECK_THROWS_AS((void)stroma::validation_split(first_numbers(11), event), stroma::value_error);
  CHECK_THROWS_AS((void)stroma::validation_split(std::vector<index_t>{1, 2, 1}, event), stroma::value_error);
  CHECK_THROWS_AS((void)stroma::validation_split(first_numbers(10), event, {.fraction = 1}), stroma::value_error);
  CHECK_THROWS_AS((void)stroma::validation_split(std::vector<index_t>{}, event, {.absent = absent_class::allow}),
                  stroma::value_error);
}

TEST_CASE("folds: those published for musk1") {
  const auto shared = shared_folder();
  if (!shared) return;
  std::ifstream file(*shared / "data" / "mil" / "musk1_folds.csv");
  std::string line, cell;
  std::getline(file, line);
  std::vector<std::vector<int>> columns(5);
  while (std::getline(file, line)) {
    std::istringstream cells(line);
    std::getline(cells, cell, ',');
    for (auto& column : columns) {
      std::getline(cells, cell, ',');
      column.push_back(std::stoi(cell));
    }
  }
  for (const auto& column : columns) {
    REQUIRE(column.size() == 92);
    const auto splits = stroma::folds_from_assignment(column);
    CHECK(splits.size() == 10);
    for (const split& s : splits) CHECK((s.test.size() == 9 || s.test.size() == 10));
  }
}
