#pragma once
#include <array>
#include <cmath>
#include <type_traits>

#include <stroma/backend/cpu/host_kernels.hpp>
#include <stroma/core/half.hpp>
#include <stroma/core/view.hpp>

#if STROMA_HOST_KERNELS
// g++ 12 takes the undefined operand of its own 512-bit intrinsics for a mistake (bug 105593), wherever they are
// inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <Eigen/Core>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace stroma::detail {

/// The widest packet that Eigen has for T under this translation unit's flags.
template <class T>
inline constexpr int native_lanes = Eigen::internal::packet_traits<T>::size;

#if defined(__GNUC__) && !defined(__clang__)  // the same
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
/// Packets of T with a fixed number of lanes: a thin naming of Eigen's packet functions, of which stroma uses only
/// those below. `Lanes` is part of every kernel's type, so two translation units built with different SIMD flags never
/// share a kernel's code.
template <class T, int Lanes = native_lanes<T>>
struct simd {
  using packet = typename Eigen::internal::packet_traits<T>::type;
  static_assert(Eigen::internal::packet_traits<T>::size == Lanes);
  static constexpr int lanes = Lanes;

  static EIGEN_STRONG_INLINE packet load(const T* p) { return Eigen::internal::ploadu<packet>(p); }
  static EIGEN_STRONG_INLINE void store(T* p, const packet& v) { Eigen::internal::pstoreu(p, v); }
  static EIGEN_STRONG_INLINE packet set(T value) { return Eigen::internal::pset1<packet>(value); }
  static EIGEN_STRONG_INLINE packet add(const packet& a, const packet& b) { return Eigen::internal::padd(a, b); }
  static EIGEN_STRONG_INLINE packet sub(const packet& a, const packet& b) { return Eigen::internal::psub(a, b); }
  static EIGEN_STRONG_INLINE packet mul(const packet& a, const packet& b) { return Eigen::internal::pmul(a, b); }
  static EIGEN_STRONG_INLINE packet div(const packet& a, const packet& b) { return Eigen::internal::pdiv(a, b); }
  /// a * b + c, fused where the processor can.
  static EIGEN_STRONG_INLINE packet fma(const packet& a, const packet& b, const packet& c) {
    return Eigen::internal::pmadd(a, b, c);
  }
  static EIGEN_STRONG_INLINE packet max(const packet& a, const packet& b) { return Eigen::internal::pmax(a, b); }
  static EIGEN_STRONG_INLINE packet min(const packet& a, const packet& b) { return Eigen::internal::pmin(a, b); }
  static EIGEN_STRONG_INLINE packet abs(const packet& a) { return Eigen::internal::pabs(a); }
  static EIGEN_STRONG_INLINE packet negate(const packet& a) { return Eigen::internal::pnegate(a); }
  static EIGEN_STRONG_INLINE packet less(const packet& a, const packet& b) { return Eigen::internal::pcmp_lt(a, b); }
  static EIGEN_STRONG_INLINE packet equal(const packet& a, const packet& b) { return Eigen::internal::pcmp_eq(a, b); }
  static EIGEN_STRONG_INLINE packet select(const packet& mask, const packet& yes, const packet& no) {
    return Eigen::internal::pselect(mask, yes, no);
  }
  static EIGEN_STRONG_INLINE T sum(const packet& a) { return Eigen::internal::predux(a); }
  static EIGEN_STRONG_INLINE T largest(const packet& a) { return Eigen::internal::predux_max(a); }

  /// The first `count` < Lanes elements; the others are zero.
  static EIGEN_STRONG_INLINE packet load_part(const T* p, index_t count) {
    alignas(64) std::array<T, Lanes> buffer{};
    for (index_t i = 0; i < count; ++i) buffer[static_cast<std::size_t>(i)] = p[i];
    return load(buffer.data());
  }
  static EIGEN_STRONG_INLINE void store_part(T* p, index_t count, const packet& v) {
    alignas(64) std::array<T, Lanes> buffer;
    store(buffer.data(), v);
    for (index_t i = 0; i < count; ++i) p[i] = buffer[static_cast<std::size_t>(i)];
  }
  /// f of every lane, for functions without a packet form.
  template <class F>
  static EIGEN_STRONG_INLINE packet each(const packet& v, F f) {
    alignas(64) std::array<T, Lanes> buffer;
    store(buffer.data(), v);
    for (T& x : buffer) x = f(x);
    return load(buffer.data());
  }

  /// e^x, within 2 ulp; 0 below the smallest normal result, NaN stays NaN.
  static EIGEN_STRONG_INLINE packet exp(const packet& x) {
    // Eigen clamps its argument, so what is below the range would come out as the smallest normal number.
    const packet low = set(std::is_same_v<T, float> ? T(-87.3) : T(-708.3));
    packet y;
    // Eigen's own choice for 512 bits errs by 4.6 ulp and is infinite from 88.38 on.
    if constexpr (std::is_same_v<T, float> && Lanes > 1) y = Eigen::internal::pexp_float(x);
    else y = Eigen::internal::pexp(x);
    y = select(less(x, low), set(T(0)), y);
    return select(equal(x, x), y, x);
  }
  /// 1 / (1 + e^-x), within 3 ulp, without overflow.
  static EIGEN_STRONG_INLINE packet sigmoid(const packet& x) {
    const packet e = exp(negate(abs(x))), one = set(T(1));
    const packet high = div(one, add(one, e));
    return select(less(x, set(T(0))), mul(e, high), high);
  }
  /// Within 6 ulp (float: rational approximation of Eigen; double: the C library, lane by lane).
  static EIGEN_STRONG_INLINE packet tanh(const packet& x) {
    if constexpr (std::is_same_v<T, float> && Lanes > 1) return select(equal(x, x), Eigen::internal::ptanh(x), x);
    else return each(x, [](T v) { return std::tanh(v); });
  }
};
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // g++: vector types as template arguments
/// A square of elements transposed in registers. 512-bit packets go by halves: g++ 12 warns of its own 512-bit
/// shuffles (bug 105593), and every program that embeds this would see it.
template <class T, int Lanes>
struct square_transpose {
  using whole = typename simd<T, Lanes>::packet;
  using packet = std::conditional_t<sizeof(whole) == 64, typename Eigen::internal::unpacket_traits<whole>::half, whole>;
  static constexpr int lanes = sizeof(whole) == 64 ? Lanes / 2 : Lanes;

  /// out[j * out_stride + i] = in[i * in_stride + j] for i < rows, zero for the others; stores whole packets.
  static EIGEN_STRONG_INLINE void run(const T* in, index_t in_stride, index_t rows, T* out, index_t out_stride) {
    Eigen::internal::PacketBlock<packet, lanes> block;
    for (int i = 0; i < lanes; ++i)
      block.packet[i] =
          i < rows ? Eigen::internal::ploadu<packet>(in + i * in_stride) : Eigen::internal::pset1<packet>(T(0));
    Eigen::internal::ptranspose(block);
    for (int j = 0; j < lanes; ++j) Eigen::internal::pstoreu(out + j * out_stride, block.packet[j]);
  }
};
/// out[0 .. count - 1] = in[0 .. count - 1], by packets that overlap at the end; for the short rows of a panel.
template <class T, int Lanes, class S>
EIGEN_STRONG_INLINE void copy_row(index_t count, const S* in, T* out) {
  if constexpr (!std::is_same_v<S, T>) {
    for (index_t i = 0; i < count; ++i) out[i] = widen<T>(in[i]);  // makes packets
    return;
  } else {
    using packet = typename square_transpose<T, Lanes>::packet;
    constexpr index_t step = square_transpose<T, Lanes>::lanes;
    const auto copy = [&](index_t i) { Eigen::internal::pstoreu(out + i, Eigen::internal::ploadu<packet>(in + i)); };
    index_t i = 0;
    for (; i + step <= count; i += step) copy(i);
    if (i == count) return;
    if (count >= step) return copy(count - step);
    for (; i < count; ++i) out[i] = in[i];
  }
}
#pragma GCC diagnostic pop

/// y[i] = f(x[i]) for packets of x; a tail goes through the same packet function, so that an element's result does
/// not depend on where it stands.
template <class T, class F>
void map_packets(index_t count, const T* x, T* y, F f) {
  using s = simd<T>;
  index_t i = 0;
  for (; i + s::lanes <= count; i += s::lanes) s::store(y + i, f(s::load(x + i)));
  if (i < count) s::store_part(y + i, count - i, f(s::load_part(x + i, count - i)));
}
/// z[i] = f(x[i], y[i])
template <class T, class F>
void map_packets(index_t count, const T* x, const T* y, T* z, F f) {
  using s = simd<T>;
  index_t i = 0;
  for (; i + s::lanes <= count; i += s::lanes) s::store(z + i, f(s::load(x + i), s::load(y + i)));
  if (i < count) s::store_part(z + i, count - i, f(s::load_part(x + i, count - i), s::load_part(y + i, count - i)));
}
/// w[i] = f(x[i], y[i], z[i])
template <class T, class F>
void map_packets(index_t count, const T* x, const T* y, const T* z, T* w, F f) {
  using s = simd<T>;
  index_t i = 0;
  for (; i + s::lanes <= count; i += s::lanes) s::store(w + i, f(s::load(x + i), s::load(y + i), s::load(z + i)));
  if (i < count)
    s::store_part(w + i, count - i,
                  f(s::load_part(x + i, count - i), s::load_part(y + i, count - i), s::load_part(z + i, count - i)));
}
/// sum of x[i] y[i], in an order that depends on the count alone.
template <class T>
[[nodiscard]] T dot(index_t count, const T* x, const T* y) {
  using s = simd<T>;
  typename s::packet sums[4] = {s::set(0), s::set(0), s::set(0), s::set(0)};
  index_t i = 0;
  for (; i + 4 * s::lanes <= count; i += 4 * s::lanes)
    for (int u = 0; u < 4; ++u) sums[u] = s::fma(s::load(x + i + u * s::lanes), s::load(y + i + u * s::lanes), sums[u]);
  for (; i + s::lanes <= count; i += s::lanes) sums[0] = s::fma(s::load(x + i), s::load(y + i), sums[0]);
  if (i < count) sums[1] = s::fma(s::load_part(x + i, count - i), s::load_part(y + i, count - i), sums[1]);
  return s::sum(s::add(s::add(sums[0], sums[1]), s::add(sums[2], sums[3])));
}

}  // namespace stroma::detail

#else
namespace stroma::detail {
// The names that templates mention; nothing instantiates those templates.
template <class T>
inline constexpr int native_lanes = 1;
template <class T, int Lanes = native_lanes<T>>
struct simd;
}  // namespace stroma::detail
#endif
