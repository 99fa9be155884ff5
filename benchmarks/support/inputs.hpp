#pragma once
#include <cmath>
#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/core/half.hpp>
#include <stroma/core/members.hpp>
#include <stroma/core/random.hpp>

namespace bench {

using stroma::index_t;

/// Uniform on -scale .. scale.
template <class Array>
void fill_random(Array& a, std::uint64_t seed, double scale = 1) {
  stroma::random_stream random(seed);
  for (auto& x : a)
    x = stroma::narrow<typename Array::value_type>(static_cast<float>(scale) * (2 * stroma::unit_float(random()) - 1));
}

/// A matrix that is made once and kept, for a benchmark's function is called anew for every repetition.
template <class S>
const stroma::array<S, 2>& random_matrix(index_t rows, index_t cols, std::uint64_t seed = 1) {
  static std::map<std::tuple<index_t, index_t, std::uint64_t>, stroma::array<S, 2>> made;
  auto& a = made[{rows, cols, seed}];
  if (a.size() == 0) {
    a = {rows, cols};
    fill_random(a, seed);
  }
  return a;
}

/// Parameters as PyTorch's linear layers start: uniform within one over the root of the fan-in.
template <class Model>
void initialise(Model& model, std::uint64_t seed = 1) {
  double fan_in = 1;
  stroma::for_each_parameter(
      [&](std::string_view, auto& p) {
        if constexpr (std::remove_reference_t<decltype(p)>::rank == 2) fan_in = static_cast<double>(p.cols());
        fill_random(p, seed++, 1 / std::sqrt(fan_in));
      },
      model);
}

/// Follow-up of n patients: 40 % events, times on a grid of days, so that some are tied.
struct cohort {
  std::vector<double> time, score;
  std::vector<std::uint8_t> event;

  explicit cohort(index_t n) {
    stroma::random_stream random(static_cast<std::uint64_t>(n));
    for (index_t i = 0; i < n; ++i) {
      score.push_back(random.normal());
      time.push_back(std::ceil(1000 * random.exponential() * std::exp(-score.back() / 2)));
      event.push_back(random.uniform() < 0.4 ? 1 : 0);
    }
  }
  /// Made once and kept.
  static const cohort& of(index_t n) {
    static std::map<index_t, cohort> made;
    return made.try_emplace(n, n).first->second;
  }
};

}  // namespace bench
