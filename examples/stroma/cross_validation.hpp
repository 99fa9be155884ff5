#pragma once
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "data.hpp"
#include "fold_training.hpp"
#include "train_options.hpp"

namespace program {

/// What is trained on.
struct cohort {
  bag_source bags;
  targets known;
};

/// What a fold's model says of its test bags.
struct judged_fold {
  std::vector<prediction> predictions;                   ///< in the order of the fold's test bags
  std::vector<std::pair<std::string, double>> metrics;  ///< the first is the one that tables show
  index_t events = 0;
  int epochs = 0;
};

[[nodiscard]] cohort read_cohort(const train_options& options);
/// @throws stroma::value_error, stroma::format_error  folds without events, bags without a fold ...
[[nodiscard]] std::vector<fold_job> plan_folds(const train_options& options, const cohort& data);
[[nodiscard]] judged_fold judge(stroma::cpu_context& ctx, const cohort& data, const fold_job& job, const trained_model& model);

/// metrics.json, risks.csv or predictions.csv, attention; and the table on the screen.
void write_results(const train_options& options, const cohort& data, const std::vector<fold_job>& jobs, const std::vector<judged_fold>& judged);

[[nodiscard]] std::filesystem::path model_file(const std::filesystem::path& out, const fold_job& job);
[[nodiscard]] std::filesystem::path checkpoint_file(const std::filesystem::path& out, const fold_job& job);
void remove_checkpoint(const std::filesystem::path& out, const fold_job& job);
/// Removes what an earlier run left of this fold.
void forget(const std::filesystem::path& out, const fold_job& job);

}  // namespace program
