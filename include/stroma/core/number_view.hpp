#pragma once
#include <concepts>
#include <cstdint>
#include <type_traits>

#include <stroma/core/half.hpp>
#include <stroma/core/tensor.hpp>

namespace stroma {

namespace detail {
/// The element types that a number_view reads.
enum class number_type : std::uint8_t {
  float64,
  float32,
  half,
  bfloat16,
  int64,
  int32,
  int16,
  int8,
  uint64,
  uint32,
  uint16,
  uint8
};

template <class T>
consteval number_type number_type_of() {
  if constexpr (std::is_same_v<T, double>) return number_type::float64;
  else if constexpr (std::is_same_v<T, float>) return number_type::float32;
  else if constexpr (std::is_same_v<T, half>) return number_type::half;
  else if constexpr (std::is_same_v<T, bfloat16>) return number_type::bfloat16;
  else {
    static_assert(std::is_integral_v<T>, "a number_view reads floating-point and whole numbers");
    constexpr bool has_sign = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 8) return has_sign ? number_type::int64 : number_type::uint64;
    else if constexpr (sizeof(T) == 4) return has_sign ? number_type::int32 : number_type::uint32;
    else if constexpr (sizeof(T) == 2) return has_sign ? number_type::int16 : number_type::uint16;
    else return has_sign ? number_type::int8 : number_type::uint8;
  }
}
}  // namespace detail

/// A vector of numbers whose type is known at run time only: for optional columns (weights, strata, entry times), of
/// which an algorithm should not be compiled once for every combination of types. Made from any vector; empty: absent.
/// Elements are read as double, so whole numbers are exact up to 2^53.
template <class Space = host_space>
struct number_view {
  using value_type = double;
  const void* data{};
  index_t size{};
  index_t stride{1};
  detail::number_type type{};

  number_view() = default;
  template <class V>
    requires(!std::same_as<std::remove_cvref_t<V>, number_view> && vector_like<std::remove_cvref_t<V>> &&
             std::same_as<space_of<std::remove_cvref_t<V>>, Space>)
  number_view(const V& v) {  // NOLINT(google-explicit-constructor): named columns take containers as they are
    const auto view = as_const_view(v);
    data = view.data;
    size = view.size;
    stride = view.stride;
    type = detail::number_type_of<typename decltype(view)::value_type>();
  }

  STROMA_HOST_DEVICE double operator[](index_t i) const {
    using detail::number_type;
    switch (type) {
      case number_type::float64:
        return at<double>(i);
      case number_type::float32:
        return static_cast<double>(at<float>(i));
      case number_type::half:
        return static_cast<double>(to_float(at<half>(i)));
      case number_type::bfloat16:
        return static_cast<double>(to_float(at<bfloat16>(i)));
      case number_type::int64:
        return static_cast<double>(at<std::int64_t>(i));
      case number_type::int32:
        return static_cast<double>(at<std::int32_t>(i));
      case number_type::int16:
        return static_cast<double>(at<std::int16_t>(i));
      case number_type::int8:
        return static_cast<double>(at<std::int8_t>(i));
      case number_type::uint64:
        return static_cast<double>(at<std::uint64_t>(i));
      case number_type::uint32:
        return static_cast<double>(at<std::uint32_t>(i));
      case number_type::uint16:
        return static_cast<double>(at<std::uint16_t>(i));
      case number_type::uint8:
        break;
    }
    return static_cast<double>(at<std::uint8_t>(i));
  }

 private:
  template <class T>
  [[nodiscard]] STROMA_HOST_DEVICE T at(index_t i) const {
    return static_cast<const T*>(data)[i * stride];
  }
};

}  // namespace stroma
