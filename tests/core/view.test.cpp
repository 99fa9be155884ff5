#include <array>
#include <numeric>
#include <type_traits>

#include <doctest/doctest.h>

#include <stroma/core/view.hpp>

using stroma::bag_view;
using stroma::device_space;
using stroma::index_t;
using stroma::matrix_view;
using stroma::vector_view;

namespace {

template <std::size_t N>
std::array<int, N> counted() {
  std::array<int, N> a{};
  std::iota(a.begin(), a.end(), 0);
  return a;
}

}  // namespace

TEST_CASE("view: empty by default") {
  const vector_view<float> v;
  CHECK(v.data == nullptr);
  CHECK(v.size == 0);
  CHECK(v.stride == 1);
  const matrix_view<float> m;
  CHECK(m.data == nullptr);
  CHECK(m.rows == 0);
  CHECK(m.cols == 0);
  CHECK(m.contiguous());
  const bag_view<float> b;
  CHECK(b.count() == 0);
}

TEST_CASE("view: a vector with a stride, and slices of it") {
  auto a = counted<12>();
  const vector_view<int> v(a.data() + 1, 4, 3);
  for (index_t i = 0; i < v.size; ++i) CHECK(v[i] == 1 + 3 * i);
  const auto s = v.slice(1, 2);
  CHECK(s.size == 2);
  CHECK(s.stride == 3);
  CHECK(s[0] == 4);
  CHECK(s[1] == 7);
  s[1] = -7;
  CHECK(a[7] == -7);
  CHECK(v.slice(4, 0).size == 0);
  const vector_view<int> backwards(a.data() + 11, 12, -1);
  CHECK(backwards[0] == 11);
  CHECK(backwards[11] == 0);
}

TEST_CASE("view: rows, columns, middle rows and transpose of a matrix alias one memory") {
  auto a = counted<30>();
  const matrix_view<int> m(a.data(), 5, 6);
  CHECK(m.row_stride == 6);
  CHECK(m.col_stride == 1);
  CHECK(m.contiguous());
  const auto t = m.transposed();
  CHECK(t.rows == 6);
  CHECK(t.cols == 5);
  CHECK_FALSE(t.contiguous());
  for (index_t r = 0; r < 5; ++r)
    for (index_t c = 0; c < 6; ++c) {
      CHECK(m(r, c) == 6 * r + c);
      CHECK(&t(c, r) == &m(r, c));
      CHECK(&m.row(r)[c] == &m(r, c));
      CHECK(&m.col(c)[r] == &m(r, c));
      CHECK(&t.row(c)[r] == &m(r, c));
    }
  CHECK(m.row(1).size == 6);
  CHECK(m.col(1).size == 5);
  CHECK(m.col(1).stride == 6);
  const auto middle = m.middle_rows(2, 2);
  CHECK(middle.rows == 2);
  CHECK(middle.cols == 6);
  CHECK(&middle(1, 3) == &m(3, 3));
  CHECK(middle.contiguous());
  CHECK(m.middle_rows(5, 0).rows == 0);
  CHECK(t.transposed().contiguous());
}

TEST_CASE("view: contiguous means row by row without gaps") {
  auto a = counted<30>();
  CHECK_FALSE(matrix_view<int>(a.data(), 4, 5, 6, 1).contiguous());
  CHECK_FALSE(matrix_view<int>(a.data(), 4, 5, 1, 4).contiguous());
  CHECK_FALSE(matrix_view<int>(a.data(), 1, 5, 5, 2).contiguous());
  CHECK(matrix_view<int>(a.data(), 1, 5, 30, 1).contiguous());
  CHECK(matrix_view<int>(a.data(), 0, 5, 30, 1).contiguous());
}

TEST_CASE("view: const is added, never taken away, and spaces do not mix") {
  static_assert(std::is_convertible_v<vector_view<float>, vector_view<const float>>);
  static_assert(!std::is_convertible_v<vector_view<const float>, vector_view<float>>);
  static_assert(!std::is_constructible_v<vector_view<const float>, vector_view<const double>>);
  static_assert(!std::is_constructible_v<vector_view<float>, vector_view<float, device_space>>);
  static_assert(std::is_convertible_v<matrix_view<float>, matrix_view<const float>>);
  static_assert(!std::is_convertible_v<matrix_view<const float>, matrix_view<float>>);
  static_assert(!std::is_constructible_v<matrix_view<const float>, matrix_view<float, device_space>>);
  static_assert(std::is_same_v<vector_view<const float>::value_type, float>);
  // A view is a kernel argument.
  static_assert(std::is_trivially_copyable_v<vector_view<float>>);
  static_assert(std::is_trivially_copyable_v<matrix_view<float>>);
  static_assert(std::is_trivially_copyable_v<bag_view<float>>);

  auto a = counted<12>();
  const matrix_view<const int> m = matrix_view<int>(a.data() + 1, 2, 3, 4, 1);
  CHECK(m.rows == 2);
  CHECK(m.cols == 3);
  CHECK(m.row_stride == 4);
  CHECK(m(1, 2) == 7);
  const vector_view<const int> v = vector_view<int>(a.data(), 3, 2);
  CHECK(v.stride == 2);
  CHECK(v[2] == 4);
}

TEST_CASE("view: bags in one buffer, one of them empty") {
  auto a = counted<12>();
  const std::array<index_t, 4> offsets{0, 2, 2, 6};
  const bag_view<int> bags{matrix_view<int>(a.data(), 6, 2), vector_view<const index_t>(offsets.data(), 4)};
  CHECK(bags.count() == 3);
  CHECK(bags.first(2) == 2);
  CHECK(bags.length(0) == 2);
  CHECK(bags.length(1) == 0);
  CHECK(bags.length(2) == 4);
  CHECK(bags[0].rows == 2);
  CHECK(bags[1].rows == 0);
  CHECK(bags[1].cols == 2);
  const auto last = bags[2];
  CHECK(last(0, 0) == 4);
  CHECK(last(3, 1) == 11);
  last(3, 1) = -1;
  CHECK(a[11] == -1);

  const bag_view<int> of_transposed{matrix_view<int>(a.data(), 2, 6).transposed(), bags.offsets};
  CHECK(&of_transposed[2](1, 1) == &a[9]);
}
