#include "fold_training.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <span>
#include <tuple>
#include <utility>

#include <stroma/nn/binary_cross_entropy.hpp>
#include <stroma/nn/cross_entropy.hpp>
#include <stroma/nn/initialise.hpp>
#include <stroma/optim/adam.hpp>
#include <stroma/optim/schedule.hpp>
#include <stroma/optim/sgd.hpp>
#include <stroma/survival/discrete_hazard.hpp>
#include <stroma/survival/discretise.hpp>
#include <stroma/train/checkpoint.hpp>
#include <stroma/train/early_stopping.hpp>
#include <stroma/train/full_cohort_cox.hpp>
#include <stroma/train/loop.hpp>

namespace program {
namespace {

using stroma::node;
using graph = stroma::graph<float>;

/// The optimiser that the command line chose; one of the three is present.
struct any_optimizer {
  std::optional<stroma::sgd<slide_model>> sgd;
  std::optional<stroma::adam<slide_model>> adam;
  std::optional<stroma::adamw<slide_model>> adamw;

  any_optimizer(const slide_model& model, const training_recipe& r) {
    const auto decay = r.decay_matrices_only ? stroma::decay_on::matrices : stroma::decay_on::all;
    const stroma::adam_options adaptive{.weight_decay = r.weight_decay, .decay = decay};
    switch (r.optimizer) {
      case optimizer_kind::sgd:
        sgd.emplace(model, stroma::sgd_options{.momentum = r.momentum, .weight_decay = r.weight_decay, .decay = decay});
        break;
      case optimizer_kind::adam:
        adam.emplace(model, adaptive);
        break;
      case optimizer_kind::adamw:
        adamw.emplace(model, adaptive);
        break;
    }
  }
  static auto members(auto& self) {
    return std::tuple{stroma::member{"", self.sgd}, stroma::member{"", self.adam}, stroma::member{"", self.adamw}};
  }
  static auto numbers(auto& self) {
    return std::tuple{stroma::member{"steps", self.sgd    ? self.sgd->steps
                                              : self.adam ? self.adam->steps
                                                          : self.adamw->steps}};
  }
  void step_and_clear(stroma::cpu_context& ctx, slide_model& model, slide_model& gradient, double rate) {
    if (sgd) sgd->step_and_clear(ctx, model, gradient, rate);
    else if (adam) adam->step_and_clear(ctx, model, gradient, rate);
    else adamw->step_and_clear(ctx, model, gradient, rate);
  }
};

using training_state = stroma::training_state<slide_model, any_optimizer>;

/// All that a checkpoint holds.
struct fold_state {
  training_state training;
  stroma::early_stopping<slide_model> early;

  static auto members(auto& self) {
    return std::tuple{stroma::member{"training", self.training}, stroma::member{"early", self.early}};
  }
  static auto numbers(auto& self) {
    return std::tuple{stroma::member{"training", self.training}, stroma::member{"early", self.early}};
  }
};

template <class T>
stroma::vector_view<const T> one(const std::vector<T>& values, index_t i) {
  return {values.data() + i, 1};
}

/// The outcomes in the form that the losses take.
struct loss_targets {
  std::vector<double> time, event;
  std::vector<int> label, bin;
  std::vector<float> positive;

  loss_targets(stroma::cpu_context& ctx, const targets& known, const model_spec& spec)
      : time(known.time), event(known.event), label(known.label) {
    for (const int l : label) positive.push_back(static_cast<float>(l));
    if (spec.loss != loss_kind::nll) return;
    bin.resize(time.size());
    stroma::discretise(ctx, time, spec.bin_edges, bin);
  }
};

node bag_loss(graph& g, node logits, index_t bag, const loss_targets& t, const training_recipe& r) {
  switch (r.model.loss) {
    case loss_kind::nll:
      return stroma::discrete_hazard(g, logits, one(t.bin, bag), one(t.event, bag), {.alpha = r.alpha});
    case loss_kind::ce:
      return stroma::cross_entropy(g, logits, one(t.label, bag));
    default:
      return stroma::binary_cross_entropy(g, logits, one(t.positive, bag));
  }
}

node input_of(graph& g, const bag_source& bags, index_t bag) {
  return bags.visit(bag, [&](auto instances) { return g.input(instances); });
}

/// One fold's training, from the data to the model.
class fold_trainer {
 public:
  fold_trainer(stroma::cpu_context& ctx, const bag_source& bags, const targets& known, const training_recipe& recipe,
               const fold_job& job, const fold_hooks& hooks)
      : ctx_(ctx),
        bags_(bags),
        targets_(ctx, known, recipe.model),
        recipe_(recipe),
        hooks_(hooks),
        bags_to_learn_(job.parts.train),
        seed_(recipe.seed + static_cast<std::uint64_t>(job.repetition)),
        state_(initial_state()),
        saved_(std::chrono::steady_clock::now()) {
    if (recipe.patience == 0) return;
    auto inner =
        stroma::validation_split(job.parts.train, known.strata(),
                                 {.fraction = recipe.validation, .seed = seed_, .absent = stroma::absent_class::allow});
    bags_to_learn_ = std::move(inner.train);
    validation_ = std::move(inner.test);
  }

  trained_fold run() {
    if (hooks_.resume) (void)stroma::resume_checkpoint(hooks_.checkpoint, state_, {hooks_.run});
    if (recipe_.model.loss == loss_kind::cox) train_cox();
    else train_by_bag();
    trained_fold result;
    const bool stopped = recipe_.patience > 0 && state_.early.best_epoch >= 0;
    result.model = {recipe_.model, std::move(stopped ? state_.early.best : state_.training.model), {}, 0};
    result.model.epochs = static_cast<int>(stopped ? state_.early.best_epoch + 1 : state_.training.epoch);
    if (!state_.training.history.empty()) result.loss = state_.training.history.back();
    return result;
  }

 private:
  fold_state initial_state() const {
    slide_model model(recipe_.model);
    stroma::initialise(model, seed_);
    any_optimizer optimizer(model, recipe_);
    stroma::early_stopping<slide_model> early(model, {.patience = std::max(1, recipe_.patience)});
    return {training_state(std::move(model), std::move(optimizer), seed_), std::move(early)};
  }

  [[nodiscard]] index_t batch() const {
    const auto all = static_cast<index_t>(bags_to_learn_.size());
    return recipe_.batch == 0 ? all : std::min<index_t>(recipe_.batch, all);
  }
  [[nodiscard]] std::function<double(index_t)> rate() const {
    if (recipe_.schedule == schedule_kind::constant) return stroma::constant_rate{recipe_.learning_rate};
    const auto all = static_cast<index_t>(bags_to_learn_.size());
    const index_t steps = recipe_.drop_last ? all / batch() : (all + batch() - 1) / batch();
    return stroma::warm_up_cosine{recipe_.learning_rate, recipe_.warm_up * steps, recipe_.epochs * steps};
  }

  void train_by_bag() {
    stroma::training_options options{
        .epochs = recipe_.epochs,
        .batch = batch(),
        .remainder = recipe_.drop_last ? stroma::last_batch::dropped : stroma::last_batch::smaller};
    options.learning_rate = rate();
    options.on_epoch = [this](const stroma::epoch_report&) { after_epoch(); };
    stroma::train<float>(
        ctx_, state_.training, bags_to_learn_,
        [this](graph& g, index_t bag) {
          return bag_loss(g, state_.training.model(g, input_of(g, bags_, bag)).logits, bag, targets_, recipe_);
        },
        options);
  }

  /// Cox's loss joins patients, so a step takes all of its batch (by default the whole training part) in two passes.
  void train_cox() {
    training_state& s = state_.training;
    slide_model gradient = stroma::zeros_like(s.model);
    graph g(ctx_), scorer(ctx_, stroma::graph_mode::inference);
    g.bind(s.model, gradient);
    const auto learning_rate = rate();
    std::vector<index_t> order = bags_to_learn_;
    auto cohort = risk_order(order);
    while (s.epoch < recipe_.epochs && !s.finished) {
      if (batch() < static_cast<index_t>(bags_to_learn_.size())) shuffle(order);
      double sum = 0, steps = 0;
      for (std::size_t first = 0; first < order.size(); first += static_cast<std::size_t>(batch())) {
        const auto part = std::span<const index_t>(order).subspan(
            first, std::min(order.size() - first, static_cast<std::size_t>(batch())));
        if (part.size() < order.size()) cohort = risk_order(part);
        sum += cox_step(g, scorer, cohort, part);
        s.optimizer.step_and_clear(ctx_, s.model, gradient, learning_rate(s.step++));
        ++steps;
      }
      s.history.push_back(sum / steps);
      ++s.epoch;
      after_epoch();
    }
  }
  double cox_step(graph& g, graph& scorer, const stroma::risk_order<>& cohort, std::span<const index_t> part) {
    stroma::full_cohort_cox_options<float> options{.seed = seed_,
                                                   .step = static_cast<std::uint32_t>(state_.training.presented)};
    options.cox.reduce = stroma::reduction::mean;
    if (recipe_.model.dropout == 0) options.scorer = &scorer;
    state_.training.presented += static_cast<std::int64_t>(part.size());
    const auto score = [&](graph& on, index_t i) {
      return state_.training.model(on, input_of(on, bags_, part[static_cast<std::size_t>(i)])).logits;
    };
    return static_cast<double>(stroma::full_cohort_cox(g, cohort, score, options));
  }
  stroma::risk_order<> risk_order(std::span<const index_t> part) {
    std::vector<double> time, event;
    for (const index_t b : part) {
      time.push_back(targets_.time[static_cast<std::size_t>(b)]);
      event.push_back(targets_.event[static_cast<std::size_t>(b)]);
    }
    return stroma::risk_order<>(ctx_, time, event);
  }
  void shuffle(std::vector<index_t>& order) const {
    order = bags_to_learn_;
    stroma::random_stream(seed_, static_cast<std::uint32_t>(state_.training.epoch), 0xffffffffu).shuffle(order);
    if (recipe_.drop_last) order.resize(order.size() - order.size() % static_cast<std::size_t>(batch()));
  }

  void after_epoch() {
    training_state& s = state_.training;
    if (recipe_.patience > 0) {
      state_.early.observe(s.epoch - 1, validation_loss(), s.model);
      s.finished = state_.early.should_stop();
    }
    if (hooks_.on_epoch) hooks_.on_epoch(s.history.back());
    if (s.epoch >= recipe_.epochs || s.finished) return;
    const auto now = std::chrono::steady_clock::now();
    const bool due =
        hooks_.checkpoint_every > 0 ? s.epoch % hooks_.checkpoint_every == 0 : now - saved_ > std::chrono::seconds(30);
    if (!due) return;
    stroma::save_checkpoint(hooks_.checkpoint, state_, {hooks_.run});
    saved_ = now;
  }

  double validation_loss() {
    graph g(ctx_, stroma::graph_mode::inference);
    if (recipe_.model.loss == loss_kind::cox) {
      std::vector<float> scores;
      for (const index_t b : validation_) scores.push_back(predict(g, state_.training.model, bags_, b).logits[0]);
      return static_cast<double>(
          stroma::cox_partial_likelihood(ctx_, scores, risk_order(validation_), {.reduce = stroma::reduction::mean}));
    }
    double sum = 0;
    for (const index_t b : validation_) {
      g.reset();
      const node logits = state_.training.model(g, input_of(g, bags_, b)).logits;
      sum += static_cast<double>(g.scalar_value(bag_loss(g, logits, b, targets_, recipe_)));
    }
    return sum / static_cast<double>(validation_.size());
  }

  stroma::cpu_context& ctx_;
  const bag_source& bags_;
  loss_targets targets_;
  const training_recipe& recipe_;
  const fold_hooks& hooks_;
  std::vector<index_t> bags_to_learn_, validation_;
  std::uint64_t seed_;
  fold_state state_;
  std::chrono::steady_clock::time_point saved_;
};

std::vector<double> bin_edges(stroma::cpu_context& ctx, const targets& known, const training_recipe& r,
                              std::span<const index_t> train) {
  std::vector<double> edges(static_cast<std::size_t>(r.bins - 1)), time, event;
  if (r.bin_width > 0) {
    stroma::equal_width_edges(ctx, r.bin_width * r.bins, edges);
    return edges;
  }
  for (const index_t b : train) {
    time.push_back(known.time[static_cast<std::size_t>(b)]);
    event.push_back(known.event[static_cast<std::size_t>(b)]);
  }
  stroma::quantile_edges(ctx, time, event, edges);
  return edges;
}

}  // namespace

trained_fold train_fold(stroma::cpu_context& ctx, const bag_source& bags, const targets& known,
                        const training_recipe& recipe, const fold_job& job, const fold_hooks& hooks) {
  training_recipe filled = recipe;
  model_spec& spec = filled.model;
  spec.features = bags.features();
  if (spec.loss == loss_kind::nll) spec.bin_edges = bin_edges(ctx, known, recipe, job.parts.train);
  spec.outputs = spec.loss == loss_kind::nll  ? recipe.bins
                 : spec.loss == loss_kind::ce ? std::max(2, known.classes())
                                              : 1;
  std::optional<standardisation> input;
  if (recipe.standardise == standardise_kind::training ||
      (recipe.standardise == standardise_kind::automatic && bags.is_table()))
    input = bags.measure(job.parts.train);
  const auto scaled = bags.standardised_if(input);
  auto result = fold_trainer(ctx, scaled ? *scaled : bags, known, filled, job, hooks).run();
  result.model.input = std::move(input);
  return result;
}

}  // namespace program
