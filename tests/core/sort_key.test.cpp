#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/sort_key.hpp>

using stroma::sort_key;

TEST_CASE_TEMPLATE("sort_key: orders as the numbers do", T, float, double) {
  using limits = std::numeric_limits<T>;
  const std::vector<T> rising{-limits::infinity(),
                              -limits::max(),
                              T(-2),
                              -limits::min(),
                              -limits::denorm_min(),
                              T(0),
                              limits::denorm_min(),
                              limits::min(),
                              T(1),
                              std::nextafter(T(1), T(2)),
                              T(2),
                              limits::max(),
                              limits::infinity()};
  for (std::size_t i = 0; i < rising.size(); ++i)
    for (std::size_t j = 0; j < rising.size(); ++j) CHECK((sort_key(rising[i]) < sort_key(rising[j])) == (i < j));
  CHECK(sort_key(T(-0.0)) == sort_key(T(0)));
  CHECK(sort_key(limits::quiet_NaN()) > sort_key(limits::infinity()));
  CHECK(sort_key(-limits::quiet_NaN()) < sort_key(-limits::infinity()));
  static_assert(sort_key(T(-1)) < sort_key(T(1)));
}

TEST_CASE("sort_key: 16-bit storage") {
  CHECK(sort_key(stroma::to_half(-1.5f)) == sort_key(-1.5f));
  CHECK(sort_key(stroma::to_bfloat16(3.0f)) == sort_key(3.0f));
}
