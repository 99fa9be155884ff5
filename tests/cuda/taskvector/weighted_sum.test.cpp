#include <cmath>
#include <limits>

#include <stroma/taskvector/weighted_sum.cuh>

#include "cuda/taskvector/device_stack.hpp"

using namespace stroma_test;

namespace {

/// Largest difference in units of the last digit of the larger sums: both are made in double and rounded once.
template <class T>
double sum_error(stroma::cuda_context& ctx, const device_layer<T>& found, const host_layer<T>& expected, double size) {
  const double allowed = (std::is_same_v<T, float> ? 1 : 400) * static_cast<double>(std::numeric_limits<T>::epsilon());
  return std::max(device_error(ctx, found.weight, expected.weight, allowed * size),
                  device_error(ctx, found.bias, expected.bias, allowed * size));
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: weighted_sum: models added up are the host's, with and without a base", T,
                   STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const index_t in : {1, 31, 33, 1025})
    for (const index_t count : {1, 4, 130, 260}) {  // more than one table of terms
      if (in > 33 && count > 130) continue;
      CAPTURE(in);
      CAPTURE(count);
      const auto models = layers<T>(count, in);
      auto there = on_device(ctx, models);
      std::vector<double> weight(static_cast<std::size_t>(count));
      for (std::size_t j = 0; j < weight.size(); ++j) weight[j] = j % 40 == 1 ? 0 : 0.01 * static_cast<double>(j) - 0.3;
      host_layer<T> expected(in, 1);
      device_layer<T> found(in, 1);
      const double size = 0.3 * 4 * static_cast<double>(count) + 4;
      stroma::weighted_sum(host, models, weight, expected);
      stroma::weighted_sum(ctx, there, weight, found);
      CHECK(sum_error(ctx, found, expected, size) <= 1);
      stroma::weighted_sum(host, models[0], models, weight, expected);
      stroma::weighted_sum(ctx, there[0], there, weight, there[0]);  // in place
      CHECK(sum_error(ctx, there[0], expected, size) <= 1);
    }
}

TEST_CASE("cuda: weighted_sum: a vector of weight 0 is not read; no vector gives the base") {
  stroma::cuda_context ctx;
  auto models = layers<float>(2, 33);
  const auto base = models[0];
  models[1].weight(0, 7) = std::numeric_limits<float>::quiet_NaN();
  const auto there = on_device(ctx, models);
  device_layer<float> found(33, 1);
  stroma::weighted_sum(ctx, there[0], there, std::vector<double>{0, 0}, found);
  CHECK(same_matrix(on_host(ctx, found.weight), base.weight));
  stroma::weighted_sum(ctx, there[0], std::span<const device_layer<float>>(), {}, found);
  CHECK(same_matrix(on_host(ctx, found.weight), base.weight));
}

TEST_CASE("cuda: weighted_sum: refuses what does not fit; a launch a tensor; a second call takes no memory") {
  stroma::cuda_context ctx;
  const auto there = on_device(ctx, layers<float>(3, 33));
  device_layer<float> found(33, 1), wide(34, 1);
  const std::vector<double> weight{0.5, 0, 2};
  CHECK_THROWS_AS(stroma::weighted_sum(ctx, there, weight, wide), stroma::shape_error);
  CHECK_THROWS_AS(stroma::weighted_sum(ctx, wide, there, weight, found), stroma::shape_error);
  CHECK_THROWS_AS(stroma::weighted_sum(ctx, there, std::vector<double>{1}, found), stroma::shape_error);
  CHECK_THROWS_AS(stroma::weighted_sum(ctx, there, std::vector<double>{1, 1, std::nan("")}, found),
                  stroma::value_error);
  check_second_call([&] { stroma::weighted_sum(ctx, there[0], there, weight, found); }, 2);
}
