#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/core/number_view.hpp>

using namespace stroma;

TEST_CASE_TEMPLATE("number_view: reads every arithmetic type", T, double, float, std::int64_t, std::int32_t,
                   std::int16_t, std::int8_t, std::uint64_t, std::uint32_t, std::uint16_t, std::uint8_t) {
  const std::vector<T> x{T(3), T(-1), T(100)};
  const number_view<> v = x;
  REQUIRE(v.size == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK(v[static_cast<index_t>(i)] == static_cast<double>(x[i]));
}

TEST_CASE("number_view: halves, strides, whole numbers above float's") {
  const std::vector<half> h{to_half(1.5f), to_half(-2.0f)};
  CHECK(number_view<>(h)[1] == -2.0);
  const std::vector<bfloat16> b{to_bfloat16(1.5f), to_bfloat16(-2.0f)};
  CHECK(number_view<>(b)[0] == 1.5);
  const std::vector<int> x{1, 9, 2, 9, 3, 9};
  const number_view<> every_second = vector_view<const int>(x.data(), 3, 2);
  CHECK(every_second[2] == 3);
  const std::vector<std::int64_t> large{(std::int64_t{1} << 53) - 1};
  CHECK(number_view<>(large)[0] == 9007199254740991.0);
}

TEST_CASE("number_view: absent unless it is given") {
  CHECK(number_view<>().size == 0);
  const std::vector<float> none;
  CHECK(number_view<>(none).size == 0);
}
