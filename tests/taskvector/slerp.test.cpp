#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/slerp.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

namespace {

using numbers = std::vector<long double>;

/// By the definition, in long double.
numbers expected(const numbers& a, const numbers& b, double t) {
  long double aa = 0, bb = 0, ab = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    ab += a[i] * b[i];
  }
  long double wa = 1 - static_cast<long double>(t), wb = static_cast<long double>(t);
  if (aa > 0 && bb > 0) {
    const long double cosine = ab / std::sqrt(aa * bb);
    if (std::fabs(cosine) <= 0.9995L) {
      const long double angle = std::acos(cosine);
      wa = std::sin(wa * angle) / std::sin(angle);
      wb = std::sin(wb * angle) / std::sin(angle);
    }
  }
  numbers out;
  for (std::size_t i = 0; i < a.size(); ++i) out.push_back(wa * a[i] + wb * b[i]);
  return out;
}

template <class Array>
numbers values(const Array& a) {
  return {a.begin(), a.end()};
}

template <class T>
void check_near(const numbers& found, const numbers& wanted, double size) {
  REQUIRE(found.size() == wanted.size());
  // The cosine's rounding (sums of 151 products) through acos, whose slope at 0.9995 is 32; one rounding to T.
  const double allowed = size * (std::numeric_limits<T>::epsilon() + 151 * 32 * std::numeric_limits<double>::epsilon());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::fabs(found[i] - wanted[i]) <= allowed);
}

small_model<double> of(const std::vector<small_model<double>>& models, const slerp_options& o) {
  cpu_context ctx;
  small_model<double> out;
  merge(ctx, slerp(o), models, out);
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("slerp: tensors, rows and the whole model by the definition", T, float, double) {
  cpu_context ctx;
  std::vector<small_model<T>> models{random_model<small_model<T>>(1), random_model<small_model<T>>(2)};
  models[1].bias = models[0].bias;  // parallel: the straight line
  small_model<T> out;
  for (const double t : {0.0, 0.25, 0.5, 1.0}) {
    merge(ctx, slerp({.share = t}), models, out);
    check_near<T>(values(out.weight), expected(values(models[0].weight), values(models[1].weight), t), 4);
    check_near<T>(values(out.bias), expected(values(models[0].bias), values(models[1].bias), t), 4);
    merge(ctx, slerp({.share = t, .scope = merge_scope::model}), models, out);
    check_near<T>(flat(out), expected(flat(models[0]), flat(models[1]), t), 4);
    merge(ctx, slerp({.share = t, .scope = merge_scope::row, .opposite = opposite_vectors::straight}), models, out);
    for (index_t r = 0; r < 13; ++r) {
      const auto row = [&](const small_model<T>& m) { return numbers(&m.weight(r, 0), &m.weight(r, 0) + 7); };
      check_near<T>(row(out), expected(row(models[0]), row(models[1]), t), 4);
    }
  }
}

TEST_CASE("slerp: the ends are the models' own bits; equal norms stay") {
  std::vector<small_model<double>> models{random_model<small_model<double>>(1), random_model<small_model<double>>(2)};
  CHECK(same_bits(of(models, {.share = 0, .scope = merge_scope::model}), models[0]));
  CHECK(same_bits(of(models, {.share = 1, .scope = merge_scope::model}), models[1]));
  models[0] = models[1] = small_model<double>{};
  models[0].bias[0] = models[1].bias[1] = 2;  // orthogonal, of norm 2
  const auto out = of(models, {.share = 0.3});
  CHECK(std::fabs(std::hypot(out.bias[0], out.bias[1]) - 2) <= 4 * std::numeric_limits<double>::epsilon());
  CHECK(std::fabs(std::atan2(out.bias[1], out.bias[0]) - 0.3 * std::acos(0.0)) <=
        4 * std::numeric_limits<double>::epsilon());
}

TEST_CASE("slerp: a zero vector, opposite vectors") {
  const auto a = random_model<small_model<double>>(1);
  small_model<double> zero, opposite = a;
  CHECK(of({a, zero}, {.share = 0.25}).weight(3, 3) == 0.75 * a.weight(3, 3));
  CHECK(same_bits(of({zero, zero}, {}), zero));
  for (auto& x : opposite.weight) x *= -1;
  CHECK(of({a, opposite}, {.opposite = opposite_vectors::straight}).weight(3, 3) == 0);
  small_model<double> number;  // that changes its sign: no angle
  number.one[0] = -a.one[0];
  CHECK(std::fabs(of({a, number}, {.share = 0.25}).one[0] / a.one[0] - 0.5) <= std::numeric_limits<double>::epsilon());
  CHECK(message_of<value_error>([&] { (void)of({a, opposite}, {}); }).find("slerp: weight: vectors of cosine -") == 0);
}

TEST_CASE("slerp: with a base, the task vectors are interpolated") {
  cpu_context ctx;
  const auto base = random_model<small_model<double>>(5);
  const auto tuned = tuned_from(base, 2);
  small_model<double> out;
  const slerp_options o{.share = 0.4, .scope = merge_scope::model};
  merge(ctx, slerp(o), base, tuned, out);
  numbers a, b, start = flat(base);
  for (std::size_t i = 0; i < start.size(); ++i) {
    a.push_back(flat(tuned[0])[i] - start[i]);
    b.push_back(flat(tuned[1])[i] - start[i]);
  }
  numbers wanted = expected(a, b, 0.4);
  for (std::size_t i = 0; i < start.size(); ++i) wanted[i] += start[i];
  check_near<double>(flat(out), wanted, 4);
  merge(ctx, slerp(o), base, std::vector(2, base), out);
  CHECK(same_bits(out, base));
}

TEST_CASE("slerp: mistakes") {
  CHECK(message_of<value_error>([&] { (void)of(std::vector<small_model<double>>(3), {}); }) ==
        "slerp: models: 3, expected 2");
  CHECK_THROWS_AS((void)of(std::vector<small_model<double>>(2), {.share = 1.1}), value_error);
}
