// expect: stroma: an xtensor expression has no memory that a view could point to: call xt::eval
#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/containers/xtensor.hpp>
#else
#include <xtensor/xtensor.hpp>
#endif

#include <stroma/adapt/xtensor.hpp>

int main() {
  const xt::xtensor<float, 2> a{{1, 2}, {3, 4}}, b = a;
  return static_cast<int>(stroma::as_const_view(a + b).rows);
}
