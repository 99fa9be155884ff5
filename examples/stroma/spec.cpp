#include "spec.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <nlohmann/json.hpp>

#include <stroma/core/loss.hpp>
#include <stroma/io/file_error.hpp>

namespace program {
namespace {

using json = nlohmann::ordered_json;

/// The value of a name; the file may say anything.
template <class Value>
Value value_of(const name_table<Value>& names, const std::string& name) {
  const auto found = names.find(name);
  if (found == names.end()) throw json::other_error::create(501, "unknown name '" + name + "'", nullptr);
  return found->second;
}

index_t extent(const json& value) {
  const auto n = value.get<std::int64_t>();
  if (n < 1 || n > 1'000'000) throw json::other_error::create(501, "an extent of " + std::to_string(n), nullptr);
  return static_cast<index_t>(n);
}

model_spec from_json(const json& j) {
  model_spec spec;
  spec.task = value_of(task_names, j.at("task"));
  spec.pooling = value_of(pooling_names, j.at("pooling"));
  spec.loss = value_of(loss_names, j.at("loss"));
  spec.features = extent(j.at("features"));
  spec.hidden.clear();
  for (const json& width : j.at("hidden")) spec.hidden.push_back(extent(width));
  spec.attention = extent(j.at("attention"));
  spec.heads = extent(j.at("heads"));
  spec.outputs = extent(j.at("outputs"));
  spec.dropout = j.at("dropout").get<double>();
  spec.bin_edges = j.at("bin_edges").get<std::vector<double>>();
  return spec;
}

}  // namespace

json to_json(const model_spec& s) {
  return {{"task", name_of(task_names, s.task)},
          {"pooling", name_of(pooling_names, s.pooling)},
          {"loss", name_of(loss_names, s.loss)},
          {"features", s.features},
          {"hidden", s.hidden},
          {"attention", s.attention},
          {"heads", s.heads},
          {"outputs", s.outputs},
          {"dropout", s.dropout},
          {"bin_edges", s.bin_edges}};
}

model_spec read_spec(const std::string& text, const std::string& file) {
  try {
    return from_json(json::parse(text));
  } catch (const json::exception& error) {
    stroma::detail::refuse_file("load_model", file + ": model",
                                "a description that cannot be read (" + std::string(error.what()) + ")",
                                "what `stroma train` wrote");
  }
}

double risk(const model_spec& spec, const prediction& p) {
  if (spec.loss == loss_kind::cox) return static_cast<double>(p.logits[0]);
  double lifetime = 0;
  for (const double survival : survival_curve(p)) lifetime += survival;
  return -lifetime;
}

std::vector<double> survival_curve(const prediction& p) {
  std::vector<double> curve;
  double survival = 1;
  for (const float z : p.logits) curve.push_back(survival *= stroma::detail::logistic(-static_cast<double>(z)));
  return curve;
}

std::vector<double> probabilities(const prediction& p) {
  if (p.logits.size() == 1) {
    const auto z = static_cast<double>(p.logits[0]);
    return {stroma::detail::logistic(-z), stroma::detail::logistic(z)};
  }
  const auto peak = static_cast<double>(*std::max_element(p.logits.begin(), p.logits.end()));
  std::vector<double> result;
  double sum = 0;
  for (const float z : p.logits) sum += result.emplace_back(std::exp(static_cast<double>(z) - peak));
  for (double& q : result) q /= sum;
  return result;
}

int predicted_class(const std::vector<double>& p) {
  // At one half a pair of classes is the second's, as in stroma::binary_accuracy.
  if (p.size() == 2) return p[1] >= p[0] ? 1 : 0;
  return static_cast<int>(std::max_element(p.begin(), p.end()) - p.begin());
}

}  // namespace program
