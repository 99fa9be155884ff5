#pragma once
// xtensor moved its headers in 0.26.
#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/core/xexpression.hpp>
#else
#include <xtensor/xexpression.hpp>
#endif

#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <stroma/core/error.hpp>
#include <stroma/core/tensor.hpp>

namespace stroma {

/// What of xtensor lies in memory: containers, adaptors, and strided views of them. Nothing here names a container,
/// whose allocator, and so type, depends on macros.
template <class E>
concept xtensor_storage = xt::is_xexpression<E>::value && requires(E& e) {
  requires tensor_element<std::remove_pointer_t<decltype(e.data())>>;
  e.data_offset();
  e.shape();
  e.strides();
};

namespace detail {

/// The number of extents where the type says it, else 0.
template <class E>
inline constexpr int static_rank = [] {
  using shape = std::remove_cvref_t<decltype(std::declval<const E&>().shape())>;
  if constexpr (requires { std::tuple_size<shape>::value; }) return static_cast<int>(std::tuple_size<shape>::value);
  else return 0;
}();

template <class E>
concept xtensor_of_rank_1_or_2 = xtensor_storage<E> && (static_rank<E> == 1 || static_rank<E> == 2);

/// The first element. An adaptor of a const container offers a data() for writing that does not compile.
template <class E>
auto first_element(E& e) {
  if constexpr (requires { requires std::is_const_v<typename E::storage_type>; })
    return std::as_const(e).data() + e.data_offset();
  else return e.data() + e.data_offset();
}

/// xtensor gives an extent of 1 the stride 0, which no BLAS takes as a leading dimension: `fitting` replaces it.
template <class E>
index_t stride_of(const E& e, std::size_t axis, index_t fitting) {
  return e.shape()[axis] == 1 ? fitting : static_cast<index_t>(e.strides()[axis]);
}

template <class E>
auto xtensor_vector(E& e) {
  return vector_view(first_element(e), static_cast<index_t>(e.shape()[0]), stride_of(e, 0, 1));
}

template <class E>
auto xtensor_matrix(E& e) {
  const auto rows = static_cast<index_t>(e.shape()[0]), cols = static_cast<index_t>(e.shape()[1]);
  const index_t col_stride = stride_of(e, 1, 1);
  const index_t row_stride = stride_of(e, 0, col_stride == 1 ? cols : 1);  // a lone row: as if row- or column-major
  return matrix_view(first_element(e), rows, cols, row_stride, col_stride);
}

template <class E>
void require_dimension(const char* function, const E& e, std::size_t expected) {
  if (e.dimension() != expected)
    throw shape_error(
        error_message(function, "array", "rank " + std::to_string(e.dimension()), std::to_string(expected)));
}

}  // namespace detail

/// xt::xtensor, xt::xtensor_fixed, adaptors and views whose type says that the rank is 1 or 2.
template <detail::xtensor_of_rank_1_or_2 E>
struct tensor_traits<E> {
  using scalar = std::remove_pointer_t<decltype(std::declval<E&>().data())>;
  using backend = stroma::backend::cpu;
  static constexpr int rank = detail::static_rank<E>;
  template <class X>
  static auto view(X& e) {
    if constexpr (rank == 1) return detail::xtensor_vector(e);
    else return detail::xtensor_matrix(e);
  }
};

/// All else of xtensor is no tensor, and says why. An xarray learns its rank at run time, and stroma's functions choose
/// by it at compile time.
template <class E>
  requires(xt::is_xexpression<E>::value && !detail::xtensor_of_rank_1_or_2<E>)
struct tensor_traits<E> {
  static_assert(!xtensor_storage<E>,
                "stroma: the rank of this xtensor type is not 1 or 2 by its type: call stroma::as_vector or as_matrix");
  static_assert(xtensor_storage<E>,
                "stroma: an xtensor expression has no memory that a view could point to: call xt::eval()");
};

/// The view behind an xarray, or behind a view of run-time rank, that has one extent.
/// @throws shape_error  it has another number of extents
template <class E>
  requires xtensor_storage<std::remove_cvref_t<E>>
[[nodiscard]] auto as_vector(E&& e) {
  detail::require_dimension("as_vector", e, 1);
  return detail::xtensor_vector(e);
}

/// The view behind an xarray, or behind a view of run-time rank, that has two extents.
/// @throws shape_error  it has another number of extents
template <class E>
  requires xtensor_storage<std::remove_cvref_t<E>>
[[nodiscard]] auto as_matrix(E&& e) {
  detail::require_dimension("as_matrix", e, 2);
  return detail::xtensor_matrix(e);
}

}  // namespace stroma
