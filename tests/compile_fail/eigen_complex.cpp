// expect: stroma: the elements of a tensor are float, double, stroma::half, stroma::bfloat16 or integers
#include <stroma/adapt/eigen.hpp>

int main() {
  const Eigen::MatrixXcf spectrum(2, 3);
  return static_cast<int>(stroma::as_const_view(spectrum).rows);
}
