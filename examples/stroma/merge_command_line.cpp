// The options of `stroma merge`.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "merge.hpp"
#include "program.hpp"

namespace program {
namespace {

template <class Value>
CLI::Option* add_choice(CLI::App& command, const char* flag, Value& target, const name_table<Value>& names,
                        const char* text) {
  std::string list;
  for (const auto& [key, v] : names) list.append(list.empty() ? "" : "|").append(key);
  return command.add_option(flag, target, text)
      ->transform(CLI::CheckedTransformer(names).description(""))
      ->type_name(list);
}
CLI::Option* add_number(CLI::App& command, const char* flag, double& target, double low, double high,
                        const char* text) {
  return command.add_option(flag, target, text)->type_name("NUMBER")->check(CLI::Range(low, high).description(""));
}

void add_files(CLI::App& command, merge_options& o) {
  command
      .add_option("--base", o.base,
                  "the model that all others were tuned from (safetensors); average, slerp and fisher go without")
      ->type_name("FILE");
  command
      .add_option("--models", o.models,
                  "the models to be merged: the same names, shapes and types as the base; slerp takes two")
      ->required()
      ->type_name("FILE");
  command
      .add_option("--importance", o.importance,
                  "fisher: a file for each model with the diagonal Fisher information of each of its numbers")
      ->type_name("FILE");
  command.add_option("--out", o.out, "file to write; it appears, whole, at the end")->type_name("FILE");
  command
      .add_option("--copy", o.files.copied,
                  "tensors whose names begin so are taken from the base (or the first model) and not looked at in the "
                  "others: heads, standardisations")
      ->type_name("PREFIX");
  add_choice(command, "--integers", o.files.integers, integer_names,
             "integer tensors that differ: refuse, or take the base's (or the first model's)")
      ->default_str("refuse");
}

void add_method(CLI::App& command, merge_options& o) {
  add_choice(command, "--method", o.method, merge_method_names, "how")->required();
  command.add_option("--weights", o.weights, "one for each model (default: all 1); average divides by their sum")
      ->type_name("W,W")
      ->delimiter(',');
  add_number(command, "--scale", o.scale, -1e6, 1e6, "of the merged task vector")->capture_default_str();
  add_number(command, "--density", o.density, 0, 1,
             "part of each task vector that is kept (default: ties 0.2, dare 0.1, della 0.5, breadcrumbs 0.85)");
  add_number(command, "--gamma", o.gamma, 0, 1, "breadcrumbs: part dropped for being largest (default: 0.01)");
  add_number(
      command, "--epsilon", o.epsilon, 0, 0.5,
      "della: a row's smallest is kept with density - epsilon, its largest with density + epsilon (default: 0.1)");
  add_number(command, "--share", o.share, 0, 1, "slerp: of the second model")->capture_default_str();
  add_number(command, "--common", o.common, 0, 1, "iso-cts: part of the spectrum that the tasks share")
      ->capture_default_str();
  command.add_option("--seed", o.seed, "dare, della: the same one drops the same elements")
      ->type_name("N")
      ->capture_default_str();
  add_choice(command, "--scope", o.scope, scope_names,
             "ties, breadcrumbs: among which elements sizes are compared; slerp, model-stock: over what angles are "
             "taken (default: "
             "ties model, others tensor)");
  add_choice(command, "--count", o.count, trim_names,
             "ties: floor(density d) elements exactly, or one more and whatever ties with it, as published")
      ->default_str("published");
  add_choice(command, "--vote", o.vote, vote_names,
             "what elects the sign of an element (default: ties and della sum, dare and breadcrumbs none)");
  add_choice(command, "--zero-vote", o.zero, zero_names, "with a vote: the sign of a vote of 0")
      ->default_str("majority");
  add_choice(command, "--agreeing", o.merge, agreeing_names, "with a vote: what becomes of values of the elected sign")
      ->default_str("mean");
  add_choice(command, "--rescale", o.rescale, rescaling_names,
             "dare, della: divide by the probability (published) or keep the sum of magnitudes (mergekit)")
      ->default_str("probability");
}

struct method_options {
  merge_method method;
  std::vector<std::string> takes;
};
const std::vector<method_options> options_of_methods{
    {merge_method::average, {"--weights"}},
    {merge_method::task_arithmetic, {"--weights", "--scale"}},
    {merge_method::ties,
     {"--weights", "--scale", "--density", "--scope", "--count", "--vote", "--zero-vote", "--agreeing"}},
    {merge_method::dare,
     {"--weights", "--scale", "--density", "--seed", "--vote", "--zero-vote", "--agreeing", "--rescale"}},
    {merge_method::della,
     {"--weights", "--scale", "--density", "--epsilon", "--seed", "--vote", "--zero-vote", "--agreeing", "--rescale"}},
    {merge_method::breadcrumbs,
     {"--weights", "--scale", "--density", "--gamma", "--scope", "--vote", "--zero-vote", "--agreeing"}},
    {merge_method::slerp, {"--share", "--scope"}},
    {merge_method::model_stock, {"--scope"}},
    {merge_method::fisher, {"--weights", "--importance"}},
    {merge_method::iso_c, {"--scale"}},
    {merge_method::iso_cts, {"--scale", "--common"}},
    {merge_method::tsv, {"--scale"}}};

/// Fills in the defaults that depend on the method, and refuses options that it does not take.
void settle(merge_options& o, const CLI::App& command) {
  const auto given = [&](const std::string& flag) { return command.get_option(flag)->count() > 0; };
  const std::string method = name_of(merge_method_names, o.method);
  const auto known = std::find_if(options_of_methods.begin(), options_of_methods.end(),
                                  [&](const method_options& m) { return m.method == o.method; });
  for (const method_options& other : options_of_methods)
    for (const std::string& flag : other.takes)
      if (given(flag) && std::find(known->takes.begin(), known->takes.end(), flag) == known->takes.end())
        throw usage_error(flag + ": --method " + method + " does not take it");
  if (o.out.empty() && !o.dry_run) throw usage_error("--out: is required but for --dry-run");
  const bool without_base =
      o.method == merge_method::average || o.method == merge_method::slerp || o.method == merge_method::fisher;
  if (o.base.empty() && !without_base) throw usage_error("--base: --method " + method + " needs it");
  if (!o.weights.empty() && o.weights.size() != o.models.size())
    throw usage_error("--weights: " + std::to_string(o.weights.size()) + " for " + std::to_string(o.models.size()) +
                      " models");
  if (o.method == merge_method::slerp && o.models.size() != 2) throw usage_error("--models: --method slerp takes two");
  if (o.method == merge_method::fisher && o.importance.size() != o.models.size())
    throw usage_error("--importance: " + std::to_string(o.importance.size()) + " for " +
                      std::to_string(o.models.size()) + " models");
  const auto fall_back = [&](const char* flag, auto& target, auto value) {
    if (!given(flag)) target = value;
  };
  const stroma::ties_options ties;
  const stroma::dare_options dare;
  const stroma::della_options della;
  const stroma::breadcrumbs_options breadcrumbs;
  const auto by_method = [&](auto of_ties, auto of_dare, auto of_della, auto of_breadcrumbs) {
    return o.method == merge_method::ties    ? of_ties
           : o.method == merge_method::dare  ? of_dare
           : o.method == merge_method::della ? of_della
                                             : of_breadcrumbs;
  };
  fall_back("--density", o.density, by_method(ties.density, dare.density, della.density, breadcrumbs.density));
  fall_back("--vote", o.vote, by_method(ties.vote, dare.vote, della.vote, breadcrumbs.vote));
  fall_back("--scope", o.scope, o.method == merge_method::ties ? ties.scope : breadcrumbs.scope);
  fall_back("--gamma", o.gamma, breadcrumbs.gamma);
  fall_back("--epsilon", o.epsilon, della.epsilon);
  if (o.vote == stroma::sign_vote::none && (given("--zero-vote") || given("--agreeing")))
    throw usage_error("--zero-vote, --agreeing: need a --vote");
}

}  // namespace

void add_merge(CLI::App& app) {
  const auto o = std::make_shared<merge_options>();
  CLI::App* command = app.add_subcommand("merge", "Merge models that were tuned from one base, without training");
  add_files(*command, *o);
  add_method(*command, *o);
  command->add_option("--threads", o->threads, "threads; results do not depend on it")
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--dry-run", o->dry_run, "verify files and options, write nothing");
  command->add_flag("--quiet", o->quiet, "no progress on stderr");
  CLI::Option* as_json =
      command->add_option("--json", o->json_file, "print JSON instead of a table, or write it to FILE");
  as_json->expected(0, 1)->type_name("[FILE]");
  command->footer(
      "A task vector is a model minus the base.\n"
      "  average          weighted mean of the models\n"
      "  task-arithmetic  base + scale * sum of weight * task vector\n"
      "  ties             trim to the largest elements, elect signs, mean of what agrees\n"
      "  dare             drop at random, divide by the density, sum\n"
      "  della            drop at random, small elements rather than large ones, elect signs, mean\n"
      "  breadcrumbs      drop the largest and the small elements, sum\n"
      "  slerp            along the arc between two models, or between their task vectors if there is a base\n"
      "  model-stock      between base and mean, by the angles between the task vectors\n"
      "  fisher           mean weighted by each number's Fisher information\n"
      "  iso-c, iso-cts   singular values of the sum made equal; with directions of each task's own\n"
      "  tsv              the largest singular triplets of each task, made orthogonal\n"
      "mergekit's ties: --scope tensor --count exact --zero-vote positive; its dare_ties: --vote sum --rescale "
      "magnitude --zero-vote positive.\n"
      "Files are read tensor by tensor; one tensor of each is in memory at a time. 16-bit numbers are merged in 32 "
      "bits "
      "and rounded once.\n"
      "Files are verified first; nothing is written if one does not fit. Where a model's metadata name the base's "
      "fingerprint, it must be right.\n"
      "Table: elements, mean norm of the task vectors, norm of the change, their mean cosine, elements that some "
      "models "
      "raise and others lower,\n"
      "elements kept by trimming or dropping. JSON has the same, by model.\n\n"
      "Example:\n  stroma merge --base base.safetensors --models breast.safetensors kidney.safetensors --method ties "
      "--copy pred_head --out merged.safetensors");
  command->callback([o, command, as_json] {
    o->as_json = as_json->count() > 0;
    settle(*o, *command);
    merge(*o);
  });
}

}  // namespace program
