#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <stroma/models/abmil.cuh>
#include <stroma/nn/initialise.hpp>
#include <stroma/optim/adam.cuh>
#include <stroma/survival/cox_partial_likelihood.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

namespace {

using device = stroma::backend::cuda;
using model_of = stroma::abmil<float, stroma::gated_attention, device>;
constexpr index_t patients = 40;

struct own_stream {
  cudaStream_t stream = nullptr;
  own_stream() { REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess); }
  own_stream(const own_stream&) = delete;
  own_stream& operator=(const own_stream&) = delete;
  ~own_stream() { static_cast<void>(cudaStreamDestroy(stream)); }
};

/// What a call asks of a stream, to be run again and again.
class captured {
 public:
  template <class F>
  captured(cudaStream_t stream, F&& f) {
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    f();
    REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    REQUIRE(cudaGraphGetNodes(graph, nullptr, &nodes_) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&run_, graph, 0) == cudaSuccess);
    REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
  }
  captured(const captured&) = delete;
  captured& operator=(const captured&) = delete;
  ~captured() { static_cast<void>(cudaGraphExecDestroy(run_)); }
  void launch(cudaStream_t stream) const { REQUIRE(cudaGraphLaunch(run_, stream) == cudaSuccess); }
  [[nodiscard]] std::size_t nodes() const { return nodes_; }

 private:
  cudaGraphExec_t run_ = nullptr;
  std::size_t nodes_ = 0;
};

/// Training of a model on a cohort whose patients have a few instances each.
struct training {
  stroma::abmil_shape shape{.features = 11, .hidden = {9}, .attention = 5, .heads = 1, .outputs = 1, .dropout = 0.25};
  own_stream own;
  stroma::cuda_context ctx{own.stream};
  model_of model{shape}, gradient{shape};
  stroma::adamw<model_of> optimiser{model, {.weight_decay = 1e-2}};
  stroma::graph<float, device> g{ctx};
  cohort_on_device<float> cohort{ctx, random_cohort<float>(patients, 20, 5)};
  stroma::risk_order<device> order{ctx, cohort.time, cohort.event};
  stroma::array<float, 2> x_here;
  device_array<float> x;
  device_vector<index_t> offsets;
  device_vector<std::uint32_t> clock{1};
  stroma::node loss{};

  training() {
    std::vector<index_t> sizes;
    for (index_t b = 0; b < patients; ++b) sizes.push_back(1 + b % 4);
    const auto ends = offsets_of_sizes(sizes);
    x_here = normal_matrix<float>(ends.back(), shape.features, 1);
    x = on_device(ctx, x_here);
    offsets = on_device(ctx, ends);
    stroma::abmil<float> start(shape);
    stroma::initialise(start, 3);
    stroma::transfer_parameters(ctx, start, model);
    g.bind(model, gradient);
  }
  /// The part that is captured: forwards, loss and backwards.
  void differentiate(const stroma::random_key& key) {
    g.reset();
    g.set_random(key);
    const stroma::bag_view<const float, stroma::device_space> bags{stroma::as_const_view(x),
                                                                   stroma::as_const_view(offsets)};
    loss = stroma::cox_partial_likelihood(g, model(g, g.input(bags)).logits, order,
                                          {.tie_method = stroma::ties::efron, .reduce = stroma::reduction::mean});
    g.backward(loss);
  }
  void differentiate() { differentiate({7, 0, 0, clock.data()}); }
  /// The part that has numbers of the step as arguments.
  float update(std::uint32_t step) {
    optimiser.step_and_clear(ctx, model, gradient, 1e-2 / (step + 1));
    return g.scalar_value(loss);
  }
  void set_clock(std::uint32_t step) {
    stroma::array<std::uint32_t, 1> now(1);
    now[0] = step;
    stroma::transfer(ctx, now, clock);
  }
  [[nodiscard]] std::vector<float> parameters() {
    std::vector<float> all;
    stroma::for_each_parameter(
        [&](std::string_view, const auto& p) {
          const auto copy = on_host(ctx, p);
          all.insert(all.end(), copy.begin(), copy.end());
        },
        model);
    return all;
  }
};

struct count_step {
  std::uint32_t* clock;
  __device__ void operator()(index_t) const { ++*clock; }
};

}  // namespace

TEST_CASE("cuda: a step captured after two and launched three times is five steps, bit for bit") {
  constexpr std::uint32_t steps = 5, warm = 2;
  training by_key, by_clock, replayed, frozen;
  std::vector<float> losses_by_key, losses_by_clock, losses_replayed;
  for (std::uint32_t step = 0; step < steps; ++step) {
    by_key.differentiate({7, step, 0});
    losses_by_key.push_back(by_key.update(step));
    by_clock.set_clock(step);
    by_clock.differentiate();
    losses_by_clock.push_back(by_clock.update(step));
    frozen.differentiate();
    frozen.update(step);
  }

  for (std::uint32_t step = 0; step < warm; ++step) {
    replayed.set_clock(step);
    replayed.differentiate();
    losses_replayed.push_back(replayed.update(step));
  }
  const captured differentiate(replayed.ctx.stream(), [&] { replayed.differentiate(); });
  CHECK(differentiate.nodes() > 0);
  for (std::uint32_t step = warm; step < steps; ++step) {
    replayed.set_clock(step);
    differentiate.launch(replayed.ctx.stream());
    losses_replayed.push_back(replayed.update(step));
  }
  for (const float value : losses_by_key) CHECK(std::isfinite(value));
  CHECK(losses_by_clock == losses_by_key);
  CHECK(losses_replayed == losses_by_key);
  CHECK(by_clock.parameters() == by_key.parameters());
  CHECK(replayed.parameters() == by_key.parameters());
  CHECK(frozen.parameters() != by_key.parameters());  // without the clock, a captured step would drop the same units
}

TEST_CASE("cuda: a captured step that counts itself is launched again without a number from the host") {
  constexpr std::uint32_t steps = 5, warm = 2;
  training by_key, replayed;
  std::vector<float> losses_by_key, losses_replayed;
  for (std::uint32_t step = 0; step < steps; ++step) {
    by_key.differentiate({7, step, 0});
    losses_by_key.push_back(by_key.update(step));
  }

  const auto differentiate = [&] {
    replayed.differentiate();
    stroma::detail::each(replayed.ctx, 1, count_step{replayed.clock.data()});
  };
  replayed.set_clock(0);
  for (std::uint32_t step = 0; step < warm; ++step) {
    differentiate();
    losses_replayed.push_back(replayed.update(step));
  }
  const captured again(replayed.ctx.stream(), differentiate);
  for (std::uint32_t step = warm; step < steps; ++step) {
    again.launch(replayed.ctx.stream());
    losses_replayed.push_back(replayed.update(step));
  }
  CHECK(losses_replayed == losses_by_key);
  CHECK(replayed.parameters() == by_key.parameters());
}

TEST_CASE("cuda: a captured step reports wrong values when the host waits") {
  training t;
  for (std::uint32_t step = 0; step < 2; ++step) {
    t.differentiate();
    t.update(step);
  }
  const captured differentiate(t.ctx.stream(), [&] { t.differentiate(); });
  differentiate.launch(t.ctx.stream());
  CHECK_NOTHROW(t.ctx.synchronize());
  auto broken = t.x_here;
  broken(5, 3) = std::nanf("");
  stroma::transfer(t.ctx, broken, t.x);
  for (int i = 0; i < 2; ++i) {
    differentiate.launch(t.ctx.stream());
    differentiate.launch(t.ctx.stream());
    CHECK_THROWS_AS(t.ctx.synchronize(), stroma::value_error);
    CHECK_NOTHROW(t.ctx.synchronize());
  }
  stroma::transfer(t.ctx, t.x_here, t.x);
  differentiate.launch(t.ctx.stream());
  CHECK_NOTHROW(t.ctx.synchronize());
}

TEST_CASE("cuda: a step that waits, or that has not run twice before, cannot be captured") {
  training t;
  for (std::uint32_t step = 0; step < 2; ++step) {
    t.differentiate();
    t.update(step);
  }
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamBeginCapture(t.ctx.stream(), cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  t.differentiate();
  CHECK_THROWS_AS(static_cast<void>(t.g.scalar_value(t.loss)), stroma::backend_error);
  CHECK(cudaStreamEndCapture(t.ctx.stream(), &graph) == cudaErrorStreamCaptureInvalidated);
  static_cast<void>(cudaGetLastError());
#if !defined(__CUDACC__)  // a device lets its pool's allocations be captured
  const auto held = cuda_emulator::count().live_allocations;
  {
    training fresh;
    fresh.differentiate();
    REQUIRE(cudaStreamBeginCapture(fresh.ctx.stream(), cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK_THROWS_AS(fresh.differentiate(), stroma::backend_error);
    CHECK(cudaStreamEndCapture(fresh.ctx.stream(), &graph) == cudaErrorStreamCaptureInvalidated);
    static_cast<void>(cudaGetLastError());
  }
  CHECK(cuda_emulator::count().live_allocations == held);
#endif
}
