#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <stroma/core/context.hpp>
#include <stroma/io/safetensors_reader.hpp>
#include <stroma/models/abmil.hpp>

#include "cross_validation.hpp"

/// `stroma transfer`: what models of other cancers give to the model of one, under one protocol.
namespace program {

struct transfer_options {
  std::string bags, clinical, out;
  std::string origin, models;  ///< files of theta_0 and of the cancers' models, if they are not to be trained
  std::string folds = "5";     ///< a number, or a file as `stroma train` takes it
  clinical_columns columns;
  std::vector<std::string> targets;  ///< cohorts to transfer to; empty: each in turn
  std::vector<std::string> methods;  ///< of method_names; empty: all
  index_t hidden = 512, attention = 384;
  double dropout = 0.25;
  int bins = 32;
  double bin_width = 365;
  int epochs = 20, batch = 16;
  double learning_rate = 1e-4, weight_decay = 1e-5;
  int top_k = 5;
  double gamma = 0.005, beta = 0.05;
  std::uint64_t seed = 42;
  int threads = 1;
  std::string export_static;  ///< folder for one static encoder a target and fold, or empty
  bool attention_maps = false, quiet = false;
};

/// The published rivals, the controls, and STEPH; in the order of the table.
enum class transfer_method {
  specific,
  fine_tuned,
  joint,
  average,
  iso_c_fixed,
  ada_entropy,
  ties_learned,
  iso_c_learned,
  ada_merging,
  ties_network,
  iso_c_network,
  ada_network,
  roupkt,
  share_0,
  share_1,
  dense,
  learned_weights,
  steph
};
struct method_description {
  transfer_method method;
  const char *name, *text;
};
inline constexpr method_description transfer_methods[] = {
    {transfer_method::specific, "specific", "the target's own model"},
    {transfer_method::fine_tuned, "fine-tuned", "the target's own model, trained as long again"},
    {transfer_method::joint, "joint", "one model trained on all cancers"},
    {transfer_method::average, "average", "mean of all models' task vectors, the target's head"},
    {transfer_method::iso_c_fixed, "iso-c-fixed", "Iso-C of all models' task vectors, the target's head"},
    {transfer_method::ada_entropy, "ada-entropy", "AdaMerging of all models by entropy, no labels, the target's head"},
    {transfer_method::ties_learned, "ties", "TIES with the target, learned weights, new head"},
    {transfer_method::iso_c_learned, "iso-c", "Iso-C with the target, learned weights, new head"},
    {transfer_method::ada_merging, "ada-merging", "learned weights of the sources, new head"},
    {transfer_method::ties_network, "ties+network", "TIES with the target, weights by the hypernetwork"},
    {transfer_method::iso_c_network, "iso-c+network", "Iso-C with the target, weights by the hypernetwork"},
    {transfer_method::ada_network, "ada+network", "sources' vectors, weights by the hypernetwork"},
    {transfer_method::roupkt, "roupkt", "ROUPKT: experts on what all models pool a bag to, heard by a router"},
    {transfer_method::share_0, "share=0", "control: STEPH without the target's vector"},
    {transfer_method::share_1, "share=1", "control: STEPH without any other cancer"},
    {transfer_method::dense, "dense", "control: STEPH with all sources"},
    {transfer_method::learned_weights, "vector-weights", "control: STEPH with the same weights for all bags"},
    {transfer_method::steph, "steph", "STEPH"},
};

/// A cancer's patients, and who is tested in which fold.
struct transfer_cohort {
  std::string name;
  std::vector<stroma::split> folds;
};

using encoder_model = stroma::abmil<float, stroma::gated_attention>;

/// A model that others are made of, and what tells it from every other.
struct base_model {
  encoder_model model;
  std::string fingerprint;
};
/// theta_0, a model for each cohort and fold that is needed, and one of all cohorts together.
struct base_models {
  base_model origin;
  std::vector<std::vector<base_model>> of;  ///< [cohort][fold]
  std::vector<encoder_model> joint;         ///< [fold], or none
  std::string run;                          ///< all that they depend on beside the data, as text
};

/// What STEPH says of a test patient beside the risk.
struct mixture_record {
  index_t bag = 0;
  std::vector<float> weight, share, coefficient;  ///< the last coefficient is the target's
  std::vector<index_t> selected;
  prediction said;  ///< attention only if it is asked for
};

/// A method's risks for the test patients of one fold, in the fold's order.
struct transfer_result {
  std::vector<double> risk;
  std::vector<mixture_record> mixtures;  ///< of STEPH
  std::vector<double> static_risk;       ///< of STEPH: by one encoder, mixed with the training bags' mean coefficients
};

/// What every method works with: one target in one fold. The target's model is that of the fold, those of the other
/// cancers are of fold 0.
struct transfer_fold {
  stroma::cpu_context& ctx;
  const transfer_options& options;
  const cohort& data;
  const std::vector<transfer_cohort>& cohorts;
  const base_models& bases;
  std::size_t target, fold;

  [[nodiscard]] const stroma::split& parts() const { return cohorts[target].folds[fold]; }
  [[nodiscard]] const base_model& own() const { return bases.of[target][fold]; }
  /// The numbers of the sources' cohorts: all but the target.
  [[nodiscard]] std::vector<std::size_t> sources() const {
    std::vector<std::size_t> others;
    for (std::size_t c = 0; c < cohorts.size(); ++c)
      if (c != target) others.push_back(c);
    return others;
  }
  /// Of all cohorts, in their order.
  [[nodiscard]] std::vector<encoder_model> all_models() const {
    std::vector<encoder_model> models;
    for (std::size_t c = 0; c < cohorts.size(); ++c) models.push_back(bases.of[c][c == target ? fold : 0].model);
    return models;
  }
};

/// What a method reaches; joint models must be there for `joint`.
[[nodiscard]] transfer_result run_method(const transfer_fold& fold, transfer_method method);
/// STEPH, its controls, and the merges whose weights are learned on the target's training bags with a new head.
[[nodiscard]] transfer_result run_mixture(const transfer_fold& fold, transfer_method method);

/// ROUPKT: a router and experts on what all cancers' models pool a bag to.
[[nodiscard]] transfer_result run_roupkt(const transfer_fold& fold);
/// AdaMerging as published, by the entropy of what the merged model predicts for the target's training bags.
[[nodiscard]] transfer_result run_entropy(const transfer_fold& fold);

/// Trains the models of these cohorts and folds, or takes those that an earlier run left, or those of the options.
/// @param targets  cohorts whose models are needed in every fold; of the others fold 0 is
[[nodiscard]] base_models train_bases(const transfer_options& options, const cohort& data,
                                      const std::vector<transfer_cohort>& cohorts,
                                      const std::vector<std::size_t>& targets);
/// One model of all cohorts for each fold.
void train_joint(const transfer_options& options, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                 base_models& bases);
/// theta_0, or a model trained from it, from a safetensors file or a PyTorch checkpoint with the published names.
/// @throws stroma::format_error, stroma::value_error  names the file and what does not fit
[[nodiscard]] encoder_model read_origin(const std::filesystem::path& file, encoder_model shape);
[[nodiscard]] encoder_model read_tuned(const std::filesystem::path& file, const base_model& origin);
/// `pattern` with {cohort} and {fold} filled in.
[[nodiscard]] std::filesystem::path models_file(const std::string& pattern, const std::string& cohort,
                                                std::size_t fold);
/// A file that says what its model was tuned from says `origin`. @throws stroma::value_error  names both
void require_origin(const stroma::safetensors_reader& file, const std::string& origin);
/// What a file was trained with: metadata `run`. @throws stroma::format_error  it is not `run`
void require_run(const stroma::safetensors_reader& file, const std::string& run);

/// The results of a method for a target, fold by fold.
struct method_results {
  method_description method;
  std::size_t target;
  std::vector<transfer_result> folds;
};
/// transfer.json, c_index.csv, what STEPH says of each patient, and the table on the screen.
void write_transfer(const transfer_options& options, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                    const std::vector<method_results>& results);
/// What STEPH says of each patient of a target: mixtures_TARGET.csv, attention_TARGET.safetensors.
void write_patients(const transfer_options& options, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                    const method_results& steph);
[[nodiscard]] double concordance_of(const cohort& data, const std::vector<index_t>& bags,
                                    const std::vector<double>& risk);

/// Runs job(number, context) for all numbers, several at once if there are threads for it, each with a context of its
/// own.
void run_jobs(const transfer_options& options, const std::string& title, std::size_t count,
              const std::function<void(std::size_t, stroma::cpu_context&)>& job);

void transfer(const transfer_options& options);

}  // namespace program
