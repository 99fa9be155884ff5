#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include <stroma/core/context.hpp>

#include "cross_validation.hpp"
#include "model.hpp"

namespace program {

/// What the training tells and where it keeps its state.
struct fold_hooks {
  std::function<void(double loss)> on_epoch;
  std::filesystem::path checkpoint;
  int checkpoint_every = 0;  ///< epochs; 0: every half minute
  bool resume = false;
  std::string run;  ///< what a checkpoint must have been made with
};

struct trained_fold {
  trained_model model;
  std::optional<double> loss;  ///< of the last epoch
};

/// Deterministic: the same bits for any number of threads, and when it was killed and resumed.
[[nodiscard]] trained_fold train_fold(stroma::cpu_context& ctx, const bag_source& bags, const targets& known,
                                      const training_recipe& recipe, const fold_job& job, const fold_hooks& hooks);

}  // namespace program
