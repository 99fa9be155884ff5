#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/check.hpp>

#include "../support/counting_allocator.hpp"

namespace check = stroma::check;
using stroma::index_t;
using stroma::matrix_view;
using stroma::shape_error;
using stroma::value_error;
using stroma::vector_view;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

template <class T, std::size_t N>
vector_view<const T> seen(const std::array<T, N>& a) {
  return {a.data(), static_cast<index_t>(N)};
}

}  // namespace

TEST_CASE("check: lengths") {
  CHECK_NOTHROW(check::length("f", "x", 3, 3, "the rows of y"));
  CHECK_THROWS_WITH_AS(check::length("f", "x", 4, 5, "the rows of y"), "f: x: length 4, expected 5 (the rows of y)",
                       shape_error);
  const std::array<float, 4> four{};
  const std::array<double, 5> five{};
  CHECK_NOTHROW(check::same_length("f", "x", seen(four), "y", seen(four)));
  CHECK_THROWS_WITH_AS(check::same_length("cox_partial_likelihood", "time", seen(four), "score", seen(five)),
                       "cox_partial_likelihood: time: length 4, expected 5 (the length of score)", shape_error);
}

TEST_CASE("check: shapes and columns") {
  const std::array<float, 12> a{};
  const matrix_view<const float> m(a.data(), 3, 4);
  CHECK_NOTHROW(check::shape("f", "m", m, 3, 4));
  CHECK_THROWS_WITH_AS(check::shape("f", "m", m, 3, 5), "f: m: shape 3 x 4, expected 3 x 5", shape_error);
  CHECK_THROWS_WITH_AS(check::shape("f", "m", m, 4, 4), "f: m: shape 3 x 4, expected 4 x 4", shape_error);
  CHECK_NOTHROW(check::columns("f", "m", 4, 4, "the width of weight"));
  CHECK_THROWS_WITH_AS(check::columns("linear", "x", 12, 16, "the width of weight"),
                       "linear: x: 12 columns, expected 16 (the width of weight)", shape_error);
}

TEST_CASE("check: options") {
  CHECK_NOTHROW(check::require(true, "f", "o", "a", "b"));
  CHECK_THROWS_WITH_AS(check::require(false, "f", "o", "a", "b"), "f: o: a, expected b", value_error);
  CHECK_NOTHROW(check::positive("f", "step", 1e-300));
  CHECK_THROWS_WITH_AS(check::positive("f", "step", 0), "f: step: 0, expected a number above 0", value_error);
  CHECK_THROWS_WITH_AS(check::positive("f", "step", -0.5), "f: step: -0.5, expected a number above 0", value_error);
  CHECK_THROWS_AS(check::positive("f", "step", not_a_number), value_error);
  CHECK_NOTHROW(check::in_range("f", "rate", 0.0, 0.0, 1.0));
  CHECK_NOTHROW(check::in_range("f", "rate", 1.0, 0.0, 1.0));
  CHECK_THROWS_WITH_AS(check::in_range("f", "rate", 1.5, 0.0, 1.0), "f: rate: 1.5, expected 0 to 1", value_error);
  CHECK_THROWS_WITH_AS(check::in_range("f", "k", 11, 1, 10), "f: k: 11, expected 1 to 10", value_error);
  CHECK_THROWS_AS(check::in_range("f", "rate", not_a_number, 0.0, 1.0), value_error);
}

TEST_CASE("check: finite values, the first that is not is named") {
  const std::array<double, 4> good{1, -1e308, 0, 5}, bad{1, 2, not_a_number, infinity};
  CHECK_NOTHROW(check::finite("f", "x", seen(good)));
  CHECK_NOTHROW(check::finite("f", "x", vector_view<const double>()));
  CHECK_THROWS_WITH_AS(check::finite("f", "x", seen(bad)), "f: x: nan at 2, expected finite values", value_error);
  CHECK_THROWS_WITH_AS(check::finite("f", "x", vector_view<const double>(bad.data() + 3, 1)),
                       "f: x: inf at 0, expected finite values", value_error);
  CHECK_NOTHROW(check::finite("f", "x", vector_view<const double>(bad.data(), 1, 3)));
  CHECK_THROWS_AS(check::finite("f", "x", vector_view<const double>(bad.data(), 2, 3)), value_error);
  CHECK_THROWS_WITH_AS(check::finite("f", "m", matrix_view<const double>(bad.data(), 2, 2)),
                       "f: m: nan at row 1, column 0, expected finite values", value_error);
  CHECK_NOTHROW(check::finite("f", "m", matrix_view<const double>(good.data(), 2, 2)));
  const std::array<stroma::half, 2> narrow{stroma::half{0x7bff}, stroma::half{0xfc00}};
  CHECK_THROWS_WITH_AS(check::finite("f", "x", seen(narrow)), "f: x: -inf at 1, expected finite values", value_error);
}

TEST_CASE("check: events are 0 or 1 and nothing else") {
  const std::array<std::uint8_t, 3> good{0, 1, 1}, two{0, 1, 2};
  const std::array<double, 2> unknown{1, not_a_number};
  const std::array<float, 2> half{1, 0.5f};
  const std::array<bool, 2> flags{true, false};
  CHECK_NOTHROW(check::event_flags("f", "event", seen(good)));
  CHECK_NOTHROW(check::event_flags("f", "event", seen(flags)));
  CHECK_THROWS_WITH_AS(check::event_flags("f", "event", seen(two)),
                       "f: event: 2 at 2, expected 0 (censored) or 1 (observed)", value_error);
  CHECK_THROWS_WITH_AS(check::event_flags("f", "event", seen(unknown)),
                       "f: event: nan at 1, expected 0 (censored) or 1 (observed)", value_error);
  CHECK_THROWS_AS(check::event_flags("f", "event", seen(half)), value_error);
}

TEST_CASE("check: times are finite and not negative") {
  const std::array<float, 3> good{0, 1e30f, 2}, negative{1, -1, 2}, endless{1, 2, static_cast<float>(infinity)};
  const std::array<int, 2> days{0, 365};
  CHECK_NOTHROW(check::follow_up("f", "time", seen(good)));
  CHECK_NOTHROW(check::follow_up("f", "time", seen(days)));
  CHECK_THROWS_WITH_AS(check::follow_up("f", "time", seen(negative)),
                       "f: time: -1 at 1, expected finite times of 0 or later", value_error);
  CHECK_THROWS_WITH_AS(check::follow_up("f", "time", seen(endless)),
                       "f: time: inf at 2, expected finite times of 0 or later", value_error);
}

TEST_CASE("check: numbers that never fall") {
  const std::array<double, 3> good{-1, 2, 2}, falling{0, 3, 2}, bad{0, not_a_number, 2};
  CHECK_NOTHROW(check::rising("f", "edge", seen(good)));
  CHECK_NOTHROW(check::rising("f", "edge", vector_view<const double>()));
  CHECK_THROWS_WITH_AS(check::rising("f", "edge", seen(falling)),
                       "f: edge: a fall at 2, expected numbers that never fall", value_error);
  CHECK_THROWS_WITH_AS(check::rising("f", "edge", seen(bad)), "f: edge: nan at 1, expected finite values", value_error);
}

TEST_CASE("check: offsets of bags") {
  const std::array<index_t, 4> good{0, 2, 2, 6}, late{1, 2, 3, 6}, falling{0, 4, 2, 6};
  CHECK_NOTHROW(check::offsets("f", "offsets", seen(good), 6));
  CHECK_NOTHROW(check::offsets("f", "offsets", vector_view<const index_t>(good.data(), 1), 0));
  CHECK_THROWS_WITH_AS(check::offsets("f", "offsets", seen(good), 7),
                       "f: offsets: from 0 to 6, expected from 0 to 7 (the rows of instances)", shape_error);
  CHECK_THROWS_WITH_AS(check::offsets("f", "offsets", seen(late), 6),
                       "f: offsets: from 1 to 6, expected from 0 to 6 (the rows of instances)", shape_error);
  CHECK_THROWS_WITH_AS(check::offsets("f", "offsets", seen(falling), 6),
                       "f: offsets: a fall at entry 2, expected entries that never fall", shape_error);
  CHECK_THROWS_WITH_AS(check::offsets("f", "offsets", vector_view<const index_t>(), 0),
                       "f: offsets: no entry, expected from 0 to 0 (the rows of instances)", shape_error);
}

TEST_CASE("check: what holds takes no memory") {
  const std::array<double, 4> good{1, 0, 0, 1};
  const std::array<index_t, 3> offsets{0, 1, 2};
  CHECK(allocations_in([&] {
          check::same_length("a_function_with_a_long_name", "argument", seen(good), "another", seen(good));
          check::shape("a_function_with_a_long_name", "argument", matrix_view<const double>(good.data(), 2, 2), 2, 2);
          check::columns("a_function_with_a_long_name", "argument", 2, 2, "the width of another argument");
          check::finite("a_function_with_a_long_name", "argument", seen(good));
          check::event_flags("a_function_with_a_long_name", "argument", seen(good));
          check::follow_up("a_function_with_a_long_name", "argument", seen(good));
          check::offsets("a_function_with_a_long_name", "argument", seen(offsets), 2);
          check::positive("a_function_with_a_long_name", "argument", 1.0);
          check::in_range("a_function_with_a_long_name", "argument", 1, 0, 2);
        }) == 0);
}
