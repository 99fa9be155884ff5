// stroma predict: what a trained model says of bags.
#include <iostream>
#include <string>
#include <vector>

#include <stroma/core/context.hpp>
#include <stroma/io/safetensors_writer.hpp>
#include <stroma/io/table.hpp>

#include "commands.hpp"
#include "model.hpp"
#include "program.hpp"

namespace program {
namespace {

std::vector<std::string> columns_of(const model_spec& spec) {
  if (spec.loss == loss_kind::cox) return {"patient", "score"};
  std::vector<std::string> columns{spec.task == task_kind::survival ? "patient" : "bag",
                                   spec.task == task_kind::survival ? "score" : "predicted"};
  const bool bins = spec.loss == loss_kind::nll;
  const auto count = bins ? spec.outputs : std::max<index_t>(2, spec.outputs);
  for (index_t k = 0; k < count; ++k) columns.push_back((bins ? "survival" : "p") + std::to_string(k));
  return columns;
}

void write_row(stroma::table_writer& out, const std::string& id, const model_spec& spec, const prediction& p) {
  out.cell(id);
  std::vector<double> further;
  if (spec.task == task_kind::survival) {
    out.cell(risk(spec, p));
    if (spec.loss == loss_kind::nll) further = survival_curve(p);
  } else {
    further = probabilities(p);
    out.cell(predicted_class(further));
  }
  for (const double value : further) out.cell(value);
  out.end_row();
}

void write_attention(const std::string& path, const bag_source& bags, const std::vector<prediction>& predictions) {
  std::vector<stroma::tensor_source> tensors;
  for (std::size_t b = 0; b < predictions.size(); ++b)
    tensors.push_back(stroma::named_tensor(bags.ids()[b], predictions[b].attention));
  stroma::write_safetensors(path, tensors);
}

}  // namespace

void predict(const predict_options& o) {
  const trained_model model = load_model(o.model);
  if (!o.attention.empty() && !model.spec.has_attention())
    stroma::detail::refuse_file("predict", o.model,
                                name_of(pooling_names, model.spec.pooling) + " pooling, which has no attention",
                                "a model with attention for --attention");
  const bag_source bags(o.bags);
  stroma::check::columns("predict", o.bags, bags.features(), model.spec.features, "the features of " + o.model);
  const auto scaled = bags.standardised_if(model.input);
  stroma::cpu_context ctx(o.threads);
  stroma::graph<float> g(ctx, stroma::graph_mode::inference);
  std::vector<prediction> predictions;
  stroma::table_writer out(o.out, columns_of(model.spec));
  for (index_t b = 0; b < bags.count(); ++b) {
    predictions.push_back(predict(g, model.model, scaled ? *scaled : bags, b));
    write_row(out, bags.ids()[static_cast<std::size_t>(b)], model.spec, predictions.back());
  }
  out.finish();
  if (!o.attention.empty()) write_attention(o.attention, bags, predictions);
  std::cout << bags.count() << " bags; written: " << o.out << (o.attention.empty() ? "" : ", " + o.attention) << '\n';
}

}  // namespace program
