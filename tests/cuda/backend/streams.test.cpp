#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <stroma/models/abmil.cuh>
#include <stroma/nn/initialise.hpp>
#include <stroma/survival/cox_partial_likelihood.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;

namespace {

using device = stroma::backend::cuda;
using model_of = stroma::abmil<float, stroma::gated_attention, device>;
constexpr index_t patients = 90;

void succeed(cudaError_t status) { REQUIRE(status == cudaSuccess); }

struct own_stream {
  cudaStream_t stream = nullptr;
  own_stream() { succeed(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)); }
  own_stream(const own_stream&) = delete;
  own_stream& operator=(const own_stream&) = delete;
  ~own_stream() { static_cast<void>(cudaStreamDestroy(stream)); }
};

/// Attention over bags of a few instances, one bag a patient: scores forwards, gradients of the model backwards.
struct pooling {
  stroma::abmil_shape shape{.features = 11, .hidden = {9}, .attention = 5, .heads = 1, .outputs = 1, .dropout = 0.25};
  model_of model{shape}, gradient{shape};
  device_array<float> x, d_scores;
  device_vector<index_t> offsets;
  stroma::graph<float, device> g;
  stroma::node scores{};

  explicit pooling(stroma::cuda_context& ctx) : g(ctx) {
    std::vector<index_t> sizes;
    for (index_t b = 0; b < patients; ++b) sizes.push_back(1 + b % 4);
    const auto ends = offsets_of_sizes(sizes);
    x = on_device(ctx, normal_matrix<float>(ends.back(), shape.features, 1));
    d_scores = on_device(ctx, normal_matrix<float>(patients, 1, 2));
    offsets = on_device(ctx, ends);
    stroma::abmil<float> start(shape);
    stroma::initialise(start, 3);
    stroma::transfer_parameters(ctx, start, model);
    g.bind(model, gradient);
  }
  void forward() {
    g.reset();
    const stroma::bag_view<const float, stroma::device_space> bags{stroma::as_const_view(x),
                                                                   stroma::as_const_view(offsets)};
    scores = model(g, g.input(bags)).logits;
  }
  void backward() { g.backward(scores, stroma::as_const_view(d_scores)); }
  [[nodiscard]] std::vector<float> found(stroma::cuda_context& ctx) {
    std::vector<float> all;
    stroma::array<float, 2> values(patients, 1);
    stroma::transfer(ctx, g.value(scores), values);
    all.assign(values.begin(), values.end());
    stroma::for_each_parameter(
        [&](std::string_view, const auto& p) {
          const auto copy = on_host(ctx, p);
          all.insert(all.end(), copy.begin(), copy.end());
        },
        gradient);
    return all;
  }
};

/// Cox's likelihood of scores, sorted anew in every call.
struct likelihood {
  cohort_on_device<float> patients_there;
  device_vector<float> value{1}, gradient{patients};
  explicit likelihood(stroma::cuda_context& ctx) : patients_there(ctx, random_cohort<float>(patients, 20, 5)) {}

  void evaluate(stroma::cuda_context& ctx, stroma::vector_view<const float, stroma::device_space> score) {
    stroma::cox_partial_likelihood(ctx, score, patients_there.time, patients_there.event,
                                   {value.data(), stroma::as_view(gradient)}, {.tie_method = stroma::ties::efron});
  }
  void evaluate(stroma::cuda_context& ctx) { evaluate(ctx, stroma::as_const_view(patients_there.score)); }
  [[nodiscard]] std::vector<float> found(stroma::cuda_context& ctx) {
    auto all = on_host(ctx, gradient);
    std::vector<float> copy(all.begin(), all.end());
    copy.push_back(on_host(ctx, value)[0]);
    return copy;
  }
};

struct results {
  std::vector<float> pooled, cox;
  friend bool operator==(const results&, const results&) = default;
};
/// Both twice, for the second time in memory that the first has left: one after the other, or step by step in turns.
results both(bool in_turns) {
  const own_stream first, second;
  stroma::cuda_context a(first.stream), b(second.stream);
  pooling pool(a);
  likelihood cox(b);
  if (in_turns) {
    for (int i = 0; i < 2; ++i) {
      pool.forward();
      cox.evaluate(b);
      pool.backward();
      cox.evaluate(b);
    }
  } else {
    for (int i = 0; i < 2; ++i) {
      pool.forward();
      pool.backward();
    }
    a.synchronize();
    for (int i = 0; i < 4; ++i) cox.evaluate(b);
  }
  return {pool.found(a), cox.found(b)};
}
/// The likelihood of the pooled scores, made by one stream and read by another.
std::vector<float> chained() {
  const own_stream first, second;
  stroma::cuda_context a(first.stream), b(second.stream);
  pooling pool(a);
  likelihood cox(b);
  cudaEvent_t ready = nullptr;
  succeed(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming));
  pool.forward();
  succeed(cudaEventRecord(ready, a.stream()));
  succeed(cudaStreamWaitEvent(b.stream(), ready, 0));
  cox.evaluate(b, pool.g.value(pool.scores).col(0));
  auto found = cox.found(b);
  succeed(cudaEventDestroy(ready));
  return found;
}

/// f() in several orders of the streams' work, where orders can be chosen.
template <class F>
void in_orders(const F& f) {
#if defined(__CUDACC__)
  for (int i = 0; i < 5; ++i) f();
#else
  for (const std::uint64_t seed : {0u, 1u, 2u, 3u, 4u, 5u}) {
    cuda_emulator::options how = cuda_emulator::settings();
    how.deferred = true;
    how.order_seed = seed;
    const cuda_emulator::settings_scope scope(how);
    f();
  }
#endif
}

}  // namespace

TEST_CASE("cuda: contexts on two streams, in turns, give the bits that they give one after the other") {
  const results expected = both(false);
  for (const float value : expected.pooled) REQUIRE(std::isfinite(value));
  in_orders([&] { CHECK(both(true) == expected); });
}

TEST_CASE("cuda: a result goes from one context to another through an event") {
  const auto expected = chained();
  in_orders([&] { CHECK(chained() == expected); });
}

TEST_CASE("cuda: two contexts share no scratch") {
  const own_stream first, second;
  stroma::cuda_context a(first.stream), b(second.stream);
  pooling pool(a);
  likelihood cox(b);
  pool.forward();
  cox.evaluate(b);
  pool.backward();
  a.synchronize();
  b.synchronize();
  auto frame_a = a.workspace().open(), frame_b = b.workspace().open();
  const auto size_a = static_cast<index_t>(a.workspace().capacity());
  const auto size_b = static_cast<index_t>(b.workspace().capacity());
  REQUIRE(size_a > 0);
  REQUIRE(size_b > 0);
  // Each is one block by now, which is taken whole.
  const auto begin_a = reinterpret_cast<std::uintptr_t>(frame_a.take<std::byte>(size_a));
  const auto begin_b = reinterpret_cast<std::uintptr_t>(frame_b.take<std::byte>(size_b));
  CHECK(a.workspace().capacity() == static_cast<std::size_t>(size_a));
  CHECK(b.workspace().capacity() == static_cast<std::size_t>(size_b));
  CHECK((begin_a + static_cast<std::uintptr_t>(size_a) <= begin_b ||
         begin_b + static_cast<std::uintptr_t>(size_b) <= begin_a));
}
