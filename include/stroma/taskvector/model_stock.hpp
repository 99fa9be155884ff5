#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/gram.hpp>
#include <stroma/taskvector/detail/scope.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

/// Where models disagree on average (mean cosine below 0), the formula moves away from their mean.
enum class disagreement {
  base,        ///< stop at the base
  extrapolate  ///< follow the formula; refused where it has no value
};

struct model_stock_options {
  merge_scope scope = merge_scope::tensor;  ///< over what the cosine is taken: a tensor or a row
  disagreement negative = disagreement::base;
};

/// Model stock: between the base and the mean of N models of one task, at the point nearest to the centre of their
/// distribution: theta = t mean + (1 - t) base, t = N c / (1 + (N - 1) c), c the mean cosine between the task vectors
/// of two models. (A task vector of 0 has cosine 0 to all.) Without a base the models are task vectors.
/// Cost: one pass for the N (N + 1) / 2 products, one for the sum.
/// @throws value_error  fewer than 2 models; extrapolating where 1 + (N - 1) c is 0
/// Reference: Jang, Yun, Han, "Model stock: all we need is just a few fine-tuned models", ECCV 2024.
class model_stock : public tensorwise_rule {
 public:
  explicit model_stock(const model_stock_options& options = {}) : options_(options) {}

  [[nodiscard]] static std::string_view name() { return "model_stock"; }
  void begin(index_t models) {
    check::require(models >= 2, name(), "models", std::to_string(models), "2 or more");
    check::require(options_.scope != merge_scope::model, name(), "options.scope", "model", "tensor or row");
    gram_.resize(static_cast<std::size_t>(models * models));
    weights_.resize(static_cast<std::size_t>(models));
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) {
    const std::size_t models = s.models.size();
    detail::for_each_row_slices(options_.scope, s, out, [&](const tensor_slices<T>& part, T* to) {
      detail::gram_of_differences<T>(ctx, part.size(), part.base, part.models, 0, gram_.data());
      const double n = static_cast<double>(models);
      std::fill(weights_.begin(), weights_.end(), interpolation(models, s.name) / n);
      detail::sum_vectors<T>(ctx, part, weights_, to);
    });
    return s.size() * static_cast<index_t>(models);
  }

 private:
  [[nodiscard]] double interpolation(std::size_t models, std::string_view tensor) const {
    const auto product = [&](std::size_t a, std::size_t b) { return gram_[a * models + b]; };
    double cosine = 0;
    for (std::size_t a = 0; a < models; ++a)
      for (std::size_t b = 0; b < a; ++b) cosine += detail::gram_cosine(product(a, a), product(b, b), product(a, b));
    const auto n = static_cast<double>(models);
    cosine /= n * (n - 1) / 2;
    if (cosine <= 0 && options_.negative == disagreement::base) return 0;
    const double below = 1 + (n - 1) * cosine;
    check::require(below > 1e-9, name(), tensor, "a mean cosine of " + number_text(cosine),
                   "more than " + number_text(-1 / (n - 1)) + " (where the formula has no value)");
    return n * cosine / below;
  }

  model_stock_options options_;
  std::vector<double> gram_, weights_;
};

}  // namespace stroma
