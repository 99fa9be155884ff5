#include <cmath>

#include <doctest/doctest.h>

#include <stroma/optim/schedule.hpp>

TEST_CASE("schedule: warm-up and cosine have the factors of the specification") {
  const stroma::warm_up_cosine rate{.rate = 1, .warm_up = 12, .total = 240};
  // specs/steph.md 5.1, item 15, to the digits given there.
  CHECK(rate(0) == 0);
  CHECK(std::fabs(rate(1) - 0.083333) < 5e-7);
  CHECK(rate(6) == 0.5);
  CHECK(rate(12) == 1);
  CHECK(std::fabs(rate(13) - 0.999953) < 5e-7);
  CHECK(std::fabs(rate(126) - 0.5) < 1e-15);
  CHECK(std::fabs(rate(239) - 4.7e-5) < 5e-7);
  CHECK(rate(240) == 0);
  CHECK(rate(100000) == 0);
  CHECK(stroma::warm_up_cosine{.rate = 3e-4, .warm_up = 12, .total = 240}(6) == 1.5e-4);
}

TEST_CASE("schedule: rises, then falls, whatever the lengths") {
  for (stroma::index_t warm_up : {0, 1, 2, 7})
    for (stroma::index_t total : {7, 8, 30}) {
      const stroma::warm_up_cosine rate{.rate = 1, .warm_up = warm_up, .total = total};
      for (stroma::index_t s = 0; s <= total; ++s) {
        CHECK(rate(s) >= 0);
        CHECK(rate(s) <= 1);
        if (s > 0) CHECK((s <= warm_up && s < total ? rate(s) > rate(s - 1) : rate(s) <= rate(s - 1)));
      }
      CHECK(rate(total) == 0);
      if (warm_up < total) CHECK(rate(warm_up) == 1);
    }
  CHECK(stroma::warm_up_cosine{.rate = 1, .warm_up = 0, .total = 0}(0) == 0);
}

TEST_CASE("schedule: constant and stepwise") {
  CHECK(stroma::constant_rate{0.25}(0) == 0.25);
  CHECK(stroma::constant_rate{0.25}(1 << 20) == 0.25);
  const stroma::step_decay rate{.rate = 8, .gamma = 0.5, .every = 10};
  CHECK(rate(0) == 8);
  CHECK(rate(9) == 8);
  CHECK(rate(10) == 4);
  CHECK(rate(35) == 1);
}

TEST_CASE("schedule: impossible lengths are named") {
  CHECK_THROWS_WITH_AS((void)(stroma::warm_up_cosine{.warm_up = 5, .total = 4}(0)),
                       "warm_up_cosine: warm_up: 5, expected 0 to 4", stroma::value_error);
  CHECK_THROWS_AS((void)(stroma::warm_up_cosine{.warm_up = -1, .total = 4}(0)), stroma::value_error);
  CHECK_THROWS_AS((void)(stroma::step_decay{.every = 0}(0)), stroma::value_error);
}
