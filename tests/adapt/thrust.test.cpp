// Thrust with its host system, where NVIDIA's toolkit is installed; no device is asked for anything.
#define THRUST_DEVICE_SYSTEM THRUST_DEVICE_SYSTEM_CPP
#if __has_include(<thrust/device_vector.h>)
#include <type_traits>

#include <doctest/doctest.h>

#include <stroma/adapt/thrust.cuh>

using namespace stroma;

TEST_CASE("adapt/thrust: a device_vector is a vector of a device") {
  thrust::device_vector<float> x(3, 2.0f);
  const auto& fixed = x;
  static_assert(vector_like<thrust::device_vector<float>> && vector_like<const thrust::device_vector<float>&>);
  static_assert(std::is_same_v<scalar_of<const thrust::device_vector<double>&>, double>);
  static_assert(std::is_same_v<backend_of<thrust::device_vector<float>>, backend::cuda>);
  static_assert(std::is_same_v<decltype(as_view(x)), vector_view<float, device_space>>);
  static_assert(std::is_same_v<decltype(as_view(fixed)), vector_view<const float, device_space>>);
  static_assert(std::is_same_v<decltype(as_const_view(x)), vector_view<const float, device_space>>);
  const auto v = as_view(x);
  CHECK(v.data == thrust::raw_pointer_cast(x.data()));
  CHECK(v.size == 3);
  CHECK(v.stride == 1);
  v[1] = 20;  // the host system's memory is the host's
  CHECK(x[1] == 20.0f);
  CHECK(as_view(fixed).data == v.data);
  CHECK(as_const_view(thrust::device_vector<double>{}).size == 0);
}
#endif
