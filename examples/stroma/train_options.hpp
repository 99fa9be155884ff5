#pragma once
#include <cstdint>
#include <string>

#include "spec.hpp"

namespace program {

enum class optimizer_kind { sgd, adam, adamw };
enum class schedule_kind { constant, cosine };
enum class standardise_kind { automatic, training, none };
inline const name_table<optimizer_kind> optimizer_names{
    {"sgd", optimizer_kind::sgd}, {"adam", optimizer_kind::adam}, {"adamw", optimizer_kind::adamw}};
inline const name_table<schedule_kind> schedule_names{{"constant", schedule_kind::constant},
                                                      {"cosine", schedule_kind::cosine}};
inline const name_table<standardise_kind> standardise_names{
    {"auto", standardise_kind::automatic}, {"train", standardise_kind::training}, {"none", standardise_kind::none}};

/// How a model is trained: everything that its parameters depend on beside the data.
struct training_recipe {
  model_spec model;  ///< features, outputs and bin edges are filled in from the data
  optimizer_kind optimizer = optimizer_kind::adamw;
  double learning_rate = 1e-3, momentum = 0.9, weight_decay = 1e-4;
  bool decay_matrices_only = false;
  schedule_kind schedule = schedule_kind::constant;
  int warm_up = 0;  ///< epochs
  int epochs = 50;
  int batch = 0;  ///< bags an optimiser step; 0: all of the training part
  bool drop_last = false;
  std::uint64_t seed = 42;
  double alpha = 0.5;  ///< nll: how much of the censored patients' loss is left out
  int bins = 4;
  double bin_width = 0;  ///< 0: quantiles of the training part's event times
  standardise_kind standardise = standardise_kind::automatic;
  int patience = 0;  ///< 0: no early stopping
  double validation = 0.2;
};

/// Columns of the clinical table.
struct clinical_columns {
  std::string id = "patient", time = "time", event = "event", cohort = "cohort", label = "label";
  bool censored = false;  ///< the event column says 1 for censored
};

/// The command line of `stroma train`.
struct train_options {
  std::string bags, clinical, out, folds = "5";
  clinical_columns columns;
  training_recipe recipe;
  int repeats = 1, threads = 1, checkpoint_every = 0;
  bool resume = false, quiet = false;
};

/// Everything that the models depend on, as text.
[[nodiscard]] std::string run_text(const train_options& options);

}  // namespace program
