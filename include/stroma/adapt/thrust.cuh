#pragma once
#include <type_traits>

#include <thrust/device_vector.h>

#include <stroma/core/tensor.hpp>

namespace stroma {

/// thrust::device_vector as a vector of a device. As a matrix: `matrix_view<T, device_space>` of its raw pointer.
template <class T, class Allocator>
struct tensor_traits<thrust::device_vector<T, Allocator>> {
  using scalar = T;
  using backend = stroma::backend::cuda;
  static constexpr int rank = 1;
  template <class V>
  static vector_view<std::conditional_t<std::is_const_v<V>, const T, T>, device_space> view(V& v) {
    return {thrust::raw_pointer_cast(v.data()), static_cast<index_t>(v.size())};
  }
};

}  // namespace stroma
