#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/core/tensor.hpp>
#include <stroma/io/detail/named_tensors.hpp>
#include <stroma/io/file_error.hpp>
#include <stroma/io/memory_map.hpp>
#include <stroma/io/tensor_type.hpp>

namespace stroma {

namespace detail {

/// Elements of type T at their own place in the file, nothing when the type differs, the bytes lie unaligned or not row
/// by row.
template <class T>
[[nodiscard]] const T* elements_in_place(const stored_tensor& tensor) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignof(T) == 0;
  if (tensor.type != tensor_type_of<T> || !tensor.strides.empty() || !aligned || tensor.bytes.empty()) return nullptr;
  return reinterpret_cast<const T*>(tensor.bytes.data());
}

}  // namespace detail

/// The elements of one tensor as T: at their place in the file where type, alignment and
/// strides allow, else a converted copy.
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

/// The tensors of an open file by name, whatever its format: what `safetensors_reader` and `torch_checkpoint` share.
/// Nothing of a tensor's elements is read until it is asked for.
class tensor_reader {
 public:
  /// In the file's order.
  [[nodiscard]] const std::vector<stored_tensor>& tensors() const noexcept { return contents_.tensors; }
  /// The file's name as messages give it.
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  /// The format's name, which stands first in messages: `safetensors`, `torch_checkpoint`.
  [[nodiscard]] std::string_view format() const noexcept { return format_; }

  /// nullptr where there is none. O(log n).
  [[nodiscard]] const stored_tensor* find(std::string_view name) const noexcept { return contents_.find(name); }
  [[nodiscard]] bool contains(std::string_view name) const noexcept { return find(name) != nullptr; }
  /// @throws format_error  there is no tensor of that name
  [[nodiscard]] const stored_tensor& at(std::string_view name) const {
    const stored_tensor* const tensor = find(name);
    if (tensor == nullptr)
      detail::refuse_file(format_, file_, "no tensor " + detail::in_quotes(name),
                          "one among the " + std::to_string(tensors().size()));
    return *tensor;
  }

  /// The elements of a tensor, of any rank, as T. Floats convert to floats (to nearest; beyond the range: infinity),
  /// integers to floats and to integers that hold them. Cost: none when `in_place()`, else a copy, from strides two.
  /// @throws format_error  no such tensor; floats asked for as integers; an integer that T cannot hold
  template <file_scalar T>
  [[nodiscard]] tensor_values<T> read(std::string_view name) const {
    const stored_tensor& tensor = at(name);
    const index_t size = tensor.size();
    if (const T* const place = detail::elements_in_place<T>(tensor)) return {place, {}, tensor.shape, size};
    array<T, 1> copy;
    detail::with_rows(tensor, [&](const stored_tensor& rows) {
      check_convertible<T>(rows);
      copy = array<T, 1>(size);
      detail::copy_elements(rows, matrix_view<T>(copy.data(), 1, size));
    });
    return {nullptr, std::move(copy), tensor.shape, size};
  }

  /// The tensor's elements leave memory, where the file is mapped; views of them stay good, and are read from the disk
  /// again. For those who walk through files larger than memory.
  void release(const stored_tensor& tensor) const noexcept {
    map_.release(tensor.bytes);
    for (const memory_map& part : parts_) part.release(tensor.bytes);
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
    detail::with_rows(at(name), [&](const stored_tensor& rows) {
      if constexpr (traits_of<Out>::rank == 1)
        detail::copy_elements(
            rows, v.stride == 1 ? matrix_view<T>(v.data, 1, v.size) : matrix_view<T>(v.data, v.size, 1, v.stride, 1));
      else detail::copy_elements(rows, v);
    });
  }

  /// What `copy_to` checks, without the copy.
  template <tensor Out>
  void check_fits(std::string_view name, const Out& out) const {
    const stored_tensor& tensor = at(name);
    const auto v = as_const_view(out);
    using T = typename decltype(v)::value_type;
    std::vector<index_t> expected;
    if constexpr (traits_of<Out>::rank == 1) expected = {v.size};
    else expected = {v.rows, v.cols};
    const bool scalar = tensor.shape.empty() && expected.size() == 1 && expected[0] == 1;
    if (tensor.shape != expected && !scalar)
      refuse(name, "shape " + detail::shape_text(tensor.shape), detail::shape_text(expected));
    if constexpr (std::is_integral_v<T>)
      detail::with_rows(tensor, [&](const stored_tensor& rows) { check_convertible<T>(rows); });
  }

 protected:
  tensor_reader(std::string_view format, memory_map map, std::string file)
      : map_(std::move(map)), file_(std::move(file)), format_(format) {}

  [[nodiscard]] std::span<const std::byte> mapped() const noexcept { return map_.bytes(); }
  /// Another file that tensors lie in.
  std::span<const std::byte> map_part(const std::filesystem::path& path) {
    return parts_.emplace_back(path, format_).bytes();
  }
  void take(detail::named_tensors contents) noexcept { contents_ = std::move(contents); }

 private:
  template <file_scalar T>
  void check_convertible(const stored_tensor& rows) const {
    if constexpr (std::is_integral_v<T>) {
      if (is_floating(rows.type))
        refuse(rows.name, "dtype " + std::string(type_name(rows.type)), detail::integer_type_names);
      const index_t misfit = detail::first_misfit<T>(rows);
      if (misfit >= 0)
        refuse(rows.name, "element " + std::to_string(misfit) + " out of range",
               "what " + std::string(type_name(tensor_type_of<T>)) + " can hold");
    }
  }

  [[noreturn]] void refuse(std::string_view name, std::string_view found, std::string_view expected) const {
    detail::refuse_tensor(format_, file_, name, found, expected);
  }

  memory_map map_;
  std::vector<memory_map> parts_;
  std::string file_;
  std::string_view format_;
  detail::named_tensors contents_;
};

}  // namespace stroma
