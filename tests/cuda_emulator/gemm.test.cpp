#include <cmath>
#include <vector>

#include <doctest/doctest.h>

#include "support/cuda/emulator.hpp"

using stroma::index_t;

namespace {

/// Small whole numbers, exact in every type, as elements of S.
template <class S>
std::vector<S> numbers(index_t count, int seed) {
  std::vector<S> v;
  for (index_t i = 0; i < count; ++i) v.push_back(stroma::narrow<S>(static_cast<float>((i * 7 + seed) % 11 - 5)));
  return v;
}

template <class S, class T>
void check_product(index_t m, index_t n, index_t k, bool a_by_rows, bool b_by_rows, bool add) {
  const index_t a_step = (a_by_rows ? k : m) + 3, b_step = (b_by_rows ? n : k) + 2, c_step = n + 1;
  const auto a = numbers<S>((a_by_rows ? m : k) * a_step, 1), b = numbers<S>((b_by_rows ? k : n) * b_step, 4);
  std::vector<T> c(static_cast<std::size_t>(m * c_step), add ? T(100) : T(NAN));
  cuda_emulator::gemm(nullptr, m, n, k, a.data(), a_step, a_by_rows, b.data(), b_step, b_by_rows, c.data(), c_step,
                      add);
  bool right = true;
  for (index_t i = 0; i < m; ++i) {
    for (index_t j = 0; j < n; ++j) {
      T sum = add ? T(100) : T(0);
      for (index_t p = 0; p < k; ++p) {
        const S x = a[static_cast<std::size_t>(a_by_rows ? i * a_step + p : i + p * a_step)];
        const S y = b[static_cast<std::size_t>(b_by_rows ? p * b_step + j : p + j * b_step)];
        sum += stroma::widen<T>(x) * stroma::widen<T>(y);
      }
      right = right && c[static_cast<std::size_t>(i * c_step + j)] == sum;
    }
    const T gap = c[static_cast<std::size_t>(i * c_step + n)];
    right = right && (add ? gap == T(100) : std::isnan(gap));
  }
  CHECK(right);
}

}  // namespace

TEST_CASE("products of any layout") {
  for (const bool a_by_rows : {true, false})
    for (const bool b_by_rows : {true, false})
      for (const bool add : {true, false})
        for (const index_t n : {1, 5, 40}) {
          check_product<float, float>(n + 2, n, 3 * n, a_by_rows, b_by_rows, add);
          check_product<double, double>(1, n, n, a_by_rows, b_by_rows, add);
          check_product<stroma::half, float>(n, 7, n, a_by_rows, b_by_rows, add);
          check_product<stroma::bfloat16, float>(7, n, n, a_by_rows, b_by_rows, add);
        }
}
