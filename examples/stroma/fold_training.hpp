#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <stroma/core/context.hpp>
#include <stroma/train/folds.hpp>

#include "data.hpp"
#include "model.hpp"

namespace program {

enum class optimizer_kind { sgd, adam, adamw };
enum class schedule_kind { constant, cosine };
enum class standardise_kind { automatic, training, none };

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

/// One model of a cross-validation.
struct fold_job {
  int repetition, fold;
  stroma::split parts;
};

/// What the training tells and where it keeps its state.
struct fold_hooks {
  std::function<void(int epoch, double loss)> on_epoch;
  std::filesystem::path checkpoint;
  int checkpoint_every = 0;  ///< epochs; 0: every half minute
  bool resume = false;
  std::string run;  ///< what a checkpoint must have been made with
};

struct trained_fold {
  trained_model model;
  int epochs = 0;                   ///< that the kept model has seen
  std::optional<double> loss;       ///< of the last epoch
};

/// Deterministic: the same bits for any number of threads, and when it was killed and resumed.
[[nodiscard]] trained_fold train_fold(stroma::cpu_context& ctx, const bag_source& bags, const targets& known, const training_recipe& recipe,
                                      const fold_job& job, const fold_hooks& hooks);

}  // namespace program
