#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/taskvector/adaptive_merge.cuh>

#include "cuda/taskvector/device_models.hpp"

using namespace stroma_test;
using stroma::coefficients_of;
using stroma::merge_coefficients;

namespace {

/// A base and three task vectors on both sides.
struct both_sides {
  stroma::cpu_context host_ctx;
  stroma::cuda_context ctx;
  host_merged base = random_model<host_merged>(1);
  std::vector<host_merged> vectors = tuned_from(host_merged{}, 3);
  device_merged base_there = copy_on_device<device_merged>(ctx, base);
  std::vector<device_merged> vectors_there = copies_on_device<device_merged>(ctx, vectors);
};
/// From -0.5 upwards by quarters: some beyond the limits, some at them.
template <class T>
merge_coefficients<T> spread_coefficients(const host_merged& model, coefficients_of each) {
  merge_coefficients<T> lambda(model, 3, {.each = each});
  for (index_t i = 0; i < lambda.value.size(); ++i) lambda.value[i] = T(0.25) * static_cast<T>(i % 9 - 2);
  return lambda;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: adaptive_merge: the host's, one coefficient a task or one a tensor, clamped", T,
                   STROMA_DEVICE_SCALARS) {
  both_sides x;
  for (const coefficients_of each : {coefficients_of::task, coefficients_of::tensor}) {
    const auto lambda = spread_coefficients<T>(x.base, each);
    host_merged expected;
    device_merged found;
    stroma::adaptive_merge(x.host_ctx, lambda, x.base, x.vectors, expected);
    stroma::adaptive_merge(x.ctx, lambda, x.base_there, x.vectors_there, found);
    // Three products that are rounded before they are added, or not, and their sums; then once to the type.
    CHECK(model_error(x.ctx, found, expected, 0) <= 1);
    CHECK(merge_coefficients<T>(x.base_there, 3, {.each = each}).value.extents() == lambda.value.extents());
  }
}

TEST_CASE_TEMPLATE("cuda: adaptive_merge: derivatives are added to the host's, none beyond the limits", T,
                   STROMA_DEVICE_SCALARS) {
  both_sides x;
  const auto d_out = random_model<host_merged>(9);
  const auto d_out_there = copy_on_device<device_merged>(x.ctx, d_out);
  // In the coefficients' type 6 tensors are added up, in double 300 products at most.
  const double size = 300 * 5 * 0.5;
  const double allowed = 8 * static_cast<double>(std::numeric_limits<T>::epsilon()) * size +
                         310 * std::numeric_limits<double>::epsilon() * size;
  for (const coefficients_of each : {coefficients_of::task, coefficients_of::tensor}) {
    const auto lambda = spread_coefficients<T>(x.base, each);
    auto expected = lambda, found = lambda;  // not 0: backward adds
    stroma::adaptive_merge_backward(x.host_ctx, lambda, x.vectors, d_out, expected);
    stroma::adaptive_merge_backward(x.ctx, lambda, x.vectors_there, d_out_there, found);
    index_t moved = 0;
    for (index_t i = 0; i < lambda.value.size(); ++i) {
      CHECK(std::fabs(static_cast<double>(found.value[i] - expected.value[i])) <= allowed);
      const bool beyond = lambda.value[i] < lambda.low || lambda.value[i] > lambda.high;
      if (beyond) CHECK(found.value[i] == lambda.value[i]);
      else moved += found.value[i] != lambda.value[i];
    }
    CHECK(moved >= 1);
  }
}

TEST_CASE("cuda: adaptive_merge: the derivative is that of the merge") {
  both_sides x;
  for (const coefficients_of each : {coefficients_of::task, coefficients_of::tensor}) {
    merge_coefficients<double> lambda(x.base, 3, {.each = each}), d(x.base, 3, {.each = each});
    d.value.fill(0);
    const auto d_out = random_model<host_merged>(9);
    stroma::adaptive_merge_backward(x.ctx, lambda, x.vectors_there, copy_on_device<device_merged>(x.ctx, d_out), d);
    // loss = <d_out, merged> is linear in every coefficient, so a step of 1/4 has no error but rounding: of the models
    // in float, 0.5 ulp of up to 6 for each of some 500 elements times d_out of up to 5.
    const auto loss = [&](const merge_coefficients<double>& at) {
      device_merged out;
      stroma::adaptive_merge(x.ctx, at, x.base_there, x.vectors_there, out);
      host_merged merged;
      stroma::transfer_parameters(x.ctx, out, merged);
      double sum = 0;
      stroma::for_each_parameter(
          [&](std::string_view, const auto& o, const auto& g) {
            for (index_t i = 0; i < o.size(); ++i) sum += static_cast<double>(o[i]) * static_cast<double>(g[i]);
          },
          merged, d_out);
      return sum;
    };
    const double rounding = 500 * 5 * 6 * 0.5 * static_cast<double>(std::numeric_limits<float>::epsilon());
    for (index_t i = 0; i < lambda.value.size(); ++i) {
      auto above = lambda, below = lambda;
      above.value[i] += 0.25;
      below.value[i] -= 0.25;
      CHECK(std::fabs((loss(above) - loss(below)) / 0.5 - d.value[i]) <= 2 * rounding / 0.5);
    }
  }
}

TEST_CASE("cuda: adaptive_merge: the merge does not wait, its derivative once; mistakes") {
  both_sides x;
  const auto lambda = spread_coefficients<double>(x.base, coefficients_of::tensor);
  auto d = stroma::zeros_like(lambda);
  device_merged out;
  check_second_call([&] { stroma::adaptive_merge(x.ctx, lambda, x.base_there, x.vectors_there, out); }, 5);
  check_cost([&] { stroma::adaptive_merge_backward(x.ctx, lambda, x.vectors_there, x.base_there, d); }, 4, 1);
  const merge_coefficients<double> four(x.base, 4);
  CHECK(message_of<stroma::shape_error>([&] {
          stroma::adaptive_merge(x.ctx, four, x.base_there, x.vectors_there, out);
        }) == "adaptive_merge: coefficients: 4 columns, expected 3 (the number of task vectors)");
  merge_coefficients<double> short_of(x.base, 3), of_task(x.base, 3, {.each = coefficients_of::task});
  short_of.value = stroma::array<double, 2>(4, 3);
  CHECK_THROWS_AS(stroma::adaptive_merge(x.ctx, short_of, x.base_there, x.vectors_there, out), stroma::shape_error);
  CHECK_THROWS_AS(stroma::adaptive_merge_backward(x.ctx, lambda, x.vectors_there, x.base_there, of_task),
                  stroma::shape_error);
  const auto before = of_task;
  x.vectors_there[2].one = device_vector<double>(2);
  CHECK(message_of<stroma::shape_error>([&] {
          stroma::adaptive_merge_backward(x.ctx, of_task, x.vectors_there, x.base_there, of_task);
        }) == "adaptive_merge_backward: vectors[2]: one of 2, expected 1");
  CHECK(same_matrix(of_task.value, before.value));
}
