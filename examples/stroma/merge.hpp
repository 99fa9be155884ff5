#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <stroma/taskvector/breadcrumbs.hpp>
#include <stroma/taskvector/dare.hpp>
#include <stroma/taskvector/della.hpp>
#include <stroma/taskvector/merge_files.hpp>
#include <stroma/taskvector/ties_merging.hpp>

#include "spec.hpp"

/// `stroma merge`: what it is asked for, and the doing.
namespace program {

enum class merge_method {
  average,
  task_arithmetic,
  ties,
  dare,
  della,
  breadcrumbs,
  slerp,
  model_stock,
  fisher,
  iso_c,
  iso_cts,
  tsv
};
inline const name_table<merge_method> merge_method_names{
    {"average", merge_method::average}, {"task-arithmetic", merge_method::task_arithmetic},
    {"ties", merge_method::ties},       {"dare", merge_method::dare},
    {"della", merge_method::della},     {"breadcrumbs", merge_method::breadcrumbs},
    {"slerp", merge_method::slerp},     {"model-stock", merge_method::model_stock},
    {"fisher", merge_method::fisher},   {"iso-c", merge_method::iso_c},
    {"iso-cts", merge_method::iso_cts}, {"tsv", merge_method::tsv}};
inline const name_table<stroma::merge_scope> scope_names{
    {"model", stroma::merge_scope::model}, {"tensor", stroma::merge_scope::tensor}, {"row", stroma::merge_scope::row}};
inline const name_table<stroma::trim_count> trim_names{{"published", stroma::trim_count::published},
                                                       {"exact", stroma::trim_count::exact}};
inline const name_table<stroma::sign_vote> vote_names{
    {"none", stroma::sign_vote::none}, {"sum", stroma::sign_vote::sum}, {"count", stroma::sign_vote::count}};
inline const name_table<stroma::zero_vote> zero_names{{"majority", stroma::zero_vote::majority},
                                                      {"positive", stroma::zero_vote::positive}};
inline const name_table<stroma::agreeing> agreeing_names{
    {"mean", stroma::agreeing::mean}, {"sum", stroma::agreeing::sum}, {"largest", stroma::agreeing::largest}};
inline const name_table<stroma::rescaling> rescaling_names{{"probability", stroma::rescaling::probability},
                                                           {"magnitude", stroma::rescaling::magnitude},
                                                           {"none", stroma::rescaling::none}};
inline const name_table<stroma::integer_tensors> integer_names{{"refuse", stroma::integer_tensors::refuse_different},
                                                               {"base", stroma::integer_tensors::from_base}};

/// Options of all methods; `merge_command_line.cpp` knows which method takes which, and their defaults.
struct merge_options {
  std::string base, out;
  std::vector<std::string> models, importance;
  merge_method method = merge_method::average;
  std::vector<double> weights;
  double scale = 1, density = 0, gamma = 0, epsilon = 0, share = 0.5, common = 0.8;
  std::uint64_t seed = 0;
  stroma::merge_scope scope = stroma::merge_scope::model;
  stroma::trim_count count = stroma::trim_count::published;
  stroma::sign_vote vote = stroma::sign_vote::none;
  stroma::zero_vote zero = stroma::zero_vote::majority;
  stroma::agreeing merge = stroma::agreeing::mean;
  stroma::rescaling rescale = stroma::rescaling::probability;
  stroma::model_files_options files;
  int threads = 1;
  bool dry_run = false, quiet = false;
  bool as_json = false;   ///< instead of a table
  std::string json_file;  ///< or into a file
};
void merge(const merge_options& options);

}  // namespace program
