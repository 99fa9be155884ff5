#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/tensor_type.hpp>

using stroma::bfloat16;
using stroma::element_size;
using stroma::file_scalar;
using stroma::find_tensor_type;
using stroma::half;
using stroma::index_t;
using stroma::stored_tensor;
using stroma::tensor_type;
using stroma::tensor_type_of;
using stroma::to_half;
using stroma::type_name;
using stroma::visit_type;
namespace detail = stroma::detail;

TEST_CASE("tensor_type: names, sizes and C++ types belong together") {
  static_assert(tensor_type_of<const float> == tensor_type::f32);
  static_assert(tensor_type_of<index_t> == tensor_type::i64);
  static_assert(tensor_type_of<long long> == tensor_type::i64);
  static_assert(tensor_type_of<std::int32_t> == tensor_type::i32);
  static_assert(!file_scalar<bool> && !file_scalar<std::uint32_t> && !file_scalar<long double>);
  for (const char* name : {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8"}) {
    const auto type = find_tensor_type(name);
    REQUIRE(type.has_value());
    CHECK(type_name(*type) == name);
    visit_type(*type, [&]<class S>(std::type_identity<S>) {
      CHECK(tensor_type_of<S> == *type);
      CHECK(element_size(*type) == static_cast<index_t>(sizeof(S)));
    });
  }
  CHECK_FALSE(find_tensor_type("F8_E4M3").has_value());
  CHECK_FALSE(find_tensor_type("f32").has_value());
}

TEST_CASE("tensor_type: element counts never overflow") {
  using detail::element_count;
  const index_t big = index_t{1} << 60;
  CHECK(element_count(std::vector<index_t>{}) == 1);
  CHECK(element_count(std::vector<index_t>{2, 3, 4}) == 24);
  CHECK(element_count(std::vector<index_t>{big, 7}) == 7 * big);
  CHECK_FALSE(element_count(std::vector<index_t>{big, 8}).has_value());
  CHECK_FALSE(element_count(std::vector<index_t>{big, 0, big}).has_value());
  CHECK(element_count(std::vector<index_t>{0, big}) == 0);
  CHECK_FALSE(element_count(std::vector<index_t>{-1}).has_value());
}

TEST_CASE("tensor_type: conversions") {
  using detail::convert_element;
  CHECK(convert_element<float>(0.1) == 0.1f);
  CHECK(std::isinf(convert_element<float>(1e300)));
  CHECK(convert_element<half>(1.0).bits == 0x3c00);
  CHECK(convert_element<bfloat16>(half{0x3c00}).bits == 0x3f80);
  CHECK(convert_element<half>(half{0x7e01}).bits == 0x7e01);  // a NaN keeps its bits
  CHECK(convert_element<double>(std::int64_t{-3}) == -3.0);
  CHECK(convert_element<half>(std::uint8_t{255}).bits == to_half(255).bits);
  CHECK(convert_element<std::uint8_t>(std::int64_t{200}) == 200);
}

TEST_CASE("tensor_type: a tensor with strides is gathered row by row, of any rank and element") {
  std::vector<std::uint8_t> memory(8 * 60);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  const auto bytes = std::as_bytes(std::span(memory));
  for (const auto type : detail::tensor_types) {
    const auto width = static_cast<std::size_t>(element_size(type));
    // The largest element is number 2 + 30 + 21 = 53; no order of the extents makes these strides row-major.
    const std::vector<index_t> shape{3, 2, 4}, strides{1, 30, 7};
    const stored_tensor tensor{"t", type, shape, bytes, strides};
    CHECK(tensor.size() == 24);
    detail::with_rows(tensor, [&](const stored_tensor& rows) {
      CHECK(rows.strides.empty());
      REQUIRE(rows.bytes.size() == 24 * width);
      std::size_t to = 0;
      for (std::size_t a = 0; a < 3; ++a)
        for (std::size_t b = 0; b < 2; ++b)
          for (std::size_t c = 0; c < 4; ++c, to += width)
            CHECK(std::memcmp(rows.bytes.data() + to, memory.data() + (a + 30 * b + 7 * c) * width, width) == 0);
    });
  }
  const stored_tensor scalar{"s", tensor_type::u8, {}, bytes.first(1)};
  CHECK(scalar.size() == 1);
  detail::with_rows(scalar, [&](const stored_tensor& rows) { CHECK(&rows == &scalar); });
  const stored_tensor none{"n", tensor_type::f32, {3, 0}, {}, {1, 3}};
  detail::with_rows(none, [&](const stored_tensor& rows) { CHECK(rows.bytes.empty()); });
}
