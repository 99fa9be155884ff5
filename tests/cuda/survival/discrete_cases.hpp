#pragma once
#include <cstdint>

#include "cuda/nn/device_loss_cases.hpp"

namespace stroma_test {

/// Bins of last follow-up and events for any width.
inline auto discrete_side(index_t rows, index_t width) {
  stroma::array<std::int32_t, 1> bin(rows);
  stroma::array<std::uint8_t, 1> event(rows);
  for (index_t r = 0; r < rows; ++r) {
    bin[r] = static_cast<std::int32_t>(r * 7 % width);
    event[r] = static_cast<std::uint8_t>(r % 3 == 0 ? 1 : 0);
  }
  return std::tuple{bin, event};
}
/// A bin that is none, and an event that is neither 0 nor 1.
template <class Case, class T>
void check_bad_bins_and_events() {
  for (const std::int32_t bad : {-1, 4, 0x7fffffff}) check_loss_of_bad_side<Case, T, 0>(bad);
  check_loss_of_bad_side<Case, T, 1>(2);
  stroma::cuda_context ctx;
  const device_array<T> none(2, 0);
  device_array<T> d(2, 0), value(1, 1);
  const auto side = side_on_device(ctx, Case::template side<T>(2, 1));
  CHECK_THROWS_ON_DEVICE(ctx, Case::forward(ctx, stroma::as_const_view(none), side, value.data(), 0, true),
                         stroma::value_error);
  Case::backward(ctx, stroma::as_const_view(none), side, std::as_const(value).data(), stroma::as_view(d), 0);
  ctx.synchronize();
}

}  // namespace stroma_test
