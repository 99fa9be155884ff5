#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <type_traits>
#include <vector>

#include <stroma/backend/cpu/primitives.hpp>

#include "cuda/nn/device_cases.hpp"

/// What the tests of losses on a device share. A case names a loss:
///   widths                              columns of its input to try
///   variants                            how many settings of its options there are
///   kernels, backward_kernels           launches of a call that checks no values
///   checks                              launches that check values, 3 where it is not said
///   side<T>(rows, width)                a tuple of host arrays: targets, labels, weights
///   forward(ctx, x, side, value, variant, check_values), backward(ctx, x, side, d_value, d_x, variant)
///   record(graph, node, side, variant)
namespace stroma_test {

inline constexpr index_t loss_rows[] = {1, 31, 32, 33, 1025};

/// The tuple's arrays on the device.
template <class... A>
auto side_on_device(stroma::cuda_context& ctx, const std::tuple<A...>& side) {
  return std::apply([&](const auto&... a) { return std::tuple{on_device(ctx, a)...}; }, side);
}
template <class T>
double largest(const stroma::array<T, 2>& m) {
  double size = 0;
  for (const T x : m) size = std::max(size, std::abs(static_cast<double>(x)));
  return size;
}
/// Sums are kept in double: in float, their order does not show.
template <class T>
index_t terms_that_show(index_t terms) {
  return std::is_same_v<T, float> ? 0 : terms;
}

template <class Case, class T>
void check_loss(index_t rows, index_t width, layout how, int variant) {
  CAPTURE(rows);
  CAPTURE(width);
  CAPTURE(variant);
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const auto x = normal_matrix<T>(rows, width, 1, 2);
  const auto side = Case::template side<T>(rows, width);
  const auto start = normal_matrix<T>(rows, width, 3);
  stroma::array<T, 2> value(1, 1), seed(1, 1), d = start;
  seed(0, 0) = T(1.5);
  Case::forward(host, stroma::as_const_view(x), side, value.data(), variant, true);
  Case::backward(host, stroma::as_const_view(x), side, std::as_const(seed).data(), stroma::as_view(d), variant);

  const auto device_side = side_on_device(ctx, side);
  const auto device_seed = on_device(ctx, seed);
  laid_out_on_device<T> device_x(ctx, stroma::as_const_view(x), how);
  laid_out_on_device<T> device_d(ctx, stroma::as_const_view(start), how);
  const device_matrix_view<const T> z = device_x.view();
  device_array<T> device_value(1, 1);
  Case::forward(ctx, z, device_side, device_value.data(), variant, true);
  Case::backward(ctx, z, device_side, device_seed.data(), device_d.view(), variant);
  CHECK(device_error_of_sum(ctx, device_value, value, terms_that_show<T>(rows * width), largest(value)) <= 1);
  CHECK(error_of_sum(device_d.elements(ctx), d, terms_that_show<T>(width), std::max(1.0, largest(d))) <= 1);
  CHECK(device_d.gaps_untouched(ctx));
  if (rows > 1) CHECK(largest(value) > 0);  // one patient may have died in the only bin
}
template <class Case, class T>
void check_loss_values_and_gradients() {
  for (int variant = 0; variant < Case::variants; ++variant)
    for (const index_t width : Case::widths) {
      for (const index_t rows : loss_rows) check_loss<Case, T>(rows, width, layout::rows, variant);
      for (const layout how : layouts) check_loss<Case, T>(33, width, how, variant);
    }
}

template <class Case, class T>
void check_recorded_loss() {
  for (int variant = 0; variant < Case::variants; ++variant)
    for (const index_t rows : {index_t{1}, index_t{33}, index_t{300}}) {
      CAPTURE(rows);
      constexpr index_t width = Case::widths[1];
      const auto side = Case::template side<T>(rows, width);
      const std::vector<stroma::array<T, 2>> x{normal_matrix<T>(rows, width, 1, 2)};
      const auto host = recorded_on_host<T>(
          x, {}, [&](auto& g, const auto& nodes) { return Case::record(g, nodes[0], side, variant); });
      stroma::cuda_context ctx;
      const auto device_side = side_on_device(ctx, side);
      const auto device = recorded_on_device<T>(
          x, {}, [&](auto& g, const auto& nodes) { return Case::record(g, nodes[0], device_side, variant); });
      CHECK(error_of_sum(device.value, host.value, terms_that_show<T>(rows * width), largest(host.value)) <= 1);
      CHECK(error_of_sum(device.gradients[0], host.gradients[0], terms_that_show<T>(width),
                         std::max(1.0, largest(host.gradients[0]))) <= 1);
      CHECK(largest(host.gradients[0]) > 0);
    }
}

/// Without a row the loss is 0; memory of the device that nobody has written would be NaN.
template <class Case, class T>
void check_empty_loss() {
  stroma::cuda_context ctx;
  for (int variant = 0; variant < Case::variants; ++variant) {
    const auto side = side_on_device(ctx, Case::template side<T>(0, 4));
    const device_array<T> x(0, 4);
    device_array<T> d(0, 4), value = on_device(ctx, normal_matrix<T>(1, 1, 5));
    Case::forward(ctx, stroma::as_const_view(x), side, value.data(), variant, true);
    Case::backward(ctx, stroma::as_const_view(x), side, std::as_const(value).data(), stroma::as_view(d), variant);
    CHECK(on_host(ctx, value)(0, 0) == T(0));
  }
}

template <class Case>
constexpr std::uint64_t launches_of_checks() {
  if constexpr (requires { Case::checks; }) return Case::checks;
  else return 3;
}
template <class Case>
void check_loss_cost() {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<float>(40, 4, 1));
  const auto side = side_on_device(ctx, Case::template side<float>(40, 4));
  device_array<float> d(40, 4), value(1, 1);
  for (int variant = 0; variant < Case::variants; ++variant) {
    check_second_call([&] { Case::forward(ctx, stroma::as_const_view(x), side, value.data(), variant, false); },
                      Case::kernels);
    check_second_call(
        [&] {
          Case::backward(ctx, stroma::as_const_view(x), side, std::as_const(value).data(), stroma::as_view(d), variant);
        },
        Case::backward_kernels);
    check_second_call([&] { Case::forward(ctx, stroma::as_const_view(x), side, value.data(), variant, true); },
                      Case::kernels + launches_of_checks<Case>());
  }
  ctx.synchronize();
}

/// A NaN or an infinity anywhere in the input, checked by the forward call.
template <class Case, class T>
void check_loss_of_bad_input() {
  stroma::cuda_context ctx;
  for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
    auto x = normal_matrix<T>(33, 4, 1);
    x(32, 3) = bad;
    const auto device_x = on_device(ctx, x);
    const auto side = side_on_device(ctx, Case::template side<T>(33, 4));
    device_array<T> value(1, 1);
    CHECK_THROWS_ON_DEVICE(ctx, Case::forward(ctx, stroma::as_const_view(device_x), side, value.data(), 0, true),
                           stroma::value_error);
    // Told once, forgotten then.
    ctx.synchronize();
    Case::forward(ctx, stroma::as_const_view(device_x), side, value.data(), 0, false);
    ctx.synchronize();
  }
}
/// The same for an element of the side data, element 31 of array I. Both passes; no memory is touched out of bounds.
template <class Case, class T, std::size_t I, class Bad>
void check_loss_of_bad_side(Bad bad) {
  stroma::cuda_context ctx;
  auto side = Case::template side<T>(33, 4);
  using element = typename std::tuple_element_t<I, decltype(side)>::value_type;
  std::get<I>(side).data()[std::min<index_t>(31, std::get<I>(side).size() - 1)] = static_cast<element>(bad);
  const auto device_side = side_on_device(ctx, side);
  const auto x = on_device(ctx, normal_matrix<T>(33, 4, 1));
  device_array<T> value(1, 1), d(33, 4);
  for (int variant = 0; variant < Case::variants; ++variant) {
    const auto z = stroma::as_const_view(x);
    CHECK_THROWS_ON_DEVICE(ctx, Case::forward(ctx, z, device_side, value.data(), variant, true), stroma::value_error);
    Case::forward(ctx, z, device_side, value.data(), variant, false);
    Case::backward(ctx, z, device_side, std::as_const(value).data(), stroma::as_view(d), variant);
    ctx.synchronize();
  }
}

}  // namespace stroma_test
