#include <cmath>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/metrics/accuracy.hpp>

#include "support/counting_allocator.hpp"
#include "support/message_of.hpp"

using namespace stroma;

TEST_CASE("accuracy: classes") {
  cpu_context ctx;
  const std::vector<int> predicted{0, 1, 2, 1};
  const std::vector<std::uint8_t> label{0, 1, 1, 1};
  CHECK(accuracy(ctx, predicted, label) == 0.75);
  CHECK(std::isnan(accuracy(ctx, std::vector<int>{}, std::vector<int>{})));
  CHECK(message_of<shape_error>([&] { (void)accuracy(ctx, predicted, std::vector<int>{1}); }) ==
        "accuracy: label: length 1, expected 4 (the length of predicted)");
}

TEST_CASE_TEMPLATE("accuracy: the largest logit, the first of equal ones", T, double, float) {
  cpu_context ctx;
  std::vector<T> z{1, 3, 2, /**/ 5, 5, 5, /**/ T(-1e4), T(-2e4), T(1e4), /**/ 2, 1, 2};
  const matrix_view<const T> logit(z.data(), 4, 3), columns(z.data(), 3, 4, 1, 3);
  const std::vector<std::int64_t> label{1, 0, 2, 2}, high{0, 1, 2, 3};
  CHECK(accuracy(ctx, logit, label) == 0.75);
  CHECK(accuracy(ctx, columns, std::vector<int>{1, 1, 0}) == doctest::Approx(2.0 / 3));
  CHECK(allocations_in([&] { (void)accuracy(ctx, logit, label); }) == 0);
  CHECK(message_of<value_error>([&] { (void)accuracy(ctx, logit, high); }) ==
        "accuracy: label: 3 at 3, expected 0 to 2");
  CHECK(message_of<shape_error>([&] { (void)accuracy(ctx, logit, std::vector<int>{1}); }) ==
        "accuracy: label: length 1, expected 4 (the rows of logit)");
  z[4] = std::numeric_limits<T>::quiet_NaN();
  CHECK(message_of<value_error>([&] { (void)accuracy(ctx, logit, label); }) ==
        "accuracy: logit: nan at row 1, column 1, expected finite values");
}

TEST_CASE_TEMPLATE("binary_accuracy: by threshold", T, double, float) {
  cpu_context ctx;
  const std::vector<T> p{T(0.1), T(0.5), T(0.9), T(0.4)};
  const std::vector<int> label{0, 1, 0, 1}, twos{0, 1, 2, 1};
  CHECK(binary_accuracy(ctx, p, label) == 0.5);
  CHECK(binary_accuracy(ctx, p, label, {.threshold = 0.3}) == 0.75);
  CHECK(std::isnan(binary_accuracy(ctx, std::vector<T>{}, std::vector<int>{})));
  CHECK(message_of<value_error>([&] { (void)binary_accuracy(ctx, p, twos); }) ==
        "binary_accuracy: label: 2 at 2, expected 0 or 1");
  CHECK(message_of<value_error>([&] { (void)binary_accuracy(ctx, p, label, {.threshold = std::nan("")}); }) ==
        "binary_accuracy: threshold: nan, expected a finite number");
}
