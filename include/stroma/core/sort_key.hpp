#pragma once
#include <cstdint>

#include <stroma/core/half.hpp>

namespace stroma {

/// An unsigned number that orders as the floating-point number does, of its width. -0 equals 0, and NaN has a place
/// too: what is sorted or selected by it is well defined whatever the numbers are.
[[nodiscard]] STROMA_HOST_DEVICE constexpr std::uint32_t sort_key(float x) {
  const auto bits = detail::bits_as<std::uint32_t>(x + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | (std::uint32_t{1} << 31);
}
[[nodiscard]] STROMA_HOST_DEVICE constexpr std::uint64_t sort_key(double x) {
  const auto bits = detail::bits_as<std::uint64_t>(x + 0.0);
  return (bits >> 63) != 0 ? ~bits : bits | (std::uint64_t{1} << 63);
}
/// The number of a key; 0 of the key of -0.
[[nodiscard]] STROMA_HOST_DEVICE constexpr double number_of_key(std::uint64_t key) {
  return detail::bits_as<double>((key >> 63) != 0 ? key & ~(std::uint64_t{1} << 63) : ~key);
}
[[nodiscard]] STROMA_HOST_DEVICE constexpr std::uint32_t sort_key(half x) { return sort_key(to_float(x)); }
[[nodiscard]] STROMA_HOST_DEVICE constexpr std::uint32_t sort_key(bfloat16 x) { return sort_key(to_float(x)); }

}  // namespace stroma
