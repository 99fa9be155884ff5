#pragma once
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/core/tensor.hpp>
#include <stroma/io/file_error.hpp>
#include <stroma/io/memory_map.hpp>
#include <stroma/io/safetensors_header.hpp>
#include <stroma/io/tensor_type.hpp>

namespace stroma {

namespace detail {

/// Elements of type T at their own place in the file, nothing when the type differs or the bytes lie unaligned.
template <class T>
[[nodiscard]] const T* elements_in_place(const stored_tensor& tensor) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignof(T) == 0;
  if (tensor.type != tensor_type_of<T> || !aligned || tensor.bytes.empty()) return nullptr;
  return reinterpret_cast<const T*>(tensor.bytes.data());
}

}  // namespace detail

/// The elements of one tensor as T: at their place in the file where type and alignment allow, else a converted copy.
/// A view into the file lives as long as the reader it came from.
template <file_scalar T>
class tensor_values {
 public:
  tensor_values(const T* in_place, array<T, 1> copy, std::vector<index_t> shape, index_t count)
      : in_place_(in_place), copy_(std::move(copy)), shape_(std::move(shape)), count_(count) {}

  [[nodiscard]] const std::vector<index_t>& shape() const noexcept { return shape_; }
  /// Whether the elements are the file's own bytes.
  [[nodiscard]] bool in_place() const noexcept { return in_place_ != nullptr; }
  /// All elements, row by row, whatever the rank.
  [[nodiscard]] vector_view<const T> flat() const noexcept {
    return {in_place_ != nullptr ? in_place_ : copy_.data(), count_};
  }
  /// @throws shape_error  the rank is not 2
  [[nodiscard]] matrix_view<const T> matrix() const {
    if (shape_.size() != 2)
      throw shape_error(error_message("tensor_values", "matrix", "shape " + detail::shape_text(shape_), "two extents"));
    return {flat().data, shape_[0], shape_[1]};
  }

 private:
  const T* in_place_;
  array<T, 1> copy_;
  std::vector<index_t> shape_;
  index_t count_;
};

/// A safetensors file: an 8-byte length, a JSON header, the elements. The constructor maps the file and checks all of
/// the header against the file's size: types, shapes, offsets, names, and that the tensors cover the data once, without
/// overlap or hole. Header fields that the format does not know are refused. Nothing else is read until it is asked
/// for. Cost: the header's length, O(n log n) in the number of tensors; memory in proportion to the header, not to the
/// data.
class safetensors_reader {
 public:
  /// @throws format_error  `safetensors: FILE: tensor 'NAME': found, expected what`
  explicit safetensors_reader(const std::filesystem::path& path)
      : map_(path, "safetensors"), file_(path.string()), contents_(parse(map_.bytes(), file_)) {}
  /// A file that is in memory already: `bytes` must outlive the reader, `name` stands in messages.
  safetensors_reader(std::span<const std::byte> bytes, std::string name)
      : file_(std::move(name)), contents_(parse(bytes, file_)) {}

  /// In the header's order.
  [[nodiscard]] const std::vector<stored_tensor>& tensors() const noexcept { return contents_.tensors; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept { return contents_.metadata; }
  /// The file's name as messages give it.
  [[nodiscard]] const std::string& file() const noexcept { return file_; }

  /// nullptr where there is none. O(log n).
  [[nodiscard]] const stored_tensor* find(std::string_view name) const noexcept {
    const auto& order = contents_.by_name;
    const auto at = std::lower_bound(order.begin(), order.end(), name,
                                     [&](std::size_t i, std::string_view n) { return contents_.tensors[i].name < n; });
    return at != order.end() && contents_.tensors[*at].name == name ? &contents_.tensors[*at] : nullptr;
  }
  [[nodiscard]] bool contains(std::string_view name) const noexcept { return find(name) != nullptr; }
  /// @throws format_error  there is no tensor of that name
  [[nodiscard]] const stored_tensor& at(std::string_view name) const {
    const stored_tensor* const tensor = find(name);
    if (tensor == nullptr)
      detail::refuse_file("safetensors", file_, "no tensor " + detail::in_quotes(name),
                          "one among the " + std::to_string(tensors().size()));
    return *tensor;
  }

  /// The elements of a tensor, of any rank, as T. Floats convert to floats (to nearest; beyond the range: infinity),
  /// integers to floats and to integers that hold them. Cost: none when `in_place()`, else a copy.
  /// @throws format_error  no such tensor; floats asked for as integers; an integer that T cannot hold
  template <file_scalar T>
  [[nodiscard]] tensor_values<T> read(std::string_view name) const {
    const stored_tensor& tensor = at(name);
    if (const T* const place = detail::elements_in_place<T>(tensor)) return {place, {}, tensor.shape, tensor.size()};
    check_convertible<T>(tensor);
    array<T, 1> copy(tensor.size());
    detail::copy_elements(tensor, matrix_view<T>(copy.data(), 1, copy.size()));
    return {nullptr, std::move(copy), tensor.shape, tensor.size()};
  }

  /// Copies a tensor into a container of its shape, converting as `read` does; a tensor without extents fits a vector
  /// of 1. Nothing is written when it throws.
  /// @throws format_error  as `read`, or the shape in the file is not that of `out`
  template <tensor Out>
    requires(std::same_as<space_of<Out>, host_space> && (traits_of<Out>::rank == 1 || traits_of<Out>::rank == 2))
  void copy_to(std::string_view name, Out&& out) const {
    check_fits(name, out);
    const auto v = as_view(out);
    using T = typename decltype(v)::value_type;
    if constexpr (traits_of<Out>::rank == 1)
      detail::copy_elements(
          at(name), v.stride == 1 ? matrix_view<T>(v.data, 1, v.size) : matrix_view<T>(v.data, v.size, 1, v.stride, 1));
    else detail::copy_elements(at(name), v);
  }

  /// What `copy_to` checks, without the copy.
  template <tensor Out>
  void check_fits(std::string_view name, const Out& out) const {
    const stored_tensor& tensor = at(name);
    const auto v = as_const_view(out);
    std::vector<index_t> expected;
    if constexpr (traits_of<Out>::rank == 1) expected = {v.size};
    else expected = {v.rows, v.cols};
    const bool scalar = tensor.shape.empty() && expected.size() == 1 && expected[0] == 1;
    if (tensor.shape != expected && !scalar)
      detail::refuse_tensor(file_, name, "shape " + detail::shape_text(tensor.shape), detail::shape_text(expected));
    check_convertible<typename decltype(v)::value_type>(tensor);
  }

 private:
  static detail::safetensors_contents parse(std::span<const std::byte> bytes, const std::string& file) {
    return detail::safetensors_parser(bytes, file).parse();
  }

  template <file_scalar T>
  void check_convertible(const stored_tensor& tensor) const {
    if constexpr (std::is_integral_v<T>) {
      if (is_floating(tensor.type))
        detail::refuse_tensor(file_, tensor.name, "dtype " + std::string(type_name(tensor.type)), "I64, I32 or U8");
      const index_t misfit = detail::first_misfit<T>(tensor);
      if (misfit >= 0)
        detail::refuse_tensor(file_, tensor.name, "element " + std::to_string(misfit) + " out of range",
                              "what " + std::string(type_name(tensor_type_of<T>)) + " can hold");
    }
  }

  memory_map map_;
  std::string file_;
  detail::safetensors_contents contents_;
};

}  // namespace stroma
