#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/members.hpp>
#include <stroma/core/random.hpp>
#include <stroma/optim/clip.hpp>
#include <stroma/optim/schedule.hpp>

namespace stroma {

/// All that a run of training is, between two optimiser steps: continued from a copy or a checkpoint of it, the run
/// ends in the same bits. Tensors are its `members`, everything else its `numbers`; see checkpoint.hpp.
template <class Model, class Optimizer>
struct training_state {
  Model model;
  Optimizer optimizer;
  std::uint64_t seed;           ///< of the order of the bags and of every random draw
  std::int64_t epoch = 0;       ///< epochs that are complete
  std::int64_t bag = 0;         ///< bags behind us in the epoch's order
  std::int64_t step = 0;        ///< optimiser steps behind us, where the schedule stands
  std::int64_t presented = 0;   ///< bags behind us in all, which key the random draws
  double loss_sum = 0;          ///< over the epoch's bags so far
  std::vector<double> history;  ///< mean loss of each complete epoch
  std::uint64_t plan = 0;       ///< fingerprint of bags and batches; 0: not begun
  bool finished = false;        ///< set it in a callback to end the run there, for good

  training_state(Model m, Optimizer o, std::uint64_t run_seed = 42)
      : model(std::move(m)), optimizer(std::move(o)), seed(run_seed) {}
  static auto members(auto& self) {
    return std::tuple{member{"model", self.model}, member{"optimizer", self.optimizer}};
  }
  static auto numbers(auto& self) {
    return std::tuple{member{"optimizer", self.optimizer}, member{"seed", self.seed},
                      member{"epoch", self.epoch},         member{"bag", self.bag},
                      member{"step", self.step},           member{"presented", self.presented},
                      member{"loss_sum", self.loss_sum},   member{"history", self.history},
                      member{"plan", self.plan},           member{"finished", self.finished}};
  }
};

/// What happens to the bags that do not fill a batch at the end of an epoch, different ones in each epoch: they are a
/// smaller batch, or are left out.
enum class last_batch { smaller, dropped };

struct step_report {
  std::int64_t epoch, step;  ///< of the step just taken, from 0
  double loss;               ///< mean over the batch, before the step
  double learning_rate;
};
struct epoch_report {
  std::int64_t epoch, step;  ///< the epoch just completed, from 0; steps taken so far
  double loss;               ///< mean over its bags, each at the time of its batch
};

struct training_options {
  index_t epochs = 20;
  index_t batch = 1;  ///< bags an optimiser step; the loss is their mean
  last_batch remainder = last_batch::smaller;
  std::function<double(index_t)> learning_rate = constant_rate{};     ///< of the optimiser step, see schedule.hpp
  double largest_norm = std::numeric_limits<double>::infinity();      ///< of the gradient; see clip_global_norm
  std::int64_t last_step = std::numeric_limits<std::int64_t>::max();  ///< pause when so many steps have been taken
  std::function<void(const step_report&)> on_step = {};    ///< when the state is whole: checkpoints, progress
  std::function<void(const epoch_report&)> on_epoch = {};  ///< the same after an epoch: validation, stopping
};

namespace detail {

/// FNV-1a; never 0.
[[nodiscard]] inline std::uint64_t training_plan(std::span<const index_t> bags, const training_options& options) {
  std::uint64_t hash = 14695981039346656037u;
  const auto add = [&](std::int64_t value) {
    for (int byte = 0; byte < 8; ++byte)
      hash = (hash ^ (static_cast<std::uint64_t>(value) >> (8 * byte) & 0xff)) * 1099511628211u;
  };
  add(options.batch);
  add(options.remainder == last_batch::dropped ? 1 : 0);
  for (const index_t bag : bags) add(bag);
  return hash == 0 ? 1 : hash;
}

/// The bags in the order of an epoch, those left out cut off. The key's layer is one that no graph draws from.
inline void order_bags(std::span<const index_t> bags, const training_options& options, std::uint64_t seed,
                       std::int64_t epoch, std::vector<index_t>& order) {
  order.assign(bags.begin(), bags.end());
  random_stream(seed, static_cast<std::uint32_t>(epoch), 0xffffffffu).shuffle(order);
  if (options.remainder == last_batch::dropped)
    order.resize(order.size() - order.size() % static_cast<std::size_t>(options.batch));
}

template <class State>
void check_training(const State& state, std::span<const index_t> bags, const training_options& options) {
  check::require(options.epochs >= 0, "train", "options.epochs", std::to_string(options.epochs), "0 or more");
  check::positive("train", "options.batch", options.batch);
  check::require(static_cast<bool>(options.learning_rate), "train", "options.learning_rate", "nothing",
                 "a function of the step");
  const index_t least = options.remainder == last_batch::dropped ? options.batch : 1,
                found = static_cast<index_t>(bags.size());
  check::require(found >= least, "train", "bags", std::to_string(found),
                 std::to_string(least) + (least > 1 ? " or more (a batch: the remainder is dropped)" : " or more"));
  check::require(state.plan == 0 || state.plan == training_plan(bags, options), "train", "state",
                 "a run begun with other bags or batches", "the same when it is continued");
}

/// Adds the gradient of the mean loss of one batch and returns the sum of the losses. One bag's graph at a time.
template <class T, class Backend, class State, class Loss>
double add_batch_gradient(graph<T, Backend>& g, const State& state, std::span<const index_t> batch, Loss& loss) {
  double sum = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    g.reset();
    g.set_random(state.seed, static_cast<std::uint32_t>(state.presented + static_cast<std::int64_t>(i)));
    const node out = loss(g, batch[i]);
    const auto value = static_cast<double>(g.scalar_value(out));
    if (!std::isfinite(value))
      throw value_error(error_message(
          "train", "loss",
          number_text(value) + " for bag " + std::to_string(batch[i]) + " in epoch " + std::to_string(state.epoch),
          "a finite number"));
    sum += value;
    g.backward(out, T(1) / static_cast<T>(batch.size()));
  }
  g.reset();
  return sum;
}

}  // namespace detail

/// Trains a model on bags, one bag's graph in memory at a time: in each epoch a new order (Philox, keyed by seed and
/// epoch), for each `batch` bags the gradient of their mean loss and one optimiser step at the scheduled rate. Goes on
/// from wherever the state stands until options.epochs are complete.
/// @tparam T    the graph's scalar
/// @param bags  their numbers, for example a fold's training part
/// @param loss  loss(graph<T, Backend>&, number of the bag) -> node of one number; runs state.model, whose gradient is
///              followed. Random draws are keyed by the seed and a count of all bags so far.
/// Nothing is allocated once the largest bag has been seen, but by the loss and the callbacks. Deterministic: the same
/// bits for any number of threads and wherever the run was interrupted. When it throws, the state is that of the last
/// whole step.
/// @throws value_error  options, too few bags, a loss that is not finite, a state of another run
template <class T, execution_context Context, class Model, class Optimizer, class Loss>
void train(Context& ctx, training_state<Model, Optimizer>& state, std::span<const index_t> bags, Loss&& loss,
           const training_options& options = {}) {
  detail::check_training(state, bags, options);
  state.plan = detail::training_plan(bags, options);
  Model gradient = zeros_like(state.model);
  graph<T, typename Context::backend> g(ctx);
  g.bind(state.model, gradient);
  std::vector<index_t> order;
  state.history.reserve(static_cast<std::size_t>(std::clamp<index_t>(options.epochs, 0, 4096)));
  while (state.epoch < options.epochs && !state.finished) {
    detail::order_bags(bags, options, state.seed, state.epoch, order);
    const auto left = [&] { return std::span<const index_t>(order).subspan(static_cast<std::size_t>(state.bag)); };
    while (!left().empty()) {
      if (state.finished || state.step >= options.last_step) return;
      const auto batch = left().first(std::min(left().size(), static_cast<std::size_t>(options.batch)));
      const double rate = options.learning_rate(state.step);
      const double sum = detail::add_batch_gradient(g, state, batch, loss);
      if (options.largest_norm < std::numeric_limits<double>::infinity())
        clip_global_norm(ctx, gradient, options.largest_norm, nullptr);
      state.optimizer.step_and_clear(ctx, state.model, gradient, rate);
      state.bag += static_cast<std::int64_t>(batch.size());
      state.presented += static_cast<std::int64_t>(batch.size());
      state.loss_sum += sum;
      ++state.step;
      if (options.on_step)
        options.on_step({state.epoch, state.step - 1, sum / static_cast<double>(batch.size()), rate});
    }
    if (state.finished) return;
    state.history.push_back(state.loss_sum / static_cast<double>(order.size()));
    state.bag = 0;
    state.loss_sum = 0;
    ++state.epoch;
    if (options.on_epoch) options.on_epoch({state.epoch - 1, state.step, state.history.back()});
  }
}

}  // namespace stroma
