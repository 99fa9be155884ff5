#pragma once
#include <cmath>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

struct weighted_average_options {
  std::vector<double> weights{};  ///< one for each model, divided by their sum; empty: all alike (a uniform soup)
};

/// The weighted mean of models: theta = sum of w_t theta_t / sum of w_t. A base is not looked at.
/// Sums are in double and rounded once. Cost: one pass.
/// @throws value_error  weights that are not finite or add up to 0   @throws shape_error  not one for each model
/// Reference: Wortsman et al., "Model soups", ICML 2022.
class weighted_average : public tensorwise_rule {
 public:
  explicit weighted_average(weighted_average_options options = {}) : options_(std::move(options)) {}

  [[nodiscard]] static std::string_view name() { return "weighted_average"; }
  void begin(index_t models) {
    weights_ = options_.weights;
    if (weights_.empty()) weights_.assign(static_cast<std::size_t>(models), 1.0);
    detail::check_weights(name(), weights_, static_cast<std::size_t>(models));
    double sum = 0, size = 0;
    for (const double w : weights_) {
      sum += w;
      size += std::fabs(w);
    }
    // What rounding leaves of weights that cancel is no sum.
    const double rounding = size * static_cast<double>(models) * std::numeric_limits<double>::epsilon();
    check::require(std::fabs(sum) > rounding, name(), "options.weights", "a sum of " + number_text(sum),
                   "another than 0");
    for (double& w : weights_) w /= sum;
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    detail::weighted_sum_kernel<backend::cpu>::run<T>(ctx, s.size(), nullptr, s.models, weights_, out);
    return s.size() * static_cast<index_t>(s.models.size());
  }

 private:
  weighted_average_options options_;
  std::vector<double> weights_;
};

}  // namespace stroma
