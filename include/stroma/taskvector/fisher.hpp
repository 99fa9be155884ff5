#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/optim/parameter_update.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

/// Whose information is never below the floor.
enum class fisher_floor {
  first,  ///< the first model's: where nobody knows anything, its value stays (the authors' code)
  all
};

struct fisher_options {
  std::vector<double> weights{};  ///< of the models, 0 or more; empty: all 1
  double floor = 1e-6;
  fisher_floor floored = fisher_floor::first;
  bool normalise = true;  ///< divide each model's information by its norm over all tensors
};

/// Fisher-weighted averaging: theta_i = sum of w_t F_ti theta_ti / sum of w_t F_ti, with the diagonal F_t of each
/// model's Fisher information. Where the denominator is 0 the weighted mean is taken. A rule for `merge_fisher`, or for
/// files that come with files of information; a base is not looked at. Equal informations give the weighted average.
/// Cost: one pass, and one before it that checks the informations and measures them.
/// @throws value_error  no information given, negative or not finite; weights that are negative or all 0
/// Reference: Matena and Raffel, "Merging models with Fisher-weighted averaging", NeurIPS 2022.
class fisher {
 public:
  explicit fisher(fisher_options options = {}) : options_(std::move(options)) {}

  [[nodiscard]] static std::string_view name() { return "fisher"; }
  void begin(index_t models) {
    weights_ = options_.weights;
    if (weights_.empty()) weights_.assign(static_cast<std::size_t>(models), 1.0);
    detail::check_weights(name(), weights_, static_cast<std::size_t>(models));
    double sum = 0;
    for (const double w : weights_) {
      check::require(w >= 0, name(), "options.weights", number_text(w), "0 or more");
      sum += w;
    }
    check::require(sum > 0, name(), "options.weights", "all 0", "one above 0");
    check::require(std::isfinite(options_.floor) && options_.floor >= 0, name(), "options.floor",
                   number_text(options_.floor), "a finite number of 0 or more");
    squares_.assign(weights_.size(), 0.0);
    wants_pass_ = true;
  }
  [[nodiscard]] bool wants_pass() const { return wants_pass_; }
  template <class T>
  void observe(cpu_context&, const tensor_slices<T>& s) {
    check_information(s);
    if (!options_.normalise) return;
    for (std::size_t t = 0; t < s.importance.size(); ++t) {
      double sum = 0;
      for (index_t i = 0; i < s.size(); ++i) {
        const double f = floored(t, static_cast<double>(s.importance[t][i]));
        sum += f * f;
      }
      squares_[t] += sum;
    }
  }
  void conclude() {
    wants_pass_ = false;
    for (std::size_t t = 0; t < weights_.size(); ++t)
      if (squares_[t] > 0) weights_[t] /= std::sqrt(squares_[t]);
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    detail::for_each_piece(ctx, s.size(), [&](index_t first, index_t count) {
      for (index_t i = first; i < first + count; ++i) out[i] = of_element(s, i);
    });
    return s.size() * static_cast<index_t>(s.models.size());
  }

 private:
  [[nodiscard]] double floored(std::size_t model, double f) const {
    return model == 0 || options_.floored == fisher_floor::all ? std::max(f, options_.floor) : f;
  }
  template <class T>
  [[nodiscard]] T of_element(const tensor_slices<T>& s, index_t i) const {
    double sum = 0, total = 0, mean = 0, weights = 0;
    for (std::size_t t = 0; t < s.models.size(); ++t) {
      const double f = weights_[t] * floored(t, static_cast<double>(s.importance[t][i]));
      const auto x = static_cast<double>(s.models[t][i]);
      sum += f * x;
      total += f;
      mean += weights_[t] * x;
      weights += weights_[t];
    }
    return static_cast<T>(total > 0 ? sum / total : mean / weights);
  }
  template <class T>
  void check_information(const tensor_slices<T>& s) const {
    check::require(s.importance.size() == s.models.size(), name(), s.name, "no information", "one for each model");
    for (std::size_t t = 0; t < s.importance.size(); ++t)
      for (index_t i = 0; i < s.size(); ++i)
        if (!(s.importance[t][i] >= 0 && std::isfinite(s.importance[t][i])))
          throw value_error(
              error_message(name(), "importance[" + std::to_string(t) + "]: " + std::string(s.name),
                            number_text(static_cast<double>(s.importance[t][i])) + " at " + std::to_string(i),
                            "finite numbers of 0 or more"));
  }

  fisher_options options_;
  std::vector<double> weights_, squares_;
  bool wants_pass_ = false;
};

namespace detail {

template <class Backend>
struct information_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/taskvector/fisher.cuh> and compile with nvcc");

  template <class Model>
  static void add(cpu_context& ctx, double weight, const Model& gradient, Model& information) {
    for_each_parameter(
        [&]<class Array>(std::string_view, Array& f, const auto& g) {
          using T = typename Array::value_type;
          for_each_piece(ctx, f.size(), [&](index_t first, index_t count) {
            for (index_t i = first; i < first + count; ++i) {
              const auto x = static_cast<double>(g[i]);
              f[i] = static_cast<T>(static_cast<double>(f[i]) + weight * x * x);
            }
          });
        },
        information, gradient);
  }
};

}  // namespace detail

/// Adds one example's part of the diagonal Fisher information: information += weight * gradient^2, where the gradient
/// is that of the log probability of one class in the parameters, and the weight the model's own probability of it (an
/// expectation over classes), over the number of examples. Squares of a batch's summed gradient are no information.
/// Cost: one pass, on a device one launch for 32 tensors and no wait. @throws shape_error, value_error
template <execution_context Context, class Model>
void add_information(Context& ctx, double weight, const std::type_identity_t<Model>& gradient, Model& information) {
  check::require(std::isfinite(weight) && weight >= 0, "add_information", "weight", number_text(weight),
                 "a finite number of 0 or more");
  detail::check_same_extents("add_information", "gradient", gradient, information);
  detail::information_kernel<typename Context::backend>::add(ctx, weight, gradient, information);
}

/// Merges models by `fisher`.
/// @param information  one object of the models' struct for each, 0 or more everywhere
/// @param out          the same extents, overwritten; none of the inputs
template <execution_context Context, class Model>
void merge_fisher(Context& ctx, std::span<const std::type_identity_t<Model>> models,
                  std::span<const std::type_identity_t<Model>> information, Model& out,
                  const fisher_options& options = {}, merge_report* report = nullptr) {
  fisher rule(options);
  detail::merge_models<fisher, Model>(ctx, rule, models, information, out, report);
}

}  // namespace stroma
