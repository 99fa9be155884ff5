#include <cmath>
#include <limits>

#include <stroma/optim/clip.cuh>

#include "cuda/optim/device_model.hpp"

using namespace stroma_test;
using stroma::clip_global_norm;
using stroma::global_norm;

namespace {

/// The host adds blocks of 512 squares in T.
template <class T>
constexpr double norm_tolerance = 512 * static_cast<double>(std::numeric_limits<T>::epsilon());

template <class T>
struct both_sides {
  stroma::cpu_context host_ctx;
  stroma::cuda_context ctx;
  test_model<T> host;
  device_model<T> device;
  both_sides() {
    fill_normal(host, 3);
    stroma::transfer_parameters(ctx, host, device);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: clip: norms and clipped gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  both_sides<T> x;
  const double norm = global_norm(x.ctx, x.device);
  CHECK(std::abs(norm / global_norm(x.host_ctx, x.host) - 1) < norm_tolerance<T>);
  for (const double limit : {1e6, std::numeric_limits<double>::infinity(), norm}) {
    CHECK(clip_global_norm(x.ctx, x.device, limit) == norm);
    CHECK(model_error(x.ctx, x.device, x.host, -8) == 0);  // as it was
  }
  CHECK(clip_global_norm(x.ctx, x.device, 3.5) == norm);
  clip_global_norm(x.host_ctx, x.host, 3.5);
  CHECK(model_error(x.ctx, x.device, x.host, 512) <= 1);
  CHECK(std::abs(global_norm(x.ctx, x.device) / 3.5 - 1) < norm_tolerance<T>);
}
TEST_CASE("cuda: clip: parameters of two scalars in one model") {
  stroma::cpu_context host_ctx;
  stroma::cuda_context ctx;
  mixed_model<stroma::backend::cpu> host;
  mixed_model<stroma::backend::cuda> device;
  fill_normal(host, 3);
  stroma::transfer_parameters(ctx, host, device);
  const double norm = clip_global_norm(ctx, device, 0.5);
  CHECK(std::abs(norm / clip_global_norm(host_ctx, host, 0.5) - 1) < norm_tolerance<float>);
  // The norm's error, in float, is in the factor of both.
  CHECK(device_error(ctx, device.single, host.single, norm_tolerance<float>) <= 1);
  CHECK(device_error(ctx, device.twice, host.twice, norm_tolerance<float>) <= 1);
}
TEST_CASE("cuda: clip: nothing waits when the norm stays on the device") {
  both_sides<float> x;
  stroma::array<double, 1, stroma::device_space> norm(1);
  const double expected = global_norm(x.ctx, x.device);
  // Two launches a pass for 46 parameters, and one that joins the sums.
  check_second_call([&] { clip_global_norm(x.ctx, x.device, 2, nullptr); }, 5);
  CHECK(std::abs(global_norm(x.ctx, x.device) / 2 - 1) < norm_tolerance<float>);
  stroma::transfer_parameters(x.ctx, x.host, x.device);
  clip_global_norm(x.ctx, x.device, 2, norm.data());
  CHECK(on_host(x.ctx, norm)[0] == expected);
  double on_the_host = 0;
  clip_global_norm(x.host_ctx, x.host, 2, &on_the_host);
  CHECK(std::abs(on_the_host / expected - 1) < norm_tolerance<float>);
}
TEST_CASE("cuda: clip: no gradient, squares beyond the range of float, and mistakes") {
  stroma::cuda_context ctx;
  device_model<float> device;
  CHECK(clip_global_norm(ctx, device, 1) == 0);
  CHECK_THROWS_AS(clip_global_norm(ctx, device, 0), stroma::value_error);
  CHECK_THROWS_AS(clip_global_norm(ctx, device, std::nan("")), stroma::value_error);
  test_model<float> host;
  host.weight(2, 2) = 3e30f;
  host.last[2048] = -4e30f;
  stroma::transfer_parameters(ctx, host, device);
  // 3e30 and 4e30 are rounded to float, and so is the factor, and what it multiplies: three roundings at most.
  constexpr double eps = std::numeric_limits<float>::epsilon();
  CHECK(std::abs(clip_global_norm(ctx, device, 5) / 5e30 - 1) <= eps);
  CHECK(std::abs(static_cast<double>(on_host(ctx, device.last)[2048]) / -4 - 1) <= 2 * eps);
  host.one[0] = std::nanf("");
  stroma::transfer_parameters(ctx, host, device);
  CHECK_THROWS_WITH_AS(static_cast<void>(clip_global_norm(ctx, device, 1)),
                       "clip_global_norm: gradient: an infinite norm or NaN, expected finite elements",
                       stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, clip_global_norm(ctx, device, 1, nullptr), stroma::value_error);
  ctx.synchronize();
  CHECK(on_host(ctx, device.weight)(2, 2) == 3e30f);  // nothing was changed
  CHECK(std::isnan(global_norm(ctx, device)));
}
