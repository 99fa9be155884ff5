#pragma once
#include <cstddef>
#include <type_traits>

// A view crosses from host to device as a kernel argument, so its accessors compile for both.
#ifdef __CUDACC__
#define STROMA_HOST_DEVICE __host__ __device__
#else
#define STROMA_HOST_DEVICE
#endif

namespace stroma {

using index_t = std::ptrdiff_t;

struct host_space {};
struct device_space {};

/// Strided elements of somebody else's memory. `Space` says on which side the pointer is valid.
template <class T, class Space = host_space>
struct vector_view {
  using value_type = std::remove_const_t<T>;
  using space = Space;
  T* data{};
  index_t size{};
  index_t stride{1};

  vector_view() = default;
  STROMA_HOST_DEVICE constexpr vector_view(T* first, index_t count, index_t step = 1)
      : data(first), size(count), stride(step) {}
  template <class U>
    requires(std::is_same_v<const U, T>)
  STROMA_HOST_DEVICE constexpr vector_view(const vector_view<U, Space>& v)
      : data(v.data), size(v.size), stride(v.stride) {}

  STROMA_HOST_DEVICE constexpr T& operator[](index_t i) const { return data[i * stride]; }
  STROMA_HOST_DEVICE constexpr vector_view slice(index_t first, index_t count) const {
    return {data + first * stride, count, stride};
  }
};

/// Rows are samples or patches, columns are features. Strides are counted in elements.
template <class T, class Space = host_space>
struct matrix_view {
  using value_type = std::remove_const_t<T>;
  using space = Space;
  T* data{};
  index_t rows{}, cols{};
  index_t row_stride{}, col_stride{1};

  matrix_view() = default;
  STROMA_HOST_DEVICE constexpr matrix_view(T* first, index_t r, index_t c) : matrix_view(first, r, c, c, 1) {}
  STROMA_HOST_DEVICE constexpr matrix_view(T* first, index_t r, index_t c, index_t row_step, index_t col_step)
      : data(first), rows(r), cols(c), row_stride(row_step), col_stride(col_step) {}
  template <class U>
    requires(std::is_same_v<const U, T>)
  STROMA_HOST_DEVICE constexpr matrix_view(const matrix_view<U, Space>& v)
      : data(v.data), rows(v.rows), cols(v.cols), row_stride(v.row_stride), col_stride(v.col_stride) {}

  STROMA_HOST_DEVICE constexpr T& operator()(index_t r, index_t c) const {
    return data[r * row_stride + c * col_stride];
  }
  STROMA_HOST_DEVICE constexpr vector_view<T, Space> row(index_t r) const {
    return {data + r * row_stride, cols, col_stride};
  }
  STROMA_HOST_DEVICE constexpr vector_view<T, Space> col(index_t c) const {
    return {data + c * col_stride, rows, row_stride};
  }
  STROMA_HOST_DEVICE constexpr matrix_view middle_rows(index_t first, index_t count) const {
    return {data + first * row_stride, count, cols, row_stride, col_stride};
  }
  STROMA_HOST_DEVICE constexpr matrix_view transposed() const { return {data, cols, rows, col_stride, row_stride}; }
  STROMA_HOST_DEVICE constexpr bool contiguous() const { return col_stride == 1 && (row_stride == cols || rows <= 1); }
};

/// Many bags in one buffer: bag b owns the rows offsets[b] .. offsets[b + 1] - 1 of `instances`.
template <class T, class Space = host_space>
struct bag_view {
  using value_type = std::remove_const_t<T>;
  using space = Space;
  matrix_view<T, Space> instances{};
  vector_view<const index_t, Space> offsets{};  ///< [bags + 1], from 0 to instances.rows, never falling

  STROMA_HOST_DEVICE constexpr index_t count() const { return offsets.size > 0 ? offsets.size - 1 : 0; }
  STROMA_HOST_DEVICE constexpr index_t first(index_t b) const { return offsets[b]; }
  STROMA_HOST_DEVICE constexpr index_t length(index_t b) const { return offsets[b + 1] - offsets[b]; }
  STROMA_HOST_DEVICE constexpr matrix_view<T, Space> operator[](index_t b) const {
    return instances.middle_rows(first(b), length(b));
  }
};

}  // namespace stroma
