// expect: stroma: an Eigen expression has no memory that a view could point to: call .eval
#include <stroma/adapt/eigen.hpp>

int main() {
  const Eigen::MatrixXf a = Eigen::MatrixXf::Ones(2, 3), b = a;
  return static_cast<int>(stroma::as_const_view(a + b).rows);
}
