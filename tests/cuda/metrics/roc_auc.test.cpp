#include <cstdint>
#include <vector>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/metrics/roc_auc.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;
using stroma::roc_auc;

namespace {

std::vector<std::uint8_t> random_classes(index_t rows) {
  stroma::random_stream draw(5);
  std::vector<std::uint8_t> label;
  for (index_t r = 0; r < rows; ++r) label.push_back(draw.normal() > 0.3 ? 1 : 0);
  return label;
}
stroma::vector_view<const std::uint8_t> host_view(const std::vector<std::uint8_t>& v) {
  return {v.data(), static_cast<index_t>(v.size())};
}
/// Equal, or both NaN.
bool same(double a, double b, double tolerance = 0) {
  return (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= tolerance;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: roc_auc: areas are the host's", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const index_t rows : {1, 2, 31, 32, 33, 1025, 5000})
    for (const double levels : {1e9, 4.0, 0.1}) {  // none, many and all scores equal
      CAPTURE(rows);
      CAPTURE(levels);
      auto score = normal_vector<T>(rows, 1), weight = normal_vector<T>(rows, 2);
      for (T& s : score) s = static_cast<T>(std::round(static_cast<double>(s) * levels) / levels);  // -0 too
      for (T& w : weight) w = std::max(w, T(0));
      const auto label = random_classes(rows);
      const auto device_score = on_device(ctx, score), device_weight = on_device(ctx, weight);
      const auto device_label = on_device(ctx, label);
      CHECK(same(roc_auc(ctx, device_score, device_label), roc_auc(host, score, host_view(label))));
      const double weighted =
          roc_auc(ctx, device_score, device_label, {.weight = stroma::as_const_view(device_weight)});
      const double expected = roc_auc(host, score, host_view(label), {.weight = stroma::as_const_view(weight)});
      // Sums of as many positive terms, in double.
      CHECK(same(weighted, expected, 4 * static_cast<double>(rows) * std::numeric_limits<double>::epsilon()));
    }
}
TEST_CASE("cuda: roc_auc: strided scores, one class, no row") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const auto z = normal_matrix<float>(33, 3, 1);
  const auto device_z = on_device(ctx, z);
  const auto label = random_classes(33);
  CHECK(roc_auc(ctx, stroma::as_const_view(device_z).col(1), on_device(ctx, label)) ==
        roc_auc(host, stroma::as_const_view(z).col(1), host_view(label)));
  const auto ones = on_device(ctx, std::vector<std::uint8_t>(33, 1));
  CHECK(std::isnan(roc_auc(ctx, stroma::as_const_view(device_z).col(1), ones)));
  CHECK(std::isnan(roc_auc(ctx, device_vector<float>(0), device_vector<std::uint8_t>(0))));
}
TEST_CASE("cuda: roc_auc: bad values") {
  stroma::cuda_context ctx;
  const auto good = on_device(ctx, std::vector<double>{1, 2, 3});
  const auto bad = on_device(ctx, std::vector<double>{1, std::nan(""), 3});
  const auto negative = on_device(ctx, std::vector<double>{1, -2, 3});
  const auto label = on_device(ctx, std::vector<std::int32_t>{0, 1, 1}),
             wrong = on_device(ctx, std::vector<std::int32_t>{0, 1, 2});
  CHECK_THROWS_AS(static_cast<void>(roc_auc(ctx, bad, label, {.check_values = false})), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(roc_auc(ctx, good, wrong)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(roc_auc(ctx, good, label, {.weight = stroma::as_const_view(negative)})),
                  stroma::value_error);
  CHECK(roc_auc(ctx, good, label) == 1);
}
TEST_CASE("cuda: roc_auc: few launches; the second call allocates nothing") {
  stroma::cuda_context ctx;
  const auto score = on_device(ctx, normal_vector<float>(1000, 1));
  const auto label = on_device(ctx, random_classes(1000));
  const auto run = [&] { static_cast<void>(roc_auc(ctx, score, label)); };
  run();
  run();
  CHECK(device_allocations_in(run) == 0);
  CHECK(kernels_in(run) <= 8);
}
