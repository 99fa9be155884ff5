#pragma once
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <stroma/core/array.hpp>

namespace program {

using stroma::index_t;

enum class task_kind { survival, classes };
enum class pooling_kind { mean, max, attention, gated };
enum class loss_kind { cox, nll, ce, bce };

/// The names on the command line and in files.
template <class Value>
using name_table = std::map<std::string, Value>;
inline const name_table<task_kind> task_names{{"survival", task_kind::survival}, {"class", task_kind::classes}};
inline const name_table<pooling_kind> pooling_names{{"mean", pooling_kind::mean},
                                                    {"max", pooling_kind::max},
                                                    {"attention", pooling_kind::attention},
                                                    {"gated", pooling_kind::gated}};
inline const name_table<loss_kind> loss_names{
    {"cox", loss_kind::cox}, {"nll", loss_kind::nll}, {"ce", loss_kind::ce}, {"bce", loss_kind::bce}};

template <class Value>
[[nodiscard]] std::string name_of(const name_table<Value>& names, Value value) {
  for (const auto& [name, v] : names)
    if (v == value) return name;
  return {};
}

/// All that is needed to build a model and to read its output. Stands as JSON in the model's file.
struct model_spec {
  task_kind task = task_kind::survival;
  pooling_kind pooling = pooling_kind::gated;
  loss_kind loss = loss_kind::cox;
  index_t features = 0;                       ///< of a patch
  std::vector<index_t> hidden{256, 128, 64};  ///< widths of the layers on each patch
  index_t attention = 64;                     ///< hidden width of the attention
  index_t heads = 1;
  index_t outputs = 1;  ///< classes, time bins, or 1 for a score
  double dropout = 0;
  std::vector<double> bin_edges;  ///< inner edges of the time bins, for nll

  [[nodiscard]] bool has_attention() const {
    return pooling == pooling_kind::attention || pooling == pooling_kind::gated;
  }
};

[[nodiscard]] nlohmann::ordered_json to_json(const model_spec& spec);
/// @throws stroma::format_error  in the name of the file the text comes from
[[nodiscard]] model_spec read_spec(const std::string& text, const std::string& file);

/// What a model says of one bag.
struct prediction {
  std::vector<float> logits;
  stroma::array<float, 2> attention;  ///< [patches, heads], or empty
};

/// The log hazard, or minus the expected lifetime in bins: larger is worse.
[[nodiscard]] double risk(const model_spec& spec, const prediction& p);
/// The probability to outlive each time bin.
[[nodiscard]] std::vector<double> survival_curve(const prediction& p);
/// The probabilities of the classes, and the number of the largest.
[[nodiscard]] std::vector<double> probabilities(const prediction& p);
[[nodiscard]] int predicted_class(const std::vector<double>& probabilities);

}  // namespace program
