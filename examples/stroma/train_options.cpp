#include "train_options.hpp"

#include <nlohmann/json.hpp>

namespace program {

std::string run_text(const train_options& o) {
  const training_recipe& r = o.recipe;
  nlohmann::ordered_json text = {{"bags", o.bags},
                                 {"clinical", o.clinical},
                                 {"folds", o.folds},
                                 {"repeats", o.repeats},
                                 {"model", to_json(r.model)},
                                 {"optimizer", name_of(optimizer_names, r.optimizer)},
                                 {"learning_rate", r.learning_rate},
                                 {"momentum", r.momentum},
                                 {"weight_decay", r.weight_decay},
                                 {"decay_matrices_only", r.decay_matrices_only},
                                 {"schedule", name_of(schedule_names, r.schedule)},
                                 {"warm_up", r.warm_up},
                                 {"epochs", r.epochs},
                                 {"batch", r.batch},
                                 {"drop_last", r.drop_last},
                                 {"seed", r.seed},
                                 {"standardise", name_of(standardise_names, r.standardise)},
                                 {"patience", r.patience},
                                 {"validation", r.validation}};
  if (r.model.loss == loss_kind::nll) text.update({{"alpha", r.alpha}, {"bins", r.bins}, {"bin_width", r.bin_width}});
  for (const char* key : {"features", "outputs", "bin_edges"}) text["model"].erase(key);  // they come from the data
  return text.dump();
}

}  // namespace program
