#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/arithmetic.hpp>

#include "support/counting_allocator.hpp"
#include "taskvector/models.hpp"

using stroma::cpu_context;

namespace {

/// Largest error in units of what `terms` operations in double and one rounding to T allow.
template <class T, class Expected>
double worst(const small_model<T>& found, Expected&& expected) {
  const auto f = flat(found);
  double most = 0;
  for (std::size_t i = 0; i < f.size(); ++i) {
    const auto [value, size] = expected(i);
    const long double allowed = static_cast<long double>(std::numeric_limits<T>::epsilon()) / 2 * std::fabs(value) +
                                4 * std::numeric_limits<double>::epsilon() * size;
    if (f[i] != value) most = std::max(most, static_cast<double>(std::fabs(f[i] - value) / allowed));
  }
  return most;
}

}  // namespace

TEST_CASE_TEMPLATE("arithmetic: by definition", T, float, double) {
  cpu_context ctx;
  const auto a = random_model<small_model<T>>(1), b = random_model<small_model<T>>(2),
             c = random_model<small_model<T>>(3);
  const auto x = flat(a), y = flat(b), z = flat(c);
  using pair = std::pair<long double, long double>;
  small_model<T> out;
  stroma::difference(ctx, a, b, out);
  CHECK(worst(out, [&](std::size_t i) { return pair{x[i] - y[i], std::fabs(x[i]) + std::fabs(y[i])}; }) <= 1);
  stroma::add_scaled(ctx, a, -0.3, b, out);
  CHECK(worst(out, [&](std::size_t i) {
          return pair{x[i] - static_cast<long double>(0.3) * y[i], std::fabs(x[i]) + std::fabs(y[i])};
        }) <= 1);
  stroma::scale(ctx, -1, a, out);
  CHECK(worst(out, [&](std::size_t i) { return pair{-x[i], std::fabs(x[i])}; }) == 0);
  stroma::analogy(ctx, a, b, c, out);
  CHECK(worst(out, [&](std::size_t i) {
          return pair{z[i] + (y[i] - x[i]), std::fabs(x[i]) + std::fabs(y[i]) + std::fabs(z[i])};
        }) <= 1);
  stroma::mixup(ctx, a, b, 0.75, out);
  CHECK(worst(out, [&](std::size_t i) {
          return pair{0.75L * x[i] + 0.25L * y[i], std::fabs(x[i]) + std::fabs(y[i])};
        }) <= 1);
}

TEST_CASE("arithmetic: ends are exact, out may be an operand") {
  cpu_context ctx;
  const auto base = random_model<small_model<float>>(1), tuned = random_model<small_model<float>>(2);
  small_model<float> vector, out;
  stroma::mixup(ctx, base, tuned, 1, out);
  CHECK(same_bits(out, base));
  stroma::mixup(ctx, base, tuned, 0, out);
  CHECK(same_bits(out, tuned));
  stroma::difference(ctx, base, base, out);
  CHECK(same_bits(out, small_model<float>{}));
  stroma::difference(ctx, tuned, base, vector);
  auto in_place = tuned;
  stroma::difference(ctx, in_place, base, in_place);
  CHECK(same_bits(in_place, vector));
  stroma::add_scaled(ctx, base, 0, vector, out);
  CHECK(same_bits(out, base));
  CHECK(allocations_in([&] { stroma::add_scaled(ctx, base, 1, vector, out); }) == 0);
}

TEST_CASE("arithmetic: mistakes") {
  cpu_context ctx;
  const small_model<double> base;
  small_model<double> other, out;
  other.bias = stroma::array<double, 1>(12);
  CHECK(message_of<stroma::shape_error>([&] { stroma::difference(ctx, other, base, out); }) ==
        "difference: an operand: bias of 12, expected 13");
  CHECK(message_of<stroma::value_error>([&] { stroma::scale(ctx, std::nan(""), base, out); }) ==
        "scale: a factor: nan, expected a finite number");
  CHECK(message_of<stroma::value_error>([&] { stroma::mixup(ctx, base, base, 1.5, out); }) ==
        "mixup: share: 1.5, expected 0 to 1");
}
