#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include <stroma/core/check.hpp>
#include <stroma/core/tensor.hpp>
#include <stroma/core/workspace.hpp>

namespace stroma {

namespace detail {

/// The product of extents that memory can have.
template <std::size_t Rank>
[[nodiscard]] index_t element_count(const std::array<index_t, Rank>& extents, std::size_t element) {
  const index_t most = std::numeric_limits<index_t>::max() / static_cast<index_t>(element);
  index_t count = 1;
  for (const index_t e : extents) {
    check::require(e >= 0, "array", "extent", std::to_string(e), "0 or more");
    check::require(e == 0 || count <= most / e, "array", "extent", std::to_string(e), "a size that memory can have");
    count *= e;
  }
  return count;
}

}  // namespace detail

/// Owns the memory of a tensor of 1 or 2 extents, row by row without gaps, aligned to `storage_alignment`.
/// Copies are values. New elements are zero.
template <class T, int Rank, class Space = host_space>
class array;

template <class T, int Rank>
class array<T, Rank, host_space> {
  static_assert(Rank == 1 || Rank == 2, "stroma::array: rank 1 or 2");
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;
  using space = host_space;
  static constexpr int rank = Rank;

  array() = default;
  explicit array(index_t size)
    requires(Rank == 1)
  {
    allocate({size});
  }
  array(index_t rows, index_t cols)
    requires(Rank == 2)
  {
    allocate({rows, cols});
  }
  array(const array& other) { *this = other; }
  array(array&& other) noexcept { swap(other); }
  array& operator=(const array& other) {
    if (this == &other) return *this;
    if (size() != other.size()) {
      array fresh;
      fresh.allocate(other.extents_);
      swap(fresh);
    }
    extents_ = other.extents_;
    std::copy_n(other.data_, size(), data_);
    return *this;
  }
  array& operator=(array&& other) noexcept {
    swap(other);
    return *this;
  }
  ~array() {
    if (data_ != nullptr) host_resource::deallocate(data_, 0);
  }

  void swap(array& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(extents_, other.extents_);
  }

  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] index_t size() const noexcept {
    if constexpr (Rank == 1) return extents_[0];
    else return extents_[0] * extents_[1];
  }
  [[nodiscard]] const std::array<index_t, Rank>& extents() const noexcept { return extents_; }
  [[nodiscard]] index_t rows() const noexcept { return extents_[0]; }
  [[nodiscard]] index_t cols() const noexcept
    requires(Rank == 2)
  {
    return extents_[1];
  }
  [[nodiscard]] T* begin() noexcept { return data_; }
  [[nodiscard]] T* end() noexcept { return data_ + size(); }
  [[nodiscard]] const T* begin() const noexcept { return data_; }
  [[nodiscard]] const T* end() const noexcept { return data_ + size(); }
  [[nodiscard]] T& operator[](index_t i) noexcept { return data_[i]; }
  [[nodiscard]] const T& operator[](index_t i) const noexcept { return data_[i]; }
  [[nodiscard]] T& operator()(index_t r, index_t c) noexcept
    requires(Rank == 2)
  {
    return data_[r * extents_[1] + c];
  }
  [[nodiscard]] const T& operator()(index_t r, index_t c) const noexcept
    requires(Rank == 2)
  {
    return data_[r * extents_[1] + c];
  }
  void fill(T value) { std::fill_n(data_, size(), value); }

 private:
  void allocate(std::array<index_t, Rank> extents) {
    const index_t count = detail::element_count(extents, sizeof(T));
    if (count > 0) data_ = static_cast<T*>(host_resource::allocate(static_cast<std::size_t>(count) * sizeof(T)));
    extents_ = extents;
    std::fill_n(data_, count, T{});
  }

  T* data_ = nullptr;
  std::array<index_t, Rank> extents_{};
};

template <class T, int Rank, class Space>
struct tensor_traits<array<T, Rank, Space>> {
  using scalar = T;
  using backend = typename detail::backend_in<Space>::type;
  static constexpr int rank = Rank;
  template <class A>
  static constexpr auto view(A& a) {
    using element = std::remove_pointer_t<decltype(a.data())>;
    if constexpr (Rank == 1) return vector_view<element, Space>(a.data(), a.extents()[0]);
    else return matrix_view<element, Space>(a.data(), a.extents()[0], a.extents()[1]);
  }
};

}  // namespace stroma
