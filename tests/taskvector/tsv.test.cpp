#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/tsv.hpp>

#include "taskvector/matrices.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

namespace {

/// A rotation that mixes all coordinates.
Eigen::MatrixXd rotation(index_t n, std::uint32_t seed) {
  Eigen::MatrixXd m(n, n);
  random_stream draw(seed);
  for (index_t c = 0; c < n; ++c)
    for (index_t r = 0; r < n; ++r) m(r, c) = draw.normal();
  return polar(m);
}

}  // namespace

TEST_CASE_TEMPLATE("tsv: tasks in orthogonal subspaces add up, each truncated", T, float, double) {
  cpu_context ctx;
  const Eigen::MatrixXd u = rotation(8, 1), v = rotation(6, 2);
  std::vector<layer_model<T>> models(2, layer_model<T>(8, 6));
  const double values[2][3] = {{9, 5, 0}, {7, 4, 2}};
  Eigen::MatrixXd expected = Eigen::MatrixXd::Zero(8, 6);
  for (int t = 0; t < 2; ++t) {
    Eigen::MatrixXd m = Eigen::MatrixXd::Zero(8, 6);
    for (int k = 0; k < 3; ++k) m += values[t][k] * u.col(3 * t + k) * v.col(3 * t + k).transpose();
    expected += m;
    // A fourth triplet of task 1 is beyond the 6 / 2 that are kept.
    if (t == 1) m += 0.5 * u.col(7) * v.col(2).transpose();
    set(models[static_cast<std::size_t>(t)].weight, m);
  }
  // Task 0 has rank 2: its third direction is any, but its value is 0.
  layer_model<T> base(8, 6), out(8, 6);
  merge(ctx, tsv({.scale = 3}), base, models, out);
  const double rounding =
      3 * 9 * (8 * std::numeric_limits<T>::epsilon() + 1e4 * std::numeric_limits<double>::epsilon());
  const Eigen::MatrixXd found = as_eigen(out.weight);
  // What the rank-deficient task's arbitrary third direction shares with the others moves them: leave it out.
  const Eigen::MatrixXd left = u.leftCols(2), right = v.leftCols(2);
  CHECK((left.transpose() * found * right - 3 * left.transpose() * expected * right).cwiseAbs().maxCoeff() <= rounding);
}

TEST_CASE("tsv: one task stays; interfering tasks by the definition") {
  cpu_context ctx;
  std::vector<layer_model<double>> models(1);
  fill_normal(models[0], 4);
  layer_model<double> out;
  merge(ctx, tsv(), models, out);
  const double rounding = 1e3 * std::numeric_limits<double>::epsilon();
  CHECK((as_eigen(out.weight) - as_eigen(models[0].weight)).cwiseAbs().maxCoeff() <= rounding);

  // Two tasks of rank 1 each in a matrix of two columns: U = [a b], V = [c d], by hand.
  const Eigen::VectorXd a = Eigen::Vector4d(1, 2, 3, 4).normalized(), b = Eigen::Vector4d(2, 1, 0, 4).normalized();
  const Eigen::VectorXd c = Eigen::Vector2d(1, 0), d = Eigen::Vector2d(0.6, 0.8);
  std::vector<layer_model<double>> two(2, layer_model<double>(4, 2));
  set(two[0].weight, 5 * a * c.transpose());
  set(two[1].weight, 3 * b * d.transpose());
  Eigen::MatrixXd left(4, 2), right(2, 2);
  left << a, b;
  right << c, d;
  layer_model<double> merged(4, 2);
  merge(ctx, tsv(), two, merged);
  const Eigen::MatrixXd expected = polar(left) * Eigen::Vector2d(5, 3).asDiagonal() * polar(right).transpose();
  CHECK((as_eigen(merged.weight) - expected).cwiseAbs().maxCoeff() <= rounding);
}

TEST_CASE("tsv: more tasks than singular values, and vectors, move by the mean; tasks that are alike are finite") {
  cpu_context ctx;
  layer_model<double> base(8, 3), out(8, 3);
  fill_normal(base, 1);
  std::vector<layer_model<double>> models(4, base);
  for (auto& x : models[2].weight) x += 4;
  for (auto& x : models[3].bias) x += 8;
  merge(ctx, tsv(), base, models, out);
  const double rounding = 16 * std::numeric_limits<double>::epsilon();
  for (index_t i = 0; i < 24; ++i) CHECK(std::fabs(out.weight[i] - base.weight[i] - 1) <= rounding);
  for (index_t i = 0; i < 4; ++i) CHECK(std::fabs(out.bias[i] - base.bias[i] - 2) <= rounding);

  std::vector<layer_model<double>> alike(2, layer_model<double>(6, 4));
  fill_normal(alike[0], 7);
  alike[1].weight = alike[0].weight;
  layer_model<double> merged(6, 4), again(6, 4);
  merge(ctx, tsv(), alike, merged);
  merge(ctx, tsv(), alike, again);
  CHECK(as_eigen(merged.weight).allFinite());
  CHECK(same_bits(merged, again));
  CHECK_THROWS_AS(merge(ctx, tsv({.scale = std::nan("")}), alike, merged), value_error);
}
