#include <limits>
#include <set>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/optim/parameter_update.hpp>

#include "model.hpp"

using stroma::decay_on;
using stroma::index_t;
namespace detail = stroma::detail;

TEST_CASE("parameter update: pieces cover every element once, in any number of threads") {
  for (const int threads : {1, 3})
    for (const index_t count :
         {index_t{0}, index_t{1}, detail::update_piece, detail::update_piece + 1, 5 * detail::update_piece - 3}) {
      stroma::cpu_context ctx(threads);
      std::vector<int> seen(static_cast<std::size_t>(count));
      detail::for_each_piece(ctx, count, [&](index_t first, index_t part) {
        for (index_t i = first; i < first + part; ++i) ++seen[static_cast<std::size_t>(i)];
      });
      CHECK(seen == std::vector<int>(static_cast<std::size_t>(count), 1));
    }
}

TEST_CASE_TEMPLATE("parameter update: arrays of const elements are read, the others written, nothing beyond", T, float,
                   double) {
  constexpr int lanes = detail::native_lanes<T>;
  using s = detail::update_simd<T, lanes>;
  for (const index_t count : {0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33}) {
    std::vector<T> x(40, T(1)), y(40);
    for (std::size_t i = 0; i < 40; ++i) y[i] = static_cast<T>(i);
    const auto before = y;
    detail::update_packets<T, lanes>(
        count,
        [](auto& a, auto& b) {
          a = s::fma(a, b, s::set(T(2)));
          b = s::set(T(-1));
        },
        x.data(), static_cast<const T*>(y.data()));
    CHECK(y == before);
    for (std::size_t i = 0; i < 40; ++i)
      CHECK(x[i] == (static_cast<index_t>(i) < count ? static_cast<T>(i) + 2 : T(1)));
    detail::update_packets<T, lanes>(
        count, [](auto& b) { b = s::sqrt(s::mul(b, b)); }, y.data());
    for (std::size_t i = 0; i < 40; ++i)  // a square and a root
      CHECK(y[i] == doctest::Approx(before[i]).epsilon(2 * std::numeric_limits<T>::epsilon()));
  }
}

TEST_CASE("parameter update: which parameters decay") {
  using matrix = stroma::array<float, 2>;
  using vector = stroma::array<float, 1>;
  CHECK(detail::decay_of<matrix>(0.5, decay_on::all) == 0.5);
  CHECK(detail::decay_of<vector>(0.5, decay_on::all) == 0.5);
  CHECK(detail::decay_of<matrix>(0.5, decay_on::matrices) == 0.5);
  CHECK(detail::decay_of<const vector>(0.5, decay_on::matrices) == 0);
}
