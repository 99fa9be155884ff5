#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include <stroma/core/tensor.hpp>

/// std::vector, std::array and std::span as vectors. A container of containers (a vector of matrices, say) is no
/// tensor: bags of many slides go into one buffer, see bag_view.
namespace stroma {

namespace detail {

template <class T>
inline constexpr bool never = false;

template <class T>
struct contiguous_traits {
  using scalar = T;
  using backend = stroma::backend::cpu;
  static constexpr int rank = 1;
  template <class X>
  static constexpr auto view(X& x) {
    return vector_view<std::remove_pointer_t<decltype(x.data())>>(x.data(), static_cast<index_t>(x.size()));
  }
};

}  // namespace detail

template <tensor_element T, class Allocator>
struct tensor_traits<std::vector<T, Allocator>> : detail::contiguous_traits<T> {};

template <tensor_element T, std::size_t Size>
struct tensor_traits<std::array<T, Size>> : detail::contiguous_traits<T> {};

/// A span is a view: its elements are const where T is, whether or not the span itself is.
template <tensor_element T, std::size_t Extent>
struct tensor_traits<std::span<T, Extent>> : detail::contiguous_traits<T> {};

/// Not a tensor: it packs its elements into bits.
template <class Allocator>
struct tensor_traits<std::vector<bool, Allocator>> {
  static_assert(detail::never<Allocator>,
                "stroma: std::vector<bool> has no elements that a view could point to: take std::vector<std::uint8_t>");
};

}  // namespace stroma
