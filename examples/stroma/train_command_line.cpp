// The options of `stroma train`.
#include <memory>
#include <string>
#include <type_traits>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "program.hpp"

namespace program {
namespace {

/// Adds options to one group of the help.
struct group {
  CLI::App& command;
  std::string name;

  template <class T>
  CLI::Option* value(const char* flag, T& target, const char* type, const char* text) const {
    return command.add_option(flag, target, text)->type_name(type)->group(name)->capture_default_str();
  }
  template <class T, class Low, class High>
  CLI::Option* number(const char* flag, T& target, Low low, High high, const char* text) const {
    return value(flag, target, std::is_integral_v<T> ? "N" : "NUMBER", text)
        ->check(CLI::Range(static_cast<T>(low), static_cast<T>(high)).description(""));
  }
  template <class Value>
  CLI::Option* choice(const char* flag, Value& target, const name_table<Value>& names, const char* text) const {
    std::string list;
    for (const auto& [key, v] : names) list.append(list.empty() ? "" : "|").append(key);
    return command.add_option(flag, target, text)
        ->transform(CLI::CheckedTransformer(names).description(""))
        ->type_name(list)
        ->group(name)
        ->default_str(name_of(names, target));
  }
  CLI::Option* flag(const char* name_of_flag, bool& target, const char* text) const {
    return command.add_flag(name_of_flag, target, text)->group(name);
  }
};

void add_data_options(CLI::App& command, train_options& o) {
  const group data{command, "Data"};
  data.value("--bags", o.bags, "PATH",
             "bags of patches: a CSV file (columns bag, label, then features; one row a patch), a safetensors file "
             "(a tensor [patches, features] for each bag) or a folder of those")
      ->required();
  data.value("--clinical", o.clinical, "CSV",
             "follow-up, one row a patient; a bag's name is the patient's, or begins with it up to - _ or .");
  data.value("--id-column", o.columns.id, "COL", "clinical column with the patient");
  data.value("--time-column", o.columns.time, "COL", "clinical column with the follow-up time, 0 or more, any unit");
  data.value("--event-column", o.columns.event, "COL", "clinical column: 1 the event was observed, 0 censored");
  data.flag("--censored", o.columns.censored, "the event column says 1 for censored, 0 for observed");
  data.value("--cohort-column", o.columns.cohort, "COL",
             "clinical column with the cancer, if there is one; folds are stratified by it");
  data.value("--label-column", o.columns.label, "COL",
             "clinical column with the class, where the bags' files have none");
  data.choice(
      "--standardise", o.recipe.standardise, standardise_names,
      "subtract mean and divide by deviation of each feature over the training patches; auto: for CSV bags only");
}

void add_model_options(CLI::App& command, train_options& o) {
  const group model{command, "Model"};
  model_spec& shape = o.recipe.model;
  model.choice("--task", o.recipe.model.task, task_names, "what to predict: survival needs --clinical")
      ->required()
      ->default_str("");
  model.choice("--pooling", o.recipe.model.pooling, pooling_names, "how patches become one vector");
  model.value("--hidden", shape.hidden, "N,N,..", "widths of the ReLU layers on each patch; 0 for none")
      ->delimiter(',')
      ->check(CLI::Range(0, 1000000).description(""))
      ->default_str("256,128,64");
  model.number("--attention", shape.attention, 1, 1000000, "hidden width of the attention");
  model.number("--heads", shape.heads, 1, 1024, "attention heads");
  model.number("--dropout", shape.dropout, 0.0, 0.99, "rate on the attention's hidden units while training");
  model
      .choice("--loss", o.recipe.model.loss, loss_names,
              "cox: partial likelihood (survival's default); nll: discrete hazards in time bins; bce: two classes "
              "(their default); ce: any number")
      ->default_str("");
  model.number("--bins", o.recipe.bins, 2, 1000, "nll: number of time bins");
  model.number("--bin-width", o.recipe.bin_width, 0.0, 1e9,
               "nll: their width in the unit of time; 0: quantiles of the training part's event times");
  model.number("--alpha", o.recipe.alpha, 0.0, 1.0, "nll: part of the censored patients' loss that is left out");
}

void add_training_options(CLI::App& command, train_options& o) {
  const group training{command, "Training"};
  training_recipe& r = o.recipe;
  training.choice("--optimizer", r.optimizer, optimizer_names, "optimiser");
  training.number("--lr", r.learning_rate, 0.0, 1e3, "learning rate");
  training.number("--momentum", r.momentum, 0.0, 0.999999, "sgd: momentum");
  training.number("--weight-decay", r.weight_decay, 0.0, 1e3,
                  "weight decay; an L2 penalty in sgd and adam, decoupled in adamw");
  training.flag("--decay-matrices-only", r.decay_matrices_only, "no decay of biases");
  training.choice("--schedule", r.schedule, schedule_names, "of the learning rate; cosine falls to 0 at the last step");
  training.number("--warm-up", r.warm_up, 0, 1000000, "cosine: epochs in which the rate rises from 0");
  training.number("--epochs", r.epochs, 1, 1000000, "passes over the training part; the last epoch's model is judged");
  training
      .number("--batch", r.batch, 0, 100000000,
              "bags an optimiser step; 0: the whole training part, with which cox is exact (default: 0 for cox, 1 for "
              "others)")
      ->default_str("");
  training.flag("--drop-last", r.drop_last, "leave out, in each epoch, the bags that do not fill a batch");
  training.number("--patience", r.patience, 0, 1000000,
                  "stop when so many epochs did not lower the loss on an inner part of the training bags, and keep the "
                  "best; 0: never");
  training.number("--validation", r.validation, 0.01, 0.9, "size of that inner part");
  training.value("--seed", r.seed, "N",
                 "of initial weights (repetition r: seed + r), order and dropout; the same seed gives the same bits");
}

void add_run_options(CLI::App& command, train_options& o) {
  const group run{command, "Cross-validation and output"};
  run.value("--folds", o.folds, "K|CSV",
            "number of stratified folds, or a CSV file: bag, then a column of fold numbers for each repetition");
  run.number("--repeats", o.repeats, 1, 10000, "repetitions, with other folds each, when --folds is a number");
  run.value("--out", o.out, "DIR",
            "folder for the results; made if it does not exist, earlier results in it are replaced")
      ->required();
  run.number("--threads", o.threads, 1, 1024, "folds trained at once; results do not depend on it");
  run.number("--checkpoint-every", o.checkpoint_every, 0, 1000000, "epochs between two checkpoints; 0: half a minute");
  run.flag("--resume", o.resume, "go on with the run in --out, which was killed: it ends in the same bits");
  run.flag("--quiet", o.quiet, "no progress on stderr");
}

/// Fills in the defaults that depend on other options, and refuses options that contradict each other.
void settle(train_options& o, const CLI::App& command) {
  model_spec& m = o.recipe.model;
  const auto given = [&](const char* flag) { return command.get_option(flag)->count() > 0; };
  const bool survival = m.task == task_kind::survival;
  if (!given("--loss")) m.loss = survival ? loss_kind::cox : loss_kind::bce;
  const bool survival_loss = m.loss == loss_kind::cox || m.loss == loss_kind::nll;
  if (survival != survival_loss)
    throw usage_error("--loss: " +
                      std::string(survival ? "--task survival takes cox or nll" : "--task class takes bce or ce"));
  if (survival && o.clinical.empty()) throw usage_error("--clinical: --task survival needs it");
  if (!given("--batch")) o.recipe.batch = m.loss == loss_kind::cox ? 0 : 1;
  if (o.recipe.warm_up > 0 && o.recipe.schedule != schedule_kind::cosine)
    throw usage_error("--warm-up: needs --schedule cosine");
  if (o.recipe.warm_up > o.recipe.epochs) throw usage_error("--warm-up: is longer than --epochs");
  std::erase(m.hidden, 0);
  if (!m.has_attention()) {
    if (given("--heads") || given("--dropout"))
      throw usage_error("--pooling: mean and max have neither heads nor dropout");
    m.heads = 1;
  }
}

}  // namespace

void add_train(CLI::App& app) {
  const auto o = std::make_shared<train_options>();
  CLI::App* command = app.add_subcommand("train", "Train and judge a model of bags by cross-validation");
  add_data_options(*command, *o);
  add_model_options(*command, *o);
  add_training_options(*command, *o);
  add_run_options(*command, *o);
  command->footer(
      "Numbers are 32-bit floats. Results in DIR:\n"
      "  metrics.json                  every fold, mean and population deviation over folds, means of the repetitions\n"
      "  risks.csv (survival)          repetition, fold, patient, cohort, time, event, score (larger: earlier event)\n"
      "  predictions.csv (class)       repetition, fold, bag, label, predicted, probability of each class\n"
      "  attention.safetensors         [patches, heads] for each bag as a test bag; a file a repetition if there are "
      "several\n"
      "  repR_foldF.safetensors        the models, for `stroma predict`\n\n"
      "Examples:\n"
      "  stroma train --bags cohorts/bags/cancer13.safetensors --clinical cohorts/clinical.csv --task survival --out "
      "run\n"
      "  stroma train --bags musk1.csv --task class --pooling gated --optimizer sgd --lr 5e-4 --weight-decay 5e-3 "
      "--epochs 100 \\\n"
      "    --folds musk1_folds.csv --out musk1");
  command->callback([o, command] {
    settle(*o, *command);
    train(*o);
  });
}

}  // namespace program
