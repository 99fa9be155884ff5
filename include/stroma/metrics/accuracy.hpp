#pragma once
#include <cmath>
#include <concepts>
#include <limits>

#include <stroma/backend/checks.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

struct accuracy_options {
  bool check_values = true;  ///< finite logits, labels within the columns
};

struct binary_accuracy_options {
  double threshold = 0.5;    ///< scores from here on mean class 1; 0 for logits
  bool check_values = true;  ///< finite scores, labels 0 or 1
};

namespace detail {

template <class Backend>
struct accuracy_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/metrics/accuracy.cuh> and compile with nvcc");

  [[nodiscard]] static double part(index_t right, index_t of) {
    return of == 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(right) / static_cast<double>(of);
  }

  template <class Predicted, class Labels>
  static double equal(cpu_context&, vector_view<const Predicted> predicted, vector_view<const Labels> label) {
    index_t right = 0;
    for (index_t i = 0; i < label.size; ++i)
      right += static_cast<long long>(predicted[i]) == static_cast<long long>(label[i]) ? 1 : 0;
    return part(right, label.size);
  }
  template <class T, class Labels>
  static double highest(cpu_context&, matrix_view<const T> logit, vector_view<const Labels> label) {
    index_t right = 0;
    for (index_t r = 0; r < logit.rows; ++r) {
      index_t best = 0;
      for (index_t c = 1; c < logit.cols; ++c)
        if (logit(r, c) > logit(r, best)) best = c;
      right += best == static_cast<index_t>(label[r]) ? 1 : 0;
    }
    return part(right, logit.rows);
  }
  template <class T, class Labels>
  static double above(cpu_context&, vector_view<const T> score, vector_view<const Labels> label, double threshold) {
    index_t right = 0;
    for (index_t i = 0; i < score.size; ++i)
      right += (static_cast<double>(score[i]) >= threshold) == (label[i] != Labels(0)) ? 1 : 0;
    return part(right, score.size);
  }
};

}  // namespace detail

/// The part of the rows whose predicted class is the right one.
/// @param predicted [N] classes   @param label [N] classes
/// Returns NaN for no row. Cost: O(N), no scratch.   @throws shape_error
template <execution_context Context, vector_like Predicted, vector_like Labels>
  requires same_space<Context, Predicted, Labels> && std::integral<scalar_of<Predicted>> &&
           std::integral<scalar_of<Labels>>
[[nodiscard]] double accuracy(Context& ctx, const Predicted& predicted, const Labels& label) {
  const auto p = as_const_view(predicted);
  const auto l = as_const_view(label);
  check::same_length("accuracy", "label", l, "predicted", p);
  return detail::accuracy_kernel<typename Context::backend>::equal(ctx, p, l);
}

/// The same where the class predicted is the column of the largest logit, the first of equal ones.
/// @param logit [N, classes]   @param label [N] from 0
/// Returns NaN for no row. Cost: O(N classes), no scratch.   @throws shape_error, value_error
template <execution_context Context, matrix_like Logits, vector_like Labels>
  requires same_space<Context, Logits, Labels> && std::integral<scalar_of<Labels>>
[[nodiscard]] double accuracy(Context& ctx, const Logits& logit, const Labels& label,
                              const accuracy_options& options = {}) {
  constexpr auto name = "accuracy";
  const auto z = as_const_view(logit);
  const auto l = as_const_view(label);
  check::length(name, "label", l.size, z.rows, "the rows of logit");
  using checks = value_checks<typename Context::backend>;
  if (options.check_values) {
    checks::finite(ctx, name, "logit", z);
    checks::labels(ctx, name, "label", l, z.cols);
  }
  return detail::accuracy_kernel<typename Context::backend>::highest(ctx, z, l);
}

/// The part of the rows on the right side of the threshold: score >= threshold for class 1, below it for class 0.
/// @param score [N] probabilities, or logits with threshold 0   @param label [N] 0 or 1
/// Returns NaN for no row. Cost: O(N), no scratch.   @throws shape_error, value_error
template <execution_context Context, vector_like Scores, vector_like Labels>
  requires same_space<Context, Scores, Labels>
[[nodiscard]] double binary_accuracy(Context& ctx, const Scores& score, const Labels& label,
                                     const binary_accuracy_options& options = {}) {
  constexpr auto name = "binary_accuracy";
  const auto s = as_const_view(score);
  const auto l = as_const_view(label);
  check::same_length(name, "label", l, "score", s);
  if (!std::isfinite(options.threshold))
    throw value_error(error_message(name, "threshold", number_text(options.threshold), "a finite number"));
  using checks = value_checks<typename Context::backend>;
  if (options.check_values) {
    checks::finite(ctx, name, "score", s);
    checks::classes(ctx, name, "label", l);
  }
  return detail::accuracy_kernel<typename Context::backend>::above(ctx, s, l, options.threshold);
}

}  // namespace stroma
