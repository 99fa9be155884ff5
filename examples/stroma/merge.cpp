// stroma merge: several models of one architecture become one, file by file and tensor by tensor.
#include "merge.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <string>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include <stroma/taskvector/fisher.hpp>
#include <stroma/taskvector/iso_c.hpp>
#include <stroma/taskvector/iso_cts.hpp>
#include <stroma/taskvector/model_stock.hpp>
#include <stroma/taskvector/slerp.hpp>
#include <stroma/taskvector/task_arithmetic.hpp>
#include <stroma/taskvector/tsv.hpp>
#include <stroma/taskvector/weighted_average.hpp>

#include "commands.hpp"
#include "program.hpp"

namespace program {
namespace {

/// f(rule) with the rule that was asked for.
template <class F>
auto with_rule(const merge_options& o, F&& f) {
  switch (o.method) {
    case merge_method::average:
      return f(stroma::weighted_average({.weights = o.weights}));
    case merge_method::task_arithmetic:
      return f(stroma::task_arithmetic({.weights = o.weights, .scale = o.scale}));
    case merge_method::ties:
      return f(stroma::ties_merging({o.density, o.scope, o.count, o.vote, o.zero, o.merge, o.weights, o.scale}));
    case merge_method::dare:
      return f(stroma::dare({o.density, o.seed, o.rescale, o.vote, o.zero, o.merge, o.weights, o.scale}));
    case merge_method::della:
      return f(stroma::della({o.density, o.epsilon, o.seed, o.rescale, o.vote, o.zero, o.merge, o.weights, o.scale}));
    case merge_method::breadcrumbs:
      return f(stroma::breadcrumbs({o.density, o.gamma, o.scope, o.vote, o.zero, o.merge, o.weights, o.scale}));
    case merge_method::slerp:
      return f(stroma::slerp({.share = o.share, .scope = o.scope}));
    case merge_method::model_stock:
      return f(stroma::model_stock({.scope = o.scope}));
    case merge_method::fisher:
      return f(stroma::fisher({.weights = o.weights}));
    case merge_method::iso_c:
      return f(stroma::iso_c({.scale = o.scale}));
    case merge_method::iso_cts:
      return f(stroma::iso_cts({.common = o.common, .scale = o.scale}));
    default:
      return f(stroma::tsv({.scale = o.scale}));
  }
}

/// How many bytes the files' tensors have, and the largest of those that are merged.
struct extent {
  std::size_t merged = 0, copied = 0, largest = 0, elements = 0;
};
extent measure(const stroma::model_files& files) {
  extent e;
  for (const auto& t : files.reference().tensors()) {
    (files.merged(t) ? e.merged : e.copied) += 1;
    if (!files.merged(t)) continue;
    e.elements += static_cast<std::size_t>(t.size());
    e.largest = std::max(e.largest, static_cast<std::size_t>(t.size()));
  }
  return e;
}

json describe(const stroma::merge_report& report) {
  json tensors = json::array();
  for (const auto& t : report)
    tensors.push_back({{"name", t.name},
                       {"elements", t.size},
                       {"vector_norms", t.vector_norms},
                       {"change_norm", t.change_norm},
                       {"mean_cosine", t.mean_cosine},
                       {"sign_conflicts", t.sign_conflicts},
                       {"kept", t.kept},
                       {"overflowed", t.overflowed}});
  return tensors;
}

void print_report(const stroma::merge_report& report) {
  std::size_t width = 6;
  for (const auto& t : report) width = std::max(width, t.name.size());
  std::cout << left("tensor", width) << right("elements", 12) << right("vectors", 12) << right("change", 12)
            << right("cosine", 9) << right("conflicts", 11) << right("kept", 9) << '\n';
  for (const auto& t : report) {
    double norm = 0;
    for (const double n : t.vector_norms) norm += n / static_cast<double>(t.vector_norms.size());
    std::cout << left(t.name, width) << right(std::to_string(t.size), 12) << right(fixed(norm, 5), 12)
              << right(fixed(t.change_norm, 5), 12) << right(fixed(t.mean_cosine, 3), 9)
              << right(fixed(100 * t.sign_conflicts, 1) + " %", 11) << right(fixed(100 * t.kept, 1) + " %", 9) << '\n';
  }
}

void warn_of_overflow(const stroma::merge_report& report) {
  for (const auto& t : report)
    if (t.overflowed > 0)
      std::cerr << "stroma: note: tensor '" << t.name << "': " << t.overflowed
                << " elements are too large for the file's type and became infinite\n";
}

/// One line that is written over, a terminal's or a log's.
void tell(const stroma::merge_progress& p) {
  std::cerr << (p.writes ? "\rwriting " : "\rpass " + std::to_string(p.pass) + " ") << p.tensor << "/" << p.tensors
            << (p.tensor == p.tensors ? "\n" : "") << std::flush;
}

}  // namespace

void merge(const merge_options& o) {
  const std::vector<std::filesystem::path> models(o.models.begin(), o.models.end());
  const std::vector<std::filesystem::path> importance(o.importance.begin(), o.importance.end());
  const stroma::model_files files(o.base, models, importance, o.files);
  const extent size = measure(files);
  json result = {{"method", name_of(merge_method_names, o.method)},
                 {"base", o.base.empty() ? json(nullptr) : json(o.base)},
                 {"models", o.models},
                 {"tensors_merged", size.merged},
                 {"tensors_copied", size.copied},
                 {"elements_merged", size.elements},
                 {"largest_tensor", size.largest}};
  with_rule(o, [&]<class Rule>(Rule rule) {
    if (o.dry_run) return rule.begin(static_cast<stroma::index_t>(models.size()));
    stroma::cpu_context ctx(o.threads);
    stroma::merge_files_options options;
    if (!o.quiet) options.progress = tell;
    const auto report = stroma::merge_files(ctx, std::move(rule), files, o.out, options);
    warn_of_overflow(report);
    result["out"] = o.out;
    result["tensors"] = describe(report);
    if (!o.as_json || !o.json_file.empty()) print_report(report);
  });
  if (!o.json_file.empty()) write_json(o.json_file, result);
  if (o.as_json && o.json_file.empty()) {
    std::cout << result.dump(2) << '\n';
    return;
  }
  std::cout << (o.dry_run ? "would merge " : "merged ") << size.merged << " tensors (" << size.elements
            << " numbers, the largest " << size.largest << ") of " << models.size() << " models"
            << (size.copied > 0 ? ", copied " + std::to_string(size.copied) : "")
            << (o.dry_run ? "; nothing written" : "; written: " + o.out) << '\n';
}

}  // namespace program
