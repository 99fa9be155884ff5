// The models that everything in `stroma transfer` is made of: theta_0, a model for each cancer and fold, joint models.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

#include <nlohmann/json.hpp>

#include <stroma/io/safetensors.hpp>
#include <stroma/taskvector/fingerprint.hpp>

#include "program.hpp"
#include "transfer.hpp"
#include "transfer_training.hpp"

namespace program {
namespace {

std::filesystem::path base_file(const transfer_options& o, const std::string& name, std::size_t fold) {
  return std::filesystem::path(o.out) / "base" / (name + "_fold" + std::to_string(fold) + ".safetensors");
}

/// All that the base models depend on beside the data.
std::string run_of(const transfer_options& o, const std::string& origin, const std::vector<transfer_cohort>& cohorts) {
  std::vector<index_t> tested;  // bags of each fold in turn, folds set apart
  for (const transfer_cohort& c : cohorts)
    for (const stroma::split& fold : c.folds) {
      tested.insert(tested.end(), fold.test.begin(), fold.test.end());
      tested.push_back(-1);
    }
  const std::string folds = stroma::fingerprint({{"tested",
                                                  stroma::tensor_type_of<std::int64_t>,
                                                  {static_cast<index_t>(tested.size())},
                                                  std::as_bytes(std::span(tested))}});
  return json{
      {"origin", origin},        {"epochs", o.epochs},  {"batch", o.batch},         {"learning_rate", o.learning_rate},
      {"decay", o.weight_decay}, {"bins", o.bins},      {"bin_width", o.bin_width}, {"folds", folds},
      {"seed", o.seed},          {"dropout", o.dropout}}
      .dump();
}

/// A folder has one theta_0: what lies in it belongs to that one.
void keep_origin(const std::filesystem::path& file, const base_model& origin) {
  if (!std::filesystem::exists(file))
    return stroma::save_parameters(file, origin.model, {{"fingerprint", origin.fingerprint}});
  encoder_model kept = origin.model;
  stroma::load_parameters(file, kept);
  stroma::detail::require_same_base("transfer", file.string(), stroma::fingerprint_of(kept), origin.fingerprint);
}

encoder_model train_or_take(stroma::cpu_context& ctx, const transfer_options& o, const cohort& data,
                            const std::filesystem::path& file, const std::vector<index_t>& bags,
                            const base_models& bases) {
  const base_model& origin = bases.origin;
  encoder_model model = origin.model;
  if (std::filesystem::exists(file)) {
    const stroma::safetensors_reader reader(file);
    require_origin(reader, origin.fingerprint);
    require_run(reader, bases.run);
    stroma::load_parameters(reader, model);
    return model;
  }
  model = train_encoder(ctx, o, data, bags, std::move(model));
  stroma::save_parameters(file, model, {{"run", bases.run}, {"base", origin.fingerprint}});
  return model;
}

}  // namespace

void require_origin(const stroma::safetensors_reader& file, const std::string& origin) {
  const auto base = file.metadata().find("base");
  if (base != file.metadata().end()) stroma::detail::require_same_base("transfer", file.file(), base->second, origin);
}

void require_run(const stroma::safetensors_reader& file, const std::string& run) {
  const auto found = file.metadata().find("run");
  if (found == file.metadata().end() || found->second != run)
    stroma::detail::refuse_file("transfer", file.file(), "a model trained with other options",
                                "the same options, or another --out");
}

base_models train_bases(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                        const std::vector<std::size_t>& targets) {
  base_models bases;
  bases.origin.model = untrained(o, data.bags.features());
  if (!o.origin.empty()) bases.origin.model = read_origin(o.origin, std::move(bases.origin.model));
  bases.origin.fingerprint = stroma::fingerprint_of(bases.origin.model);
  if (o.models.empty()) keep_origin(std::filesystem::path(o.out) / "base" / "theta_0.safetensors", bases.origin);
  bases.run = run_of(o, bases.origin.fingerprint, cohorts);
  std::vector<std::pair<std::size_t, std::size_t>> needed;  // cohort, fold
  for (std::size_t c = 0; c < cohorts.size(); ++c) {
    const std::size_t folds = cohorts[c].folds.size();
    bases.of.emplace_back(folds);
    const bool is_target = std::find(targets.begin(), targets.end(), c) != targets.end();
    for (std::size_t f = 0; f < (is_target ? folds : 1); ++f) needed.emplace_back(c, f);
  }
  run_jobs(o, "models", needed.size(), [&](std::size_t j, stroma::cpu_context& ctx) {
    const auto [c, f] = needed[j];
    base_model& base = bases.of[c][f];
    const std::string& name = cohorts[c].name;
    base.model = o.models.empty() ? train_or_take(ctx, o, data, base_file(o, name, f), cohorts[c].folds[f].train, bases)
                                  : read_tuned(models_file(o.models, name, f), bases.origin);
    base.fingerprint = stroma::fingerprint_of(base.model);
  });
  return bases;
}

void train_joint(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                 base_models& bases) {
  bases.joint.assign(cohorts.front().folds.size(), bases.origin.model);
  run_jobs(o, "joint", bases.joint.size(), [&](std::size_t f, stroma::cpu_context& ctx) {
    std::vector<index_t> bags;
    for (const auto& c : cohorts) bags.insert(bags.end(), c.folds[f].train.begin(), c.folds[f].train.end());
    std::sort(bags.begin(), bags.end());
    bases.joint[f] = train_encoder(ctx, o, data, bags, bases.origin.model);
  });
}

}  // namespace program
