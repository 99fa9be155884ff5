#pragma once
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <stroma/core/context.hpp>
#include <stroma/train/folds.hpp>

#include "data.hpp"
#include "spec.hpp"
#include "train_options.hpp"

namespace program {

/// What is trained on.
struct cohort {
  bag_source bags;
  targets known;
};

/// One model of a cross-validation.
struct fold_job {
  int repetition, fold;
  stroma::split parts;
};

/// What a fold's model says of its test bags.
struct judged_fold {
  std::vector<prediction> predictions;                  ///< in the order of the fold's test bags
  std::vector<std::pair<std::string, double>> metrics;  ///< the first is the one that tables show
  index_t events = 0;                                   ///< among the test patients
  int epochs = 0;                                       ///< that the model has seen
  std::optional<double> loss;                           ///< of the last epoch, if it was trained now
};

[[nodiscard]] cohort read_cohort(const train_options& options);
/// Whether folds are asked for by their number, not by a file.
[[nodiscard]] bool is_number(const std::string& folds);
/// @throws stroma::value_error, stroma::format_error  folds without events, bags without a fold ...
[[nodiscard]] std::vector<fold_job> plan_folds(const train_options& options, const cohort& data);
/// Trains a fold's model, or takes it from its file if an earlier run had finished it (--resume), and judges it.
/// @param on_epoch  told the mean loss after each epoch
[[nodiscard]] judged_fold run_fold(stroma::cpu_context& ctx, const train_options& options, const cohort& data,
                                   const fold_job& job, const std::function<void(double)>& on_epoch);
/// Removes what an earlier run left of this fold.
void forget_fold(const train_options& options, const fold_job& job);

/// metrics.json, risks.csv or predictions.csv, attention; and the table on the screen.
void write_results(const train_options& options, const cohort& data, const std::vector<fold_job>& jobs,
                   const std::vector<judged_fold>& judged);

}  // namespace program
