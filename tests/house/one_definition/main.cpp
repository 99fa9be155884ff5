#include <cmath>
#include <cstdio>

#include "sum.hpp"

double plain_sum(exchanged x);
double native_sum(exchanged x);
exchanged plain_input();
exchanged native_input();

int main() {
  const double plain = plain_sum(native_input()), native = native_sum(plain_input());
  std::printf("plain %.9g, native %.9g\n", plain, native);
  // Rounding differs between instruction sets; 300 rows of sums of some 40 products.
  return std::abs(plain - native) < 1e-4 * std::abs(plain) && std::isfinite(plain) ? 0 : 1;
}
