#include <doctest/doctest.h>

#ifdef STROMA_TEST_XTENSOR
#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/containers/xadapt.hpp>
#include <xtensor/containers/xarray.hpp>
#include <xtensor/containers/xfixed.hpp>
#include <xtensor/containers/xtensor.hpp>
#include <xtensor/misc/xmanipulation.hpp>
#include <xtensor/views/xstrided_view.hpp>
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xfixed.hpp>
#include <xtensor/xmanipulation.hpp>
#include <xtensor/xstrided_view.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>
#endif

#include <type_traits>
#include <vector>

#include <stroma/adapt/xtensor.hpp>

using namespace stroma;

namespace {

template <class E>
index_t extent(const E& e, std::size_t axis) {
  return static_cast<index_t>(e.shape()[axis]);
}

/// Every element of the view is the very element of the container.
template <class E, class View>
void check_elements(E& e, const View& v) {
  if constexpr (requires { v.rows; }) {
    REQUIRE(v.rows == extent(e, 0));
    REQUIRE(v.cols == extent(e, 1));
    for (index_t r = 0; r < v.rows; ++r)
      for (index_t c = 0; c < v.cols; ++c)
        CHECK(&v(r, c) == &e(static_cast<std::size_t>(r), static_cast<std::size_t>(c)));
  } else {
    REQUIRE(v.size == extent(e, 0));
    for (index_t i = 0; i < v.size; ++i) CHECK(&v[i] == &e(static_cast<std::size_t>(i)));
  }
}

template <class E>
void check(E&& e) {
  check_elements(e, as_view(e));
  CHECK(as_const_view(e).data == as_view(e).data);
}

xt::xtensor<float, 2> numbered(std::size_t rows, std::size_t cols) {
  xt::xtensor<float, 2> m = xt::empty<float>(std::array<std::size_t, 2>{rows, cols});
  float next = 0;
  for (float& x : m) x = next++;
  return m;
}

template <class E>
using view_of = decltype(as_view(std::declval<E>()));

}  // namespace

TEST_CASE("adapt/xtensor: tensors of rank 1 and 2, row- and column-major") {
  static_assert(vector_like<xt::xtensor<float, 1>> && matrix_like<xt::xtensor<double, 2>>);
  static_assert(matrix_like<xt::xtensor_fixed<float, xt::xshape<2, 3>>>);
  static_assert(std::is_same_v<backend_of<xt::xtensor<float, 2>>, backend::cpu>);
  auto m = numbered(3, 4);
  check(m);
  CHECK(as_view(m).contiguous());
  as_view(m)(2, 1) = -1;
  CHECK(m(2, 1) == -1);
  xt::xtensor<float, 2, xt::layout_type::column_major> c = m;
  check(c);
  CHECK(as_view(c).row_stride == 1);
  CHECK(as_view(c).col_stride == 3);
  xt::xtensor<double, 1> v{1, 2, 3};
  check(v);
  xt::xtensor_fixed<float, xt::xshape<2, 3>> fixed{{1, 2, 3}, {4, 5, 6}};
  check(fixed);
  xt::xtensor<float, 2> none = xt::empty<float>(std::array<std::size_t, 2>{0, 5});
  check(none);
}

TEST_CASE("adapt/xtensor: const gives views of const") {
  using matrix = xt::xtensor<float, 2>;
  static_assert(std::is_same_v<view_of<matrix&>, matrix_view<float>>);
  static_assert(std::is_same_v<view_of<const matrix&>, matrix_view<const float>>);
  static_assert(std::is_same_v<view_of<const xt::xtensor<double, 1>&>, vector_view<const double>>);
  static_assert(std::is_same_v<scalar_of<const matrix&>, float>);
  using part = decltype(xt::view(std::declval<const matrix&>(), xt::all(), xt::range(0, 1)));
  static_assert(std::is_same_v<view_of<part>, matrix_view<const float>>);
  const auto m = numbered(2, 2);
  CHECK(as_view(m).data == m.data());
}

TEST_CASE("adapt/xtensor: an extent of 1 gets a stride that a dense matrix could have") {
  auto row = numbered(1, 4), column = numbered(4, 1), single = numbered(1, 1);
  CHECK(row.strides()[0] == 0);  // what has to be replaced
  CHECK(column.strides()[1] == 0);
  for (auto* m : {&row, &column, &single}) {
    check(*m);
    CHECK(as_view(*m).contiguous());
  }
  CHECK(as_view(row).row_stride == 4);
  CHECK(as_view(column).row_stride == 1);
  CHECK(as_view(column).col_stride == 1);
  xt::xtensor<float, 1> one{5};
  CHECK(as_view(one).stride == 1);
  xt::xtensor<float, 2, xt::layout_type::column_major> c = row;
  check(c);
  CHECK(as_view(c).contiguous());
  auto m = numbered(4, 6);
  auto thin = xt::view(m, xt::range(1, 2), xt::range(0, 6, 2));
  check(thin);
  CHECK(as_view(thin).row_stride != 0);
  auto tall = xt::view(m, xt::all(), xt::range(3, 4));
  check(tall);
  CHECK(as_view(tall).col_stride == 1);
  CHECK(as_view(tall).row_stride == 6);
}

TEST_CASE("adapt/xtensor: strided views") {
  auto m = numbered(5, 6);
  check(xt::view(m, xt::range(1, 4), xt::range(2, 5)));
  check(xt::view(m, xt::range(0, 5, 2), xt::range(1, 6, 3)));
  check(xt::view(m, xt::all(), 2));
  check(xt::view(m, 3, xt::all()));
  check(xt::view(m, 3, xt::range(1, 4)));
  check(xt::view(m, xt::range(4, xt::placeholders::_, -1), xt::all()));
  check(xt::row(m, 2));
  check(xt::col(m, 2));
  CHECK(as_view(xt::col(m, 2)).stride == 6);
  auto part = xt::view(m, xt::range(1, 4), xt::range(2, 5));
  check(xt::view(part, xt::all(), 1));
  as_view(part)(0, 0) = -5;
  CHECK(m(1, 2) == -5);
  xt::xtensor<float, 3> volume = xt::zeros<float>({2, 3, 4});
  check(xt::view(volume, 1, xt::all(), xt::range(1, 3)));
}

TEST_CASE("adapt/xtensor: adaptors of foreign memory") {
  std::vector<float> memory(12);
  const std::array<std::size_t, 2> shape{3, 4};
  auto m = xt::adapt(memory, shape);
  check(m);
  CHECK(as_view(m).data == memory.data());
  auto p = xt::adapt(memory.data(), memory.size(), xt::no_ownership(), shape);
  check(p);
  as_view(p)(2, 3) = 8;
  CHECK(memory[11] == 8);
  const std::vector<float>& fixed = memory;
  auto seen = xt::adapt(fixed, shape);
  static_assert(std::is_same_v<decltype(as_view(seen)), matrix_view<const float>>);
  CHECK(as_view(seen)(2, 3) == 8);
  CHECK(as_const_view(seen).data == memory.data());
  auto through_pointer = xt::adapt(fixed.data(), fixed.size(), xt::no_ownership(), shape);
  CHECK(as_const_view(through_pointer).data == memory.data());
  CHECK(as_const_view(std::as_const(through_pointer))(2, 3) == 8);
}

TEST_CASE("adapt/xtensor: an xarray says its rank at run time") {
  xt::xarray<float> m{{1, 2, 3}, {4, 5, 6}}, v{1, 2, 3, 4};
  const auto& fixed = m;
  static_assert(std::is_same_v<decltype(as_matrix(m)), matrix_view<float>>);
  static_assert(std::is_same_v<decltype(as_matrix(fixed)), matrix_view<const float>>);
  static_assert(std::is_same_v<decltype(as_vector(v)), vector_view<float>>);
  check_elements(m, as_matrix(m));
  check_elements(v, as_vector(v));
  as_matrix(m)(1, 2) = 60;
  CHECK(fixed(1, 2) == 60);
  CHECK(as_matrix(fixed).data == m.data());
  CHECK_THROWS_WITH_AS(static_cast<void>(as_matrix(v)), "as_matrix: array: rank 1, expected 2", shape_error);
  CHECK_THROWS_WITH_AS(static_cast<void>(as_vector(m)), "as_vector: array: rank 2, expected 1", shape_error);
  xt::xarray<float> volume = xt::zeros<float>({2, 3, 4});
  CHECK_THROWS_AS(static_cast<void>(as_matrix(volume)), shape_error);
  CHECK_THROWS_AS(static_cast<void>(as_matrix(xt::xarray<float>(1.0f))), shape_error);

  auto part = xt::strided_view(volume, {1, xt::all(), xt::range(1, 3)});
  check_elements(part, as_matrix(part));
  auto turned = xt::transpose(m);
  check_elements(turned, as_matrix(turned));
  auto dynamic_view = xt::view(m, xt::all(), xt::range(1, 3));
  check_elements(dynamic_view, as_matrix(dynamic_view));
  auto tensor_of_2 = numbered(2, 3);
  check_elements(tensor_of_2, as_matrix(tensor_of_2));  // a rank in the type is a rank all the same
}

TEST_CASE("adapt/xtensor: a transpose keeps the rank of its type") {
  auto m = numbered(3, 4);
  auto t = xt::transpose(m);
  check_elements(t, as_matrix(t));
  if constexpr (detail::xtensor_of_rank_1_or_2<decltype(t)>) check(t);
}

TEST_CASE("adapt/xtensor: what has no memory, or another rank, is no tensor") {
  using matrix = xt::xtensor<float, 2>;
  static_assert(!xtensor_storage<decltype(std::declval<matrix&>() + std::declval<matrix&>())>);
  static_assert(!xtensor_storage<decltype(xt::view(std::declval<matrix&>(), xt::all(), xt::keep(0, 2)))>);
  static_assert(!xtensor_storage<std::vector<float>> && !xtensor_storage<int>);
  static_assert(xtensor_storage<xt::xarray<float>> && detail::static_rank<xt::xarray<float>> == 0);
  static_assert(detail::static_rank<xt::xtensor<float, 3>> == 3);
}
#endif
