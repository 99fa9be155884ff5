#pragma once
#include <cmath>

#include <stroma/survival/censoring_curve.hpp>

#include "cuda/survival/device_cohort.hpp"

/// Quantities at evaluation times on both sides.
namespace stroma_test {

template <class T>
struct host_result {
  std::vector<T> value;
  std::vector<index_t> undefined;
  explicit host_result(std::size_t times) : value(times), undefined(times) {}
  [[nodiscard]] stroma::estimate_at_times<T> out() { return {stroma::as_view(value), stroma::as_view(undefined)}; }
};
template <class T>
struct device_result {
  device_vector<T> value;
  device_vector<index_t> undefined;
  explicit device_result(index_t times) : value(times), undefined(times) {}
  [[nodiscard]] stroma::estimate_at_times<T, stroma::device_space> out() {
    return {stroma::as_view(value), stroma::as_view(undefined)};
  }
};
/// The device keeps sums in another order.
template <class T>
void check_same(stroma::cuda_context& ctx, const device_result<T>& found, const host_result<T>& expected, index_t n) {
  const auto value = on_host(ctx, found.value);
  const auto undefined = on_host(ctx, found.undefined);
  for (std::size_t k = 0; k < expected.value.size(); ++k) {
    const auto i = static_cast<index_t>(k);
    CHECK(undefined[i] == expected.undefined[k]);
    const double allowed =
        4.0 * std::numeric_limits<T>::epsilon() + 16 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
    if (std::isnan(expected.value[k])) CHECK(std::isnan(value[i]));
    else
      CHECK(std::abs(static_cast<double>(value[i] - expected.value[k])) <=
            allowed * std::max(1.0, std::abs(static_cast<double>(expected.value[k]))));
  }
}

}  // namespace stroma_test
