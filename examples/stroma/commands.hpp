#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cohort_model.hpp"
#include "json_option.hpp"
#include "train_options.hpp"

/// The subcommands: their options, as the command line fills them, and what they do. (That of merge: merge.hpp.)
namespace program {

struct simulate_options {
  std::string out;
  simulation_options model;
};
void simulate(const simulate_options& options);

void train(const train_options& options);

struct predict_options {
  std::string model, bags, out, attention;
  int threads = 1;
};
void predict(const predict_options& options);

struct evaluate_options {
  std::string table, time, event, score, group;
  std::vector<std::string> fold;
  bool censored = false;
  json_option as_json;
  std::string plots;  ///< folder for a picture of each group, or empty
};
void evaluate(const evaluate_options& options);

}  // namespace program
