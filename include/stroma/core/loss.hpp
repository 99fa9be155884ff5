#pragma once
#include <cmath>
#include <concepts>
#include <string>
#include <string_view>

#include <stroma/core/check.hpp>
#include <stroma/core/tensor.hpp>

namespace stroma {

/// How a loss joins its terms: their sum, or their mean (each loss says over what). A mean over nothing is 0.
enum class reduction { sum, mean };

namespace detail {

/// What the sum of `count` terms is multiplied by.
[[nodiscard]] inline double reduction_scale(reduction reduce, index_t count) {
  return reduce == reduction::sum || count == 0 ? 1 : 1 / static_cast<double>(count);
}

/// Where the sum of a loss's terms goes.
template <class T>
struct scaled_into {
  double scale;
  T* value;
  STROMA_HOST_DEVICE void operator()(double sum) const { *value = static_cast<T>(scale * sum); }
};

/// log(1 + exp(x)) without overflow, and without losing exp(x) beside the 1.
template <std::floating_point T>
[[nodiscard]] STROMA_HOST_DEVICE T softplus(T x) {
  return (x > T(0) ? x : T(0)) + std::log1p(std::exp(-std::fabs(x)));
}

/// Its derivative, 1 / (1 + exp(-x)).
template <std::floating_point T>
[[nodiscard]] STROMA_HOST_DEVICE T logistic(T x) {
  const T e = std::exp(-std::fabs(x));
  return (x >= T(0) ? T(1) : e) / (T(1) + e);
}

/// The label, or the nearest one below `count`: what a device's check will report must not be read from yet.
template <std::integral T>
[[nodiscard]] STROMA_HOST_DEVICE constexpr index_t clamped_label(T label, index_t count) {
  const auto l = static_cast<index_t>(label);
  return l < 0 ? 0 : l < count ? l : count - 1;
}

/// A vector or a matrix; two of them of one rank.
template <class X>
concept rows_like = vector_like<X> || matrix_like<X>;
template <class X, class Y>
concept same_rank = traits_of<X>::rank == traits_of<Y>::rank;

/// A vector as a matrix of one column, a matrix as it is: losses of single elements take both.
template <class T, class Space>
[[nodiscard]] constexpr matrix_view<T, Space> as_rows(const vector_view<T, Space>& v) {
  return {v.data, v.size, 1, v.stride, 1};
}
template <class T, class Space>
[[nodiscard]] constexpr matrix_view<T, Space> as_rows(const matrix_view<T, Space>& m) {
  return m;
}

/// The other way: the only row or the only column of a node's matrix.
template <class T, class Space>
[[nodiscard]] vector_view<T, Space> as_vector(std::string_view function, std::string_view argument,
                                              const matrix_view<T, Space>& m) {
  if (m.cols == 1) return m.col(0);
  if (m.rows == 1) return m.row(0);
  throw shape_error(error_message(
      function, argument, "shape " + std::to_string(m.rows) + " x " + std::to_string(m.cols), "one row or one column"));
}

/// Whole numbers below `count`, which name a class or a bin.
template <std::integral T>
void check_labels(std::string_view function, std::string_view argument, vector_view<const T> v, index_t count) {
  for (index_t i = 0; i < v.size; ++i) {
    const auto label = static_cast<long long>(v[i]);
    if (label < 0 || label >= static_cast<long long>(count))
      throw value_error(error_message(function, argument, std::to_string(label) + " at " + std::to_string(i),
                                      "0 to " + std::to_string(count - 1)));
  }
}

/// Class 0 or class 1, in any arithmetic type.
template <class T>
void check_classes(std::string_view function, std::string_view argument, vector_view<const T> v) {
  for (index_t i = 0; i < v.size; ++i)
    if (v[i] != T(0) && v[i] != T(1))
      throw value_error(
          error_message(function, argument, number_text(widen<double>(v[i])) + " at " + std::to_string(i), "0 or 1"));
}

/// Probabilities, of which 0 and 1 are the classes themselves.
template <class T>
void check_probabilities(std::string_view function, std::string_view argument, matrix_view<const T> m) {
  for (index_t r = 0; r < m.rows; ++r)
    for (index_t c = 0; c < m.cols; ++c) {
      const auto y = widen<double>(m(r, c));
      if (!(y >= 0 && y <= 1))
        throw value_error(
            error_message(function, argument,
                          number_text(y) + " at row " + std::to_string(r) + ", column " + std::to_string(c), "0 to 1"));
    }
}

template <class T>
void check_probabilities(std::string_view function, std::string_view argument, vector_view<const T> v) {
  for (index_t i = 0; i < v.size; ++i)
    if (const auto y = widen<double>(v[i]); !(y >= 0 && y <= 1))
      throw value_error(error_message(function, argument, number_text(y) + " at " + std::to_string(i), "0 to 1"));
}

/// Case or class weights: finite and not negative.
template <class Vector>
void check_weights(std::string_view function, std::string_view argument, const Vector& v) {
  for (index_t i = 0; i < v.size; ++i)
    if (const auto w = widen<double>(v[i]); !std::isfinite(w) || w < 0)
      throw value_error(error_message(function, argument, number_text(w) + " at " + std::to_string(i),
                                      "finite weights of 0 or more"));
}

}  // namespace detail
}  // namespace stroma
