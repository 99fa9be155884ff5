#pragma once
#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/scope.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

struct task_arithmetic_options {
  std::vector<double> weights{};  ///< one for each model, not normalised; empty: all 1
  double scale = 1;               ///< of the sum; the original experiments use 0.3 to 0.4, negative to forget
};

/// Task arithmetic: theta = base + scale * sum of w_t (theta_t - base). In double, rounded once. Cost: one pass.
/// @throws value_error, shape_error  options
/// Reference: Ilharco et al., "Editing models with task arithmetic", ICLR 2023.
class task_arithmetic : public tensorwise_rule {
 public:
  explicit task_arithmetic(task_arithmetic_options options = {}) : options_(std::move(options)) {}

  [[nodiscard]] static std::string_view name() { return "task_arithmetic"; }
  void begin(index_t models) {
    check::require(std::isfinite(options_.scale), name(), "options.scale", number_text(options_.scale),
                   "a finite number");
    weights_ = options_.weights;
    if (weights_.empty()) weights_.assign(static_cast<std::size_t>(models), 1.0);
    detail::check_weights(name(), weights_, static_cast<std::size_t>(models));
    for (double& w : weights_) w *= options_.scale;
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    detail::sum_vectors<T>(ctx, s, weights_, out);
    return s.size() * static_cast<index_t>(s.models.size());
  }

 private:
  task_arithmetic_options options_;
  std::vector<double> weights_;
};

}  // namespace stroma
