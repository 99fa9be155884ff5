#include <cstdint>
#include <string>
#include <type_traits>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/core/array.hpp>

using namespace stroma;

TEST_CASE("adapt/std: a vector") {
  std::vector<float> x{1, 2, 3};
  const auto& fixed = x;
  static_assert(vector_like<std::vector<float>> && vector_like<const std::vector<float>&>);
  static_assert(std::is_same_v<scalar_of<const std::vector<float>&>, float>);
  static_assert(std::is_same_v<backend_of<std::vector<float>>, backend::cpu>);
  static_assert(std::is_same_v<decltype(as_view(x)), vector_view<float>>);
  static_assert(std::is_same_v<decltype(as_view(fixed)), vector_view<const float>>);
  static_assert(std::is_same_v<decltype(as_const_view(x)), vector_view<const float>>);
  const auto v = as_view(x);
  CHECK(v.data == x.data());
  CHECK(v.size == 3);
  CHECK(v.stride == 1);
  v[1] = 20;
  CHECK(x[1] == 20);
  CHECK(as_view(fixed).data == x.data());
  CHECK(as_const_view(std::vector<double>{}).size == 0);
}

TEST_CASE("adapt/std: an array") {
  std::array<double, 4> x{1, 2, 3, 4};
  const auto& fixed = x;
  static_assert(vector_like<std::array<double, 4>>);
  static_assert(std::is_same_v<decltype(as_view(x)), vector_view<double>>);
  static_assert(std::is_same_v<decltype(as_view(fixed)), vector_view<const double>>);
  static_assert(std::is_same_v<scalar_of<std::array<const double, 2>>, double>);
  as_view(x)[3] = 40;
  CHECK(x[3] == 40);
  CHECK(as_const_view(x).size == 4);
  CHECK(as_const_view(std::array<float, 0>{}).size == 0);
  static constexpr std::array<int, 2> constant{3, 4};
  static_assert(as_const_view(constant)[1] == 4);
}

TEST_CASE("adapt/std: a span is a view, as const as its elements") {
  std::vector<float> x{1, 2, 3, 4};
  const std::span<float> all(x);
  const std::span<const float> fixed(x);
  const std::span<float, 2> two(x.data() + 1, 2);
  static_assert(std::is_same_v<decltype(as_view(all)), vector_view<float>>);
  static_assert(std::is_same_v<decltype(as_view(fixed)), vector_view<const float>>);
  static_assert(std::is_same_v<scalar_of<std::span<const float>>, float>);
  as_view(all)[0] = 10;
  as_view(two)[1] = 30;
  as_view(std::span(x).subspan(3))[0] = 40;
  CHECK(x == std::vector<float>{10, 2, 30, 40});
  CHECK(as_const_view(two).size == 2);
  CHECK(as_const_view(fixed).data == x.data());
}

TEST_CASE("adapt/std: elements are numbers and 16-bit storage; a vector of tensors is no tensor") {
  static_assert(vector_like<std::vector<half>> && vector_like<std::vector<bfloat16>>);
  static_assert(vector_like<std::vector<std::uint8_t>> && vector_like<std::vector<index_t>>);
  static_assert(vector_like<std::array<bool, 3>> && vector_like<std::span<const bool>>);
  static_assert(!tensor<std::vector<std::string>> && !tensor<std::vector<std::vector<float>>>);
  static_assert(!tensor<std::vector<array<float, 2>>> && !tensor<std::array<matrix_view<float>, 2>>);
  static_assert(!tensor<std::span<std::vector<float>>> && !tensor<std::string>);
  std::vector<half> x(2);
  as_view(x)[1] = to_half(0.5f);
  CHECK(x[1].bits == 0x3800);
}
