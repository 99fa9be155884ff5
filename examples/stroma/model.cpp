#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include <stroma/core/loss.hpp>
#include <stroma/io/safetensors.hpp>

namespace program {
namespace {

using json = nlohmann::ordered_json;

constexpr auto format = "stroma model", version = "1";

[[noreturn]] void refuse(const stroma::safetensors_reader& file, const std::string& what, const std::string& found, const std::string& expected) {
  stroma::detail::refuse_file("load_model", file.file() + ": " + what, found, expected);
}

/// The value of a name; the file may say anything.
template <class Value>
Value value_of(const std::map<std::string, Value>& names, const std::string& name) {
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
  spec.shape.features = extent(j.at("features"));
  spec.shape.hidden.clear();
  for (const json& width : j.at("hidden")) spec.shape.hidden.push_back(extent(width));
  spec.shape.attention = extent(j.at("attention"));
  spec.shape.heads = extent(j.at("heads"));
  spec.shape.outputs = extent(j.at("outputs"));
  spec.shape.dropout = j.at("dropout").get<double>();
  spec.bin_edges = j.at("bin_edges").get<std::vector<double>>();
  return spec;
}

std::string metadata(const stroma::safetensors_reader& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? std::string() : found->second;
}

/// The parameters a description asks for must be in the file before memory is taken for them.
void check_size(const stroma::safetensors_reader& file, const model_spec& spec) {
  double numbers = static_cast<double>(spec.shape.outputs), width = static_cast<double>(spec.shape.features);
  for (const index_t next : spec.shape.hidden) numbers += width * static_cast<double>(next), width = static_cast<double>(next);
  numbers += width * static_cast<double>(spec.has_attention() ? spec.shape.attention : 0);
  double held = 0;
  for (const auto& tensor : file.tensors()) held += static_cast<double>(tensor.size());
  if (numbers > held)
    refuse(file, "model", "a model of at least " + std::to_string(static_cast<long long>(numbers)) + " numbers described, " +
                              std::to_string(static_cast<long long>(held)) + " in the file", "all of them");
}

}  // namespace

json to_json(const model_spec& s) {
  return {{"task", name_of(task_names, s.task)},
          {"pooling", name_of(pooling_names, s.pooling)},
          {"loss", name_of(loss_names, s.loss)},
          {"features", s.shape.features},
          {"hidden", s.shape.hidden},
          {"attention", s.shape.attention},
          {"heads", s.shape.heads},
          {"outputs", s.shape.outputs},
          {"dropout", s.shape.dropout},
          {"bin_edges", s.bin_edges}};
}

slide_model::slide_model(const model_spec& spec) {
  switch (spec.pooling) {
    case pooling_kind::gated: gated.emplace(spec.shape); break;
    case pooling_kind::attention: plain.emplace(spec.shape); break;
    case pooling_kind::mean: pooled.emplace(spec.shape, stroma::instance_pooling::mean); break;
    case pooling_kind::max: pooled.emplace(spec.shape, stroma::instance_pooling::max); break;
  }
}

stroma::abmil_output slide_model::operator()(stroma::graph<float>& g, stroma::node bag) const {
  if (gated) return (*gated)(g, bag);
  if (plain) return (*plain)(g, bag);
  return {(*pooled)(g, bag), stroma::node{}};
}

void save_model(const std::filesystem::path& path, const trained_model& model, const std::string& run) {
  stroma::save_parameters(path, model, {{"format", format}, {"version", version}, {"model", to_json(model.spec).dump()}, {"run", run}});
}

trained_model load_model(const std::filesystem::path& path) {
  const stroma::safetensors_reader file(path);
  for (const auto& [key, expected] : {std::pair{"format", format}, std::pair{"version", version}})
    if (metadata(file, key) != expected) refuse(file, key, stroma::detail::in_quotes(metadata(file, key)), stroma::detail::in_quotes(expected));
  trained_model result;
  try {
    result.spec = from_json(json::parse(metadata(file, "model")));
  } catch (const json::exception& error) {
    refuse(file, "model", "a description that cannot be read (" + std::string(error.what()) + ")", "what `stroma train` wrote");
  }
  check_size(file, result.spec);
  result.model = slide_model(result.spec);
  if (file.find("input.mean") != nullptr)
    result.input = standardisation{stroma::array<float, 1>(result.spec.shape.features), stroma::array<float, 1>(result.spec.shape.features)};
  stroma::load_parameters(file, result);
  return result;
}

std::string run_of_model(const std::filesystem::path& path) { return metadata(stroma::safetensors_reader(path), "run"); }

prediction predict(stroma::graph<float>& g, const slide_model& model, const bag_source& bags, index_t bag) {
  g.reset();
  const auto out = bags.visit(bag, [&](auto instances) { return model(g, g.input(instances)); });
  const auto logits = g.value(out.logits).row(0);
  prediction p;
  for (index_t k = 0; k < logits.size; ++k) p.logits.push_back(logits[k]);
  if (out.attention.id >= 0) {
    const auto a = g.value(out.attention);
    p.attention = stroma::array<float, 2>(a.rows, a.cols);
    for (index_t r = 0; r < a.rows; ++r)
      for (index_t h = 0; h < a.cols; ++h) p.attention(r, h) = a(r, h);
  }
  return p;
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
