#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <stroma/models/abmil.hpp>
#include <stroma/models/pooled_mil.hpp>

#include "data.hpp"

namespace program {

enum class task_kind { survival, classes };
enum class pooling_kind { mean, max, attention, gated };
enum class loss_kind { cox, nll, ce, bce };

/// The names on the command line and in files.
inline const std::map<std::string, task_kind> task_names{{"survival", task_kind::survival}, {"class", task_kind::classes}};
inline const std::map<std::string, pooling_kind> pooling_names{
    {"mean", pooling_kind::mean}, {"max", pooling_kind::max}, {"attention", pooling_kind::attention}, {"gated", pooling_kind::gated}};
inline const std::map<std::string, loss_kind> loss_names{
    {"cox", loss_kind::cox}, {"nll", loss_kind::nll}, {"ce", loss_kind::ce}, {"bce", loss_kind::bce}};

template <class Value>
[[nodiscard]] std::string name_of(const std::map<std::string, Value>& names, Value value) {
  for (const auto& [name, v] : names)
    if (v == value) return name;
  return {};
}

/// All that is needed to build a model and to read its output. Stands as JSON in the model's file.
struct model_spec {
  task_kind task = task_kind::survival;
  pooling_kind pooling = pooling_kind::gated;
  loss_kind loss = loss_kind::cox;
  stroma::abmil_shape shape;
  std::vector<double> bin_edges;  ///< inner edges of the time bins, for nll

  [[nodiscard]] bool has_attention() const { return pooling == pooling_kind::attention || pooling == pooling_kind::gated; }
};

[[nodiscard]] nlohmann::ordered_json to_json(const model_spec& spec);

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

  static auto members(auto& self) { return std::tuple{stroma::member{"", self.model}, stroma::member{"input", self.input}}; }
};

/// @param run  what the model was trained with; kept as text, compared when a run goes on
void save_model(const std::filesystem::path& path, const trained_model& model, const std::string& run);
/// @throws stroma::format_error  not a model of this program, or not what its description says (the tensor is named)
[[nodiscard]] trained_model load_model(const std::filesystem::path& path);
/// The `run` text of a model file.
[[nodiscard]] std::string run_of_model(const std::filesystem::path& path);

/// What a model says of one bag.
struct prediction {
  std::vector<float> logits;
  stroma::array<float, 2> attention;  ///< [instances, heads], or empty
};
[[nodiscard]] prediction predict(stroma::graph<float>& inference, const slide_model& model, const bag_source& bags, index_t bag);

/// The log hazard, or minus the expected lifetime in bins: larger is worse.
[[nodiscard]] double risk(const model_spec& spec, const prediction& p);
/// The probability to outlive each time bin.
[[nodiscard]] std::vector<double> survival_curve(const prediction& p);
/// The probabilities of the classes, and the number of the largest.
[[nodiscard]] std::vector<double> probabilities(const prediction& p);
[[nodiscard]] int predicted_class(const std::vector<double>& probabilities);

}  // namespace program
