#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <stroma/core/context.hpp>
#include <stroma/models/steph.hpp>

#include "cross_validation.hpp"
#include "model.hpp"

/// `stroma transfer`: what models of other cancers give to the model of one, under one protocol.
namespace program {

struct transfer_options {
  std::string bags, clinical, out;
  clinical_columns columns;
  std::vector<std::string> targets;  ///< cohorts to transfer to; empty: each in turn
  std::vector<std::string> methods;  ///< of method_names; empty: all
  index_t hidden = 512, attention = 384;
  double dropout = 0.25;
  int bins = 32;
  double bin_width = 365;
  int folds = 5, epochs = 20, batch = 16;
  double learning_rate = 1e-4, weight_decay = 1e-5;
  int top_k = 5;
  double gamma = 0.005, beta = 0.05;
  std::uint64_t seed = 42;
  int threads = 1;
  bool quiet = false;
};

/// The published rivals, the controls, and STEPH; in the order of the table.
enum class transfer_method {
  specific,
  fine_tuned,
  joint,
  average,
  ties_learned,
  ada_merging,
  ties_network,
  ada_network,
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
    {transfer_method::ties_learned, "ties", "TIES with the target, learned weights, new head"},
    {transfer_method::ada_merging, "ada-merging", "learned weights of the sources, new head"},
    {transfer_method::ties_network, "ties+network", "TIES with the target, weights by the hypernetwork"},
    {transfer_method::ada_network, "ada+network", "sources' vectors, weights by the hypernetwork"},
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

/// The base models that everything is made of: theta_0, a model for each cohort and fold, and of all cohorts together.
struct base_models {
  encoder_model origin;
  std::vector<std::vector<encoder_model>> of;  ///< [cohort][fold]
  std::vector<encoder_model> joint;            ///< [fold], or none
};

/// What STEPH says of a test patient beside the risk.
struct mixture_record {
  index_t bag = 0;
  std::vector<float> weight, share, coefficient;
  std::vector<index_t> selected;
};

/// A method's risks for the test patients of one fold, in the fold's order.
struct transfer_result {
  std::vector<double> risk;
  std::vector<mixture_record> mixtures;  ///< of STEPH
  std::vector<double> static_risk;       ///< of STEPH: by one encoder, mixed with the training bags' mean coefficients
};

/// The part of the work that the fold of a target is.
class transfer_fold {
 public:
  transfer_fold(stroma::cpu_context& ctx, const transfer_options& options, const cohort& data,
                const std::vector<transfer_cohort>& cohorts, const base_models& bases)
      : ctx_(ctx), options_(options), data_(data), cohorts_(cohorts), bases_(bases) {}

  /// @param target, fold  numbers
  [[nodiscard]] transfer_result run(transfer_method method, std::size_t target, std::size_t fold) const;

 private:
  [[nodiscard]] transfer_result mixed(transfer_method method, std::size_t target, std::size_t fold) const;
  [[nodiscard]] transfer_result averaged(std::size_t target, std::size_t fold) const;

  stroma::cpu_context& ctx_;
  const transfer_options& options_;
  const cohort& data_;
  const std::vector<transfer_cohort>& cohorts_;
  const base_models& bases_;
};

/// An untrained model of the options' extents; the same for the same seed.
[[nodiscard]] encoder_model untrained(const transfer_options& options, index_t features);
/// Trains a model on bags with the hazard loss, from where it stands.
[[nodiscard]] encoder_model train_encoder(stroma::cpu_context& ctx, const transfer_options& options, const cohort& data,
                                          const std::vector<index_t>& bags, encoder_model model);
/// Risks of bags: minus the expected number of bins lived.
[[nodiscard]] std::vector<double> risks_by(stroma::cpu_context& ctx, const cohort& data,
                                           const std::vector<index_t>& bags, const encoder_model& model);

void transfer(const transfer_options& options);

}  // namespace program
