#pragma once
#include <string>
#include <vector>

#include "optim/model.hpp"
#include "support/message_of.hpp"

/// `count` models tuned from a base: its numbers plus normal ones of the given size.
template <class Model>
std::vector<Model> tuned_from(const Model& base, int count, double size = 0.1, std::uint32_t seed = 100) {
  std::vector<Model> models;
  for (int t = 0; t < count; ++t) {
    Model vector = base;
    fill_normal(vector, seed + static_cast<std::uint32_t>(t), size);
    stroma::for_each_parameter(
        [](std::string_view, auto& v, const auto& b) {
          for (stroma::index_t i = 0; i < v.size(); ++i) v[i] += b[i];
        },
        vector, base);
    models.push_back(vector);
  }
  return models;
}

template <class Model>
Model random_model(std::uint32_t seed, double size = 1) {
  Model model;
  fill_normal(model, seed, size);
  return model;
}
