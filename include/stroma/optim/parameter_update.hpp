#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <stroma/backend/cpu/simd.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>

namespace stroma {

/// Which parameters weight decay pulls towards zero: all, or those of two extents, as recipes that spare biases and
/// norms have it (a matrix of one row counts as a matrix).
enum class decay_on { all, matrices };

namespace detail {

/// Elements that one task updates. Fixed, so that sums over pieces do not depend on the number of threads; less work
/// than this costs less than waking a thread.
inline constexpr index_t update_piece = index_t{1} << 16;

/// body(first, count) for the pieces of `count` elements, in parallel.
template <class Context, class Body>
void for_each_piece(Context& ctx, index_t count, Body&& body) {
  ctx.parallel((count + update_piece - 1) / update_piece, [&](index_t piece, int) {
    const index_t first = piece * update_piece;
    body(first, std::min(update_piece, count - first));
  });
}

#if STROMA_HOST_KERNELS
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // g++: vector types as template arguments
/// Packets of at most 256 bits: g++ 12 warns of its own 512-bit roots (bug 105593), and where every element costs a
/// root and a division, or waits for memory, wider ones gain nothing. `Lanes` keeps code of different SIMD flags apart.
template <class T, int Lanes>
struct update_simd {
  using whole = typename simd<T, Lanes>::packet;
  using packet = std::conditional_t<sizeof(whole) == 64, typename Eigen::internal::unpacket_traits<whole>::half, whole>;
  static constexpr int lanes = sizeof(whole) == 64 ? Lanes / 2 : Lanes;

  static EIGEN_STRONG_INLINE packet load(const T* p) { return Eigen::internal::ploadu<packet>(p); }
  static EIGEN_STRONG_INLINE void store(T* p, const packet& v) { Eigen::internal::pstoreu(p, v); }
  static EIGEN_STRONG_INLINE void store(const T*, const packet&) {}  // an array that is only read
  static EIGEN_STRONG_INLINE packet set(T value) { return Eigen::internal::pset1<packet>(value); }
  static EIGEN_STRONG_INLINE packet sub(const packet& a, const packet& b) { return Eigen::internal::psub(a, b); }
  static EIGEN_STRONG_INLINE packet mul(const packet& a, const packet& b) { return Eigen::internal::pmul(a, b); }
  static EIGEN_STRONG_INLINE packet div(const packet& a, const packet& b) { return Eigen::internal::pdiv(a, b); }
  static EIGEN_STRONG_INLINE packet fma(const packet& a, const packet& b, const packet& c) {
    return Eigen::internal::pmadd(a, b, c);
  }
  /// Exact in double, within 2 ulp in float.
  static EIGEN_STRONG_INLINE packet sqrt(const packet& a) { return Eigen::internal::psqrt(a); }
};
#pragma GCC diagnostic pop

/// f(packet of each array ...) by reference, then stores those of non-const elements. A tail goes through the same
/// packets, so that an element's result does not depend on where it stands.
template <class T, int Lanes, class F, class... P>
void update_packets(index_t count, F f, P*... p) {
  using s = update_simd<T, Lanes>;
  const auto update = [&](auto*... at) {
    [&](auto... x) {
      f(x...);
      (s::store(at, x), ...);
    }(s::load(at)...);
  };
  index_t i = 0;
  for (; i + s::lanes <= count; i += s::lanes) update((p + i)...);
  if (i == count) return;
  alignas(64) T tail[sizeof...(P)][static_cast<std::size_t>(s::lanes)] = {};
  [&]<std::size_t... K>(std::index_sequence<K...>) {
    (std::copy_n(p + i, count - i, tail[K]), ...);
    update(static_cast<P*>(tail[K])...);
    const auto keep = [&](auto* to, const T* from) {
      if constexpr (!std::is_const_v<std::remove_pointer_t<decltype(to)>>) std::copy_n(from, count - i, to);
    };
    (keep(p + i, tail[K]), ...);
  }(std::index_sequence_for<P...>{});
}

/// update_packets over whole parameters, in parallel where they are large.
template <class T, int Lanes, class F, class... P>
void update_elements(cpu_context& ctx, index_t count, F f, P*... p) {
  for_each_piece(ctx, count, [&](index_t first, index_t part) { update_packets<T, Lanes>(part, f, (p + first)...); });
}
#else
template <class T, int Lanes>
struct update_simd;
#endif

/// The decay of one parameter.
template <class Array>
[[nodiscard]] constexpr double decay_of(double weight_decay, decay_on scope) {
  return scope == decay_on::all || std::remove_const_t<Array>::rank == 2 ? weight_decay : 0;
}

/// `13 x 7`
template <class Array>
[[nodiscard]] std::string extents_text(const Array& a) {
  std::string text;
  for (const index_t extent : a.extents()) text.append(text.empty() ? "" : " x ").append(std::to_string(extent));
  return text;
}

/// Gradient and state have the extents of the model; asked before anything is written.
template <class Model, class... State>
void check_update(std::string_view function, double learning_rate, const Model& model, const State&... state) {
  if (!std::isfinite(learning_rate) || learning_rate < 0)
    throw value_error(
        error_message(function, "learning_rate", number_text(learning_rate), "a finite number of 0 or more"));
  for_each_parameter(
      [&](std::string_view name, const auto& p, const auto&... others) {
        const auto check = [&](const auto& other) {
          if (other.extents() != p.extents())
            throw shape_error(error_message(function, name, "a gradient or moment of " + extents_text(other),
                                            extents_text(p) + " (the parameter's)"));
        };
        (check(others), ...);
      },
      model, state...);
}

}  // namespace detail
}  // namespace stroma
