#pragma once
#include <string>

#include "fold_training.hpp"

namespace CLI {
class App;
}

namespace program {

/// The command line of `stroma train`.
struct train_options {
  std::string bags, clinical, out, folds = "5";
  clinical_columns columns;
  training_recipe recipe;
  int repeats = 1, threads = 1, checkpoint_every = 0;
  bool resume = false, quiet = false;
};

void add_train_options(CLI::App& command, train_options& options);
/// Fills in the defaults that depend on other options, and refuses options that contradict each other.
void settle(train_options& options, const CLI::App& command);
/// Everything that the models depend on, as text.
[[nodiscard]] std::string run_text(const train_options& options);

}  // namespace program
