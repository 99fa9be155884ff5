#include <array>
#include <complex>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/core/tensor.hpp>

namespace lab {

/// A container of somebody who has never heard of stroma: columns one after another.
struct feature_table {
  std::vector<double> cells;
  long height;
  double* first() { return cells.data(); }
  const double* first() const { return cells.data(); }
};

struct unknown {};

}  // namespace lab

template <>
struct stroma::tensor_traits<lab::feature_table> {
  using scalar = double;
  using backend = stroma::backend::cpu;
  static constexpr int rank = 2;
  static auto view(auto& t) {
    return matrix_view(t.first(), t.height, static_cast<index_t>(t.cells.size()) / t.height, 1, t.height);
  }
};

namespace {

using namespace stroma;
using device_vector = vector_view<float, device_space>;

}  // namespace

TEST_CASE("tensor: concepts tell ranks apart and refuse the unknown") {
  static_assert(tensor<lab::feature_table> && matrix_like<lab::feature_table>);
  static_assert(!vector_like<lab::feature_table> && !bag_like<lab::feature_table>);
  static_assert(matrix_like<const lab::feature_table> && matrix_like<const lab::feature_table&>);
  static_assert(vector_like<vector_view<const float>> && !matrix_like<vector_view<const float>>);
  static_assert(matrix_like<matrix_view<float>&> && bag_like<const bag_view<float>&>);
  static_assert(!tensor<lab::unknown> && !tensor<int> && !tensor<std::string> && !tensor<float*>);
  static_assert(std::is_same_v<scalar_of<vector_view<const float>>, float>);
  static_assert(std::is_same_v<scalar_of<const lab::feature_table&>, double>);
}

TEST_CASE("tensor: elements are numbers or 16-bit storage") {
  static_assert(tensor_element<float> && tensor_element<const double> && tensor_element<half>);
  static_assert(tensor_element<const bfloat16> && tensor_element<std::uint8_t> && tensor_element<bool>);
  static_assert(!tensor_element<std::string> && !tensor_element<float*> && !tensor_element<std::complex<float>>);
}

TEST_CASE("tensor: backend and space follow the data") {
  static_assert(std::is_same_v<backend_of<vector_view<float>>, backend::cpu>);
  static_assert(std::is_same_v<backend_of<device_vector>, backend::cuda>);
  static_assert(std::is_same_v<backend_of<bag_view<half, device_space>>, backend::cuda>);
  static_assert(std::is_same_v<space_of<matrix_view<float, device_space>>, device_space>);
  static_assert(same_space<cpu_context>);
  static_assert(same_space<cpu_context, vector_view<float>, lab::feature_table>);
  static_assert(!same_space<cpu_context, device_vector>);
  static_assert(!same_space<cpu_context, vector_view<float>, device_vector>);
}

TEST_CASE("tensor: a view is as const as the container") {
  lab::feature_table t{{1, 2, 3, 4, 5, 6}, 2};
  const lab::feature_table& fixed = t;
  static_assert(std::is_same_v<decltype(as_view(t)), matrix_view<double>>);
  static_assert(std::is_same_v<decltype(as_view(fixed)), matrix_view<const double>>);
  static_assert(std::is_same_v<decltype(as_const_view(t)), matrix_view<const double>>);
  const auto v = as_view(t);
  CHECK(v.rows == 2);
  CHECK(v.cols == 3);
  CHECK(v(1, 2) == 6);
  v(1, 0) = 20;
  CHECK(t.cells[1] == 20);
  CHECK(as_const_view(fixed)(1, 0) == 20);
}

TEST_CASE("tensor: views are tensors, and stay what they are") {
  std::array<float, 6> a{1, 2, 3, 4, 5, 6};
  const std::array<index_t, 3> offsets{0, 1, 3};
  const vector_view<float> v(a.data(), 3, 2);
  static_assert(std::is_same_v<decltype(as_view(v)), vector_view<float>>);  // const pointer, not pointer to const
  static_assert(std::is_same_v<decltype(as_const_view(v)), vector_view<const float>>);
  CHECK(as_view(v)[2] == 5);
  CHECK(as_const_view(v).stride == 2);
  CHECK(as_const_view(as_const_view(v)).data == a.data());
  CHECK(as_view(vector_view<float>(a.data(), 2)).size == 2);

  const bag_view<float> b{matrix_view<float>(a.data(), 3, 2), vector_view<const index_t>(offsets.data(), 3)};
  static_assert(std::is_same_v<decltype(as_const_view(b)), bag_view<const float>>);
  const auto c = as_const_view(b);
  CHECK(c.count() == 2);
  CHECK(c[1](1, 1) == 6);
  CHECK(as_view(b).instances.data == a.data());
}
