#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/safetensors.hpp>
#include <stroma/models/abmil.hpp>
#include <stroma/survival/discrete_hazard.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/gradient.hpp"
#include "../support/shared.hpp"

namespace {

using stroma::index_t;

template <class T>
struct tolerance;
template <>
struct tolerance<double> {
  static constexpr double value = 1e-10;
};
template <>
struct tolerance<float> {
  static constexpr double value = 1e-5;
};

/// The largest difference between two tensors, relative to the larger of 1 and the expected size.
template <class T, class Expected>
double difference(stroma::matrix_view<const T> found, const Expected& expected) {
  double worst = 0;
  const auto e = expected.flat();
  if (e.size != found.rows * found.cols) return std::numeric_limits<double>::infinity();
  for (index_t i = 0; i < found.rows; ++i)
    for (index_t j = 0; j < found.cols; ++j) {
      const double want = e[i * found.cols + j];
      worst = std::max(worst, std::abs(static_cast<double>(found(i, j)) - want) / std::max(1.0, std::abs(want)));
    }
  return worst;
}

template <class T, template <class, class> class Attention>
void check_against_pytorch(const char* file_name) {
  const stroma::safetensors_reader file(test_data("models") / file_name);
  stroma::abmil<T, Attention> model({.features = 25, .hidden = {16}, .attention = 12, .outputs = 4});
  stroma::load_parameters(file, model, {.prefix = "param.", .extra = stroma::extra_tensors::refuse});
  auto gradient = stroma::zeros_like(model);

  const auto x64 = file.read<double>("input.x").matrix();
  std::vector<T> x(static_cast<std::size_t>(x64.rows * x64.cols)), d_x(x.size());
  for (index_t i = 0; i < x64.rows * x64.cols; ++i) x[static_cast<std::size_t>(i)] = static_cast<T>(x64.data[i]);
  const std::vector<index_t> bin{file.read<std::int64_t>("input.bin").flat()[0]};
  const std::vector<int> event{static_cast<int>(file.read<double>("input.event").flat()[0])};

  stroma::cpu_context ctx;
  stroma::graph<T> g(ctx);
  g.bind(model, gradient);
  const auto input = g.variable({x.data(), x64.rows, x64.cols}, {d_x.data(), x64.rows, x64.cols});
  const auto out = model(g, input);
  const auto loss = stroma::discrete_hazard(g, out.logits, stroma::vector_view<const index_t>(bin.data(), 1),
                                            stroma::vector_view<const int>(event.data(), 1), {.alpha = 0.5});
  g.backward(loss);

  constexpr double limit = tolerance<T>::value;
  CHECK(difference<T>(g.value(out.logits), file.read<double>("output.logits")) < limit);
  CHECK(difference<T>(g.value(out.attention), file.read<double>("output.attention")) < limit);
  CHECK(difference<T>(g.value(loss), file.read<double>("output.loss")) < limit);
  CHECK(difference<T>(stroma::matrix_view<const T>(d_x.data(), x64.rows, x64.cols), file.read<double>("grad.input.x")) <
        limit);
  int parameters = 0;
  stroma::for_each_parameter(
      [&](std::string_view name, const auto& d) {
        CAPTURE(std::string(name));
        const stroma::matrix_view<const T> flat(d.data(), 1, d.size());
        CHECK(difference<T>(flat, file.read<double>("grad.param." + std::string(name))) < limit);
        ++parameters;
      },
      gradient);
  CHECK(parameters == (Attention<T, stroma::backend::cpu>::gated ? 10 : 8));
}

struct example {
  stroma::abmil<double> model{{.features = 9, .hidden = {7, 6}, .attention = 5, .heads = 2, .outputs = 3}};
  std::vector<double> x;
  std::vector<index_t> offsets{0, 3, 40, 41};
  stroma::bag_view<const double> bags() const {
    return {{x.data(), 41, 9}, {offsets.data(), static_cast<index_t>(offsets.size())}};
  }
  explicit example(std::uint64_t seed = 11) : x(41 * 9) {
    stroma::random_stream random(seed);
    stroma::for_each_parameter(
        [&](std::string_view, auto& p) {
          for (auto& v : p) v = 0.5 * random.normal();
        },
        model);
    for (auto& v : x) v = random.normal();
  }
};

}  // namespace

TEST_CASE_TEMPLATE("abmil: outputs and every gradient equal PyTorch's, gated", T, double, float) {
  check_against_pytorch<T, stroma::gated_attention>("abmil_gated.safetensors");
}

TEST_CASE_TEMPLATE("abmil: outputs and every gradient equal PyTorch's, plain", T, double, float) {
  check_against_pytorch<T, stroma::plain_attention>("abmil_plain.safetensors");
}

TEST_CASE("abmil: every named parameter's gradient matches central differences") {
  example e;
  auto gradient = stroma::zeros_like(e.model);
  const std::vector<double> weight{0.3, -1, 0.7, 1.1, 0.2, -0.4, -0.6, 0.9, 0.5};
  stroma::cpu_context ctx;
  {
    stroma::graph<double> g(ctx);
    g.bind(e.model, gradient);
    g.backward(e.model(g, g.input(e.bags())).logits, {weight.data(), 3, 3});
  }
  const auto objective = [&] {
    stroma::graph<double> g(ctx, stroma::graph_mode::inference);
    const auto z = g.value(e.model(g, g.input(e.bags())).logits);
    double sum = 0;
    for (std::size_t i = 0; i < 9; ++i) sum += weight[i] * z.data[i];
    return sum;
  };
  stroma::for_each_parameter(
      [&](std::string_view name, auto& p, auto& d) {
        CAPTURE(std::string(name));
        const std::vector<double> at(p.begin(), p.end());
        const auto f = [&](const std::vector<double>& v) {
          std::copy(v.begin(), v.end(), p.begin());
          return objective();
        };
        CHECK(gradient_error(f, at, {d.begin(), d.end()}) < gradient_tolerance);
        std::copy(at.begin(), at.end(), p.begin());
      },
      e.model, gradient);
}

TEST_CASE("abmil: a batch of ragged bags has the bits of one call a bag, for 1, 2 and 3 threads, training or not") {
  const example e;
  std::vector<double> alone, d_alone;
  {
    stroma::cpu_context ctx;
    for (index_t b = 0; b < 3; ++b) {
      stroma::graph<double> g(ctx, stroma::graph_mode::inference);
      const auto z = g.value(e.model(g, g.input(e.bags()[b])).logits);
      alone.insert(alone.end(), z.data, z.data + 3);
    }
  }
  for (const int threads : {1, 2, 3})
    for (const auto mode : {stroma::graph_mode::inference, stroma::graph_mode::training}) {
      stroma::cpu_context ctx(threads);
      stroma::graph<double> g(ctx, mode);
      auto gradient = stroma::zeros_like(e.model);
      g.bind(e.model, gradient);
      const auto out = e.model(g, g.input(e.bags()));
      const auto z = g.value(out.logits);
      CHECK(std::vector<double>(z.data, z.data + 9) == alone);
      if (mode == stroma::graph_mode::inference) continue;
      const std::vector<double> one(9, 1.0);
      g.backward(out.logits, {one.data(), 3, 3});
      std::vector<double> d;
      stroma::for_each_parameter([&](std::string_view, const auto& p) { d.insert(d.end(), p.begin(), p.end()); },
                                 gradient);
      if (d_alone.empty()) d_alone = d;
      CHECK(d == d_alone);
    }
}

TEST_CASE("abmil: steps after the first take no memory") {
  const example e;
  for (const auto mode : {stroma::graph_mode::inference, stroma::graph_mode::training}) {
    stroma::cpu_context ctx;
    stroma::graph<double> g(ctx, mode);
    auto gradient = stroma::zeros_like(e.model);
    g.bind(e.model, gradient);
    const std::vector<double> one(9, 1.0);
    const auto step = [&] {
      g.reset();
      const auto z = e.model(g, g.input(e.bags())).logits;
      if (mode == stroma::graph_mode::training) g.backward(z, {one.data(), 3, 3});
      else static_cast<void>(g.value(z));
    };
    step();
    step();  // the second reset merges the arena's blocks
    CHECK(allocations_in(step) == 0);
  }
}

TEST_CASE("abmil: bags in half and bfloat16 give what their widened values give") {
  const example e;
  std::vector<stroma::half> narrow;
  std::vector<float> wide;
  for (const double v : e.x) {
    narrow.push_back(stroma::to_half(static_cast<float>(v)));
    wide.push_back(stroma::to_float(narrow.back()));
  }
  stroma::abmil<float> model({.features = 9, .hidden = {7, 6}, .attention = 5, .heads = 2, .outputs = 3});
  stroma::random_stream random(4);
  stroma::for_each_parameter(
      [&](std::string_view, auto& p) {
        for (auto& v : p) v = static_cast<float>(random.normal());
      },
      model);
  const stroma::vector_view<const index_t> offsets(e.offsets.data(), 4);
  stroma::cpu_context ctx;
  for (const auto mode : {stroma::graph_mode::inference, stroma::graph_mode::training}) {
    stroma::graph<float> g(ctx, mode);
    auto d_narrow = stroma::zeros_like(model), d_wide = stroma::zeros_like(model);
    const std::vector<float> one(9, 1.0F);
    const auto run = [&](auto* data, auto& gradient) {
      g.reset();
      g.bind(model, gradient);
      using element = std::remove_pointer_t<decltype(data)>;
      const auto z = model(g, g.input(stroma::bag_view<element>{{data, 41, 9}, offsets})).logits;
      const auto v = g.value(z);
      const std::vector<float> result(v.data, v.data + 9);
      if (mode == stroma::graph_mode::training) g.backward(z, {one.data(), 3, 3});
      return result;
    };
    CHECK(run(static_cast<const stroma::half*>(narrow.data()), d_narrow) ==
          run(static_cast<const float*>(wide.data()), d_wide));
    stroma::for_each_parameter(
        [&](std::string_view, const auto& a, const auto& b) { CHECK(std::equal(a.begin(), a.end(), b.begin())); },
        d_narrow, d_wide);
  }
}

TEST_CASE("abmil: a bag of another width names the argument") {
  example e;
  stroma::cpu_context ctx;
  stroma::graph<double> g(ctx);
  const std::vector<double> x(2 * 8);
  CHECK_THROWS_WITH_AS(e.model(g, g.input(stroma::matrix_view<const double>(x.data(), 2, 8))),
                       "linear: x: 8 columns, expected 9 (the width of weight)", stroma::shape_error);
}
