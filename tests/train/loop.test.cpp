#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/mean_squared_error.hpp>
#include <stroma/optim/adam.hpp>
#include <stroma/optim/schedule.hpp>
#include <stroma/optim/sgd.hpp>
#include <stroma/train/loop.hpp>

#include "../support/counting_allocator.hpp"
#include "bags.hpp"

using stroma::adamw;
using stroma::cpu_context;
using stroma::graph;
using stroma::index_t;
using stroma::last_batch;
using stroma::node;
using stroma::sgd;
using stroma::train;
using stroma::training_options;
using stroma::training_state;

namespace {

template <class T, class State>
auto squared_error(const cohort<T>& data, const State& state) {
  return [&](graph<T>& g, index_t bag) {
    const auto target = stroma::vector_view<const T>(&data.target[static_cast<std::size_t>(bag)], 1);
    return mean_squared_error(g, state.model(g, g.input(data.bag(bag))), target);
  };
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = a.size() == b.size() ? 0 : 1e300;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

}  // namespace

TEST_CASE("loop: accumulating over four bags is one batch of four") {
  const cohort<double> data(8, 5, 1);
  cpu_context ctx;
  const mean_model<double> start(5, 6);
  training_state state(start, sgd(start));
  const auto bags = data.numbers();
  train<double>(ctx, state, bags, squared_error(data, state),
                {.epochs = 1, .batch = 4, .learning_rate = stroma::constant_rate{0.1}, .last_step = 1});

  // The same step by hand: one graph, the mean loss of the four bags that came first.
  std::vector<index_t> order;
  stroma::detail::order_bags(bags, {.batch = 4}, 42, 0, order);
  auto model = start;
  auto gradient = stroma::zeros_like(start);
  graph<double> g(ctx);
  g.bind(model, gradient);
  node sum{};
  double loss = 0;
  for (int i = 0; i < 4; ++i) {
    const index_t bag = order[static_cast<std::size_t>(i)];
    const node one =
        mean_squared_error(g, model(g, g.input(data.bag(bag))),
                           stroma::vector_view<const double>(&data.target[static_cast<std::size_t>(bag)], 1));
    loss += g.scalar_value(one);
    if (sum.id < 0) {
      sum = one;
      continue;
    }
    const auto [next, value] = g.emit(1, 1, {sum, one});
    value(0, 0) = g.value(sum)(0, 0) + g.value(one)(0, 0);
    g.on_backward(next, [sum, one, out = next](graph<double>& r) {
      r.gradient_of(sum)(0, 0) += r.gradient(out)(0, 0);
      r.gradient_of(one)(0, 0) += r.gradient(out)(0, 0);
    });
    sum = next;
  }
  g.backward(sum, 0.25);
  sgd optimizer(model);
  optimizer.step(ctx, model, gradient, 0.1);
  CHECK(distance(flat(model), flat(state.model)) < 1e-15);
  CHECK(distance(flat(model), flat(start)) > 1e-3);
  CHECK(state.loss_sum == doctest::Approx(loss).epsilon(1e-14));
  CHECK(state.step == 1);
  CHECK(state.bag == 4);
}

TEST_CASE("loop: every epoch presents every bag once, in another order; the remainder is dropped or trained") {
  const cohort<float> data(11, 3, 2);
  cpu_context ctx;
  const mean_model<float> start(3, 4);
  const std::vector<index_t> bags{2, 3, 5, 7, 8, 9, 10};
  for (const last_batch remainder : {last_batch::smaller, last_batch::dropped}) {
    training_state state(start, sgd(start));
    const auto loss = squared_error(data, state);
    std::vector<std::vector<index_t>> seen(1);
    std::vector<std::int64_t> steps;
    train<float>(ctx, state, bags,
                 [&](graph<float>& g, index_t bag) {
                   seen.back().push_back(bag);
                   return loss(g, bag);
                 },
                 {.epochs = 6,
                  .batch = 3,
                  .remainder = remainder,
                  .on_step = [&](const stroma::step_report& r) { steps.push_back(r.step); },
                  .on_epoch =
                      [&](const stroma::epoch_report& r) {
                        CHECK(r.epoch == static_cast<std::int64_t>(seen.size()) - 1);
                        seen.emplace_back();
                      }});
    seen.pop_back();
    CHECK(seen.size() == 6);
    std::set<std::vector<index_t>> orders;
    std::set<index_t> left_out;
    for (auto order : seen) {
      CHECK(order.size() == (remainder == last_batch::dropped ? 6 : 7));
      orders.insert(order);
      std::sort(order.begin(), order.end());
      CHECK(std::adjacent_find(order.begin(), order.end()) == order.end());
      std::set_difference(bags.begin(), bags.end(), order.begin(), order.end(),
                          std::inserter(left_out, left_out.end()));
    }
    CHECK(orders.size() == 6);
    CHECK((remainder == last_batch::dropped ? left_out.size() > 1 : left_out.empty()));
    CHECK(state.step == (remainder == last_batch::dropped ? 12 : 18));
    CHECK(steps.size() == static_cast<std::size_t>(state.step));
    CHECK(steps.back() == state.step - 1);
    CHECK(state.presented == (remainder == last_batch::dropped ? 36 : 42));
    CHECK(state.history.size() == 6);
  }
}

TEST_CASE_TEMPLATE("loop: same seed, same bits, for any number of threads", T, float, double) {
  const cohort<T> data(13, 20, 3, 700);
  const auto run = [&](int threads, std::uint64_t seed) {
    cpu_context ctx(threads);
    const mean_model<T> start(20, 33, 0.25);
    training_state state(start, adamw(start, {.weight_decay = 1e-2}), seed);
    train<T>(ctx, state, data.numbers(), squared_error(data, state),
             {.epochs = 2,
              .batch = 4,
              .learning_rate = stroma::warm_up_cosine{.rate = 1e-2, .warm_up = 2, .total = 8},
              .largest_norm = 1});
    auto all = flat(state.model);
    all.insert(all.end(), state.history.begin(), state.history.end());
    return all;
  };
  const auto one = run(1, 42);
  CHECK(one == run(1, 42));
  CHECK(one == run(2, 42));
  CHECK(one == run(3, 42));
  CHECK(one != run(1, 43));
}

TEST_CASE("loop: interrupted at any step and continued from a copy: the same bits") {
  const cohort<float> data(10, 4, 4);
  cpu_context ctx;
  const mean_model<float> start(4, 5, 0.5);
  const auto fresh = [&] { return training_state(start, adamw(start)); };
  const training_options whole{.epochs = 3, .batch = 4, .learning_rate = stroma::constant_rate{1e-2}};
  auto reference = fresh();
  int epochs = 0;
  auto options = whole;
  options.on_epoch = [&](const stroma::epoch_report&) { ++epochs; };
  train<float>(ctx, reference, data.numbers(), squared_error(data, reference), options);
  CHECK(epochs == 3);
  for (std::int64_t pause = 0; pause <= 9; ++pause) {
    auto first = fresh();
    options.last_step = pause;
    epochs = 0;
    train<float>(ctx, first, data.numbers(), squared_error(data, first), options);
    CHECK(first.step == pause);
    auto second = first;
    options.last_step = whole.last_step;
    train<float>(ctx, second, data.numbers(), squared_error(data, second), options);
    CHECK(flat(second.model) == flat(reference.model));
    CHECK(flat(second.optimizer) == flat(reference.optimizer));
    CHECK(second.history == reference.history);
    CHECK(epochs == 3);  // each epoch reported once, wherever the pause was
  }
}

TEST_CASE("loop: learns, and the callbacks see it") {
  cohort<double> data(40, 6, 5);
  for (index_t b = 0; b < data.count(); ++b) {  // a target that the model can express
    double sum = 0;
    for (index_t i = 0; i < data.bag(b).rows; ++i) sum += std::max(0.0, data.bag(b)(i, 0));
    data.target[static_cast<std::size_t>(b)] = sum / static_cast<double>(data.bag(b).rows);
  }
  cpu_context ctx;
  const mean_model<double> start(6, 8);
  training_state state(start, sgd(start, {.momentum = 0.9}));
  double last = 0;
  train<double>(
      ctx, state, data.numbers(), squared_error(data, state),
      {.epochs = 60, .batch = 8, .learning_rate = stroma::constant_rate{0.05}, .on_epoch = [&](const auto& r) {
         last = r.loss;
       }});
  CHECK(state.history.size() == 60);
  CHECK(last == state.history.back());
  CHECK(last < 0.05 * state.history.front());
}

TEST_CASE("loop: a callback ends the run for good") {
  const cohort<float> data(6, 3, 6);
  cpu_context ctx;
  const mean_model<float> start(3, 4);
  training_state state(start, sgd(start));
  const training_options options{.epochs = 9,
                                 .on_epoch = [&](const stroma::epoch_report& r) { state.finished = r.epoch == 3; }};
  train<float>(ctx, state, data.numbers(), squared_error(data, state), options);
  CHECK(state.epoch == 4);
  train<float>(ctx, state, data.numbers(), squared_error(data, state), options);
  CHECK(state.epoch == 4);
  training_state other(start, sgd(start));
  train<float>(ctx, other, data.numbers(), squared_error(data, other),
               {.on_step = [&](const stroma::step_report& r) { other.finished = r.step == 7; }});
  CHECK(other.step == 8);
  CHECK(other.epoch == 1);
  CHECK(other.bag == 2);
}

TEST_CASE("loop: nothing is allocated after the first epoch") {
  const cohort<float> data(12, 4, 7);
  cpu_context ctx(2);
  const mean_model<float> start(4, 5, 0.25);
  training_state state(start, adamw(start));
  state.history.reserve(100);
  std::size_t before = 0;
  std::vector<std::size_t> in_epoch;
  in_epoch.reserve(100);
  train<float>(ctx, state, data.numbers(), squared_error(data, state),
               {.epochs = 5, .batch = 4, .largest_norm = 0.5, .on_epoch = [&](const stroma::epoch_report&) {
                  in_epoch.push_back(allocation_count() - before);
                  before = allocation_count();
                }});
  CHECK(in_epoch[0] > 0);
  // The orders come in other sizes of bags, so the arena may still grow a little; then it is at its peak.
  CHECK(in_epoch[4] == 0);
}

TEST_CASE("loop: clipping limits the step") {
  const cohort<double> data(4, 3, 8);
  cpu_context ctx;
  const mean_model<double> start(3, 4);
  training_state state(start, sgd(start));
  train<double>(ctx, state, data.numbers(), squared_error(data, state),
                {.epochs = 1, .batch = 4, .learning_rate = stroma::constant_rate{1}, .largest_norm = 1e-3});
  const auto a = flat(start), b = flat(state.model);
  double square = 0;
  for (std::size_t i = 0; i < a.size(); ++i) square += (a[i] - b[i]) * (a[i] - b[i]);
  CHECK(std::sqrt(square) == doctest::Approx(1e-3).epsilon(1e-9));
}

TEST_CASE("loop: mistakes are named, and leave the last whole step") {
  const cohort<double> data(6, 3, 9);
  cpu_context ctx;
  const mean_model<double> start(3, 4);
  training_state state(start, sgd(start));
  const auto loss = squared_error(data, state);
  const auto bags = data.numbers();
  const auto run = [&](const training_options& options, std::span<const index_t> which) {
    train<double>(ctx, state, which, loss, options);
  };
  CHECK_THROWS_WITH_AS(run({.batch = 7, .remainder = last_batch::dropped}, bags),
                       "train: bags: 6, expected 7 or more (a batch: the remainder is dropped)", stroma::value_error);
  CHECK_THROWS_AS(run({.batch = 0}, bags), stroma::value_error);
  CHECK_THROWS_AS(run({.epochs = -1}, bags), stroma::value_error);
  CHECK_THROWS_AS(run({.learning_rate = nullptr}, bags), stroma::value_error);
  CHECK_THROWS_AS(run({}, {}), stroma::value_error);
  CHECK(state.plan == 0);
  run({.epochs = 1, .batch = 2}, bags);
  CHECK_THROWS_WITH_AS(run({.epochs = 2, .batch = 3}, bags),
                       "train: state: a run begun with other bags or batches, expected the same when it is continued",
                       stroma::value_error);
  CHECK_THROWS_AS(run({.epochs = 2, .batch = 2}, std::span(bags).first(5)), stroma::value_error);
  const auto before = flat(state.model);
  int calls = 0;
  const auto fails = [&](graph<double>& g, index_t bag) {
    const node out = loss(g, bag);
    if (++calls < 2) return out;
    const auto [bad, value] = g.emit(1, 1, {out});
    value(0, 0) = std::nan("");
    return bad;
  };
  CHECK_THROWS_AS(train<double>(ctx, state, bags, fails, {.epochs = 2, .batch = 2}), stroma::value_error);
  CHECK(flat(state.model) == before);
  CHECK(state.step == 3);
  run({.epochs = 2, .batch = 2}, bags);
  CHECK(state.epoch == 2);
}
