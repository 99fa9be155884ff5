#pragma once
#include <string>
#include <tuple>
#include <vector>

#include <stroma/core/members.hpp>
#include <stroma/core/random.hpp>

/// Parameters of all kinds: a matrix, a matrix of one row, vectors, one empty, sizes with and without a tail.
template <class T>
struct small_model {
  stroma::array<T, 2> weight{13, 7}, row{1, 33};
  stroma::array<T, 1> bias{13}, one{1}, none{0};
  static auto members(auto& s) {
    using stroma::member;
    return std::tuple{member{"weight", s.weight}, member{"row", s.row}, member{"bias", s.bias}, member{"one", s.one},
                      member{"none", s.none}};
  }
};

/// One parameter that is worth several threads.
template <class T>
struct large_model {
  stroma::array<T, 2> weight{300, 701};
  static auto members(auto& s) { return std::tuple{stroma::member{"weight", s.weight}}; }
};

template <class Model>
void fill_normal(Model& model, std::uint32_t step, double size = 1) {
  stroma::random_stream random(7, step);
  stroma::for_each_parameter(
      [&](std::string_view, auto& p) {
        for (auto& x : p) x = static_cast<std::remove_reference_t<decltype(x)>>(size * random.normal());
      },
      model);
}

/// All elements one after another, each with whether its parameter has two extents.
template <class Model>
std::vector<long double> flat(const Model& model) {
  std::vector<long double> all;
  stroma::for_each_parameter([&](std::string_view, const auto& p) { all.insert(all.end(), p.begin(), p.end()); },
                             model);
  return all;
}
template <class Model>
std::vector<bool> in_matrix(const Model& model) {
  std::vector<bool> all;
  stroma::for_each_parameter(
      [&](std::string_view, const auto& p) {
        all.insert(all.end(), static_cast<std::size_t>(p.size()), std::remove_reference_t<decltype(p)>::rank == 2);
      },
      model);
  return all;
}
template <class Model>
bool same_bits(const Model& a, const Model& b) {
  return flat(a) == flat(b);
}
