#pragma once
#include <cstdint>
#include <string_view>

#include <stroma/backend/primitives.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/loss.hpp>
#include <stroma/core/number_view.hpp>

namespace stroma {

/// Checks that must look at a tensor's elements, made where they lie: at once on the host, on a device by a kernel
/// whose finding is reported when the host next waits (backend/cuda/context.cuh). Each has the arguments of the named
/// check in core/check.hpp after the context.
template <class Backend>
struct value_checks {
  static_assert(std::same_as<Backend, void>, "device data: include the .cuh beside the header and compile with nvcc");
};

template <>
struct value_checks<backend::cpu> {
  using context = cpu_context;

  /// A vector, a number_view or a matrix.
  template <class View>
  static void finite(context&, std::string_view function, std::string_view argument, const View& v) {
    check::finite(function, argument, v);
  }
  template <class T>
  static void event_flags(context&, std::string_view function, std::string_view argument, vector_view<const T> v) {
    check::event_flags(function, argument, v);
  }
  template <class T>
  static void follow_up(context&, std::string_view function, std::string_view argument, vector_view<const T> v) {
    check::follow_up(function, argument, v);
  }
  template <class T>
  static void rising(context&, std::string_view function, std::string_view argument, vector_view<const T> v) {
    check::rising(function, argument, v);
  }
  /// Finite and not negative, in a vector or a number_view.
  template <class View>
  static void weights(context&, std::string_view function, std::string_view argument, const View& v) {
    detail::check_weights(function, argument, v);
  }
  /// Finite, and every one before its time.
  template <class T>
  static void entries(context&, std::string_view function, std::string_view argument, const number_view<>& entry,
                      vector_view<const T> time) {
    for (index_t i = 0; i < entry.size; ++i)
      if (const double e = entry[i]; !std::isfinite(e) || !(e < widen<double>(time[i])))
        throw value_error(error_message(function, argument, number_text(e) + " at " + std::to_string(i),
                                        "finite numbers below their times"));
  }
  /// 0 .. count - 1
  template <class T>
  static void labels(context&, std::string_view function, std::string_view argument, vector_view<const T> v,
                     index_t count) {
    detail::check_labels(function, argument, v, count);
  }
  /// 0 or 1
  template <class T>
  static void classes(context&, std::string_view function, std::string_view argument, vector_view<const T> v) {
    detail::check_classes(function, argument, v);
  }
  /// 0 to 1, in a vector or a matrix
  template <class View>
  static void probabilities(context&, std::string_view function, std::string_view argument, const View& v) {
    detail::check_probabilities(function, argument, v);
  }
  static void offsets(context&, std::string_view function, std::string_view argument, vector_view<const index_t> v,
                      index_t rows) {
    check::offsets(function, argument, v, rows);
  }
  /// Every bag has an instance that takes part; an empty mask leaves none out.
  static void bags(context&, std::string_view function, vector_view<const index_t> offsets, index_t rows,
                   vector_view<const std::uint8_t> mask) {
    if (mask.size > 0) check::length(function, "mask", mask.size, rows, "the rows of instances");
    check::bags(function, offsets, mask);
  }
};

}  // namespace stroma
