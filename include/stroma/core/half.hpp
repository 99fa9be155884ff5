#pragma once
#include <cstdint>
#include <type_traits>

#include <stroma/core/view.hpp>

namespace stroma {

namespace detail {
/// std::bit_cast, which no device has without a compiler flag.
template <class To, class From>
[[nodiscard]] STROMA_HOST_DEVICE constexpr To bits_as(From value) {
  return __builtin_bit_cast(To, value);
}
}  // namespace detail

/// IEEE 754 binary16, for storage only: it is widened before any arithmetic.
struct half {
  std::uint16_t bits{};
};

/// The upper half of a binary32, for storage only.
struct bfloat16 {
  std::uint16_t bits{};
};

/// Exact; quiet NaN stays NaN, infinities and subnormals are kept. Branch-free, so that loops over it vectorise.
[[nodiscard]] STROMA_HOST_DEVICE constexpr float to_float(half h) {
  const std::uint32_t sign = std::uint32_t(h.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = std::uint32_t(h.bits & 0x7fffu) << 13;
  // A subnormal is read as a fraction above 2^-14, which is then taken away: no float below the normal range appears,
  // so flush-to-zero changes nothing, and subtracting 0 from all others saves the branch that stops vectorisation.
  const std::uint32_t tiny = magnitude < 0x00800000u ? 0x00800000u : 0u;
  const std::uint32_t special = magnitude >= 0x0f800000u ? 0x38000000u : 0u;  // exponent 31 becomes 255
  const float offset = detail::bits_as<float>(tiny != 0 ? 0x38800000u : 0u);
  const float rebased = detail::bits_as<float>(magnitude + tiny + 0x38000000u) - offset;
  return detail::bits_as<float>((detail::bits_as<std::uint32_t>(rebased) + special) | sign);
}
[[nodiscard]] STROMA_HOST_DEVICE constexpr float to_float(bfloat16 b) {
  return detail::bits_as<float>(std::uint32_t(b.bits) << 16);
}

/// Rounds to nearest, ties to even; what is too large becomes infinity.
[[nodiscard]] STROMA_HOST_DEVICE constexpr half to_half(float value) {
  const auto bits = detail::bits_as<std::uint32_t>(value);
  const auto sign = std::uint16_t((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {std::uint16_t(sign | 0x7e00u)};   // NaN
  if (magnitude >= 0x477ff000u) return {std::uint16_t(sign | 0x7c00u)};  // 65520 and above round to infinity
  if (magnitude < 0x38800000u) {                                         // below 2^-14: subnormal or zero
    // Adding 0.5 puts the last kept bit at 2^-24, so the addition itself rounds to nearest even.
    const float shifted = detail::bits_as<float>(magnitude) + 0.5f;
    return {std::uint16_t(sign | (detail::bits_as<std::uint32_t>(shifted) - 0x3f000000u))};
  }
  const std::uint32_t odd = (magnitude >> 13) & 1u;
  return {std::uint16_t(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13))};
}
[[nodiscard]] STROMA_HOST_DEVICE constexpr bfloat16 to_bfloat16(float value) {
  const auto bits = detail::bits_as<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {std::uint16_t((bits >> 16) | 0x40u)};
  return {std::uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

template <class T>
inline constexpr bool is_narrow =
    std::is_same_v<std::remove_const_t<T>, half> || std::is_same_v<std::remove_const_t<T>, bfloat16>;

/// One element of storage type S as a number of type T.
template <class T, class S>
[[nodiscard]] STROMA_HOST_DEVICE constexpr T widen(S value) {
  if constexpr (is_narrow<S>) return static_cast<T>(to_float(value));
  else return static_cast<T>(value);
}

/// A number as an element of storage type S.
template <class S, class T>
[[nodiscard]] STROMA_HOST_DEVICE constexpr S narrow(T value) {
  if constexpr (std::is_same_v<S, half>) return to_half(static_cast<float>(value));
  else if constexpr (std::is_same_v<S, bfloat16>) return to_bfloat16(static_cast<float>(value));
  else return static_cast<S>(value);
}

/// In what sums over elements of T are kept: 16-bit storage in float, long sums of float in double.
template <class T>
struct accumulate {
  using type = double;
};
template <>
struct accumulate<half> {
  using type = float;
};
template <>
struct accumulate<bfloat16> {
  using type = float;
};
template <class T>
using accumulate_t = typename accumulate<std::remove_const_t<T>>::type;

}  // namespace stroma
