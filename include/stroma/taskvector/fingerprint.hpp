#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/core/error.hpp>
#include <stroma/core/members.hpp>
#include <stroma/io/tensor_type.hpp>
#include <stroma/taskvector/detail/sha256.hpp>

namespace stroma {

/// One tensor as its fingerprint sees it.
struct fingerprinted_tensor {
  std::string name;
  tensor_type type{};
  std::vector<index_t> shape;
  std::span<const std::byte> bytes;  ///< row by row, little-endian
};

/// SHA-256, 64 hexadecimal digits, of named tensors: for each, in the order of the names' bytes, the name, the type's
/// name (`F32`), the extents and the elements' bytes. (Each text goes in behind its length, the extents behind their
/// number, as 64-bit little-endian numbers.) A file and a model of the same names, types, extents and elements have
/// the same one, in whatever order their tensors stand. Cost: O(bytes).
/// @param done  called with each tensor that will not be looked at again
template <class Done>
[[nodiscard]] std::string fingerprint(std::vector<fingerprinted_tensor> tensors, const Done& done) {
  static_assert(std::endian::native == std::endian::little, "stroma: fingerprints are of little-endian bytes");
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  detail::sha256 hash;
  const auto text = [&](std::string_view t) {
    hash.add(static_cast<std::uint64_t>(t.size()));
    hash.add(t);
  };
  for (const fingerprinted_tensor& t : tensors) {
    text(t.name);
    text(type_name(t.type));
    hash.add(static_cast<std::uint64_t>(t.shape.size()));
    for (const index_t extent : t.shape) hash.add(static_cast<std::uint64_t>(extent));
    hash.add(t.bytes);
    done(t);
  }
  std::string hex;
  for (const std::uint8_t byte : hash.digest()) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

[[nodiscard]] inline std::string fingerprint(std::vector<fingerprinted_tensor> tensors) {
  return fingerprint(std::move(tensors), [](const fingerprinted_tensor&) {});
}

/// The fingerprint of a model's parameters. Models whose task vectors are to be compared or merged were tuned from
/// one base: store its fingerprint with each of them, and ask `require_base` before subtracting.
template <class Model>
[[nodiscard]] std::string fingerprint_of(const Model& model) {
  std::vector<fingerprinted_tensor> tensors;
  for_each_parameter(
      [&]<class Array>(std::string_view name, const Array& p) {
        tensors.push_back({std::string(name),
                           tensor_type_of<typename Array::value_type>,
                           {p.extents().begin(), p.extents().end()},
                           std::as_bytes(std::span(p.data(), static_cast<std::size_t>(p.size())))});
      },
      model);
  return fingerprint(std::move(tensors));
}

namespace detail {
inline void require_same_base(std::string_view function, std::string_view what, const std::string& found,
                              const std::string& expected) {
  if (found != expected) throw value_error(error_message(function, what, "the base of fingerprint " + found, expected));
}
}  // namespace detail

/// @param base      the model about to be subtracted, or moved
/// @param expected  the fingerprint of the base that the tuned model was trained from
/// @throws value_error  it is another one; the message names both
template <class Model>
void require_base(const Model& base, const std::string& expected) {
  detail::require_same_base("require_base", "base", fingerprint_of(base), expected);
}

}  // namespace stroma
