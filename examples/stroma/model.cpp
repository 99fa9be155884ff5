#include "model.hpp"

#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

#include <stroma/io/safetensors.hpp>

namespace program {
namespace {

constexpr auto format = "stroma model", version = "1";

[[noreturn]] void refuse(const stroma::safetensors_reader& file, const std::string& what, const std::string& found,
                         const std::string& expected) {
  stroma::detail::refuse_file("load_model", file.file() + ": " + what, found, expected);
}

std::string metadata(const stroma::safetensors_reader& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? std::string() : found->second;
}

/// The parameters a description asks for must be in the file before memory is taken for them.
void check_size(const stroma::safetensors_reader& file, const model_spec& spec) {
  double numbers = static_cast<double>(spec.outputs), width = static_cast<double>(spec.features);
  for (const index_t next : spec.hidden)
    numbers += width * static_cast<double>(next), width = static_cast<double>(next);
  numbers += width * static_cast<double>(spec.has_attention() ? spec.attention : 0);
  double held = 0;
  for (const auto& tensor : file.tensors()) held += static_cast<double>(tensor.size());
  if (numbers > held)
    refuse(file, "model",
           "a model of at least " + std::to_string(static_cast<long long>(numbers)) + " numbers described, " +
               std::to_string(static_cast<long long>(held)) + " in the file",
           "all of them");
}

}  // namespace

slide_model::slide_model(const model_spec& spec) {
  const stroma::abmil_shape shape{spec.features, spec.hidden, spec.attention, spec.heads, spec.outputs, spec.dropout};
  switch (spec.pooling) {
    case pooling_kind::gated:
      gated.emplace(shape);
      break;
    case pooling_kind::attention:
      plain.emplace(shape);
      break;
    case pooling_kind::mean:
      pooled.emplace(shape, stroma::instance_pooling::mean);
      break;
    case pooling_kind::max:
      pooled.emplace(shape, stroma::instance_pooling::max);
      break;
  }
}

stroma::abmil_output slide_model::operator()(stroma::graph<float>& g, stroma::node bag) const {
  if (gated) return (*gated)(g, bag);
  if (plain) return (*plain)(g, bag);
  return {(*pooled)(g, bag), stroma::node{}};
}

void save_model(const std::filesystem::path& path, const trained_model& model, const std::string& run) {
  stroma::save_parameters(path, model,
                          {{"format", format},
                           {"version", version},
                           {"model", to_json(model.spec).dump()},
                           {"run", run},
                           {"epochs", std::to_string(model.epochs)}});
}

trained_model load_model(const std::filesystem::path& path) {
  const stroma::safetensors_reader file(path);
  for (const auto& [key, expected] : {std::pair{"format", format}, std::pair{"version", version}})
    if (metadata(file, key) != expected)
      refuse(file, key, stroma::detail::in_quotes(metadata(file, key)), stroma::detail::in_quotes(expected));
  trained_model result;
  result.spec = read_spec(metadata(file, "model"), file.file());
  check_size(file, result.spec);
  result.model = slide_model(result.spec);
  if (file.find("input.mean") != nullptr)
    result.input =
        standardisation{stroma::array<float, 1>(result.spec.features), stroma::array<float, 1>(result.spec.features)};
  stroma::load_parameters(file, result);
  const std::string epochs = metadata(file, "epochs");
  std::from_chars(epochs.data(), epochs.data() + epochs.size(), result.epochs);
  return result;
}

std::string run_of_model(const std::filesystem::path& path) {
  return metadata(stroma::safetensors_reader(path), "run");
}

prediction predict(stroma::graph<float>& g, const slide_model& model, const bag_source& bags, index_t bag) {
  g.reset();
  const stroma::node input = bags.visit(bag, [&](auto instances) { return g.input(instances); });
  return read_prediction(g, model(g, input));
}

prediction read_prediction(stroma::graph<float>& g, const stroma::abmil_output& out) {
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

}  // namespace program
