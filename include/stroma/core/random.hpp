#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <stroma/core/view.hpp>

namespace stroma {

/// N words of 32 bits; unlike std::array's, the accessors compile for a device without a compiler flag.
template <int N>
struct random_words {
  std::uint32_t word[N];
  [[nodiscard]] STROMA_HOST_DEVICE constexpr std::uint32_t& operator[](std::size_t i) { return word[i]; }
  [[nodiscard]] STROMA_HOST_DEVICE constexpr const std::uint32_t& operator[](std::size_t i) const { return word[i]; }
  friend bool operator==(const random_words&, const random_words&) = default;
};

/// Philox 4x32-10: a counter-based generator. The numbers are a pure function of key and counter, so they do not
/// depend on the order or the thread in which they are drawn, and are the same on every backend.
/// Reference: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
[[nodiscard]] STROMA_HOST_DEVICE constexpr random_words<4> philox(random_words<4> counter, random_words<2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// What a random draw in training belongs to. Two draws with the same key and element give the same number.
struct random_key {
  std::uint64_t seed{};
  std::uint32_t step{};   ///< optimiser step, epoch, fold: whatever makes this use of the layer different
  std::uint32_t layer{};  ///< which consumer
  /// Added to step by whoever draws, from its own memory: work that was recorded once and is run again, as a CUDA graph
  /// is, draws anew where the number has changed. Null: nothing is added.
  const std::uint32_t* clock{};

  [[nodiscard]] STROMA_HOST_DEVICE constexpr std::uint32_t current_step() const {
    return clock == nullptr ? step : step + *clock;
  }
  /// Four words for the elements 4 * group .. 4 * group + 3.
  [[nodiscard]] STROMA_HOST_DEVICE constexpr random_words<4> words(std::uint64_t group) const {
    return philox({static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32), current_step(), layer},
                  {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  }
};

/// A word as a number in [0, 1), on a grid of 2^-24: exact in float.
[[nodiscard]] STROMA_HOST_DEVICE constexpr float unit_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

/// Draws one after another from one key: initialisation, shuffles, simulation. Satisfies
/// uniform_random_bit_generator; its own distributions are the same on every platform, the standard ones are not.
class random_stream {
 public:
  using result_type = std::uint32_t;
  explicit constexpr random_stream(random_key key) : key_(key) {}
  explicit constexpr random_stream(std::uint64_t seed, std::uint32_t step = 0, std::uint32_t layer = 0)
      : key_{seed, step, layer} {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return 0xffffffffu; }
  constexpr result_type operator()() {
    if (at_ == 4) {
      words_ = key_.words(group_++);
      at_ = 0;
    }
    return words_[static_cast<std::size_t>(at_++)];
  }
  /// Uniform on [0, 1), 53 bits.
  constexpr double uniform() {
    const std::uint64_t high = (*this)() >> 5, low = (*this)() >> 6;
    return static_cast<double>(high * 67108864u + low) * 0x1p-53;
  }
  constexpr double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform on 0 .. bound - 1 without bias; bound above 0.
  constexpr std::uint32_t below(std::uint32_t bound) {
    std::uint64_t product = std::uint64_t{(*this)()} * bound;
    if (static_cast<std::uint32_t>(product) < bound) {  // Lemire 2019: reject the short first interval
      const std::uint32_t threshold = (0u - bound) % bound;
      while (static_cast<std::uint32_t>(product) < threshold) product = std::uint64_t{(*this)()} * bound;
    }
    return static_cast<std::uint32_t>(product >> 32);
  }
  /// Standard normal (Box and Muller).
  double normal() {
    const double radius = std::sqrt(-2 * std::log1p(-uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }
  /// Exponential with mean 1.
  double exponential() { return -std::log1p(-uniform()); }
  /// Fisher and Yates.
  template <class Range>
  constexpr void shuffle(Range& range) {
    for (auto i = range.size(); i > 1; --i) {
      const auto j = static_cast<decltype(i)>(below(static_cast<std::uint32_t>(i)));
      std::swap(range[i - 1], range[j]);
    }
  }

 private:
  random_key key_;
  std::uint64_t group_ = 0;
  random_words<4> words_{};
  int at_ = 4;
};

}  // namespace stroma
