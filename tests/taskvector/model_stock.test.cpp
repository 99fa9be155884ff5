#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/model_stock.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

namespace {

using numbers = std::vector<long double>;

numbers expected(const numbers& base, const std::vector<numbers>& models, bool clamped) {
  const std::size_t n = models.size();
  long double cosine = 0;
  for (std::size_t a = 0; a < n; ++a)
    for (std::size_t b = 0; b < a; ++b) {
      long double aa = 0, bb = 0, ab = 0;
      for (std::size_t i = 0; i < base.size(); ++i) {
        const long double x = models[a][i] - base[i], y = models[b][i] - base[i];
        aa += x * x;
        bb += y * y;
        ab += x * y;
      }
      cosine += aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
    }
  const auto count = static_cast<long double>(n);
  cosine /= count * (count - 1) / 2;
  long double t = count * cosine / (1 + (count - 1) * cosine);
  if (clamped && cosine < 0) t = 0;
  numbers out;
  for (std::size_t i = 0; i < base.size(); ++i) {
    long double mean = 0;
    for (const numbers& m : models) mean += m[i] / count;
    out.push_back(t * mean + (1 - t) * base[i]);
  }
  return out;
}

template <class T>
numbers row(const small_model<T>& m, index_t r) {
  return numbers(&m.weight(r, 0), &m.weight(r, 0) + 7);
}

}  // namespace

TEST_CASE_TEMPLATE("model_stock: by the formula, for tensors and rows", T, float, double) {
  cpu_context ctx(2);
  const auto base = random_model<small_model<T>>(1);
  auto tuned = tuned_from(base, 3);
  for (auto& m : tuned)  // a common part, so that most cosines are positive
    for (auto& x : m.weight) x += T(0.1);
  small_model<T> out;
  for (const disagreement negative : {disagreement::base, disagreement::extrapolate}) {
    const bool clamped = negative == disagreement::base;
    // A mean, a cosine of sums of 91 products; t is at most 1 in size unless it extrapolates.
    const double allowed = 8 * (std::numeric_limits<T>::epsilon() + 400 * std::numeric_limits<double>::epsilon());
    merge(ctx, model_stock({.negative = negative}), base, tuned, out);
    const auto all = [](const small_model<T>& m) { return numbers(m.weight.begin(), m.weight.end()); };
    const auto wanted = expected(all(base), {all(tuned[0]), all(tuned[1]), all(tuned[2])}, clamped);
    for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(std::fabs(all(out)[i] - wanted[i]) <= allowed);
    merge(ctx, model_stock({.scope = merge_scope::row, .negative = negative}), base, tuned, out);
    for (index_t r = 0; r < 13; ++r) {
      const auto by_row = expected(row(base, r), {row(tuned[0], r), row(tuned[1], r), row(tuned[2], r)}, clamped);
      for (std::size_t i = 0; i < 7; ++i) CHECK(std::fabs(row(out, r)[i] - by_row[i]) <= allowed);
    }
  }
}

TEST_CASE("model_stock: agreement is the mean, right angles and no change are the base") {
  cpu_context ctx;
  const auto base = random_model<small_model<double>>(1);
  small_model<double> out;
  const auto tuned = tuned_from(base, 1);
  merge(ctx, model_stock(), base, std::vector(4, tuned[0]), out);
  for (std::size_t i = 0; i < flat(out).size(); ++i)
    CHECK(std::fabs(flat(out)[i] - flat(tuned[0])[i]) <= 400 * std::numeric_limits<double>::epsilon());
  merge(ctx, model_stock(), base, std::vector(2, base), out);
  CHECK(same_bits(out, base));
  std::vector<small_model<double>> apart(2);
  apart[0].bias[0] = apart[1].bias[1] = 1;
  merge(ctx, model_stock(), small_model<double>{}, apart, out);
  CHECK(same_bits(out, small_model<double>{}));
}

TEST_CASE("model_stock: opposite models have no point, or the base") {
  cpu_context ctx;
  const auto base = random_model<small_model<double>>(1);
  std::vector<small_model<double>> tuned(2, base);
  tuned[0].bias[3] += 1;
  tuned[1].bias[3] -= 1;
  small_model<double> out;
  merge(ctx, model_stock(), base, tuned, out);
  CHECK(same_bits(out, base));
  CHECK(message_of<value_error>([&] {
          merge(ctx, model_stock({.negative = disagreement::extrapolate}), base, tuned, out);
        }) == "model_stock: bias: a mean cosine of -1, expected more than -1 (where the formula has no value)");
  CHECK(message_of<value_error>([&] { merge(ctx, model_stock(), base, std::vector(1, base), out); }) ==
        "model_stock: models: 1, expected 2 or more");
}
