#pragma once
#include <string_view>

#include <stroma/survival/risk_order.hpp>

namespace stroma::detail {

template <class Backend>
void check_one_stratum(std::string_view function, const risk_order<Backend>& order) {
  check::require(!order.stratified(), function, "order", "strata", "a cohort without strata");
}
/// Predictions for a time are judged by those who were followed from 0 on.
template <class Backend>
void check_followed_from_start(std::string_view function, const risk_order<Backend>& order) {
  check_one_stratum(function, order);
  check::require(!order.late_entry(), function, "order", "late entry", "a cohort that is followed from time 0 on");
}

}  // namespace stroma::detail
