#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/autodiff/row_mean.hpp>
#include <stroma/backend/cpu/primitives.hpp>

#include "support/counting_allocator.hpp"
#include "support/graph_gradient.hpp"

using namespace stroma;
using namespace stroma_test;

namespace {

/// The sum of k z_k^2 over the row.
struct weighted_squares {
  static double term(index_t k, double z) { return static_cast<double>(k) * z; }
  static double value(const auto& z) {
    double sum = 0;
    for (index_t k = 0; k < z.size; ++k) sum += term(k, static_cast<double>(z[k])) * static_cast<double>(z[k]);
    return sum;
  }
  template <class T>
  static void add_derivative(const auto& z, double factor, const vector_view<T>& d) {
    for (index_t k = 0; k < z.size; ++k) d[k] += static_cast<T>(2 * factor * term(k, static_cast<double>(z[k])));
  }
};

}  // namespace

TEST_CASE_TEMPLATE("row_mean: value and derivative, which adds, of small whole numbers in any layout", T, float,
                   double) {
  cpu_context ctx;
  array<T, 2> z(4, 3), d(4, 3);
  for (index_t i = 0; i < 12; ++i) z.data()[i] = static_cast<T>(i % 5 - 2);
  d.fill(T(1));
  double sum = 0;
  for (index_t r = 0; r < 4; ++r) sum += static_cast<double>(z(r, 1) * z(r, 1) + 2 * z(r, 2) * z(r, 2));
  for (const layout how : layouts) {
    laid_out<T> at(as_const_view(z), how), to(as_const_view(d), how);
    T value{};
    const T seed = 2;
    detail::row_mean<weighted_squares>(ctx, "f", matrix_view<const T>(at.view()), &value);
    CHECK(static_cast<double>(value) == sum / 4);
    const auto backward = [&] {
      detail::row_mean_backward<weighted_squares>(ctx, "f_backward", matrix_view<const T>(at.view()), &seed, to.view());
    };
    CHECK(allocations_in(backward) == 0);
    for (index_t r = 0; r < 4; ++r)
      for (index_t k = 0; k < 3; ++k) CHECK(to.view()(r, k) == T(1) + static_cast<T>(k) * z(r, k));
    CHECK(to.gaps_untouched());
  }
}

TEST_CASE("row_mean: recorded, without a row, and what it refuses") {
  CHECK(graph_gradient_error({normal_matrix<double>(5, 3, 1)}, [](auto& g, const auto& x) {
          return detail::record_row_mean<weighted_squares>(g, "f", x[0]);
        }) < gradient_tolerance);
  cpu_context ctx;
  double value = 7;
  const double seed = 1;
  const matrix_view<double> none(nullptr, 0, 3);
  detail::row_mean<weighted_squares>(ctx, "f", matrix_view<const double>(none), &value);
  CHECK(value == 0);
  detail::row_mean_backward<weighted_squares>(ctx, "f", matrix_view<const double>(none), &seed, none);

  array<double, 2> z(2, 3), d(2, 2);
  CHECK_THROWS_WITH_AS(detail::row_mean_backward<weighted_squares>(ctx, "f", as_const_view(z), &seed, as_view(d)),
                       "f: d_logit: shape 2 x 2, expected 2 x 3", shape_error);
  z(1, 2) = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH_AS(detail::row_mean<weighted_squares>(ctx, "f", as_const_view(z), &value),
                       "f: logit: inf at row 1, column 2, expected finite values", value_error);
}
