// expect: stroma: the rank of this xtensor type is not 1 or 2 by its type: call stroma::as_vector or as_matrix
#if __has_include(<xtensor/containers/xarray.hpp>)
#include <xtensor/containers/xarray.hpp>
#else
#include <xtensor/xarray.hpp>
#endif

#include <stroma/adapt/xtensor.hpp>

int main() {
  const xt::xarray<float> a{{1, 2}, {3, 4}};
  return static_cast<int>(stroma::as_const_view(a).rows);
}
