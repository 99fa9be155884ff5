#include <cstdio>

double plain_sum();
double native_sum();

int main() {
  const double plain = plain_sum(), native = native_sum();
  std::printf("plain %g, native %g\n", plain, native);
  return plain == native ? 0 : 1;
}
