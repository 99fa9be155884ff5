#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/tensor.hpp>
#include <stroma/io/atomic_file.hpp>
#include <stroma/io/json_header.hpp>
#include <stroma/io/tensor_type.hpp>

namespace stroma {

/// Free text beside the tensors, sorted by key.
using file_metadata = std::map<std::string, std::string>;

/// What a tensor will be, before its elements are there.
struct tensor_plan {
  std::string name;
  tensor_type type{};
  std::vector<index_t> shape;
};

/// A tensor to be written: a plan and a view of elements of that type, rows by columns, strides in elements.
/// It lives as long as what it views. Made by `named_tensor`.
struct tensor_source {
  tensor_plan plan;
  const void* data{};
  index_t rows{}, cols{}, row_stride{}, col_stride{};
};

namespace detail {

/// The 8-byte length and the header, padded with spaces so that the data begin at a multiple of 8.
[[nodiscard]] inline std::string safetensors_preamble(std::span<const tensor_plan> plans,
                                                      const file_metadata& metadata) {
  std::string header = "{";
  const auto key = [&](std::string_view name) -> std::string& {
    return header.append(header.size() > 1 ? "," : "").append(json_string(name)).append(":");
  };
  if (!metadata.empty()) {
    key("__metadata__") += '{';
    for (const auto& [name, text] : metadata)
      header.append(header.back() == '{' ? "" : ",").append(json_string(name) + ":" + json_string(text));
    header += '}';
  }
  index_t begin = 0;
  for (const tensor_plan& p : plans) {
    const index_t end = begin + *element_count(p.shape) * element_size(p.type);
    std::string shape;
    for (const index_t extent : p.shape) shape.append(shape.empty() ? "" : ",").append(std::to_string(extent));
    key(p.name).append("{\"dtype\":\"").append(type_name(p.type)).append("\",\"shape\":[" + shape);
    header.append("],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}");
    begin = end;
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  check::require(header.size() <= 100'000'000, "safetensors_writer", "tensors",
                 "a header of " + std::to_string(header.size()) + " bytes", "at most 100000000");
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  return length + header;
}

inline void check_plans(std::span<const tensor_plan> plans, const file_metadata& metadata) {
  constexpr index_t most = std::numeric_limits<index_t>::max();
  std::set<std::string_view> names;
  index_t bytes = 0;
  for (const tensor_plan& p : plans) {
    const auto require = [&](bool holds, std::string_view found, std::string_view expected) {
      check::require(holds, "safetensors_writer", "tensor " + in_quotes(p.name), found, expected);
    };
    require(is_utf8(p.name), "a name that is not UTF-8", "UTF-8");
    require(p.name != "__metadata__", "the format's own name", "another name");
    require(names.insert(p.name).second, "this name twice", "each name once");
    const auto count = element_count(p.shape);
    require(p.shape.size() <= 32 && count.has_value() && *count <= (most - bytes) / element_size(p.type),
            "shape " + shape_text(p.shape), "up to 32 extents of 0 or more and 2^63 - 1 bytes in all");
    bytes += *count * element_size(p.type);
  }
  for (const auto& [name, text] : metadata)
    check::require(is_utf8(name) && is_utf8(text), "safetensors_writer", "metadata " + in_quotes(name),
                   "text that is not UTF-8", "UTF-8");
}

}  // namespace detail

/// Writes a safetensors file piece by piece: all tensors are announced first, then their elements are appended in that
/// order, in as many pieces as the caller likes. The file appears, whole, with `finish`; until then an earlier file of
/// the name is untouched (see `atomic_file`). Memory: the header and one small buffer, whatever the data's size.
/// Tensors lie in the order given, so those behind an odd number of bytes are unaligned and readers copy them.
class safetensors_writer {
 public:
  /// @throws value_error  a name twice, not UTF-8 or `__metadata__`, a shape that cannot be
  /// @throws format_error  the file cannot be made
  safetensors_writer(const std::filesystem::path& path, std::vector<tensor_plan> plans,
                     const file_metadata& metadata = {})
      : plans_((detail::check_plans(plans, metadata), std::move(plans))), file_(path, "safetensors_writer") {
    file_.write(std::string_view(detail::safetensors_preamble(plans_, metadata)));
    skip_complete();
  }

  /// The next elements of the tensor `name`, row by row.
  /// @throws value_error  it is not this tensor's turn, or elements of another type
  /// @throws shape_error  more elements than its shape has
  /// @throws format_error  the disk is full or fails
  template <tensor X>
    requires(file_scalar<scalar_of<X>> && std::same_as<space_of<X>, host_space>)
  void append(std::string_view name, const X& x) {
    static_assert(traits_of<X>::rank == 1 || traits_of<X>::rank == 2);
    const auto v = as_const_view(x);
    if constexpr (traits_of<X>::rank == 1) append(name, tensor_type_of<scalar_of<X>>, v.data, v.size, 1, v.stride, 1);
    else append(name, tensor_type_of<scalar_of<X>>, v.data, v.rows, v.cols, v.row_stride, v.col_stride);
  }
  void append(const tensor_source& s) {
    append(s.plan.name, s.plan.type, s.data, s.rows, s.cols, s.row_stride, s.col_stride);
  }

  /// @throws value_error  a tensor is not complete   @throws format_error  the disk is full or fails
  void finish() {
    check::require(
        current_ == plans_.size(), "safetensors_writer", "finish",
        current_ == plans_.size() ? "" : "tensor " + detail::in_quotes(plans_[current_].name) + " incomplete",
        "all elements of all tensors");
    file_.commit();
  }

 private:
  static constexpr std::size_t buffer_bytes = 16384;

  void append(std::string_view name, tensor_type type, const void* data, index_t rows, index_t cols, index_t row_stride,
              index_t col_stride) {
    const index_t count = rows * cols;
    if (count == 0) return;
    const bool turn = current_ < plans_.size() && plans_[current_].name == name;
    check::require(turn, "safetensors_writer", "append", "tensor " + detail::in_quotes(name),
                   current_ < plans_.size() ? detail::in_quotes(plans_[current_].name) : "the end");
    check::require(type == plans_[current_].type, "safetensors_writer", name, type_name(type),
                   type_name(plans_[current_].type));
    const index_t left = *detail::element_count(plans_[current_].shape) - written_;
    if (count > left)
      throw shape_error(error_message("safetensors_writer", name, std::to_string(count) + " elements",
                                      std::to_string(left) + " or fewer (what its shape leaves)"));
    visit_type(type, [&]<class S>(std::type_identity<S>) {
      write_elements(matrix_view<const S>(static_cast<const S*>(data), rows, cols, row_stride, col_stride));
    });
    written_ += count;
    skip_complete();
  }

  template <class S>
  void write_elements(matrix_view<const S> v) {
    const auto bytes = [](const S* first, index_t count) {
      return std::as_bytes(std::span(first, static_cast<std::size_t>(count)));
    };
    if (v.contiguous()) return file_.write(bytes(v.data, v.rows * v.cols));
    std::array<S, buffer_bytes / sizeof(S)> buffer;
    index_t filled = 0;
    for (index_t r = 0; r < v.rows; ++r)
      for (index_t c = 0; c < v.cols; ++c) {
        buffer[static_cast<std::size_t>(filled++)] = v(r, c);
        if (filled == static_cast<index_t>(buffer.size())) {
          file_.write(bytes(buffer.data(), filled));
          filled = 0;
        }
      }
    file_.write(bytes(buffer.data(), filled));
  }

  void skip_complete() {
    while (current_ < plans_.size() && written_ == *detail::element_count(plans_[current_].shape)) {
      ++current_;
      written_ = 0;
    }
  }

  std::vector<tensor_plan> plans_;
  atomic_file file_;
  std::size_t current_ = 0;
  index_t written_ = 0;  ///< elements of the current tensor
};

/// A container (vector or matrix, any strides) as a tensor to be written under a name, with its own shape.
template <tensor X>
  requires(file_scalar<scalar_of<X>> && std::same_as<space_of<X>, host_space> &&
           (traits_of<X>::rank == 1 || traits_of<X>::rank == 2))
[[nodiscard]] tensor_source named_tensor(std::string name, const X& x) {
  const auto v = as_const_view(x);
  constexpr tensor_type type = tensor_type_of<scalar_of<X>>;
  if constexpr (traits_of<X>::rank == 1) return {{std::move(name), type, {v.size}}, v.data, v.size, 1, v.stride, 1};
  else return {{std::move(name), type, {v.rows, v.cols}}, v.data, v.rows, v.cols, v.row_stride, v.col_stride};
}

/// The same with a shape of any rank: the elements of `x`, row by row, are those of the shape.
/// @throws shape_error  their numbers differ
template <tensor X>
[[nodiscard]] tensor_source named_tensor(std::string name, const X& x, std::vector<index_t> shape) {
  tensor_source source = named_tensor(std::move(name), x);
  if (detail::element_count(shape) != source.rows * source.cols)
    throw shape_error(error_message("named_tensor", source.plan.name, "shape " + detail::shape_text(shape),
                                    std::to_string(source.rows * source.cols) + " elements"));
  source.plan.shape = std::move(shape);
  return source;
}

/// Writes a safetensors file at once, tensors in the order given. Nothing is copied but what strides make necessary.
/// @throws value_error, format_error  as `safetensors_writer`
inline void write_safetensors(const std::filesystem::path& path, std::span<const tensor_source> tensors,
                              const file_metadata& metadata = {}) {
  std::vector<tensor_plan> plans;
  plans.reserve(tensors.size());
  for (const tensor_source& t : tensors) plans.push_back(t.plan);
  safetensors_writer writer(path, std::move(plans), metadata);
  for (const tensor_source& t : tensors) writer.append(t);
  writer.finish();
}
inline void write_safetensors(const std::filesystem::path& path, std::initializer_list<tensor_source> tensors,
                              const file_metadata& metadata = {}) {
  write_safetensors(path, std::span(tensors.begin(), tensors.size()), metadata);
}

}  // namespace stroma
