#include <cmath>
#include <tuple>

#include <doctest/doctest.h>

#include <stroma/train/early_stopping.hpp>

#include "../support/counting_allocator.hpp"

using stroma::better;
using stroma::early_stopping;

namespace {

struct one_number {
  stroma::array<float, 1> x{1};
  static auto members(auto& s) { return std::tuple{stroma::member{"x", s.x}}; }
};

one_number with(float value) {
  one_number m;
  m.x[0] = value;
  return m;
}

}  // namespace

TEST_CASE("early_stopping: waits, keeps the best, stops") {
  early_stopping stopping(with(-1), {.patience = 3});
  CHECK(stopping.best.x[0] == -1);
  const double losses[] = {5, 4, 4.5, std::nan(""), 3, 3, 3.5, 7};
  const bool improves[] = {true, true, false, false, true, false, false, false};
  for (int i = 0; i < 8; ++i) {
    CHECK(!stopping.should_stop());
    CHECK(stopping.observe(i, losses[i], with(static_cast<float>(i))) == improves[i]);
  }
  CHECK(stopping.should_stop());
  CHECK(stopping.best_epoch == 4);
  CHECK(stopping.best_metric == 3);
  CHECK(stopping.best.x[0] == 4);
}

TEST_CASE("early_stopping: direction and least improvement") {
  early_stopping stopping(with(0), {.patience = 2, .min_delta = 0.125, .direction = better::higher});
  CHECK(stopping.observe(0, 0.5, with(0)));
  CHECK(!stopping.observe(1, 0.625, with(1)));
  CHECK(stopping.observe(2, 0.75, with(2)));
  CHECK(!stopping.observe(3, 0.5, with(3)));
  CHECK(!stopping.should_stop());
  CHECK(!stopping.observe(4, 0.8, with(4)));
  CHECK(stopping.should_stop());
  CHECK(stopping.best_epoch == 2);
}

TEST_CASE("early_stopping: NaN from the beginning never becomes best; nothing is allocated") {
  early_stopping stopping(with(-1), {.patience = 2});
  const auto model = with(3);
  CHECK(allocations_in([&] {
          stopping.observe(0, std::nan(""), model);
          stopping.observe(1, std::nan(""), model);
        }) == 0);
  CHECK(stopping.should_stop());
  CHECK(stopping.best_epoch == -1);
  CHECK(stopping.best.x[0] == -1);
  CHECK(allocations_in([&] { stopping.observe(2, 1, model); }) == 0);
  CHECK(stopping.best.x[0] == 3);
}

TEST_CASE("early_stopping: mistakes are named") {
  CHECK_THROWS_WITH_AS(early_stopping(with(0), {.patience = 0}),
                       "early_stopping: options.patience: 0, expected a number above 0", stroma::value_error);
  CHECK_THROWS_AS(early_stopping(with(0), {.min_delta = -1}), stroma::value_error);
  CHECK_THROWS_AS(early_stopping(with(0), {.min_delta = std::nan("")}), stroma::value_error);
}
