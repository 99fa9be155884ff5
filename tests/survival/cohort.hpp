#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/error.hpp>

#include "support/message_of.hpp"

/// Patients for the tests of losses and metrics.
template <class T = double>
struct cohort {
  std::vector<T> score, time, weight;
  std::vector<std::uint8_t> event;
  std::vector<T> entry{};
  std::vector<int> stratum{};
};

/// Times are whole numbers below `times`, scores multiples of 1/8: ties of every kind. Weights are multiples of 1/8.
/// Entries are whole numbers too, a third of them before all times; strata have labels from -1 to 3.
template <class T = double>
cohort<T> random_cohort(std::size_t n, int times, unsigned seed, double spread = 1) {
  std::mt19937 draw(seed);
  cohort<T> c;
  for (std::size_t i = 0; i < n; ++i) {
    c.time.push_back(static_cast<T>(draw() % static_cast<unsigned>(times)));
    c.score.push_back(static_cast<T>(spread * (static_cast<double>(draw() % 33) - 16) / 8));
    c.weight.push_back(static_cast<T>(static_cast<double>(1 + draw() % 15) / 8));
    c.event.push_back(static_cast<std::uint8_t>(draw() % 3 != 0));
  }
  std::mt19937 more(seed + 1000);
  for (std::size_t i = 0; i < n; ++i) {
    const auto since = static_cast<double>(more() % static_cast<unsigned>(times)) + 1;
    c.entry.push_back(more() % 3 == 0 ? T(-1) : static_cast<T>(static_cast<double>(c.time[i]) - since));
    c.stratum.push_back(static_cast<int>(more() % 5) - 1);
  }
  return c;
}

/// Row `from[i]` becomes row i.
template <class T>
std::vector<T> permuted(const std::vector<T>& x, const std::vector<std::size_t>& from) {
  std::vector<T> y;
  for (const std::size_t i : from) y.push_back(x[i]);
  return y;
}
inline std::vector<std::size_t> random_permutation(std::size_t n, unsigned seed) {
  std::vector<std::size_t> p(n);
  for (std::size_t i = 0; i < n; ++i) p[i] = i;
  std::mt19937 draw(seed);
  for (std::size_t i = n; i > 1; --i) std::swap(p[i - 1], p[draw() % i]);
  return p;
}

/// Every element followed by others that must not be read.
template <class T>
std::vector<T> spread_out(const std::vector<T>& x, std::size_t step, T other) {
  std::vector<T> y(x.size() * step, other);
  for (std::size_t i = 0; i < x.size(); ++i) y[i * step] = x[i];
  return y;
}
template <class T>
stroma::vector_view<T> strided(std::vector<T>& x, stroma::index_t step) {
  return {x.data(), static_cast<stroma::index_t>(x.size()) / step, step};
}

/// A plain table of text: columns by name.
inline std::map<std::string, std::vector<std::string>> read_columns(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw std::runtime_error("cannot read " + file.string());
  std::map<std::string, std::vector<std::string>> columns;
  std::vector<std::string> names;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    std::size_t column = 0;
    for (std::size_t at = 0; at <= line.size(); ++column) {
      const std::size_t end = std::min(line.find(',', at), line.size());
      const std::string cell = line.substr(at, end - at);
      if (names.size() == column && columns.empty()) names.push_back(cell);
      else columns[names.at(column)].push_back(cell);
      at = end + 1;
      if (end == line.size()) break;
    }
    if (columns.empty())
      for (const auto& name : names) columns[name];
  }
  return columns;
}
inline std::vector<double> numbers(const std::vector<std::string>& text) {
  std::vector<double> x;
  for (const auto& t : text) x.push_back(std::stod(t));
  return x;
}
