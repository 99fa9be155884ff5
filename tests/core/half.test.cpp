#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/half.hpp>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

using stroma::bfloat16;
using stroma::half;

namespace {

/// A format of 16 bits by its definition: sign, exponent, fraction. Shares nothing with the library.
struct format {
  int fraction_bits, bias;
  int exponents() const { return 1 << (15 - fraction_bits); }

  double value(std::uint16_t bits) const {
    const int fraction = bits & ((1 << fraction_bits) - 1), exponent = (bits & 0x7fff) >> fraction_bits;
    const double sign = bits & 0x8000 ? -1 : 1;
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (exponent == exponents() - 1) return fraction != 0 ? std::nan("") : sign * infinity;
    if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
    return sign * std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
  }

  /// Nearest pattern by search over all of them; of two at one distance the even one. What the largest number would
  /// be followed by, were exponents unbounded, stands for infinity, as IEEE 754 has it.
  std::uint16_t nearest(float x) const {
    const auto sign = static_cast<std::uint16_t>(std::signbit(x) ? 0x8000 : 0);
    const double size = std::abs(double{x});
    const auto infinity = static_cast<std::uint16_t>((exponents() - 1) << fraction_bits);
    const auto ordered = [&](int bits) {
      return bits == infinity ? std::ldexp(1, exponents() - 1 - bias) : value(static_cast<std::uint16_t>(bits));
    };
    int low = 0, high = infinity;  // ordered(low) <= size
    if (size >= ordered(infinity)) return static_cast<std::uint16_t>(sign | infinity);
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (ordered(middle) <= size ? low : high) = middle;
    }
    const double below = size - ordered(low), above = ordered(high) - size;  // exact: all have few bits
    const int chosen = below < above || (below == above && low % 2 == 0) ? low : high;
    return static_cast<std::uint16_t>(sign | chosen);
  }
};

constexpr format binary16{10, 15}, brain{7, 127};

std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

/// All that is special, every pattern's neighbourhood and every tie, then a sweep over all exponents.
std::vector<float> interesting(const format& f) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> x{0.0f,
                       -0.0f,
                       infinity,
                       -infinity,
                       std::numeric_limits<float>::denorm_min(),
                       std::numeric_limits<float>::min(),
                       std::numeric_limits<float>::max()};
  for (std::uint32_t p = 0; p < 0x8000; ++p) {
    const double here = f.value(static_cast<std::uint16_t>(p)), next = f.value(static_cast<std::uint16_t>(p + 1));
    if (!std::isfinite(here)) continue;
    const auto middle = static_cast<float>(std::isfinite(next) ? here + (next - here) / 2 : here);
    for (const float at : {static_cast<float>(here), middle})
      for (const float y : {at, std::nextafter(at, infinity), std::nextafter(at, -infinity)}) {
        x.push_back(y);
        x.push_back(-y);
      }
  }
  std::uint32_t state = 12345;
  for (int i = 0; i < 200000; ++i) {
    state = state * 1664525u + 1013904223u;
    if (const auto y = std::bit_cast<float>(state); !std::isnan(y)) x.push_back(y);
  }
  return x;
}

template <class Narrow, class To>
void check_rounding(const format& f, To to) {
  std::size_t wrong = 0;
  float first = 0;
  for (const float x : interesting(f))
    if (to(x).bits != f.nearest(x)) {
      if (wrong++ == 0) first = x;
    }
  CAPTURE(first);
  CHECK(wrong == 0);
}

template <class Narrow>
std::size_t wrong_patterns(const format& f) {
  std::size_t wrong = 0;
  for (std::uint32_t p = 0; p < 0x10000; ++p) {
    const double expected = f.value(static_cast<std::uint16_t>(p));
    const float found = stroma::to_float(Narrow{static_cast<std::uint16_t>(p)});
    const bool same = std::isnan(expected) ? std::isnan(found)
                                           : double{found} == expected && std::signbit(found) == std::signbit(expected);
    if (!same) ++wrong;
  }
  return wrong;
}

}  // namespace

TEST_CASE("half: every pattern widens to its value") { CHECK(wrong_patterns<half>(binary16) == 0); }
TEST_CASE("bfloat16: every pattern widens to its value") { CHECK(wrong_patterns<bfloat16>(brain) == 0); }

TEST_CASE("half: rounds to nearest, ties to even") {
  check_rounding<half>(binary16, [](float x) { return stroma::to_half(x); });
}
TEST_CASE("bfloat16: rounds to nearest, ties to even") {
  check_rounding<bfloat16>(brain, [](float x) { return stroma::to_bfloat16(x); });
}

TEST_CASE("half: every pattern comes back, NaN as NaN of the same sign") {
  for (std::uint32_t p = 0; p < 0x10000; ++p) {
    const half h{static_cast<std::uint16_t>(p)};
    const bfloat16 b{static_cast<std::uint16_t>(p)};
    const half h2 = stroma::to_half(stroma::to_float(h));
    const bfloat16 b2 = stroma::to_bfloat16(stroma::to_float(b));
    const bool ok_half = (p & 0x7fff) > 0x7c00 ? (h2.bits & 0xfe00) == ((p & 0x8000) | 0x7e00) : h2.bits == p;
    const bool ok_brain = (p & 0x7fff) > 0x7f80 ? b2.bits == (p | 0x40) : b2.bits == p;
    if (!ok_half || !ok_brain) FAIL("pattern ", p);
  }
}

TEST_CASE("half: known numbers") {
  CHECK(stroma::to_half(1.0f).bits == 0x3c00);
  CHECK(stroma::to_half(-2.0f).bits == 0xc000);
  CHECK(stroma::to_half(65504.0f).bits == 0x7bff);
  CHECK(stroma::to_half(65519.996f).bits == 0x7bff);
  CHECK(stroma::to_half(65520.0f).bits == 0x7c00);
  CHECK(stroma::to_half(0x1p-24f).bits == 1);
  CHECK(stroma::to_half(0x1p-25f).bits == 0);  // half of the least subnormal: a tie, to even
  CHECK(stroma::to_half(std::nextafter(0x1p-25f, 1.0f)).bits == 1);
  CHECK(stroma::to_half(-0x1p-26f).bits == 0x8000);
  CHECK(stroma::to_bfloat16(3.4e38f).bits == 0x7f80);
  CHECK(std::signbit(stroma::to_float(half{0xfc01})));
  // A NaN whose payload is in the dropped bits must not become infinity.
  CHECK(std::isnan(stroma::to_float(stroma::to_half(std::bit_cast<float>(0x7f800001u)))));
  CHECK(std::isnan(stroma::to_float(stroma::to_bfloat16(std::bit_cast<float>(0x7f800001u)))));
  static_assert(stroma::to_float(half{0x3555}) == 0x1.554p-2f);
  static_assert(stroma::to_half(0.5f).bits == 0x3800);
}

#if defined(__SSE2__)
TEST_CASE("half: a program that flushes subnormal floats to zero gets the same numbers") {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040u);  // flush to zero, denormals are zero
  bool same = true;
  for (std::uint32_t p = 0; p < 0x7c00; ++p) {
    const float x = stroma::to_float(half{static_cast<std::uint16_t>(p)});
    same = same && stroma::to_half(x).bits == p && (p == 0) == (bits_of(x) == 0);
  }
  const bool tiny_is_zero = stroma::to_half(std::bit_cast<float>(1u)).bits == 0;
  _mm_setcsr(before);
  CHECK(same);
  CHECK(tiny_is_zero);
}
#endif

TEST_CASE("half: widen and narrow leave plain numbers alone") {
  static_assert(stroma::is_narrow<half> && stroma::is_narrow<const bfloat16> && !stroma::is_narrow<float>);
  CHECK(stroma::widen<double>(stroma::to_half(0.5f)) == 0.5);
  CHECK(stroma::widen<float>(bfloat16{0x3f80}) == 1.0f);
  CHECK(stroma::widen<double>(3) == 3.0);
  CHECK(stroma::narrow<half>(0.25).bits == 0x3400);
  CHECK(stroma::narrow<bfloat16>(1.0f).bits == 0x3f80);
  CHECK(stroma::narrow<float>(0.1) == 0.1f);
  static_assert(std::is_same_v<stroma::accumulate_t<half>, float>);
  static_assert(std::is_same_v<stroma::accumulate_t<const bfloat16>, float>);
  static_assert(std::is_same_v<stroma::accumulate_t<float>, double>);
  static_assert(std::is_same_v<stroma::accumulate_t<const double>, double>);
}
