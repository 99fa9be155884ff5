// What `stroma transfer` says of each patient of a target: how STEPH mixed, and what came of it.
#include <filesystem>
#include <string>
#include <vector>

#include <stroma/io/safetensors_writer.hpp>
#include <stroma/io/table.hpp>

#include "transfer.hpp"

namespace program {
namespace {

/// What was said of each test patient, and of what models.
void write_mixtures(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                    std::size_t target, const std::vector<transfer_result>& folds) {
  std::vector<std::string> columns{"patient", "fold", "risk", "static_risk", "selected"};
  for (const char* what : {"w_", "share_", "coefficient_"})
    for (std::size_t c = 0; c < cohorts.size(); ++c)
      if (c != target) columns.push_back(what + cohorts[c].name);
  columns.push_back("coefficient_" + cohorts[target].name);
  for (int k = 0; k < o.bins; ++k) columns.push_back("survival" + std::to_string(k));
  stroma::table_writer out(std::filesystem::path(o.out) / ("mixtures_" + cohorts[target].name + ".csv"), columns);
  for (std::size_t f = 0; f < folds.size(); ++f)
    for (std::size_t i = 0; i < folds[f].mixtures.size(); ++i) {
      const mixture_record& m = folds[f].mixtures[i];
      std::string selected;
      for (index_t s : m.selected) {
        if (static_cast<std::size_t>(s) >= target) ++s;  // sources are all cohorts but the target
        selected.append(selected.empty() ? "" : " ").append(cohorts[static_cast<std::size_t>(s)].name);
      }
      out.cell(data.bags.ids()[static_cast<std::size_t>(m.bag)]);
      out.cell(static_cast<int>(f));
      out.cell(folds[f].risk[i]);
      out.cell(folds[f].static_risk[i]);
      out.cell(selected);
      for (const auto* of_sources : {&m.weight, &m.share, &m.coefficient})
        for (const float number : *of_sources) out.cell(number);
      for (const double survival : survival_curve(m.said)) out.cell(survival);
      out.end_row();
    }
  out.finish();
}

/// What the mixed encoder looked at, a tensor [patches, 1] for each test patient.
void write_attention(const std::filesystem::path& path, const cohort& data, const std::vector<transfer_result>& folds) {
  std::vector<stroma::tensor_source> tensors;
  for (const transfer_result& fold : folds)
    for (const mixture_record& m : fold.mixtures)
      tensors.push_back(stroma::named_tensor(data.bags.ids()[static_cast<std::size_t>(m.bag)], m.said.attention));
  stroma::write_safetensors(path, tensors);
}

}  // namespace

void write_patients(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                    const method_results& steph) {
  write_mixtures(o, data, cohorts, steph.target, steph.folds);
  if (o.attention_maps)
    write_attention(std::filesystem::path(o.out) / ("attention_" + cohorts[steph.target].name + ".safetensors"), data,
                    steph.folds);
}

}  // namespace program
