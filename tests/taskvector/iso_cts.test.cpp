#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/iso_c.hpp>
#include <stroma/taskvector/iso_cts.hpp>

#include "taskvector/matrices.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

namespace {

/// The left and right directions and the values of the `count` largest singular triplets, by power iteration with
/// deflation: slow, and not the library's way.
struct triplets {
  Eigen::MatrixXd left, right;
  std::vector<double> values;
};
triplets largest(Eigen::MatrixXd m, index_t count) {
  triplets t{Eigen::MatrixXd(m.rows(), count), Eigen::MatrixXd(m.cols(), count), {}};
  for (index_t k = 0; k < count; ++k) {
    Eigen::VectorXd v = Eigen::VectorXd::LinSpaced(m.cols(), 1, 2 + static_cast<double>(k)).normalized();
    for (int i = 0; i < 20000; ++i) v = (m.transpose() * (m * v)).normalized();
    const Eigen::VectorXd u = (m * v).normalized();
    const double value = u.dot(m * v);
    t.left.col(k) = u;
    t.right.col(k) = v;
    t.values.push_back(value);
    m -= value * u * v.transpose();
  }
  return t;
}

}  // namespace

TEST_CASE("iso_cts: sizes of the subspaces, as the specification counts them") {
  const iso_cts rule;
  CHECK(rule.own_directions(512, 2) == 52);  // 408 in common
  CHECK(rule.own_directions(384, 2) == 38);  // 308
  CHECK(rule.own_directions(1, 2) == 0);
  CHECK(rule.own_directions(5, 2) == 0);  // a half goes to even
  CHECK(rule.own_directions(15, 2) == 2);
  CHECK(iso_cts({.common = 0}).own_directions(3, 5) == 0);
  CHECK(iso_cts({.common = 0}).own_directions(8, 3) == 2);
}

TEST_CASE("iso_cts: by the definition") {
  cpu_context ctx;
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{12, 10}, {10, 14}}) {
    std::vector<layer_model<double>> models;
    for (std::uint32_t t = 0; t < 2; ++t) {
      models.emplace_back(rows, cols);
      fill_normal(models.back(), 20 + t);
      for (index_t i = 0; i < 10; ++i) models.back().weight(i, i) += static_cast<double>(3 * (i + 1));  // far apart
    }
    layer_model<double> out(rows, cols);
    merge(ctx, iso_cts({.common = 0.6, .scale = 2}), models, out);
    const index_t own = 2, common = 6;
    const Eigen::MatrixXd a = as_eigen(models[0].weight), b = as_eigen(models[1].weight);
    const triplets shared = largest(a + b, common);
    Eigen::MatrixXd left(rows, 10), right(cols, 10);
    double total = 0;
    for (const double v : shared.values) total += v;
    index_t at = 0;
    for (const Eigen::MatrixXd& m : {a, b}) {
      const triplets t = largest(m - shared.left * shared.left.transpose() * m, own);
      left.middleCols(at, own) = t.left;
      right.middleCols(at, own) = t.right;
      for (const double v : t.values) total += v;
      at += own;
    }
    left.rightCols(common) = shared.left;
    right.rightCols(common) = shared.right;
    const Eigen::MatrixXd expected = 2 * total / 10 * polar(left) * polar(right).transpose();
    // Singular values of size 60 lie at least 0.1 apart; deflation and both iterations add their errors.
    CHECK((as_eigen(out.weight) - expected).cwiseAbs().maxCoeff() <=
          60 / 0.1 * 1e4 * std::numeric_limits<double>::epsilon());
  }
}

TEST_CASE("iso_cts: without directions of their own it is iso_c; all singular values are equal; mistakes") {
  cpu_context ctx;
  std::vector<layer_model<double>> models(3);
  for (std::uint32_t t = 0; t < 3; ++t) fill_normal(models[t], 30 + t);
  layer_model<double> base, a, b;
  fill_normal(base, 29);
  merge(ctx, iso_cts({.common = 1}), base, models, a);
  merge(ctx, iso_c(), base, models, b);
  // The polar factors of matrices that are orthonormal already change their last bits.
  CHECK((as_eigen(a.weight) - as_eigen(b.weight)).cwiseAbs().maxCoeff() <=
        1e3 * std::numeric_limits<double>::epsilon());
  CHECK(std::equal(a.bias.begin(), a.bias.end(), b.bias.begin()));
  merge(ctx, iso_cts({.common = 0.3}), models, a);
  const Eigen::MatrixXd gram = as_eigen(a.weight).transpose() * as_eigen(a.weight);
  CHECK((gram - gram(0, 0) * Eigen::MatrixXd::Identity(5, 5)).cwiseAbs().maxCoeff() <=
        1e4 * std::numeric_limits<double>::epsilon());
  CHECK_THROWS_AS(merge(ctx, iso_cts({.common = 1.5}), models, a), value_error);
}
