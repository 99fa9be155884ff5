#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include <stroma/core/error.hpp>
#include <stroma/core/half.hpp>
#include <stroma/core/view.hpp>

/// Named checks. Each compares first and builds its message on the cold path only.
namespace stroma::check {

inline void length(std::string_view function, std::string_view argument, index_t found, index_t expected,
                   std::string_view of_what) {
  if (found == expected) return;
  throw shape_error(error_message(function, argument, "length " + std::to_string(found),
                                  std::to_string(expected) + " (" + std::string(of_what) + ")"));
}

/// `length 4, expected 5 (the length of score)`
template <class V, class W>
void same_length(std::string_view function, std::string_view argument, const V& v, std::string_view other, const W& w) {
  if (v.size == w.size) return;
  length(function, argument, v.size, w.size, "the length of " + std::string(other));
}

/// `shape 3 x 4, expected 3 x 5`
template <class M>
void shape(std::string_view function, std::string_view argument, const M& m, index_t rows, index_t cols) {
  if (m.rows == rows && m.cols == cols) return;
  throw shape_error(error_message(function, argument,
                                  "shape " + std::to_string(m.rows) + " x " + std::to_string(m.cols),
                                  std::to_string(rows) + " x " + std::to_string(cols)));
}

/// `12 columns, expected 16 (the width of weight)`
inline void columns(std::string_view function, std::string_view argument, index_t found, index_t expected,
                    std::string_view of_what) {
  if (found == expected) return;
  throw shape_error(error_message(function, argument, std::to_string(found) + " columns",
                                  std::to_string(expected) + " (" + std::string(of_what) + ")"));
}

inline void require(bool holds, std::string_view function, std::string_view argument, std::string_view found,
                    std::string_view expected) {
  if (!holds) throw value_error(error_message(function, argument, found, expected));
}

template <class T>
void positive(std::string_view function, std::string_view argument, T value) {
  if (value > T(0)) return;
  throw value_error(error_message(function, argument, number_text(static_cast<double>(value)), "a number above 0"));
}

template <class T>
void in_range(std::string_view function, std::string_view argument, T value, T low, T high) {
  if (value >= low && value <= high) return;
  throw value_error(
      error_message(function, argument, number_text(static_cast<double>(value)),
                    number_text(static_cast<double>(low)) + " to " + number_text(static_cast<double>(high))));
}

/// Every element is finite; the message names the first that is not.
template <class Vector>
  requires requires(const Vector& v) { v.size; }
void finite(std::string_view function, std::string_view argument, const Vector& v) {
  for (index_t i = 0; i < v.size; ++i)
    if (!std::isfinite(widen<double>(v[i])))
      throw value_error(error_message(function, argument, number_text(widen<double>(v[i])) + " at " + std::to_string(i),
                                      "finite values"));
}
template <class T>
void finite(std::string_view function, std::string_view argument, matrix_view<const T> m) {
  for (index_t r = 0; r < m.rows; ++r)
    for (index_t c = 0; c < m.cols; ++c)
      if (!std::isfinite(widen<double>(m(r, c))))
        throw value_error(error_message(
            function, argument,
            number_text(widen<double>(m(r, c))) + " at row " + std::to_string(r) + ", column " + std::to_string(c),
            "finite values"));
}

/// Observed (1) or censored (0), nothing else.
template <class T>
void event_flags(std::string_view function, std::string_view argument, vector_view<const T> v) {
  for (index_t i = 0; i < v.size; ++i)
    if (v[i] != T(0) && v[i] != T(1))
      throw value_error(error_message(function, argument, number_text(widen<double>(v[i])) + " at " + std::to_string(i),
                                      "0 (censored) or 1 (observed)"));
}

/// Follow-up times: finite and not negative.
template <class T>
void follow_up(std::string_view function, std::string_view argument, vector_view<const T> v) {
  for (index_t i = 0; i < v.size; ++i)
    if (!std::isfinite(widen<double>(v[i])) || v[i] < T(0))
      throw value_error(error_message(function, argument, number_text(widen<double>(v[i])) + " at " + std::to_string(i),
                                      "finite times of 0 or later"));
}

/// Finite numbers that never fall.
template <class T>
void rising(std::string_view function, std::string_view argument, vector_view<const T> v) {
  finite(function, argument, v);
  for (index_t i = 1; i < v.size; ++i)
    if (v[i] < v[i - 1])
      throw value_error(error_message(function, argument, "a fall at " + std::to_string(i), "numbers that never fall"));
}

/// Offsets of ragged bags: from 0 to `rows`, never falling.
inline void offsets(std::string_view function, std::string_view argument, vector_view<const index_t> v, index_t rows) {
  if (v.size < 1 || v[0] != 0 || v[v.size - 1] != rows)
    throw shape_error(
        error_message(function, argument,
                      v.size < 1 ? "no entry" : "from " + std::to_string(v[0]) + " to " + std::to_string(v[v.size - 1]),
                      "from 0 to " + std::to_string(rows) + " (the rows of instances)"));
  for (index_t b = 1; b < v.size; ++b)
    if (v[b] < v[b - 1])
      throw shape_error(
          error_message(function, argument, "a fall at entry " + std::to_string(b), "entries that never fall"));
}

/// Every bag has an instance that takes part; an empty mask leaves none out.
inline void bags(std::string_view function, vector_view<const index_t> offsets, vector_view<const std::uint8_t> mask) {
  for (index_t b = 0; b + 1 < offsets.size; ++b) {
    const index_t count = offsets[b + 1] - offsets[b];
    if (count == 0) throw shape_error(error_message(function, "bag " + std::to_string(b), "0 instances", "1 or more"));
    if (mask.size == 0) continue;
    bool any = false;
    for (index_t n = offsets[b]; n < offsets[b + 1]; ++n) any = any || mask[n] != 0;
    if (!any)
      throw value_error(error_message(
          function, "mask", "all " + std::to_string(count) + " instances of bag " + std::to_string(b) + " masked",
          "1 or more that take part"));
  }
}

}  // namespace stroma::check
