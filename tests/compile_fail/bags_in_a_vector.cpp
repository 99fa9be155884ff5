// expect: no matching function for call to .*as_const_view
#include <stroma/adapt/eigen.hpp>
#include <stroma/adapt/std.hpp>

int main() {
  const std::vector<Eigen::MatrixXf> slides(2);
  static_cast<void>(stroma::as_const_view(slides));
}
