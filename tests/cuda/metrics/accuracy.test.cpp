#include <cstdint>
#include <vector>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/metrics/accuracy.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;
using stroma::accuracy;
using stroma::binary_accuracy;

namespace {

std::vector<std::int32_t> labels_below(index_t rows, std::int32_t count) {
  std::vector<std::int32_t> label;
  for (index_t r = 0; r < rows; ++r) label.push_back(static_cast<std::int32_t>((r * 7919 + r / 3) % count));
  return label;
}
template <class T>
stroma::vector_view<const T> host_view(const std::vector<T>& v) {
  return {v.data(), static_cast<index_t>(v.size())};
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: accuracy: parts are the host's", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const index_t rows : {1, 31, 32, 33, 1025, 5000}) {
    auto z = normal_matrix<T>(rows, 3, 1);
    z(rows / 2, 2) = z(rows / 2, 0) = T(9);  // the first of equal ones
    const auto label = labels_below(rows, 3), other = labels_below(rows + 1, 3), flag = labels_below(rows, 2);
    const auto device_label = on_device(ctx, label), device_flag = on_device(ctx, flag);
    const auto device_other = on_device(ctx, std::vector<std::int32_t>(other.begin() + 1, other.end()));
    const stroma::vector_view<const std::int32_t> shifted(other.data() + 1, rows);
    CHECK(accuracy(ctx, device_other, device_label) == accuracy(host, shifted, host_view(label)));
    for (const layout how : layouts) {
      laid_out_on_device<T> device_z(ctx, stroma::as_const_view(z), how);
      CHECK(accuracy(ctx, device_z.view(), device_label) == accuracy(host, z, host_view(label)));
      for (const double threshold : {0.5, -0.25})
        CHECK(binary_accuracy(ctx, device_z.view().col(1), device_flag, {.threshold = threshold}) ==
              binary_accuracy(host, stroma::as_const_view(z).col(1), host_view(flag), {.threshold = threshold}));
    }
  }
}
TEST_CASE("cuda: accuracy: no row") {
  stroma::cuda_context ctx;
  const device_array<float> z(0, 3);
  const device_vector<std::int64_t> label(0);
  CHECK(std::isnan(accuracy(ctx, z, label)));
  CHECK(std::isnan(accuracy(ctx, label, label)));
  CHECK(std::isnan(binary_accuracy(ctx, device_vector<float>(0), label)));
}
TEST_CASE("cuda: accuracy: bad values") {
  stroma::cuda_context ctx;
  auto z = normal_matrix<float>(3, 2, 1);
  const auto good = on_device(ctx, z);
  z(1, 1) = std::nanf("");
  const auto bad = on_device(ctx, z);
  const auto label = on_device(ctx, std::vector<std::int32_t>{0, 1, 1}),
             wrong = on_device(ctx, std::vector<std::int32_t>{0, 1, 2});
  CHECK_THROWS_AS(static_cast<void>(accuracy(ctx, bad, label)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(accuracy(ctx, good, wrong)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(accuracy(ctx, device_array<float>(3, 0), label)), stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(binary_accuracy(ctx, stroma::as_const_view(bad).col(1), label)),
                  stroma::value_error);
  CHECK_THROWS_AS(static_cast<void>(binary_accuracy(ctx, stroma::as_const_view(good).col(1), wrong)),
                  stroma::value_error);
  CHECK(accuracy(ctx, good, wrong, {.check_values = false}) >= 0);
}
TEST_CASE("cuda: accuracy: two launches; the second call allocates nothing") {
  stroma::cuda_context ctx;
  const auto z = on_device(ctx, normal_matrix<float>(40, 3, 1));
  const auto label = on_device(ctx, labels_below(40, 3));
  const auto run = [&] { static_cast<void>(accuracy(ctx, z, label, {.check_values = false})); };
  run();
  CHECK(device_allocations_in(run) == 0);
  CHECK(kernels_in(run) <= 1);
}
