#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/iso_c.hpp>

#include "taskvector/matrices.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

namespace {

template <class T>
std::vector<layer_model<T>> random_layers(int count, index_t rows, index_t cols) {
  std::vector<layer_model<T>> models;
  for (int t = 0; t < count; ++t) {
    models.emplace_back(rows, cols);
    fill_normal(models.back(), 10 + static_cast<std::uint32_t>(t));
  }
  return models;
}

}  // namespace

TEST_CASE_TEMPLATE("iso_c: the polar factor of the sum at the mean singular value", T, float, double) {
  cpu_context ctx;
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{8, 5}, {5, 8}, {6, 6}, {40, 3}}) {
    const auto models = random_layers<T>(3, rows, cols);
    layer_model<T> base(rows, cols), out(rows, cols);
    fill_normal(base, 3);
    merge(ctx, iso_c({.scale = 0.5}), base, models, out);
    Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(rows, cols), row = Eigen::MatrixXd::Zero(1, 5);
    for (const auto& m : models) {
      sum += as_eigen(m.weight) - as_eigen(base.weight);
      row += as_eigen(m.row) - as_eigen(base.row);
    }
    const double mean = nuclear_norm(sum) / static_cast<double>(std::min(rows, cols));
    // Directions are as exact as the smallest singular value allows: below 40 / 0.1 here.
    const double allowed = 16 * (std::numeric_limits<T>::epsilon() + 4000 * std::numeric_limits<double>::epsilon());
    CHECK((as_eigen(out.weight) - as_eigen(base.weight) - 0.5 * mean * polar(sum)).cwiseAbs().maxCoeff() <= allowed);
    // One row has one singular value: it stays as it is.
    CHECK((as_eigen(out.row) - as_eigen(base.row) - 0.5 * row).cwiseAbs().maxCoeff() <= allowed);
    for (index_t i = 0; i < 4; ++i) {
      double moved = 0;
      for (const auto& m : models) moved += static_cast<double>(m.bias[i]) - static_cast<double>(base.bias[i]);
      CHECK(std::fabs(static_cast<double>(out.bias[i]) - static_cast<double>(base.bias[i]) - moved / 6) <= allowed);
    }
  }
}

TEST_CASE("iso_c: one task is flattened too; the sum of singular values stays; rank-deficient sums; nothing") {
  cpu_context ctx;
  auto models = random_layers<double>(1, 6, 4);
  layer_model<double> out(6, 4);
  merge(ctx, iso_c(), models, out);
  const Eigen::MatrixXd merged = as_eigen(out.weight);
  const double mean = nuclear_norm(as_eigen(models[0].weight)) / 4;
  CHECK((merged.transpose() * merged - mean * mean * Eigen::MatrixXd::Identity(4, 4)).cwiseAbs().maxCoeff() <=
        1e4 * std::numeric_limits<double>::epsilon());

  const Eigen::VectorXd u = Eigen::VectorXd::LinSpaced(6, 1, 6).normalized();
  const Eigen::VectorXd v = Eigen::VectorXd::LinSpaced(4, -1, 2).normalized();
  set(models[0].weight, 8 * u * v.transpose());  // rank 1
  merge(ctx, iso_c(), models, out);
  const Eigen::MatrixXd flat_spectrum = as_eigen(out.weight);
  const double rounding = 1e3 * std::numeric_limits<double>::epsilon();
  CHECK(std::fabs(u.dot(flat_spectrum * v) - 2) <= rounding);  // 8 over four directions, the known one among them
  CHECK((flat_spectrum.transpose() * flat_spectrum - 4 * Eigen::MatrixXd::Identity(4, 4)).cwiseAbs().maxCoeff() <=
        rounding);

  merge(ctx, iso_c(), models[0], models, out);
  CHECK(same_bits(out, models[0]));
}

TEST_CASE("iso_c: tensors without elements, scales that are no number") {
  cpu_context ctx;
  const std::vector<layer_model<float>> models(2, layer_model<float>(0, 5));
  layer_model<float> out(0, 5);
  merge(ctx, iso_c(), models, out);
  CHECK(message_of<value_error>([&] { merge(ctx, iso_c({.scale = std::nan("")}), models, out); }) ==
        "iso_c: options.scale: nan, expected a finite number");
}
