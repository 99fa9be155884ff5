#pragma once
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <stroma/core/view.hpp>

/// Patients whose follow-up ends in a bin, and logits for them.
template <class T>
struct discrete_cohort {
  int bins = 0;
  std::vector<T> logit;
  std::vector<std::int64_t> bin;
  std::vector<std::uint8_t> event;

  [[nodiscard]] stroma::matrix_view<const T> logits() const {
    return {logit.data(), static_cast<stroma::index_t>(bin.size()), bins};
  }
  [[nodiscard]] T at(std::size_t row, std::int64_t k) const {
    return logit[row * static_cast<std::size_t>(bins) + static_cast<std::size_t>(k)];
  }
};

template <class T>
discrete_cohort<T> random_discrete(std::size_t rows, int bins, unsigned seed) {
  std::mt19937 draw(seed);
  discrete_cohort<T> c;
  c.bins = bins;
  for (std::size_t r = 0; r < rows; ++r) {
    c.bin.push_back(static_cast<std::int64_t>(draw() % static_cast<unsigned>(bins)));
    c.event.push_back(static_cast<std::uint8_t>(draw() % 2));
    for (int k = 0; k < bins; ++k) c.logit.push_back(static_cast<T>(static_cast<double>(draw() % 1000) / 125 - 4));
  }
  return c;
}
