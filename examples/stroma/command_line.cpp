// The command line: what the subcommands are called, what they take, and the help. They do their work elsewhere.
#include "command_line.hpp"

#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include <stroma/version.hpp>

#include "commands.hpp"
#include "program.hpp"

namespace program {
namespace {

constexpr int bad_usage = 2;

std::string version_text() {
  return "stroma " + std::to_string(STROMA_VERSION_MAJOR) + "." + std::to_string(STROMA_VERSION_MINOR) + "." +
         std::to_string(STROMA_VERSION_PATCH);
}

void add_cohort_options(CLI::App& command, simulation_options& m) {
  const auto range = [&](const char* name, std::vector<int>& value, const char* text) {
    command.add_option(name, value, text)
        ->expected(1, 2)
        ->delimiter(',')
        ->check(CLI::Range(1, 1000000).description(""))
        ->type_name("N[,N]")
        ->capture_default_str();
  };
  const auto number = [&](const char* name, auto& value, double low, double high, const char* text) {
    command.add_option(name, value, text)
        ->check(CLI::Range(low, high).description(""))
        ->type_name("NUMBER")
        ->capture_default_str();
  };
  number("--cohorts", m.cohorts, 1, 999, "how many cancers");
  range("--patients", m.patients,
        "patients of the smallest and of the largest cohort; those between rise by one factor");
  range("--patches", m.patches, "patches of the smallest and of the largest bag");
  number("--features", m.features, 1, 65536, "numbers that describe a patch");
  number("--components", m.components, 5, 1000, "kinds of tissue");
  number("--separation", m.separation, 0, 100, "spread of the kinds' centres, in each feature");
  number("--shift", m.shift, 0, 100, "spread of what a cohort adds to all its patches, in each feature");
  number("--noise", m.noise, 0, 100, "spread of patches around their kind's centre, in each feature");
  number("--effect", m.effect, 0.001, 20, "standard deviation of the true log hazard in a cohort");
  number("--shared", m.shared, 0, 1, "part of the hazard's variance that all cancers share, on average");
  number("--censoring", m.censoring, 0, 0.99, "expected part of patients whose event is not seen");
  command.add_option("--seed", m.seed, "the same seed and options give the same files")
      ->type_name("N")
      ->capture_default_str();
}

void add_simulate(CLI::App& app) {
  const auto o = std::make_shared<simulate_options>();
  CLI::App* command =
      app.add_subcommand("simulate", "Cohorts of ragged patch bags with follow-up times and a known true risk");
  command->add_option("--out", o->out, "folder to write into; made if it does not exist")->required()->type_name("DIR");
  add_cohort_options(*command, o->model);
  command->footer(
      "The model: tissue comes in kinds; patches of a kind scatter around its centre. A patient's mixture of kinds is "
      "logistic\n"
      "normal. The log hazard is a weighted sum of the mixture's log ratios: some kinds mean the same in every cancer, "
      "two are the\n"
      "cancer's own. Deaths are Weibull, censoring is independent. The oracle C-index is that of the true risk: nobody "
      "can do better.\n"
      "Files: bags/COHORT.safetensors (a tensor [patches, features] of halfs for every patient), clinical.csv "
      "(patient, cohort,\n"
      "time in months, event, true_risk = log hazard), simulation.json.\n\n"
      "Example:\n  stroma simulate --out cohorts --cohorts 13 --patients 60,400 --seed 1");
  command->callback([o] {
    for (auto* range : {&o->model.patients, &o->model.patches}) {
      if (range->size() == 1) range->push_back(range->front());  // one number: all are of one size
      if (range->front() > range->back()) throw usage_error("--patients, --patches: the smaller number comes first");
    }
    simulate(*o);
  });
}

void add_predict(CLI::App& app) {
  const auto o = std::make_shared<predict_options>();
  CLI::App* command = app.add_subcommand("predict", "Score bags with a model that `stroma train` wrote");
  command
      ->add_option("--model", o->model,
                   "a model, such as run/rep0_fold0.safetensors; it knows its architecture and its standardisation")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--bags", o->bags, "bags in any form that `stroma train` reads, with the model's number of features")
      ->required()
      ->type_name("PATH");
  command->add_option("--out", o->out, "table to write")->required()->type_name("CSV");
  command
      ->add_option("--attention", o->attention,
                   "also write the attention, a tensor [patches, heads] for each bag (safetensors)")
      ->type_name("FILE");
  command->add_option("--threads", o->threads, "threads; results do not depend on it")
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
  command->footer(
      "Columns of the table:\n"
      "  cox   patient, score (log hazard; larger: earlier event)\n"
      "  nll   patient, score (minus the expected lifetime in bins), survival0 .. (probability to outlive each time "
      "bin)\n"
      "  class bag, predicted, p0 .. (probability of each class)\n\n"
      "Example:\n  stroma predict --model run/rep0_fold0.safetensors --bags new.safetensors --out scores.csv "
      "--attention attention.safetensors");
  command->callback([o] { predict(*o); });
}

void add_evaluate(CLI::App& app) {
  const auto o = std::make_shared<evaluate_options>();
  CLI::App* command = app.add_subcommand("evaluate", "How good the risk scores in a CSV table are, by group and fold");
  command->add_option("--table", o->table, "CSV file with a header, one row a patient")->required()->type_name("CSV");
  command->add_option("--time", o->time, "column: time to the event or to the last follow-up, 0 or more, any unit")
      ->required()
      ->type_name("COL");
  command->add_option("--event", o->event, "column: 1 the event was observed, 0 censored")
      ->required()
      ->type_name("COL");
  command->add_option("--score", o->score, "column: the risk; larger means an earlier event")
      ->required()
      ->type_name("COL");
  command->add_option("--group", o->group, "column whose values are judged apart, such as the cancer")
      ->type_name("COL");
  command
      ->add_option("--fold", o->fold,
                   "column(s) that name the test fold of a row; mean and deviation (population) go over folds")
      ->type_name("COL")
      ->expected(1, 4);
  command->add_flag("--censored", o->censored, "the event column says 1 for censored, 0 for observed");
  o->as_json.add_to(*command);
  command
      ->add_option("--plots", o->plots,
                   "folder for a picture of each group: Kaplan-Meier curves of the halves by score (SVG)")
      ->type_name("DIR");
  command->footer(
      "A pair of patients counts when one had the event and the other was followed longer (or was censored at that "
      "very time);\n"
      "tied risks count one half. 0.5 is chance, 1 a perfect order. Below, all folds of a group together: C by Harrell "
      "and "
      "by Uno with\n"
      "95 % intervals; AUC at the quartiles of the event times; Brier score and calibration of the survival that Cox's "
      "model of the\n"
      "score in these rows predicts (scores are no probabilities); the log-rank test of the halves by score.\n"
      "JSON: {\"groups\": {NAME: {\"n\", \"events\", \"c_index_mean\", \"c_index_std\", \"c_index_pooled\", "
      "\"folds\",\n"
      "  \"judgement\": {\"harrell\", \"uno\", \"auc\", \"brier\", \"calibration\", \"median_split\"}}}}\n\n"
      "Example:\n  stroma evaluate --table run/risks.csv --time time --event event --score score --group cohort --fold "
      "fold");
  command->callback([o] { evaluate(*o); });
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app{
      "Prognosis and classes from bags of image patches: multiple-instance learning with attention, trained by\n"
      "cross-validation and judged by the concordance index or the accuracy."};
  app.name("stroma");
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 bad input (one line on stderr says which), 2 wrong usage.\n"
      "'stroma COMMAND --help' explains a command's options, files and units.");
  add_simulate(app);
  add_train(app);
  add_predict(app);
  add_evaluate(app);
  add_merge(app);
  add_transfer(app);
  add_cox(app);
  add_concordance(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : bad_usage;
  }
  return 0;
}

}  // namespace program
