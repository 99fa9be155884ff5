#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/half.hpp>
#include <stroma/core/view.hpp>

namespace stroma {

static_assert(std::endian::native == std::endian::little,
              "stroma: the files' bytes are used as they lie, little-endian");

/// What an element in a file is. The names are those of the safetensors format.
enum class tensor_type : unsigned char { f64, f32, f16, bf16, i64, i32, i16, i8, u8 };

namespace detail {
inline constexpr tensor_type tensor_types[] = {tensor_type::f64,  tensor_type::f32, tensor_type::f16,
                                               tensor_type::bf16, tensor_type::i64, tensor_type::i32,
                                               tensor_type::i16,  tensor_type::i8,  tensor_type::u8};
}  // namespace detail

/// `F32`, as it stands in the file.
[[nodiscard]] constexpr std::string_view type_name(tensor_type type) {
  constexpr std::string_view names[] = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8"};
  return names[static_cast<std::size_t>(type)];
}
/// Bytes of one element.
[[nodiscard]] constexpr index_t element_size(tensor_type type) {
  constexpr index_t sizes[] = {8, 4, 2, 2, 8, 4, 2, 1, 1};
  return sizes[static_cast<std::size_t>(type)];
}
/// Nothing for a name that is none of these.
[[nodiscard]] constexpr std::optional<tensor_type> find_tensor_type(std::string_view name) {
  for (const auto type : detail::tensor_types)
    if (type_name(type) == name) return type;
  return std::nullopt;
}
[[nodiscard]] constexpr bool is_floating(tensor_type type) { return type <= tensor_type::bf16; }

namespace detail {
template <class T>
inline constexpr bool is_number = std::is_floating_point_v<T> || is_narrow<T>;

template <class T>
[[nodiscard]] constexpr std::optional<tensor_type> type_in_file() {
  if constexpr (std::is_same_v<T, double>) return tensor_type::f64;
  else if constexpr (std::is_same_v<T, float>) return tensor_type::f32;
  else if constexpr (std::is_same_v<T, half>) return tensor_type::f16;
  else if constexpr (std::is_same_v<T, bfloat16>) return tensor_type::bf16;
  else if constexpr (std::signed_integral<T> && sizeof(T) == 8) return tensor_type::i64;
  else if constexpr (std::signed_integral<T> && sizeof(T) == 4) return tensor_type::i32;
  else if constexpr (std::is_same_v<T, std::int16_t>) return tensor_type::i16;
  else if constexpr (std::is_same_v<T, std::int8_t>) return tensor_type::i8;
  else if constexpr (std::is_same_v<T, std::uint8_t>) return tensor_type::u8;
  else return std::nullopt;
}
}  // namespace detail

/// double, float, half, bfloat16, signed integers of 64, 32, 16 and 8 bits, std::uint8_t.
template <class T>
concept file_scalar = detail::type_in_file<std::remove_const_t<T>>().has_value();

template <file_scalar T>
inline constexpr tensor_type tensor_type_of = *detail::type_in_file<std::remove_const_t<T>>();

/// Calls f(std::type_identity<S>{}) with the C++ type of the elements.
template <class F>
decltype(auto) visit_type(tensor_type type, F&& f) {
  switch (type) {
    case tensor_type::f64:
      return std::forward<F>(f)(std::type_identity<double>{});
    case tensor_type::f32:
      return std::forward<F>(f)(std::type_identity<float>{});
    case tensor_type::f16:
      return std::forward<F>(f)(std::type_identity<half>{});
    case tensor_type::bf16:
      return std::forward<F>(f)(std::type_identity<bfloat16>{});
    case tensor_type::i64:
      return std::forward<F>(f)(std::type_identity<std::int64_t>{});
    case tensor_type::i32:
      return std::forward<F>(f)(std::type_identity<std::int32_t>{});
    case tensor_type::i16:
      return std::forward<F>(f)(std::type_identity<std::int16_t>{});
    case tensor_type::i8:
      return std::forward<F>(f)(std::type_identity<std::int8_t>{});
    default:
      return std::forward<F>(f)(std::type_identity<std::uint8_t>{});
  }
}

/// A tensor as it lies in a file: little-endian, at any alignment, row by row unless it has strides.
struct stored_tensor {
  std::string name;
  tensor_type type{};
  std::vector<index_t> shape;
  std::span<const std::byte> bytes;   ///< from the first element to the last: checked when the file was opened
  std::vector<index_t> strides = {};  ///< in elements, 0 or more, one an extent; none for a tensor row by row

  /// How many elements.
  [[nodiscard]] index_t size() const noexcept {
    index_t count = 1;
    for (const index_t extent : shape) count *= extent;
    return count;
  }
};

namespace detail {

/// `[3, 16]`
[[nodiscard]] inline std::string shape_text(std::span<const index_t> shape) {
  std::string text = "[";
  for (const index_t extent : shape) text.append(text.size() > 1 ? ", " : "").append(std::to_string(extent));
  return text += ']';
}

/// As messages list them.
inline constexpr std::string_view integer_type_names = "I64, I32, I16, I8 or U8";
inline constexpr std::string_view all_type_names = "F64, F32, F16, BF16, I64, I32, I16, I8 or U8";

/// Elements of a shape, nothing when the product of its extents that are not 0 exceeds 2^63 - 1, or one is negative.
/// Leaving zeros out makes every partial product safe as well.
[[nodiscard]] constexpr std::optional<index_t> element_count(std::span<const index_t> shape) {
  index_t product = 1;
  bool empty = false;
  for (const index_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (extent == 0) {
      empty = true;
    } else {
      if (product > std::numeric_limits<index_t>::max() / extent) return std::nullopt;
      product *= extent;
    }
  }
  return empty ? 0 : product;
}

template <class S>
[[nodiscard]] S load_element(const std::byte* bytes, index_t i) noexcept {
  S value;
  std::memcpy(&value, bytes + i * static_cast<index_t>(sizeof(S)), sizeof(S));
  return value;
}

/// Floats to floats round to nearest (half and bfloat16 through float, what is too large becomes infinity); integers to
/// floats round; integers to integers must fit, which `first_misfit` has checked.
template <class T, class S>
[[nodiscard]] constexpr T convert_element(S value) {
  if constexpr (std::is_same_v<T, S>) return value;
  else if constexpr (is_narrow<S>) return narrow<T>(to_float(value));
  else return narrow<T>(value);
}

/// The first integer of a tensor row by row that T cannot hold, or -1.
template <class T>
[[nodiscard]] index_t first_misfit(const stored_tensor& tensor) {
  if constexpr (std::is_integral_v<T>)
    return visit_type(tensor.type, [&]<class S>(std::type_identity<S>) -> index_t {
      if constexpr (std::is_integral_v<S> && !std::is_same_v<S, T>)
        for (index_t i = 0, n = tensor.size(); i < n; ++i)
          if (!std::in_range<T>(load_element<S>(tensor.bytes.data(), i))) return i;
      return -1;
    });
  else return -1;
}

/// Copies all elements of a tensor row by row into `out`, which has as many; floating elements into integers are not
/// for this function.
template <class T>
void copy_elements(const stored_tensor& tensor, matrix_view<T> out) {
  if (tensor.size() == 0) return;
  if (tensor.type == tensor_type_of<T> && out.contiguous()) {
    std::memcpy(out.data, tensor.bytes.data(), tensor.bytes.size());
    return;
  }
  visit_type(tensor.type, [&]<class S>(std::type_identity<S>) {
    if constexpr (is_number<T> || std::is_integral_v<S>) {
      const std::byte* from = tensor.bytes.data();
      for (index_t r = 0; r < out.rows; ++r, from += out.cols * static_cast<index_t>(sizeof(S)))
        for (index_t c = 0; c < out.cols; ++c) out(r, c) = convert_element<T>(load_element<S>(from, c));
    }
  });
}

/// The elements of a tensor with strides, row by row.
[[nodiscard]] inline std::vector<std::byte> gathered(const stored_tensor& tensor) {
  const auto width = static_cast<std::size_t>(element_size(tensor.type));
  std::vector<std::byte> out(static_cast<std::size_t>(tensor.size()) * width);
  std::vector<index_t> at(tensor.shape.size());
  index_t element = 0;
  for (std::size_t to = 0; to < out.size(); to += width) {
    std::memcpy(out.data() + to, tensor.bytes.data() + static_cast<std::size_t>(element) * width, width);
    for (std::size_t d = at.size(); d-- > 0;) {
      element += tensor.strides[d];
      if (++at[d] < tensor.shape[d]) break;
      element -= tensor.strides[d] * std::exchange(at[d], 0);
    }
  }
  return out;
}

/// f(the tensor row by row), which is a copy where it has strides and lives as long as the call.
template <class F>
decltype(auto) with_rows(const stored_tensor& tensor, F&& f) {
  if (tensor.strides.empty()) return std::forward<F>(f)(tensor);
  const std::vector<std::byte> bytes = gathered(tensor);
  const stored_tensor rows{tensor.name, tensor.type, tensor.shape, bytes};
  return std::forward<F>(f)(rows);
}

}  // namespace detail
}  // namespace stroma
