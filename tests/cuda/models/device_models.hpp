#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "cuda/nn/device_cases.hpp"

/// What the tests of whole models on a device share.
namespace stroma_test {

/// A view's elements on the host, from either side.
template <class T>
stroma::array<T, 2> read(stroma::cpu_context& ctx, stroma::matrix_view<const T> v) {
  stroma::array<T, 2> copy(v.rows, v.cols);
  stroma::primitives<stroma::backend::cpu>::copy(ctx, v, stroma::as_view(copy));
  return copy;
}
template <class T>
stroma::array<T, 2> read(stroma::cuda_context& ctx, stroma::matrix_view<const T, stroma::device_space> v) {
  device_array<T> copy(v.rows, v.cols);
  stroma::primitives<stroma::backend::cuda>::copy(ctx, v, stroma::as_view(copy));
  return on_host(ctx, copy);
}

/// Every parameter against the host's: largest difference in units of `allowed` times the largest number of that
/// parameter.
template <class Device, class Host>
double parameter_error(stroma::cuda_context& ctx, const Device& found, const Host& expected, double allowed) {
  auto copy = expected;
  stroma::transfer_parameters(ctx, found, copy);
  double worst = 0;
  stroma::for_each_parameter(
      [&](std::string_view, const auto& a, const auto& b) {
        double difference = 0, size = std::numeric_limits<double>::min();
        for (index_t i = 0; i < a.size(); ++i) {
          size = std::max(size, std::abs(static_cast<double>(b.data()[i])));
          const double off = std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]));
          difference = std::isnan(off) ? std::numeric_limits<double>::infinity() : std::max(difference, off);
        }
        worst = std::max(worst, difference / (allowed * size));
      },
      copy, expected);
  return worst;
}

}  // namespace stroma_test
