#include "cross_validation.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <unordered_map>

#include <stroma/io/table.hpp>
#include <stroma/metrics/accuracy.hpp>
#include <stroma/metrics/roc_auc.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/train/checkpoint.hpp>

#include "fold_training.hpp"
#include "model.hpp"

namespace program {
namespace {

struct fold_files {
  std::filesystem::path model, checkpoint;
};
fold_files files_of(const train_options& o, const fold_job& job) {
  const std::string name = "rep" + std::to_string(job.repetition) + "_fold" + std::to_string(job.fold) + ".safetensors";
  return {std::filesystem::path(o.out) / name, std::filesystem::path(o.out) / "checkpoints" / name};
}
void remove_checkpoint(const std::filesystem::path& file) {
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  std::filesystem::remove(stroma::previous_checkpoint(file), ignored);
}

template <class T>
std::vector<T> pick(const std::vector<T>& values, const std::vector<index_t>& which) {
  std::vector<T> picked;
  for (const index_t i : which) picked.push_back(values[static_cast<std::size_t>(i)]);
  return picked;
}

/// The fold of each bag in one repetition of a folds file.
std::vector<index_t> folds_in_file(const stroma::table& file, const std::string& column, const bag_source& bags,
                                   const std::unordered_map<std::string, index_t>& row_of) {
  const auto values = file.numbers(column);
  std::vector<index_t> fold;
  for (const std::string& id : bags.ids()) {
    const auto row = row_of.find(id);
    if (row == row_of.end())
      stroma::detail::refuse_file("train", file.file(), "no row of bag '" + id + "'", "a fold for each bag");
    const double f = values[static_cast<std::size_t>(row->second)];
    if (f < 0 || f > 9999 || f != std::floor(f))
      file.refuse("train", row->second, column, "a fold: a whole number from 0");
    fold.push_back(static_cast<index_t>(f));
  }
  return fold;
}

std::vector<std::vector<index_t>> assignments(const train_options& o, const cohort& data) {
  std::vector<std::vector<index_t>> repetitions;
  if (is_number(o.folds)) {
    const index_t folds = std::stol(o.folds.substr(0, 9));
    for (int r = 0; r < o.repeats; ++r)
      repetitions.push_back(
          stroma::assign_folds(data.known.strata(), {.folds = folds,
                                                     .seed = o.recipe.seed + static_cast<std::uint64_t>(r),
                                                     .absent = stroma::absent_class::allow}));
    return repetitions;
  }
  const stroma::table file(o.folds);
  if (file.names().size() < 2)
    stroma::detail::refuse_file("train", file.file(), "one column",
                                "the bag, then a column of folds for each repetition");
  std::unordered_map<std::string, index_t> row_of;
  for (index_t r = 0; r < file.rows(); ++r)
    if (!row_of.emplace(file.text(r, file.names()[0]), r).second)
      file.refuse("train", r, file.names()[0], "each bag once");
  for (std::size_t c = 1; c < file.names().size(); ++c)
    repetitions.push_back(folds_in_file(file, file.names()[c], data.bags, row_of));
  return repetitions;
}

/// Whether concordance exists: an event, and somebody who was followed longer or was censored at that very time.
void check_comparable(const cohort& data, const fold_job& job) {
  stroma::cpu_context ctx;
  const auto time = pick(data.known.time, job.parts.test), event = pick(data.known.event, job.parts.test);
  if (!std::isfinite(stroma::concordance(ctx, time, time, event).value))
    stroma::detail::refuse_file("train",
                                "repetition " + std::to_string(job.repetition) + ", fold " + std::to_string(job.fold),
                                std::to_string(job.parts.test.size()) + " test patients without a comparable pair",
                                "an event and a patient followed longer: fewer folds");
}

using metric_list = std::vector<std::pair<std::string, double>>;

metric_list class_metrics(stroma::cpu_context& ctx, const std::vector<prediction>& predictions,
                          const std::vector<int>& label) {
  const std::size_t outputs = predictions.front().logits.size();
  stroma::array<float, 2> logits(static_cast<index_t>(predictions.size()), static_cast<index_t>(outputs));
  std::vector<double> score;
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    std::copy(predictions[i].logits.begin(), predictions[i].logits.end(), logits.data() + i * outputs);
    score.push_back(
        static_cast<double>(predictions[i].logits.back() - (outputs == 2 ? predictions[i].logits.front() : 0)));
  }
  const double right = outputs == 1 ? stroma::binary_accuracy(ctx, score, label, {.threshold = 0})
                                    : stroma::accuracy(ctx, logits, label);
  if (outputs > 2) return {{"accuracy", right}};
  return {{"accuracy", right}, {"auc", stroma::roc_auc(ctx, score, label)}};
}

judged_fold judge(stroma::cpu_context& ctx, const cohort& data, const fold_job& job, const trained_model& model) {
  judged_fold result;
  const auto scaled = data.bags.standardised_if(model.input);
  stroma::graph<float> g(ctx, stroma::graph_mode::inference);
  for (const index_t b : job.parts.test)
    result.predictions.push_back(predict(g, model.model, scaled ? *scaled : data.bags, b));
  if (model.spec.task == task_kind::classes) {
    result.metrics = class_metrics(ctx, result.predictions, pick(data.known.label, job.parts.test));
    return result;
  }
  std::vector<double> score;
  for (const prediction& p : result.predictions) score.push_back(risk(model.spec, p));
  const auto time = pick(data.known.time, job.parts.test), event = pick(data.known.event, job.parts.test);
  result.events = static_cast<index_t>(std::count(event.begin(), event.end(), 1.0));
  result.metrics = {{"c_index", stroma::concordance(ctx, score, time, event).value}};
  return result;
}

/// The model of one fold: trained, or taken from its file.
trained_fold model_of(stroma::cpu_context& ctx, const train_options& o, const cohort& data, const fold_job& job,
                      const std::function<void(double)>& on_epoch) {
  const auto [file, checkpoint] = files_of(o, job);
  const std::string run = run_text(o);
  if (o.resume && std::filesystem::exists(file)) {
    if (run_of_model(file) != run)
      stroma::detail::refuse_file("train", file.string(), "a model trained with other options",
                                  "the same options, or another --out");
    remove_checkpoint(checkpoint);  // a kill may have come between the model and this
    return {load_model(file), {}};
  }
  auto result =
      train_fold(ctx, data.bags, data.known, o.recipe, job, {on_epoch, checkpoint, o.checkpoint_every, o.resume, run});
  save_model(file, result.model, run);
  remove_checkpoint(checkpoint);
  return result;
}

}  // namespace

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

cohort read_cohort(const train_options& o) {
  bag_source bags(o.bags);
  targets known = o.recipe.model.task == task_kind::survival ? read_survival(bags, o.clinical, o.columns)
                                                             : read_classes(bags, o.clinical, o.columns);
  if (o.recipe.model.loss == loss_kind::bce && known.classes() > 2)
    stroma::detail::refuse_file("train", "labels", std::to_string(known.classes()) + " classes",
                                "0 and 1 with --loss bce (--loss ce takes more)");
  return {std::move(bags), std::move(known)};
}

std::vector<fold_job> plan_folds(const train_options& o, const cohort& data) {
  std::vector<fold_job> jobs;
  int repetition = 0;
  for (const auto& fold : assignments(o, data)) {
    auto splits = stroma::folds_from_assignment(fold);
    if (o.recipe.model.task == task_kind::survival) stroma::check_events(splits, data.known.event);
    for (std::size_t f = 0; f < splits.size(); ++f) {
      jobs.push_back({repetition, static_cast<int>(f), std::move(splits[f])});
      if (o.recipe.model.task == task_kind::survival) check_comparable(data, jobs.back());
    }
    ++repetition;
  }
  return jobs;
}

judged_fold run_fold(stroma::cpu_context& ctx, const train_options& o, const cohort& data, const fold_job& job,
                     const std::function<void(double)>& on_epoch) {
  const trained_fold trained = model_of(ctx, o, data, job, on_epoch);
  judged_fold result = judge(ctx, data, job, trained.model);
  result.epochs = trained.model.epochs;
  result.loss = trained.loss;
  return result;
}

void forget_fold(const train_options& o, const fold_job& job) {
  const auto [file, checkpoint] = files_of(o, job);
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  remove_checkpoint(checkpoint);
}

}  // namespace program
