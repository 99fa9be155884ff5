#pragma once
#include <cmath>
#include <cstdint>

#include <stroma/core/view.hpp>
#include <stroma/survival/detail/wide_number.hpp>

/// exp and log of many numbers, in loops without calls or jumps, which compilers turn into SIMD code.
namespace stroma::detail {

/// Numbers that are worked on at a time. A constant: a compiler then vectorises without being asked twice.
inline constexpr index_t elementary_block = 256;

/// log 2 as a number of 32 bits, whose products with whole numbers of 21 bits are exact, and what it lacks.
inline constexpr double log_2_head = 0x1.62e42feep-1, log_2_tail = 0x1.a39ef35793c76p-33;

/// m[i] 2^(512 e[i]) = exp(score[i]) for a whole block of finite scores, within 1 ulp of exp as wide_exp(score).
inline void wide_exp_block(const double* score, double* __restrict m, double* __restrict e) {
  constexpr double whole = 6755399441055744.0;  // 1.5 2^52: what is added to it is rounded to a whole number
  constexpr std::uint64_t limit = bits_as<std::uint64_t>(0x1p20), sign = std::uint64_t{1} << 63;
  std::uint64_t beyond = 0;  // its sign: of the differences, one of which is negative if a score is beyond the limit
  for (index_t i = 0; i < elementary_block; ++i) beyond |= limit - 1 - (bits_as<std::uint64_t>(score[i]) & ~sign);
  for (index_t i = 0; i < elementary_block; ++i) {
    const double k = (score[i] * log2_e + whole) - whole;
    const double r = (score[i] - k * log_2_head) - k * log_2_tail;
    double p = 1.0 / 6227020800;  // Taylor's series to r^13 / 13!: what is left out is below 2^-57
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    e[i] = (k * (1.0 / 512) + whole) - whole;
    m[i] = (1 + (r + r * r * p)) * power_of_two(k - 512 * e[i]);
  }
  for (index_t i = 0; i < elementary_block && (beyond & sign) != 0; ++i) {
    if (std::fabs(score[i]) < 0x1p20) continue;
    const wide_number x = wide_exp(score[i]);
    m[i] = x.m;
    e[i] = x.e;
  }
}

/// x[i] becomes log(x[i]) for a whole block of normal numbers above 0, within 2 ulp; log(1) is 0, NaN stays NaN.
inline void log_block(double* x) {
  constexpr std::uint64_t root_half = bits_as<std::uint64_t>(0x1.6a09e667f3bcdp-1);
  constexpr std::uint64_t bias = 1024, two_52 = bits_as<std::uint64_t>(0x1p52);
  for (index_t i = 0; i < elementary_block; ++i) {
    const auto bits = bits_as<std::uint64_t>(x[i]);
    const std::uint64_t shifted = (bits - root_half + (bias << 52)) >> 52;  // bias + k: x = m 2^k, m around 1
    const double k = bits_as<double>(shifted | two_52) - (0x1p52 + static_cast<double>(bias));
    const auto m = bits_as<double>(bits - ((shifted - bias) << 52));
    // log m = 2 artanh s, |s| < 0.172: what is left out of the series is below 2^-58
    const double s = (m - 1) / (m + 1), z = s * s;
    double p = 2.0 / 21;
    p = p * z + 2.0 / 19;
    p = p * z + 2.0 / 17;
    p = p * z + 2.0 / 15;
    p = p * z + 2.0 / 13;
    p = p * z + 2.0 / 11;
    p = p * z + 2.0 / 9;
    p = p * z + 2.0 / 7;
    p = p * z + 2.0 / 5;
    p = p * z + 2.0 / 3;
    x[i] = k * log_2_head + (k * log_2_tail + (s * z * p + 2 * s)) + (x[i] - x[i]);
  }
}

/// sum of w log(x) + whole log(2^512), taken together by blocks; blocks are summed as trees and joined with what their
/// sums round off, so that the error is that of the terms.
class log_sum {
 public:
  void add(double weight, double x, double whole = 0) {
    weight_[filled_] = weight;
    x_[filled_] = x;
    whole_ += whole;
    if (++filled_ == elementary_block) flush();
  }
  [[nodiscard]] double sum() {
    flush();
    return sum_ + (rounded_off_ + whole_ * log_granule);
  }

 private:
  void flush() {
    for (index_t i = filled_; i < elementary_block; ++i) {
      weight_[i] = 0;
      x_[i] = 1;
    }
    filled_ = 0;
    log_block(x_);
    for (index_t i = 0; i < elementary_block; ++i) x_[i] *= weight_[i];
    for (index_t half = elementary_block / 2; half > 0; half /= 2)
      for (index_t i = 0; i < half; ++i) x_[i] += x_[i + half];
    const double sum = sum_ + x_[0];
    rounded_off_ += std::fabs(sum_) >= std::fabs(x_[0]) ? (sum_ - sum) + x_[0] : (x_[0] - sum) + sum_;
    sum_ = sum;
  }

  alignas(64) double weight_[elementary_block], x_[elementary_block];
  index_t filled_ = 0;
  double sum_ = 0, rounded_off_ = 0, whole_ = 0;
};

}  // namespace stroma::detail
