#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/optim/clip.hpp>
#include <stroma/taskvector/arithmetic.hpp>
#include <stroma/taskvector/similarity.hpp>

#include "support/counting_allocator.hpp"
#include "taskvector/models.hpp"

using stroma::cpu_context;
using stroma::similarity;

TEST_CASE_TEMPLATE("similarity: inner products in long double", T, float, double) {
  cpu_context ctx;
  const auto check = [&](const auto& a, const auto& b) {
    const auto x = flat(a), y = flat(b);
    long double ab = 0, aa = 0, bb = 0, size = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      ab += x[i] * y[i];
      aa += x[i] * x[i];
      bb += y[i] * y[i];
      size += std::fabs(x[i] * y[i]);
    }
    // Chains of at most 65536 / 8 products in a piece, then 8 lanes, pieces and tensors.
    const long double chain = (std::min<long double>(static_cast<long double>(x.size()), 65536.0L / 8) + 24) *
                              std::numeric_limits<double>::epsilon();
    const auto found = similarity(ctx, a, b);
    CHECK(std::fabs(found.ab - ab) <= chain * size);
    CHECK(std::fabs(found.aa - aa) <= chain * aa);
    CHECK(std::fabs(found.bb - bb) <= chain * bb);
    CHECK(std::fabs(found.cosine() - ab / std::sqrt(aa * bb)) <= 3 * chain);
  };
  check(random_model<small_model<T>>(1), random_model<small_model<T>>(2));
  check(random_model<large_model<T>>(1), random_model<large_model<T>>(2));
}

TEST_CASE("similarity: parallel, opposite, zero") {
  cpu_context ctx;
  const auto a = random_model<small_model<double>>(1);
  small_model<double> opposite;
  stroma::scale(ctx, -2, a, opposite);
  const double rounding = 4 * std::numeric_limits<double>::epsilon();
  CHECK(std::fabs(similarity(ctx, a, a).cosine() - 1) <= rounding);
  CHECK(std::fabs(similarity(ctx, a, opposite).cosine() + 1) <= rounding);
  CHECK(similarity(ctx, a, small_model<double>{}).cosine() == 0);
  CHECK(similarity(ctx, small_model<double>{}, small_model<double>{}).cosine() == 0);
  CHECK(std::fabs(similarity(ctx, a, a).norm_a() / stroma::global_norm(ctx, a) - 1) <= 200 * rounding);
}

TEST_CASE("similarity: tensor by tensor, in order") {
  cpu_context ctx;
  const auto a = random_model<small_model<float>>(1), b = random_model<small_model<float>>(2);
  const auto all = stroma::similarity_by_tensor(ctx, a, b);
  REQUIRE(all.size() == 5);
  CHECK(all[0].name == "weight");
  CHECK(all[4].name == "none");
  CHECK(all[4].products.aa == 0);
  CHECK(all[3].products.ab == static_cast<double>(a.one[0]) * static_cast<double>(b.one[0]));
  double sum = 0;
  for (const auto& tensor : all) sum += tensor.products.ab;
  CHECK(sum == similarity(ctx, a, b).ab);
}

TEST_CASE("similarity: the same bits for any number of threads, and no memory the second time") {
  const auto a = random_model<large_model<float>>(1), b = random_model<large_model<float>>(2);
  const auto run = [&](int threads) {
    cpu_context ctx(threads);
    const double first = similarity(ctx, a, b).ab;
    double again = 0;
    CHECK(allocations_in([&] { again = similarity(ctx, a, b).ab; }) == 0);
    CHECK(first == again);
    return first;
  };
  const double one = run(1);
  CHECK(one == run(2));
  CHECK(one == run(3));
}

TEST_CASE("similarity: extents") {
  cpu_context ctx;
  const small_model<float> a;
  small_model<float> b;
  b.one = stroma::array<float, 1>(2);
  CHECK(message_of<stroma::shape_error>([&] { (void)similarity(ctx, a, b); }) == "similarity: b: one of 2, expected 1");
}
