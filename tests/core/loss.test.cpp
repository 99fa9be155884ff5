#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/core/loss.hpp>

using namespace stroma;

TEST_CASE_TEMPLATE("softplus and logistic: everywhere", T, double, float) {
  const long double eps = std::numeric_limits<T>::epsilon();
  for (long double x = -80; x <= 80; x += 0.37L) {
    const auto at = static_cast<T>(x);
    const long double e = std::exp(-static_cast<long double>(at)), soft = std::log1p(1 / e), logistic = 1 / (1 + e);
    CHECK(std::abs(detail::softplus(at) - soft) <= 4 * eps * soft);
    CHECK(std::abs(detail::logistic(at) - logistic) <= 4 * eps * logistic);
  }
  const T infinity = std::numeric_limits<T>::infinity();
  CHECK(detail::softplus(T(1e4)) == T(1e4));
  CHECK(detail::softplus(T(-1e4)) == T(0));
  CHECK(detail::softplus(-infinity) == T(0));
  CHECK(detail::softplus(infinity) == infinity);
  CHECK(detail::logistic(infinity) == T(1));
  CHECK(detail::logistic(-infinity) == T(0));
}

TEST_CASE("loss: labels, classes, weights, vectors of nodes") {
  const auto message = [](auto&& f) {
    try {
      f();
    } catch (const std::logic_error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const std::vector<unsigned char> label{0, 4}, classes{0, 2};
  const std::vector<double> weight{1, -0.5};
  CHECK(message([&] { detail::check_labels("f", "x", as_const_view(label), 5); }).empty());
  CHECK(message([&] { detail::check_labels("f", "x", as_const_view(label), 4); }) == "f: x: 4 at 1, expected 0 to 3");
  CHECK(message([&] { detail::check_classes("f", "x", as_const_view(classes)); }) == "f: x: 2 at 1, expected 0 or 1");
  CHECK(message([&] { detail::check_weights("f", "x", as_const_view(weight)); }) ==
        "f: x: -0.5 at 1, expected finite weights of 0 or more");
  std::vector<double> x(6);
  CHECK(detail::as_vector("f", "x", matrix_view<double>(x.data(), 6, 1)).size == 6);
  CHECK(detail::as_vector("f", "x", matrix_view<double>(x.data(), 1, 6)).size == 6);
  CHECK(message([&] { (void)detail::as_vector("f", "x", matrix_view<double>(x.data(), 2, 3)); }) ==
        "f: x: shape 2 x 3, expected one row or one column");
}
