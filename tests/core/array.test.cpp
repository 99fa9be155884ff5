#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <doctest/doctest.h>

#include <stroma/core/array.hpp>
#include <stroma/core/half.hpp>

#include "../support/counting_allocator.hpp"

using stroma::array;
using stroma::index_t;

namespace {

array<float, 2> numbered(index_t rows, index_t cols) {
  array<float, 2> a(rows, cols);
  for (index_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i + 1);
  return a;
}

}  // namespace

TEST_CASE("array: zero, contiguous, aligned to a cache line") {
  for (const index_t n : {1, 2, 31, 32, 33, 1025}) {
    const array<float, 1> v(n);
    CHECK(v.size() == n);
    CHECK(v.rows() == n);
    CHECK(reinterpret_cast<std::uintptr_t>(v.data()) % stroma::storage_alignment == 0);
    CHECK(std::all_of(v.begin(), v.end(), [](float x) { return x == 0; }));
    const array<double, 2> m(n, 3);
    CHECK(m.size() == 3 * n);
    CHECK(m.rows() == n);
    CHECK(m.cols() == 3);
    CHECK(&m(n - 1, 2) == m.data() + m.size() - 1);
    CHECK(reinterpret_cast<std::uintptr_t>(m.data()) % 64 == 0);
    CHECK(std::all_of(m.begin(), m.end(), [](double x) { return x == 0; }));
  }
  const array<stroma::half, 1> h(3);
  CHECK(h[2].bits == 0);
}

TEST_CASE("array: empty ones keep their extents and take no memory") {
  CHECK(allocations_in([] {
          const array<float, 1> a, b(0);
          const array<float, 2> c(0, 5), d = c;
          static_cast<void>(d);
        }) == 0);
  array<float, 2> none(0, 5);
  CHECK(none.size() == 0);
  CHECK(none.cols() == 5);
  CHECK(none.data() == nullptr);
  CHECK(none.begin() == none.end());
  const array<float, 2> copy = none;
  CHECK(copy.cols() == 5);
  none = numbered(2, 2);
  CHECK(none(1, 1) == 4);
  none = array<float, 2>(3, 0);
  CHECK(none.rows() == 3);
  CHECK(none.size() == 0);
}

TEST_CASE("array: copies are values") {
  const auto a = numbered(2, 3);
  auto b = a;
  CHECK(b.data() != a.data());
  CHECK(b.extents() == a.extents());
  CHECK(std::equal(a.begin(), a.end(), b.begin()));
  b(1, 2) = -1;
  CHECK(a(1, 2) == 6);

  array<float, 2> c(5, 5);
  c = a;
  CHECK(c.rows() == 2);
  CHECK(std::equal(a.begin(), a.end(), c.begin(), c.end()));
  const auto& same = c;
  c = same;
  CHECK(c(1, 2) == 6);
  c = array<float, 2>();
  CHECK(c.size() == 0);
}

TEST_CASE("array: assigning an array of the same size takes no memory, whatever its shape") {
  const auto a = numbered(2, 3);
  array<float, 2> b(3, 2);
  const float* const place = b.data();
  CHECK(allocations_in([&] { b = a; }) == 0);
  CHECK(b.data() == place);
  CHECK(b.rows() == 2);
  CHECK(b(1, 0) == 4);
}

TEST_CASE("array: moves hand the memory over") {
  static_assert(std::is_nothrow_move_constructible_v<array<float, 2>> &&
                std::is_nothrow_move_assignable_v<array<float, 2>>);
  auto a = numbered(2, 3);
  const float* const place = a.data();
  std::size_t allocations = allocation_count();
  array<float, 2> b = std::move(a);
  array<float, 2> c;
  c = std::move(b);
  allocations = allocation_count() - allocations;
  CHECK(allocations == 0);
  CHECK(c.data() == place);
  CHECK(c(1, 2) == 6);
  auto& self = c;
  c = std::move(self);
  CHECK(c.data() == place);
  a = numbered(1, 1);  // what was moved from can be used again
  CHECK(a(0, 0) == 1);
  a.swap(c);
  CHECK(a.data() == place);
}

TEST_CASE("array: fill") {
  array<float, 2> a(3, 7);
  a.fill(2.5f);
  CHECK(std::all_of(a.begin(), a.end(), [](float x) { return x == 2.5f; }));
}

TEST_CASE("array: extents that make no sense are refused") {
  CHECK_THROWS_WITH_AS((array<float, 1>(-1)), "array: extent: -1, expected 0 or more", stroma::value_error);
  CHECK_THROWS_AS((array<float, 2>(3, -2)), stroma::value_error);
  constexpr index_t most = std::numeric_limits<index_t>::max();
  CHECK_THROWS_AS((array<float, 1>(most)), stroma::value_error);
  CHECK_THROWS_AS((array<float, 2>(most / 2, 8)), stroma::value_error);
  CHECK_THROWS_AS((array<double, 2>(index_t{1} << 32, index_t{1} << 32)), stroma::value_error);
}

TEST_CASE("array: is a tensor") {
  static_assert(stroma::vector_like<array<float, 1>> && stroma::matrix_like<array<float, 2>>);
  static_assert(std::is_same_v<stroma::backend_of<array<float, 2>>, stroma::backend::cpu>);
  auto a = numbered(2, 3);
  const auto& fixed = a;
  static_assert(std::is_same_v<decltype(stroma::as_view(a)), stroma::matrix_view<float>>);
  static_assert(std::is_same_v<decltype(stroma::as_view(fixed)), stroma::matrix_view<const float>>);
  const auto v = stroma::as_view(a);
  CHECK(v.contiguous());
  CHECK(v(1, 0) == 4);
  v(1, 0) = 40;
  CHECK(a(1, 0) == 40);
  array<double, 1> x(4);
  stroma::as_view(x)[3] = 1;
  CHECK(stroma::as_const_view(x)[3] == 1);
  CHECK(stroma::as_const_view(x).size == 4);
}
