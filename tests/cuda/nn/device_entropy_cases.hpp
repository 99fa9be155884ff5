#pragma once
#include <cstdint>
#include <limits>
#include <tuple>
#include <utility>

#include "cuda/nn/device_loss_cases.hpp"

/// What the tests of entropies on a device share: losses without targets, which always check their logits. A verb is a
/// struct of value(ctx, logit, value), backward(ctx, logit, d_value, d_logit) and record(graph, node).
namespace stroma_test {

template <class Verb>
struct entropy_case {
  static constexpr index_t widths[3] = {2, 4, 37};  // nvcc does not count them in a template
  static constexpr int variants = 1;
  static constexpr std::uint64_t kernels = 2, backward_kernels = 1, checks = 0;
  template <class T>
  static std::tuple<> side(index_t, index_t) {
    return {};
  }
  template <class Context, class X, class T>
  static void forward(Context& ctx, const X& x, const std::tuple<>&, T* value, int, bool) {
    Verb::value(ctx, x, value);
  }
  template <class Context, class X, class T, class D>
  static void backward(Context& ctx, const X& x, const std::tuple<>&, const T* d_value, D d_x, int) {
    Verb::backward(ctx, x, d_value, d_x);
  }
  template <class Graph>
  static stroma::node record(Graph& g, stroma::node x, const std::tuple<>&, int) {
    return Verb::record(g, x);
  }
};

/// Sure, unsure, and logits of which the largest leave no room for another's weight: the host's value and gradient.
template <class Verb>
void check_entropy_of_any_size() {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const double size : {0.0, 30.0, 1e4, 1e300}) {
    stroma::array<double, 2> z(3, 4), d(3, 4), value(1, 1), seed(1, 1);
    z.fill(-size);
    z(1, 2) = size;
    for (index_t k = 1; k < 4; ++k) z(2, k) = 0;
    seed(0, 0) = 1;
    const auto device_z = on_device(ctx, z), device_seed = on_device(ctx, seed);
    auto device_d = on_device(ctx, d), device_value = on_device(ctx, value);
    Verb::value(host, z, value.data());
    Verb::backward(host, z, std::as_const(seed).data(), stroma::as_view(d));
    Verb::value(ctx, device_z, device_value.data());
    Verb::backward(ctx, device_z, std::as_const(device_seed).data(), stroma::as_view(device_d));
    CHECK(std::isfinite(value(0, 0)));
    CHECK(device_error_of_sum(ctx, device_value, value, 3 * 4, 1) <= 1);
    CHECK(device_error_of_sum(ctx, device_d, d, 4, 1) <= 1);
  }
}

/// What throws on the host throws on the device, where a finding is told once.
template <class Verb, class T>
void check_entropy_refuses() {
  stroma::cuda_context ctx;
  device_array<T> value(1, 1), d(33, 4), narrow(33, 3);
  for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
    auto z = normal_matrix<T>(33, 4, 1);
    z(32, 3) = bad;
    const auto device_z = on_device(ctx, z);
    CHECK_THROWS_ON_DEVICE(ctx, Verb::value(ctx, device_z, value.data()), stroma::value_error);
    Verb::backward(ctx, device_z, std::as_const(value).data(), stroma::as_view(d));
    ctx.synchronize();
    device_graph<T> g(ctx);
    CHECK_THROWS_ON_DEVICE(ctx, Verb::record(g, g.input(device_z)), stroma::value_error);
    CHECK_THROWS_AS(Verb::backward(ctx, device_z, std::as_const(value).data(), stroma::as_view(narrow)),
                    stroma::shape_error);
  }
}

}  // namespace stroma_test
