#pragma once
#include <concepts>
#include <type_traits>

#include <stroma/core/half.hpp>
#include <stroma/core/view.hpp>

namespace stroma {

namespace backend {
/// The host: Eigen's packets for the arithmetic, C++ threads for the rest.
struct cpu {
  using space = host_space;
};
/// An NVIDIA device. Its algorithms are in the `.cuh` files beside the headers.
struct cuda {
  using space = device_space;
};
}  // namespace backend

/// What a tensor may hold.
template <class T>
concept tensor_element = std::is_arithmetic_v<std::remove_cv_t<T>> || is_narrow<T>;

/// The one customisation point: how stroma sees a container. Specialise it for your own type with
///   `scalar`   float, double, half, bfloat16 or an integer
///   `backend`  where the data lie
///   `rank`     1 (vector_view), 2 (matrix_view) or 3 (bag_view: ragged bags)
///   `view(x)`  the view of an object; const objects give views of const elements, unless X is itself a view
template <class X>
struct tensor_traits;

template <class X>
using traits_of = tensor_traits<std::remove_cvref_t<X>>;
template <class X>
using scalar_of = std::remove_const_t<typename traits_of<X>::scalar>;
template <class X>
using backend_of = typename traits_of<X>::backend;
template <class X>
using space_of = typename backend_of<X>::space;

template <class X>
concept tensor = requires(X& x) {
  typename scalar_of<X>;
  typename space_of<X>;
  { traits_of<X>::rank } -> std::convertible_to<int>;
  traits_of<X>::view(x);
};
template <class X>
concept vector_like = tensor<X> && traits_of<X>::rank == 1;
template <class X>
concept matrix_like = tensor<X> && traits_of<X>::rank == 2;
template <class X>
concept bag_like = tensor<X> && traits_of<X>::rank == 3;

/// All arguments lie where the context computes.
template <class Context, class... Xs>
concept same_space = (std::same_as<typename Context::space, space_of<Xs>> && ...);

/// The view behind a container, as its constness allows.
template <tensor X>
[[nodiscard]] constexpr auto as_view(X&& x) {
  return traits_of<X>::view(x);
}
/// The view behind a container, read-only.
template <vector_like X>
[[nodiscard]] constexpr vector_view<const scalar_of<X>, space_of<X>> as_const_view(const X& x) {
  return traits_of<X>::view(x);
}
template <matrix_like X>
[[nodiscard]] constexpr matrix_view<const scalar_of<X>, space_of<X>> as_const_view(const X& x) {
  return traits_of<X>::view(x);
}
template <bag_like X>
[[nodiscard]] constexpr bag_view<const scalar_of<X>, space_of<X>> as_const_view(const X& x) {
  const auto v = traits_of<X>::view(x);
  return {v.instances, v.offsets};
}

namespace detail {
template <class Space>
struct backend_in;
template <>
struct backend_in<host_space> {
  using type = backend::cpu;
};
template <>
struct backend_in<device_space> {
  using type = backend::cuda;
};
}  // namespace detail

// Views are tensors themselves.
template <class T, class Space>
struct tensor_traits<vector_view<T, Space>> {
  using scalar = T;
  using backend = typename detail::backend_in<Space>::type;
  static constexpr int rank = 1;
  static constexpr vector_view<T, Space> view(const vector_view<T, Space>& v) { return v; }
};
template <class T, class Space>
struct tensor_traits<matrix_view<T, Space>> {
  using scalar = T;
  using backend = typename detail::backend_in<Space>::type;
  static constexpr int rank = 2;
  static constexpr matrix_view<T, Space> view(const matrix_view<T, Space>& v) { return v; }
};
template <class T, class Space>
struct tensor_traits<bag_view<T, Space>> {
  using scalar = T;
  using backend = typename detail::backend_in<Space>::type;
  static constexpr int rank = 3;
  static constexpr bag_view<T, Space> view(const bag_view<T, Space>& v) { return v; }
};

}  // namespace stroma
