#include <cstdio>

#include <Eigen/Core>

#include <stroma/version.hpp>

static_assert(__cplusplus >= 202002L, "stroma::stroma asks for C++20");

int main() {
  const int used = stroma::version.minor_number;  // the one line that uses stroma
  const Eigen::Vector2d vector(used, used);
  std::printf("stroma says %g\n", vector.sum());
}
