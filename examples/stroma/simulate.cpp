// stroma simulate: cohorts of ragged bags with follow-up, whose true risk is known.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <stroma/adapt/std.hpp>
#include <stroma/core/context.hpp>
#include <stroma/io/safetensors_writer.hpp>
#include <stroma/io/table.hpp>
#include <stroma/survival/concordance.hpp>

#include "cohort_model.hpp"
#include "commands.hpp"
#include "program.hpp"

namespace program {
namespace {

struct cohort_outcome {
  std::vector<double> risk, shared_risk, time, event;
};

std::string cohort_name(int cohort, int cohorts) {
  const std::size_t digits = std::to_string(cohorts).size();
  const std::string number = std::to_string(cohort + 1);
  return "cancer" + std::string(std::max<std::size_t>(digits, 2) - number.size(), '0') + number;
}

std::string patient_name(const std::string& cohort, std::uint32_t number) {
  char text[16];
  std::snprintf(text, sizeof text, "-%05u", number + 1);
  return cohort + text;
}

/// One safetensors file a cohort, in which every patient is a tensor [patches, features] of halfs.
void write_bags(const std::filesystem::path& file, const std::string& name, const cohort_model& model, int features) {
  std::vector<stroma::tensor_plan> plans;
  const auto patients = static_cast<std::uint32_t>(model.patients());
  for (std::uint32_t p = 0; p < patients; ++p)
    plans.push_back({patient_name(name, p), stroma::tensor_type::f16, {model.patches(p), features}});
  stroma::safetensors_writer out(file, plans, {{"made_by", "stroma simulate"}});
  std::vector<float> values;
  std::vector<stroma::half> stored;
  for (std::uint32_t p = 0; p < patients; ++p) {
    model.draw_patches(model.patient(p), p, values);
    stored.resize(values.size());
    std::transform(values.begin(), values.end(), stored.begin(),
                   [](float v) { return stroma::narrow<stroma::half>(v); });
    out.append(plans[p].name, stored);
  }
  out.finish();
}

cohort_outcome write_patients(stroma::table_writer& clinical, const std::string& name, const cohort_model& model) {
  cohort_outcome all;
  for (std::uint32_t p = 0; p < static_cast<std::uint32_t>(model.patients()); ++p) {
    const simulated_patient patient = model.patient(p);
    const follow_up_time followed = model.follow(patient.risk, p);
    clinical.row(patient_name(name, p), name, followed.months, static_cast<int>(followed.event), patient.risk);
    all.risk.push_back(patient.risk);
    all.shared_risk.push_back(patient.shared_risk);
    all.time.push_back(followed.months);
    all.event.push_back(followed.event);
  }
  return all;
}

json describe(const cohort_model& model, const cohort_outcome& all) {
  stroma::cpu_context ctx;
  const auto n = static_cast<double>(all.event.size());
  const auto events = std::count(all.event.begin(), all.event.end(), 1.0);
  return {{"n", all.event.size()},
          {"events", events},
          {"censoring", 1 - static_cast<double>(events) / n},
          {"oracle_c_index", number_or_null(stroma::concordance(ctx, all.risk, all.time, all.event).value)},
          {"shared_c_index", number_or_null(stroma::concordance(ctx, all.shared_risk, all.time, all.event).value)},
          {"shared", model.shared()},
          {"effects", model.effects()}};
}

void print_row(const std::string& name, const json& c) {
  const auto number = [&](const char* key) { return c[key].is_null() ? std::nan("") : c[key].get<double>(); };
  std::cout << left(name, 10) << right(fixed(c["n"], 0), 9) << right(fixed(c["events"], 0), 8)
            << right(fixed(100 * c["censoring"].get<double>(), 0), 9) << " %"
            << right(fixed(number("oracle_c_index"), 4), 16) << right(fixed(number("shared_c_index"), 4), 14) << '\n'
            << std::flush;
}

json describe(const simulation_options& m) {
  return {{"cohorts", m.cohorts},   {"patients", m.patients},     {"patches", m.patches},
          {"features", m.features}, {"components", m.components}, {"separation", m.separation},
          {"shift", m.shift},       {"noise", m.noise},           {"effect", m.effect},
          {"shared", m.shared},     {"censoring", m.censoring},   {"shape", m.shape},
          {"seed", m.seed}};
}

}  // namespace

void simulate(const simulate_options& o) {
  const std::filesystem::path folder = o.out;
  make_folder(folder / "bags");
  stroma::table_writer clinical(folder / "clinical.csv", {"patient", "cohort", "time", "event", "true_risk"});
  std::cout << left("cohort", 10) << right("patients", 9) << right("events", 8) << right("censored", 11)
            << "  oracle C-index   shared part\n";
  json cohorts = json::object();
  std::vector<double> oracles;
  for (int c = 0; c < o.model.cohorts; ++c) {
    const cohort_model model(o.model, c);
    const std::string name = cohort_name(c, o.model.cohorts);
    write_bags(folder / "bags" / (name + ".safetensors"), name, model, o.model.features);
    cohorts[name] = describe(model, write_patients(clinical, name, model));
    print_row(name, cohorts[name]);
    if (cohorts[name]["oracle_c_index"].is_number()) oracles.push_back(cohorts[name]["oracle_c_index"]);
  }
  clinical.finish();
  write_json(folder / "simulation.json", {{"options", describe(o.model)},
                                          {"oracle_c_index_mean", number_or_null(summarise(oracles).mean)},
                                          {"cohorts", cohorts}});
  std::cout << "written: " << (folder / "bags").string() << ", " << (folder / "clinical.csv").string() << ", "
            << (folder / "simulation.json").string() << '\n';
}

}  // namespace program
