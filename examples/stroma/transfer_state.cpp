// STEPH's trained parameters on disk.
#include "transfer_state.hpp"

#include <nlohmann/json.hpp>

#include <stroma/io/safetensors.hpp>

#include "program.hpp"
#include "transfer_training.hpp"

namespace program {
namespace {

constexpr auto format = "stroma steph", version = "1";

/// All that the parameters depend on beside the data and the base models.
std::string steph_run(const transfer_options& o, const base_models& bases) {
  json run = json::parse(bases.run);
  run.update({{"top_k", o.top_k}, {"gamma", o.gamma}, {"beta", o.beta}});
  return run.dump();
}

/// The models that the parameters belong to: what each is, and its fingerprint.
stroma::file_metadata models_of(const transfer_fold& f) {
  stroma::file_metadata models{{"theta_0", f.bases.origin.fingerprint},
                               {"target " + f.cohorts[f.target].name, f.own().fingerprint}};
  for (const std::size_t c : f.sources()) models["source " + f.cohorts[c].name] = f.bases.of[c][0].fingerprint;
  return models;
}

/// TARGET_foldN.safetensors
std::filesystem::path file_in(const std::filesystem::path& folder, const transfer_fold& f) {
  return folder / (f.cohorts[f.target].name + "_fold" + std::to_string(f.fold) + ".safetensors");
}
std::filesystem::path steph_file(const transfer_fold& f) {
  return file_in(std::filesystem::path(f.options.out) / "steph", f);
}

}  // namespace

void save_steph(const transfer_fold& f, const stroma::steph<float>& model) {
  stroma::file_metadata metadata = models_of(f);
  metadata.insert({{"format", format}, {"version", version}, {"run", steph_run(f.options, f.bases)}});
  stroma::save_parameters(steph_file(f), model, metadata);
}

bool load_steph(const transfer_fold& f, stroma::steph<float>& model) {
  const auto path = steph_file(f);
  if (!std::filesystem::exists(path)) return false;
  const stroma::safetensors_reader file(path);
  stroma::file_metadata expected = models_of(f);
  expected.insert({{"format", format}, {"version", version}});
  for (const auto& [key, value] : expected) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end() || found->second != value)
      stroma::detail::refuse_file(
          "transfer", file.file() + ": " + key,
          found == file.metadata().end() ? "not among its models" : stroma::detail::in_quotes(found->second),
          stroma::detail::in_quotes(value));
  }
  require_run(file, steph_run(f.options, f.bases));
  stroma::load_parameters(file, model);
  return true;
}

void save_static(const transfer_fold& f, const encoder_model& encoder) {
  const transfer_options& o = f.options;
  trained_model model;
  model.spec = {.loss = loss_kind::nll,
                .features = f.data.bags.features(),
                .hidden = {o.hidden},
                .attention = o.attention,
                .outputs = o.bins,
                .dropout = o.dropout,
                .bin_edges = outcomes::edges(f.ctx, o)};
  model.model.gated = encoder;
  model.epochs = o.epochs;
  save_model(file_in(o.export_static, f), model, steph_run(o, f.bases));
}

}  // namespace program
