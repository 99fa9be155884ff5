// What `stroma transfer` says of each patient of a target: how STEPH mixed, and what came of it.
#include <filesystem>
#include <string>
#include <vector>

#include <stroma/io/table.hpp>

#include "transfer.hpp"

namespace program {
namespace {

/// What each test patient was given: source by source.
void write_mixtures(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                    std::size_t target, const std::vector<transfer_result>& folds) {
  std::vector<std::string> columns{"patient", "fold", "risk", "selected"};
  for (const char* what : {"w_", "share_"})
    for (std::size_t c = 0; c < cohorts.size(); ++c)
      if (c != target) columns.push_back(what + cohorts[c].name);
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
      out.cell(selected);
      for (const float w : m.weight) out.cell(w);
      for (const float s : m.share) out.cell(s);
      out.end_row();
    }
  out.finish();
}

}  // namespace

void write_patients(const transfer_options& o, const cohort& data, const std::vector<transfer_cohort>& cohorts,
                    const method_results& steph) {
  write_mixtures(o, data, cohorts, steph.target, steph.folds);
}

}  // namespace program
