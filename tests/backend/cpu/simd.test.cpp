#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/activate.hpp>
#include <stroma/backend/cpu/simd.hpp>

using stroma::activation;
using stroma::index_t;
using stroma::detail::map_packets;
using stroma::detail::simd;

namespace {

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

/// The distance of neighbouring T at x, that of the smallest normal numbers below these.
template <class T>
long double ulp(long double x) {
  const int exponent =
      std::max(std::ilogb(x == 0 ? std::numeric_limits<T>::min() : x), std::numeric_limits<T>::min_exponent - 1);
  return std::ldexp(1.0L, exponent - std::numeric_limits<T>::digits + 1);
}

template <class T>
std::vector<T> grid(double low, double high, int count) {
  std::vector<T> x;
  for (int i = 0; i <= count; ++i) x.push_back(static_cast<T>(low + (high - low) * i / count));
  for (const double v : {0.0, -0.0, 1e-30, -1e-30, 1e-8, -1e-8}) x.push_back(static_cast<T>(v));
  return x;
}

/// Largest error of f over x in units of unit(expected).
template <class T, class F, class Expected, class Unit>
double worst(const std::vector<T>& x, F f, Expected expected, Unit unit) {
  std::vector<T> y(x.size());
  map_packets(static_cast<index_t>(x.size()), x.data(), y.data(), f);
  double most = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto e = static_cast<long double>(expected(static_cast<long double>(x[i])));
    const auto error = static_cast<double>(std::abs(static_cast<long double>(y[i]) - e) / unit(e));
    most = std::isnan(error) ? infinity<double> : std::max(most, error);
  }
  return most;
}
template <class T, class F>
T at(T x, F f) {
  T y{};
  map_packets(1, &x, &y, f);
  return y;
}

const auto exp_of = []<class T>(T) { return [](const auto& x) { return simd<T>::exp(x); }; };
const auto tanh_of = []<class T>(T) { return [](const auto& x) { return simd<T>::tanh(x); }; };
const auto sigmoid_of = []<class T>(T) { return [](const auto& x) { return simd<T>::sigmoid(x); }; };
const auto phi_of = []<class T>(T) { return [](const auto& x) { return stroma::detail::normal_distribution<T>(x); }; };

template <class T, activation F>
struct apply {
  template <class P>
  auto operator()(const P& x) const {
    return stroma::detail::activated<T, F>(x);
  }
};

long double logistic(long double x) { return 1 / (1 + std::exp(-x)); }
long double normal_distribution(long double x) { return 0.5L * std::erfc(-x / std::sqrt(2.0L)); }

}  // namespace

TEST_CASE_TEMPLATE("simd: exp is within 2 ulp and safe at the ends", T, float, double) {
  const auto exp = exp_of(T{});
  const double low = std::is_same_v<T, float> ? -87.2 : -708.2, high = std::is_same_v<T, float> ? 88.7 : 709.7;
  const auto in_ulp = [](long double e) { return ulp<T>(e); };
  CHECK(worst(
            grid<T>(low, high, 400000), exp, [](long double x) { return std::exp(x); }, in_ulp) <= 2);
  CHECK(worst(
            grid<T>(-1, 1, 400000), exp, [](long double x) { return std::exp(x); }, in_ulp) <= 2);
  CHECK(at(T(0), exp) == T(1));
  CHECK(at(-infinity<T>, exp) == T(0));
  CHECK(at(T(-1000), exp) == T(0));
  CHECK(at(T(1000), exp) == infinity<T>);
  CHECK(at(infinity<T>, exp) == infinity<T>);
  CHECK(std::isnan(at(std::numeric_limits<T>::quiet_NaN(), exp)));
}

TEST_CASE_TEMPLATE("simd: sigmoid is within 3 ulp for arguments of any size", T, float, double) {
  const auto sigmoid = sigmoid_of(T{});
  const double low = std::is_same_v<T, float> ? -87.2 : -708.2;
  const auto in_ulp = [](long double e) { return ulp<T>(e); };
  CHECK(worst(grid<T>(low, 100, 400000), sigmoid, logistic, in_ulp) <= 3);
  CHECK(worst(grid<T>(-2, 2, 400000), sigmoid, logistic, in_ulp) <= 3);
  CHECK(at(T(0), sigmoid) == T(0.5));
  CHECK(at(T(1000), sigmoid) == T(1));
  CHECK(at(T(-1000), sigmoid) == T(0));
  CHECK(at(infinity<T>, sigmoid) == T(1));
  CHECK(at(-infinity<T>, sigmoid) == T(0));
  CHECK(std::isnan(at(std::numeric_limits<T>::quiet_NaN(), sigmoid)));
}

TEST_CASE_TEMPLATE("simd: tanh is within 6 ulp, odd and at most 1", T, float, double) {
  const auto tanh = tanh_of(T{});
  const auto in_ulp = [](long double e) { return ulp<T>(e); };
  CHECK(worst(
            grid<T>(-20, 20, 400000), tanh, [](long double x) { return std::tanh(x); }, in_ulp) <= 6);
  CHECK(worst(
            grid<T>(-0.01, 0.01, 400000), tanh, [](long double x) { return std::tanh(x); }, in_ulp) <= 6);
  for (const T x : grid<T>(0, 30, 30000)) {
    REQUIRE(at(-x, tanh) == -at(x, tanh));
    REQUIRE(at(x, tanh) <= T(1));
  }
  CHECK(at(T(1000), tanh) == T(1));
  CHECK(at(T(-1000), tanh) == T(-1));
  CHECK(at(infinity<T>, tanh) == T(1));
  CHECK(at(-infinity<T>, tanh) == T(-1));
  CHECK(std::isnan(at(std::numeric_limits<T>::quiet_NaN(), tanh)));
}

TEST_CASE_TEMPLATE("simd: the normal distribution function and gelu", T, float, double) {
  const auto phi = phi_of(T{});
  const long double bound = std::is_same_v<T, float> ? 4e-7L : 4e-16L;
  const auto absolute = [&](long double) { return bound; };
  CHECK(worst(grid<T>(-15, 15, 400000), phi, normal_distribution, absolute) <= 1);
  CHECK(worst(grid<T>(-1, 1, 400000), phi, normal_distribution, absolute) <= 1);
  CHECK(at(T(0), phi) == doctest::Approx(0.5));
  CHECK(at(T(1000), phi) == T(1));
  CHECK(at(T(-1000), phi) == T(0));
  CHECK(at(infinity<T>, phi) == T(1));
  CHECK(at(-infinity<T>, phi) == T(0));
  CHECK(std::isnan(at(std::numeric_limits<T>::quiet_NaN(), phi)));

  const apply<T, activation::gelu> gelu;
  double most = 0;
  for (const T x : grid<T>(-15, 15, 100000)) {
    const auto e = static_cast<long double>(x) * normal_distribution(static_cast<long double>(x));
    most = std::max(most, static_cast<double>(std::abs(static_cast<long double>(at(x, gelu)) - e) /
                                              (bound * std::max(std::abs(static_cast<long double>(x)), 1.0L))));
  }
  CHECK(most <= 1);
  CHECK(at(T(1000), gelu) == T(1000));
  CHECK(at(T(-1000), gelu) == T(0));
  CHECK(std::isnan(at(std::numeric_limits<T>::quiet_NaN(), gelu)));
}

TEST_CASE_TEMPLATE("simd: relu and elu, NaN stays NaN", T, float, double) {
  const apply<T, activation::relu> relu;
  const apply<T, activation::elu> elu;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  CHECK(at(T(2.5), relu) == T(2.5));
  CHECK(at(T(-2.5), relu) == T(0));
  CHECK(at(infinity<T>, relu) == infinity<T>);
  CHECK(at(-infinity<T>, relu) == T(0));
  CHECK(std::isnan(at(nan, relu)));
  CHECK(at(T(2.5), elu) == T(2.5));
  const auto minus_one = [](long double x) { return x < 0 ? std::expm1(x) : x; };
  CHECK(worst(grid<T>(-20, 3, 20000), elu, minus_one, [](long double e) { return ulp<T>(e); }) <= 1);
  CHECK(at(-infinity<T>, elu) == T(-1));
  CHECK(std::isnan(at(nan, elu)));
  // NaN in every lane of a packet, not in the tail alone.
  std::vector<T> x(67, T(1)), y(67);
  for (std::size_t i = 0; i < x.size(); i += 3) x[i] = nan;
  map_packets(67, x.data(), y.data(), relu);
  for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(std::isnan(y[i]) == (i % 3 == 0));
}

TEST_CASE_TEMPLATE("simd: an element's result does not depend on where it stands", T, float, double) {
  const auto x = grid<T>(-9, 9, 200);
  const auto n = static_cast<index_t>(x.size());
  const auto check = [&](auto f) {
    std::vector<T> whole(x.size());
    map_packets(n, x.data(), whole.data(), f);
    for (index_t i = 0; i < n; ++i)
      REQUIRE(at(x[static_cast<std::size_t>(i)], f) == whole[static_cast<std::size_t>(i)]);
  };
  check(exp_of(T{}));
  check(tanh_of(T{}));
  check(sigmoid_of(T{}));
  check(phi_of(T{}));
  check(apply<T, activation::elu>{});
}

TEST_CASE_TEMPLATE("simd: parts are read and written within their bounds", T, float, double) {
  for (index_t count = 0; count < 70; ++count) {
    const auto size = static_cast<std::size_t>(count);
    std::vector<T> x(size), y(size), z(size), w(size), sum(size + 1, T(-7));  // the sanitizer watches the ends
    for (std::size_t i = 0; i < size; ++i) x[i] = T(i), y[i] = T(2), z[i] = T(1);
    map_packets(count, x.data(), sum.data(), [](const auto& a) { return a; });
    for (std::size_t i = 0; i < size; ++i) REQUIRE(sum[i] == x[i]);
    map_packets(count, x.data(), y.data(), sum.data(), [](const auto& a, const auto& b) { return simd<T>::mul(a, b); });
    for (std::size_t i = 0; i < size; ++i) REQUIRE(sum[i] == 2 * x[i]);
    map_packets(count, x.data(), y.data(), z.data(), sum.data(),
                [](const auto& a, const auto& b, const auto& c) { return simd<T>::fma(a, b, c); });
    for (std::size_t i = 0; i < size; ++i) REQUIRE(sum[i] == 2 * x[i] + 1);
    REQUIRE(sum[size] == T(-7));
    REQUIRE(stroma::detail::dot(count, x.data(), y.data()) == T(count * (count - 1)));
  }
}
