#pragma once
#include <cmath>
#include <cstdint>

#include <stroma/core/half.hpp>

namespace stroma::detail {

/// Without a jump that a loop of them could not be vectorised for: k is whole, from -1022 to 1023.
[[nodiscard]] STROMA_HOST_DEVICE constexpr double power_of_two(double k) {
  // Added to 1.5 2^52, a whole number stands in the lowest bits.
  constexpr double whole = 6755399441055744.0;
  return bits_as<double>((bits_as<std::uint64_t>(k + whole) + 1023) << 52);
}

/// A number m 2^(512 e). e is whole, and |m| lies within 2^-256 .. 2^256 when it is made: sums and products of
/// exponentials of any finite scores neither overflow nor vanish, and numbers of one e, which is all of them unless
/// scores are hundreds apart, are added as plain numbers are. m = 0 is zero whatever e. NaN, once in m or e, stays.
struct wide_number {
  double m, e;

  static constexpr double granule = 0x1p512;

  STROMA_HOST_DEVICE wide_number& operator+=(const wide_number& b) {
    if (e == b.e) m += b.m;
    else *this = joined(*this, b);
    return *this;
  }
  friend STROMA_HOST_DEVICE wide_number operator+(wide_number a, const wide_number& b) { return a += b; }
  friend STROMA_HOST_DEVICE wide_number operator*(const wide_number& a, const wide_number& b) {
    return normalised(a.m * b.m, a.e + b.e);
  }
  friend STROMA_HOST_DEVICE wide_number operator*(const wide_number& a, double b) { return a * of(b); }

  /// Any finite number.
  static STROMA_HOST_DEVICE wide_number of(double x) {
    const wide_number once = normalised(x, 0);
    return normalised(once.m, once.e);
  }
  /// The same number with |m| in range, where |m| is within 2^-768 .. 2^768.
  static STROMA_HOST_DEVICE wide_number normalised(double m, double e) {
    const double size = std::fabs(m);
    if (size >= 0x1p256) return {m / granule, e + 1};
    if (size < 0x1p-256 && m != 0) return {m * granule, e - 1};
    return {m, e};
  }

 private:
  /// Of two numbers that are two granules apart the smaller is below the other's rounding.
  static STROMA_HOST_DEVICE wide_number joined(const wide_number& a, const wide_number& b) {
    if (b.m == 0) return a;
    if (a.m == 0) return b;
    const wide_number& large = a.e < b.e ? b : a;
    const wide_number& small = a.e < b.e ? a : b;
    if (large.e - small.e >= 2) return large;
    return {large.m + small.m / granule, large.e + (small.e - small.e)};
  }
};

/// The number itself; infinite, or 0, where it is beyond a double's range.
[[nodiscard]] STROMA_HOST_DEVICE inline double to_double(wide_number x) {
  if (x.e == 0) return x.m;
  double e = x.e > 4 ? 4 : x.e < -4 ? -4 : x.e;  // four granules are more than a double has
  for (; e > 0; --e) x.m *= wide_number::granule;
  for (; e < 0; ++e) x.m /= wide_number::granule;
  return x.m;
}
/// a / b for b that is not 0.
[[nodiscard]] STROMA_HOST_DEVICE inline double ratio(const wide_number& a, const wide_number& b) {
  return to_double({a.m / b.m, a.e - b.e});
}
[[nodiscard]] STROMA_HOST_DEVICE inline wide_number reciprocal(const wide_number& x) {
  return wide_number::normalised(1 / x.m, -x.e);
}
/// a / b of a weight and a sum that is not 0.
[[nodiscard]] STROMA_HOST_DEVICE inline wide_number quotient(double a, const wide_number& b) { return {a / b.m, -b.e}; }
[[nodiscard]] STROMA_HOST_DEVICE inline double mantissa(const wide_number& x) { return x.m; }
[[nodiscard]] STROMA_HOST_DEVICE inline double exponent(const wide_number& x) { return x.e; }

/// The same of numbers that are known to stay in a double's range.
[[nodiscard]] STROMA_HOST_DEVICE inline double to_double(double x) { return x; }
[[nodiscard]] STROMA_HOST_DEVICE inline double ratio(double a, double b) { return a / b; }
[[nodiscard]] STROMA_HOST_DEVICE inline double reciprocal(double x) { return 1 / x; }
[[nodiscard]] STROMA_HOST_DEVICE inline double quotient(double a, double b) { return a / b; }
[[nodiscard]] STROMA_HOST_DEVICE inline double mantissa(double x) { return x; }
[[nodiscard]] STROMA_HOST_DEVICE inline double exponent(double) { return 0; }

inline constexpr double log2_e = 1.4426950408889634;
/// log 2 in two parts that together have 106 bits.
inline constexpr double log_2 = 0x1.62e42fefa39efp-1, log_2_rest = 0x1.abc9e3b39803fp-56;
inline constexpr double log_granule = 512 * log_2;

/// log(x) for x above 0; its error is a rounding of log m and of e log 2^512.
[[nodiscard]] STROMA_HOST_DEVICE inline double log(const wide_number& x) { return std::log(x.m) + x.e * log_granule; }

/// exp(score) of any finite score. Up to 2^60 in size only exp of a number within +-log(2)/2 is rounded: the relative
/// error is that of std::exp there, for scores of 1e4 as for 1. Beyond, where neighbouring scores are 256 or more
/// apart, it is that of a score moved by a rounding.
[[nodiscard]] STROMA_HOST_DEVICE inline wide_number wide_exp(double score) {
  if (!(std::fabs(score) < 0x1p60)) return {1 + (score - score), std::rint(score / log_granule)};
  const double k = std::rint(score * log2_e), e = std::rint(k / 512);
  const double rest = std::fma(-k, log_2_rest, std::fma(-k, log_2, score));
  return {std::exp(rest) * power_of_two(k - 512 * e), e};
}
/// w exp(score); 0 where the weight is, whatever the score.
[[nodiscard]] STROMA_HOST_DEVICE inline wide_number weighted_exp(double weight, double score) {
  if (!(weight > 0)) return {0, 0};
  const wide_number x = wide_exp(score);
  return weight == 1 ? x : x * weight;
}

}  // namespace stroma::detail
