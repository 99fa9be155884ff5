// The options of `stroma transfer`.
#include <algorithm>
#include <iterator>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "program.hpp"
#include "transfer.hpp"

namespace program {
namespace {

void add_numbers(CLI::App& command, transfer_options& o) {
  const auto number = [&](const char* flag, auto& target, double low, double high, const char* text) {
    command.add_option(flag, target, text)
        ->check(CLI::Range(low, high).description(""))
        ->type_name("NUMBER")
        ->capture_default_str();
  };
  number("--hidden", o.hidden, 1, 65536, "width of the layer on each patch");
  number("--attention", o.attention, 1, 65536, "hidden width of the attention");
  number("--dropout", o.dropout, 0, 0.99, "rate while training");
  number("--bins", o.bins, 2, 10000, "time bins");
  number("--bin-width", o.bin_width, 1e-9, 1e9, "of a bin, in the unit of the times; the same for all cohorts");
  number("--epochs", o.epochs, 1, 1000000, "of every training; the last epoch's model is judged");
  number("--batch", o.batch, 1, 1000000, "bags an optimiser step; those left over in an epoch are dropped");
  number("--lr", o.learning_rate, 0, 10, "AdamW's rate after one epoch of warm-up; then half a cosine to 0");
  number("--weight-decay", o.weight_decay, 0, 10, "of matrices");
  number("--top-k", o.top_k, 1, 10000, "sources mixed for a bag; experts that ROUPKT hears");
  number("--gamma", o.gamma, 0, 1000, "factor of the penalties on the weights");
  number("--beta", o.beta, 0, 1000, "factor of the penalty on the target's shares");
  number("--threads", o.threads, 1, 1024, "trainings at once; results do not depend on it");
  command.add_option("--seed", o.seed, "of theta_0, the folds and all random draws")
      ->type_name("N")
      ->capture_default_str();
}

/// Models to start from, and what is written beyond the tables.
void add_files(CLI::App& command, transfer_options& o) {
  CLI::Option* const origin =
      command
          .add_option("--origin", o.origin,
                      "theta_0 from a file (.safetensors; .pth or .pt of PyTorch), not drawn by the seed")
          ->type_name("FILE");
  command
      .add_option("--models", o.models,
                  "the cancers' models from files, not trained: a name in which {cohort} and {fold} are filled in")
      ->type_name("PATTERN")
      ->needs(origin);
  command
      .add_option("--export-static", o.export_static,
                  "folder for one encoder of each target and fold, mixed with the training bags' mean coefficients: a "
                  "model for `stroma predict`")
      ->type_name("DIR");
  command.add_flag(
      "--attention-maps", o.attention_maps,
      "also write STEPH's attention, attention_TARGET.safetensors: a tensor [patches, 1] for each patient");
}

constexpr auto files_text =
    "Files of DIR:\n"
    "  transfer.json, c_index.csv  the table; the C-index of each method, target and fold\n"
    "  mixtures_TARGET.csv         each test patient of STEPH: risk, risk by the static encoder, the sources "
    "selected,\n"
    "                              weights w, shares of the target, coefficients of all task vectors, survival0 ..\n"
    "                              (probability to outlive each time bin)\n"
    "  base/                       theta_0 and the models trained from it: COHORT_foldN.safetensors\n"
    "  steph/                      STEPH's own parameters, with the fingerprints of the models they belong to\n\n"
    "Models of others have the names of the public STEPH checkpoints (feat_proj.0, attention_net, pred_head; in a "
    "dict\n"
    "\"model\" or alone) and the extents of the options; the folds that they were trained for are --folds:\n"
    "  --origin 'result/Null_model-abmil_gat_attn-MLE_YEAR-fold_0/train_model-last.pth' --folds folds.csv\n"
    "  --models 'result/abmil_gat_attn-MLE_YEAR-data_{cohort}-fold_{fold}/train_model-last.pth'\n\n";

}  // namespace

void add_transfer(CLI::App& app) {
  const auto o = std::make_shared<transfer_options>();
  CLI::App* command =
      app.add_subcommand("transfer", "What models of other cancers give to the model of one: STEPH and its rivals");
  command->add_option("--bags", o->bags, "bags in any form that `stroma train` reads")->required()->type_name("PATH");
  command->add_option("--clinical", o->clinical, "follow-up with the cancer of each patient")
      ->required()
      ->type_name("CSV");
  command->add_option("--out", o->out, "folder to write into; models found there are used again")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--folds", o->folds,
                   "number of folds of each cohort, or a CSV file: bag, then a column of fold numbers")
      ->type_name("K|CSV")
      ->capture_default_str();
  add_files(*command, *o);
  command->add_option("--target", o->targets, "cancers to transfer to; all in turn without it")
      ->type_name("COHORT,..")
      ->delimiter(',');
  std::string names;
  for (const auto& m : transfer_methods) names.append(names.empty() ? "" : ", ").append(m.name);
  command->add_option("--methods", o->methods, "those to compare, of " + names)->type_name("NAME,..")->delimiter(',');
  command->add_option("--id-column", o->columns.id, "clinical column with the patient")
      ->type_name("COL")
      ->capture_default_str();
  command->add_option("--time-column", o->columns.time, "clinical column with the follow-up time")
      ->type_name("COL")
      ->capture_default_str();
  command->add_option("--event-column", o->columns.event, "clinical column: 1 observed, 0 censored")
      ->type_name("COL")
      ->capture_default_str();
  command->add_option("--cohort-column", o->columns.cohort, "clinical column with the cancer")
      ->type_name("COL")
      ->capture_default_str();
  command->add_flag("--censored", o->columns.censored, "the event column says 1 for censored, 0 for observed");
  command->add_flag("--quiet", o->quiet, "no progress");
  add_numbers(*command, *o);
  std::string list;
  for (const auto& m : transfer_methods) list += "  " + left(m.name, 16) + m.text + "\n";
  command->footer(
      "Methods:\n" + list +
      "All trainings follow one recipe, from one untrained model, but for the 500 steps of ada-entropy; all are judged "
      "on "
      "the same\ntest folds, the last epoch's model of each.\n\n" +
      files_text +
      "Example:\n  stroma transfer --bags cohorts/bags --clinical cohorts/clinical.csv --out run --hidden 32 "
      "--attention 16 --bins 10 --bin-width 12 --lr 1e-3");
  command->callback([o] {
    for (const std::string& name : o->methods)
      if (std::none_of(std::begin(transfer_methods), std::end(transfer_methods),
                       [&](const auto& m) { return m.name == name; }))
        throw usage_error("--methods: no method '" + name + "'; see --help");
    for (const char* place : {"{cohort}", "{fold}"})
      if (!o->models.empty() && o->models.find(place) == std::string::npos)
        throw usage_error("--models: no " + std::string(place) + " in '" + o->models + "'");
    transfer(*o);
  });
}

}  // namespace program
