#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <stroma/models/abmil.hpp>
#include <stroma/models/pooled_mil.hpp>

#include "data.hpp"
#include "spec.hpp"

namespace program {

/// A model whose pooling is chosen while the program runs: one of the three is present, and parameters have its names.
struct slide_model {
  std::optional<stroma::abmil<float, stroma::gated_attention>> gated;
  std::optional<stroma::abmil<float, stroma::plain_attention>> plain;
  std::optional<stroma::pooled_mil<float>> pooled;

  slide_model() = default;
  explicit slide_model(const model_spec& spec);
  static auto members(auto& self) {
    return std::tuple{stroma::member{"", self.gated}, stroma::member{"", self.plain}, stroma::member{"", self.pooled}};
  }
  /// The attention is no node (id -1) where the pooling has none.
  stroma::abmil_output operator()(stroma::graph<float>& g, stroma::node bag) const;
};

/// A trained model as it lies in a file: parameters, and how features are standardised before it sees them.
struct trained_model {
  model_spec spec;
  slide_model model;
  std::optional<standardisation> input;
  int epochs = 0;  ///< that it has seen

  static auto members(auto& self) {
    return std::tuple{stroma::member{"", self.model}, stroma::member{"input", self.input}};
  }
};

/// @param run  what the model was trained with; kept as text, compared when a run goes on
void save_model(const std::filesystem::path& path, const trained_model& model, const std::string& run);
/// @throws stroma::format_error  not a model of this program, or not what its description says (the tensor is named)
[[nodiscard]] trained_model load_model(const std::filesystem::path& path);
/// The `run` text of a model file.
[[nodiscard]] std::string run_of_model(const std::filesystem::path& path);

/// @param inference  a graph that records nothing
[[nodiscard]] prediction predict(stroma::graph<float>& inference, const slide_model& model, const bag_source& bags,
                                 index_t bag);
/// What a graph holds of an answer; without the attention if it is no node.
[[nodiscard]] prediction read_prediction(stroma::graph<float>& g, const stroma::abmil_output& out);

}  // namespace program
