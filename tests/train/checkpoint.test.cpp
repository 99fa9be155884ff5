#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/mean_squared_error.hpp>
#include <stroma/optim/adam.hpp>
#include <stroma/optim/sgd.hpp>
#include <stroma/train/checkpoint.hpp>
#include <stroma/train/early_stopping.hpp>
#include <stroma/train/loop.hpp>

#include "../io/scratch.hpp"
#include "bags.hpp"

#if defined(__unix__)
#include <csignal>

#include <sys/wait.h>
#include <unistd.h>
#endif

using stroma::adamw;
using stroma::cpu_context;
using stroma::format_error;
using stroma::graph;
using stroma::index_t;
using stroma::load_checkpoint;
using stroma::previous_checkpoint;
using stroma::resume_checkpoint;
using stroma::resumed;
using stroma::save_checkpoint;
using stroma::training_state;

namespace {

using model_type = mean_model<float>;

/// What a run is made of: training and stopping, in one file.
struct run_state {
  training_state<model_type, adamw<model_type>> training;
  stroma::early_stopping<model_type> stopping;

  explicit run_state(index_t width = 5, std::uint64_t seed = 42) : run_state(model_type(4, width, 0.25), seed) {}
  run_state(const model_type& model, std::uint64_t seed)
      : training(model, adamw(model, {.weight_decay = 1e-2}), seed), stopping(model, {.patience = 2}) {}
  static auto members(auto& s) {
    return std::tuple{stroma::member{"", s.training}, stroma::member{"stopping", s.stopping}};
  }
  static auto numbers(auto& s) { return members(s); }
};

/// All bits of a state.
struct bits {
  std::vector<double> tensors;
  std::vector<std::uint64_t> numbers;
  explicit bits(const run_state& state) : tensors(flat(state)) {
    stroma::detail::for_each_number(
        [&]<class X>(std::string_view, const X& x) {
          if constexpr (std::is_same_v<X, double>) numbers.push_back(std::bit_cast<std::uint64_t>(x));
          else if constexpr (std::is_same_v<X, std::vector<double>>)
            for (const double v : x) numbers.push_back(std::bit_cast<std::uint64_t>(v));
          else numbers.push_back(static_cast<std::uint64_t>(x));
        },
        state);
  }
  bool operator==(const bits&) const = default;
};

const cohort<float>& bags() {
  static const cohort<float> data(14, 4, 1);
  return data;
}

/// Trains on and saves after every step and every epoch.
template <class Save>
void train_and_save(run_state& state, Save&& save, std::int64_t last_step = 1000) {
  cpu_context ctx;
  auto& training = state.training;
  const auto loss = [&](graph<float>& g, index_t bag) {
    const auto target = stroma::vector_view<const float>(&bags().target[static_cast<std::size_t>(bag)], 1);
    return mean_squared_error(g, training.model(g, g.input(bags().bag(bag))), target);
  };
  stroma::train<float>(ctx, training, bags().numbers(), loss,
                       {.epochs = 8,
                        .batch = 4,
                        .learning_rate = stroma::warm_up_cosine{.rate = 0.02, .warm_up = 4, .total = 32},
                        .last_step = last_step,
                        .on_step = [&](const stroma::step_report&) { save(); },
                        .on_epoch =
                            [&](const stroma::epoch_report& r) {
                              state.stopping.observe(r.epoch, r.loss, training.model);
                              save();
                            }});
}
void train_on(run_state& state, std::int64_t last_step = 1000) {
  train_and_save(
      state, [] {}, last_step);
}

void truncate(const std::filesystem::path& path, double part) {
  const auto size = static_cast<double>(std::filesystem::file_size(path));
  std::filesystem::resize_file(path, static_cast<std::uintmax_t>(size * part));
}

}  // namespace

TEST_CASE("checkpoint: continued after k steps, the run ends in the same bits") {
  const scratch_folder folder;
  run_state reference;
  train_on(reference);
  CHECK(reference.training.epoch == 8);
  CHECK(reference.stopping.best_epoch > 0);
  for (const std::int64_t k : {0, 1, 3, 4, 7, 8, 20, 31, 32}) {
    run_state first;
    train_on(first, k);
    save_checkpoint(folder / "run", first);
    const bits saved(first);
    train_on(first);
    CHECK(bits(first) == bits(reference));
    run_state second(5, 7);  // what it was made with is overwritten
    second.training.history = {1, 2, 3};
    load_checkpoint(folder / "run", second);
    CHECK(bits(second) == saved);
    train_on(second);
    CHECK(bits(second) == bits(reference));
  }
}

TEST_CASE("checkpoint: tensors lie under the names of the model and the optimiser") {
  const scratch_folder folder;
  run_state state;
  train_on(state, 3);
  save_checkpoint(folder / "run", state, {.architecture = "mean model 4-5-1"});
  const stroma::safetensors_reader file(folder / "run");
  for (const char* name : {"model.embed.weight", "optimizer.first.embed.weight", "optimizer.second.head.bias",
                           "stopping.best.head.weight", "optimizer.steps", "epoch", "history", "stopping.best_metric"})
    CHECK(file.contains(name));
  CHECK(file.read<std::int64_t>("step").flat()[0] == 3);
  CHECK(file.metadata().at("architecture") == "mean model 4-5-1");
  CHECK(file.metadata().at("version") == "1");
  // The model's part alone is a checkpoint of a model.
  model_type model(4, 5);
  stroma::for_each_parameter([&](std::string_view name, auto& p) { file.copy_to("model." + std::string(name), p); },
                             model);
  CHECK(flat(model) == flat(state.training.model));
}

TEST_CASE("checkpoint: every number comes back bit by bit") {
  run_state state;
  state.training.seed = std::numeric_limits<std::uint64_t>::max() - 3;
  state.training.plan = std::uint64_t{1} << 63;
  state.training.step = std::numeric_limits<std::int64_t>::min();
  state.training.finished = true;
  state.training.loss_sum = -0.0;
  state.training.history = {0.1, std::nan("7"), -std::numeric_limits<double>::infinity(), 5e-324};
  state.stopping.best_metric = std::nan("");
  const scratch_folder folder;
  save_checkpoint(folder / "run", state);
  run_state other;
  load_checkpoint(folder / "run", other);
  CHECK(bits(other) == bits(state));
  CHECK(std::signbit(other.training.loss_sum));
}

TEST_CASE("checkpoint: another architecture is refused by the name of the tensor, and nothing changes") {
  const scratch_folder folder;
  const auto path = folder / "run";
  run_state state;
  train_on(state, 5);
  save_checkpoint(path, state, {.architecture = "a"});
  run_state wide(6);
  const bits before(wide);
  CHECK(contains(message_of<format_error>([&] { load_checkpoint(path, wide, {.architecture = "b"}); }),
                 "tensor 'model.embed.weight': shape [5, 4], expected [6, 4]"));
  CHECK(bits(wide) == before);
  run_state same;
  CHECK(message_of<format_error>([&] { load_checkpoint(path, same, {.architecture = "b"}); }) ==
        "checkpoint: " + path.string() + ": architecture 'a', expected 'b'");
  CHECK(bits(same) == bits(run_state()));
  // Another optimiser, another scalar: missing and superfluous tensors.
  training_state heavy(state.training.model, stroma::sgd(state.training.model, {.momentum = 0.5}));
  CHECK(contains(message_of<format_error>([&] { load_checkpoint(path, heavy, {.architecture = "a"}); }),
                 "no tensor 'optimizer.velocity.embed.weight'"));
  training_state plain(state.training.model, stroma::sgd(state.training.model));
  CHECK(contains(message_of<format_error>([&] { load_checkpoint(path, plain, {.architecture = "a"}); }),
                 "tensor 'optimizer.first.embed.weight': nothing of that name in the state"));
  const mean_model<double> in_double(4, 5);
  training_state other(in_double, adamw(in_double));
  CHECK(contains(message_of<format_error>([&] { load_checkpoint(path, other, {.architecture = "a"}); }),
                 "tensor 'model.embed.weight': dtype F32, expected F64"));
  // A safetensors file that is no checkpoint, and one of a later version.
  stroma::write_safetensors(folder / "m", {stroma::named_tensor("x", std::vector<float>(3))});
  CHECK(contains(message_of<format_error>([&] { load_checkpoint(folder / "m", same); }),
                 "format '', expected 'stroma checkpoint'"));
  stroma::write_safetensors(folder / "m", {}, {{"format", "stroma checkpoint"}, {"version", "2"}});
  CHECK(contains(message_of<format_error>([&] { load_checkpoint(folder / "m", same); }), "version '2', expected '1'"));
  CHECK(bits(same) == bits(run_state()));
}

TEST_CASE("checkpoint: damaged files are refused, and the one before still loads") {
  const scratch_folder folder;
  const auto path = folder / "run";
  run_state state, other;
  CHECK(resume_checkpoint(path, other) == resumed::nothing);
  CHECK_THROWS_AS(load_checkpoint(path, other), format_error);
  train_on(state, 2);
  save_checkpoint(path, state);
  const bits older(state);
  CHECK(!std::filesystem::exists(previous_checkpoint(path)));
  train_on(state, 4);
  save_checkpoint(path, state);
  const bits newer(state);
  CHECK(resume_checkpoint(path, other) == resumed::latest);
  CHECK(bits(other) == newer);
  const std::string whole = bytes_of(path);
  for (const double part : {0.0, 0.001, 0.1, 0.5, 0.99, 0.9999}) {
    folder.file("run", whole);
    truncate(path, part);
    CHECK_THROWS_AS(load_checkpoint(path, other), format_error);
    CHECK(resume_checkpoint(path, other) == resumed::previous);
    CHECK(bits(other) == older);
  }
  // Saving over a damaged file keeps the good one before it.
  save_checkpoint(path, state);
  CHECK(resume_checkpoint(path, other) == resumed::latest);
  load_checkpoint(previous_checkpoint(path), other);
  CHECK(bits(other) == older);
  std::filesystem::remove(path);
  CHECK(resume_checkpoint(path, other) == resumed::previous);
  truncate(previous_checkpoint(path), 0.5);
  CHECK_THROWS_AS((void)resume_checkpoint(path, other), format_error);
  folder.file("run", whole.substr(0, 100));
  CHECK_THROWS_AS((void)resume_checkpoint(path, other), format_error);
  std::filesystem::remove(previous_checkpoint(path));
  CHECK_THROWS_AS((void)resume_checkpoint(path, other), format_error);
  // A whole one of another architecture is a mistake, not damage.
  save_checkpoint(path, run_state(6));
  save_checkpoint(path, run_state(6));
  CHECK_THROWS_AS((void)resume_checkpoint(path, other), format_error);
}

TEST_CASE("checkpoint: a folder that cannot be written is reported, and training can go on") {
  run_state state;
  CHECK_THROWS_AS(save_checkpoint("/nowhere/at/all/run", state), format_error);
}

#if defined(__unix__)

namespace {

/// Trains in a process of its own with a checkpoint at every step, killed after a while. True when it came to its end.
bool train_until_killed(const std::filesystem::path& path, std::chrono::microseconds delay) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int status = 1;
    try {
      run_state state;
      (void)resume_checkpoint(path, state);
      train_and_save(state, [&] { save_checkpoint(path, state); });
      status = 0;
    } catch (...) {
    }
    ::_exit(status);
  }
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFEXITED(status)) CHECK(WEXITSTATUS(status) == 0);
  return WIFEXITED(status);
}

}  // namespace

TEST_CASE("checkpoint: killed again and again at any moment, the run ends in the same bits") {
  run_state reference;
  train_on(reference);
  int kills = 0, with_work = 0;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    const scratch_folder folder;
    const auto path = folder / "run";
    stroma::random_stream random(seed);
    std::chrono::microseconds most{500};  // grows, until even a slow machine gets through
    while (
        !train_until_killed(path, std::chrono::microseconds(random.below(static_cast<std::uint32_t>(most.count()))))) {
      ++kills;
      most += most / 8;
      run_state seen;
      if (resume_checkpoint(path, seen) != resumed::nothing) with_work += seen.training.step > 0;
    }
    run_state state;
    CHECK(resume_checkpoint(path, state) == resumed::latest);
    CHECK(bits(state) == bits(reference));
  }
  CHECK(kills >= 6);
  CHECK(with_work > 0);
}

#endif
