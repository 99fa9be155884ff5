#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/subspace.hpp>

#include "taskvector/matrices.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

namespace {

/// Orthonormal columns: u's first column is (1, 1, 1, 1, ...) and so on (a Hadamard matrix of 8).
Eigen::MatrixXd hadamard() {
  Eigen::MatrixXd h(8, 8);
  for (int r = 0; r < 8; ++r)
    for (int c = 0; c < 8; ++c)
      h(r, c) = (__builtin_popcount(static_cast<unsigned>(r & c)) % 2 == 0 ? 1 : -1) / std::sqrt(8.0);
  return h;
}
constexpr double rounding = 1e3 * std::numeric_limits<double>::epsilon();

/// Singular values 4, 2, 1, 0.5, 0 with left directions h_0 .. and right ones e_0 ..
layer_model<double> known_spectrum() {
  layer_model<double> m;
  Eigen::MatrixXd values = Eigen::MatrixXd::Zero(8, 5);
  values.diagonal() << 4, 2, 1, 0.5, 0;
  set(m.weight, hadamard() * values);
  return m;
}

}  // namespace

TEST_CASE("subspace: ratio and rank by hand") {
  cpu_context ctx;
  const auto target = known_spectrum();
  layer_model<double> source;
  Eigen::MatrixXd coordinates = Eigen::MatrixXd::Zero(8, 5);
  coordinates(0, 3) = 3;   // along the first direction
  coordinates(2, 1) = 4;   // the third
  coordinates(6, 0) = 12;  // none of them
  set(source.weight, hadamard() * coordinates);
  // Roots of the squared values' sums: 4, 4.472, 4.583, 4.610 of 4.610; 95 % is 4.379.
  const auto aligned = subspace_alignments(ctx, source, target);
  REQUIRE(aligned.size() == 2);
  CHECK(aligned[0].name == "weight");
  CHECK(aligned[0].rank == 2);
  CHECK(std::fabs(aligned[0].ratio - 3.0 / 13) <= rounding);
  CHECK(aligned[1].ratio == 0);  // a row of zeros
  const auto three = subspace_alignments(ctx, source, target, {.part = 0.99});
  CHECK(three[0].rank == 3);
  CHECK(std::fabs(three[0].ratio - 5.0 / 13) <= rounding);
  const auto all = subspace_alignments(ctx, source, target, {.part = 1});
  CHECK(all[0].rank == 4);
  CHECK(std::fabs(subspace_alignments(ctx, target, target, {.part = 1})[0].ratio - 1) <= rounding);

  layer_model<double> out, expected;
  project_on_subspace(ctx, source, target, out);
  coordinates(2, 1) = coordinates(6, 0) = 0;
  set(expected.weight, hadamard() * coordinates);
  CHECK((as_eigen(out.weight) - as_eigen(expected.weight)).cwiseAbs().maxCoeff() <= 13 * rounding);
  auto in_place = source;
  project_on_subspace(ctx, in_place, target, in_place);
  CHECK(same_bits(in_place, out));
}

TEST_CASE("subspace: full rows change nothing, zero targets leave nothing, vectors are copied") {
  cpu_context ctx;
  layer_model<float> source(4, 6), target(4, 6), out(4, 6);
  fill_normal(source, 1);
  fill_normal(target, 2);
  project_on_subspace(ctx, source, target, out, {.part = 1});
  for (index_t i = 0; i < 24; ++i)
    CHECK(std::fabs(out.weight[i] - source.weight[i]) <= 4 * std::numeric_limits<float>::epsilon());
  CHECK(std::equal(out.bias.begin(), out.bias.end(), source.bias.begin()));
  project_on_subspace(ctx, source, layer_model<float>(4, 6), out);
  for (const float x : out.weight) CHECK(x == 0);
  CHECK(subspace_alignments(ctx, source, layer_model<float>(4, 6))[0].rank == 0);
  CHECK_THROWS_AS((void)subspace_alignments(ctx, source, target, {.part = 1.2}), value_error);
  CHECK_THROWS_AS((void)subspace_alignments(ctx, source, layer_model<float>(6, 4)), shape_error);
}
