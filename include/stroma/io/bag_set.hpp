#pragma once
#include <string>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/core/tensor.hpp>

namespace stroma {

/// Owns many ragged bags: all instances in one buffer, one bag behind the other.
/// @tparam S  how features are stored: float, double, half or bfloat16
template <class S>
struct bag_set {
  array<S, 2> instances;  ///< [rows, features]
  std::vector<index_t> offsets{
      0};                        ///< [bags + 1], from 0 to rows: bag b owns the rows offsets[b] .. offsets[b + 1] - 1
  std::vector<std::string> ids;  ///< [bags], each once
  std::vector<double> labels;    ///< [bags], or empty where the files have none

  [[nodiscard]] index_t count() const noexcept { return static_cast<index_t>(offsets.size()) - 1; }
  [[nodiscard]] index_t features() const noexcept { return instances.cols(); }
  [[nodiscard]] bag_view<const S> view() const noexcept {
    return {{instances.data(), instances.rows(), instances.cols()},
            {offsets.data(), static_cast<index_t>(offsets.size())}};
  }
};

template <class S>
struct tensor_traits<bag_set<S>> {
  using scalar = S;
  using backend = stroma::backend::cpu;
  static constexpr int rank = 3;
  static bag_view<const S> view(const bag_set<S>& bags) { return bags.view(); }
};

}  // namespace stroma
