#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/pooling/attention_pool.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/gradient.hpp"

namespace {

using stroma::index_t;

/// Parameters, ragged bags and room for outputs, drawn from a fixed seed.
template <class T>
struct problem {
  index_t features, attention, heads;
  bool gated;
  std::vector<index_t> offsets;
  std::vector<T> x, v, a, u, b, c, d;
  std::vector<T> slide, weight, hidden, gate;

  problem(std::vector<index_t> lengths, index_t features_, index_t attention_, index_t heads_, bool gated_)
      : features(features_), attention(attention_), heads(heads_), gated(gated_), offsets{0} {
    for (const index_t n : lengths) offsets.push_back(offsets.back() + n);
    stroma::random_stream random(17);
    const auto draw = [&](std::vector<T>& to, index_t count, double scale) {
      to.resize(static_cast<std::size_t>(count));
      for (T& value : to) value = static_cast<T>(scale * random.normal());
    };
    const double scale = 1 / std::sqrt(static_cast<double>(features));
    draw(x, rows() * features, 1);
    draw(v, attention * features, scale);
    draw(a, attention, 0.3);
    draw(u, attention * features, scale);
    draw(b, attention, 0.3);
    draw(c, heads * attention, 0.5);
    draw(d, heads, 0.3);
    slide.resize(static_cast<std::size_t>(bags() * heads * features));
    weight.resize(static_cast<std::size_t>(rows() * heads));
    hidden.resize(static_cast<std::size_t>(rows() * attention));
    gate.resize(hidden.size());
  }
  index_t rows() const { return offsets.back(); }
  index_t bags() const { return static_cast<index_t>(offsets.size()) - 1; }
  stroma::bag_view<const T> input() const {
    return {{x.data(), rows(), features}, {offsets.data(), static_cast<index_t>(offsets.size())}};
  }
  stroma::attention_view<const T> parameters() const {
    stroma::attention_view<const T> p{{v.data(), attention, features}, {a.data(), attention}, {}, {},
                                      {c.data(), heads, attention},    {d.data(), heads}};
    if (gated) {
      p.gate_weight = {u.data(), attention, features};
      p.gate_bias = {b.data(), attention};
    }
    return p;
  }
  stroma::attention_output<T> output(bool keep = false) {
    stroma::attention_output<T> out{{slide.data(), bags(), heads * features}, {weight.data(), rows(), heads}, {}, {}};
    if (keep) out.hidden = {hidden.data(), rows(), attention};
    if (keep && gated) out.gate = {gate.data(), rows(), attention};
    return out;
  }
};

/// The definition, in long double, instance by instance.
template <class T>
std::tuple<std::vector<long double>, std::vector<long double>> oracle(const problem<T>& p,
                                                                      const std::vector<std::uint8_t>& mask = {}) {
  const auto at = [](const std::vector<T>& values, index_t i) {
    return static_cast<long double>(values[static_cast<std::size_t>(i)]);
  };
  std::vector<long double> slide(p.slide.size(), 0), weight(p.weight.size(), 0);
  for (index_t bag = 0; bag < p.bags(); ++bag)
    for (index_t h = 0; h < p.heads; ++h) {
      const index_t first = p.offsets[static_cast<std::size_t>(bag)],
                    last = p.offsets[static_cast<std::size_t>(bag) + 1];
      long double total = 0;
      std::vector<long double> e;
      for (index_t n = first; n < last; ++n) {
        long double score = at(p.d, h);
        for (index_t k = 0; k < p.attention; ++k) {
          long double t = at(p.a, k), s = at(p.b, k);
          for (index_t j = 0; j < p.features; ++j) {
            t += at(p.v, k * p.features + j) * at(p.x, n * p.features + j);
            s += at(p.u, k * p.features + j) * at(p.x, n * p.features + j);
          }
          score += at(p.c, h * p.attention + k) * std::tanh(t) * (p.gated ? 1 / (1 + std::exp(-s)) : 1.0L);
        }
        e.push_back(mask.empty() || mask[static_cast<std::size_t>(n)] != 0 ? std::exp(score) : 0.0L);
        total += e.back();
      }
      for (index_t n = first; n < last; ++n) {
        const long double w = e[static_cast<std::size_t>(n - first)] / total;
        weight[static_cast<std::size_t>(n * p.heads + h)] = w;
        for (index_t j = 0; j < p.features; ++j)
          slide[static_cast<std::size_t>((bag * p.heads + h) * p.features + j)] += w * at(p.x, n * p.features + j);
      }
    }
  return {slide, weight};
}

template <class T>
double largest_difference(const std::vector<T>& found, const std::vector<long double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i)
    worst = std::max(worst, static_cast<double>(std::abs(static_cast<long double>(found[i]) - expected[i])));
  return worst;
}

// A score sums D products into A units, whose error passes into the weight; values are of order 1.
template <class T>
double score_tolerance(const problem<T>& p) {
  return 8 * std::numeric_limits<T>::epsilon() *
         (std::sqrt(static_cast<double>(p.features)) + static_cast<double>(p.attention));
}

}  // namespace

TEST_CASE_TEMPLATE("attention_pool: equals the definition", T, float, double) {
  stroma::cpu_context ctx(2);
  for (const bool gated : {false, true})
    for (const index_t heads : {1, 3})
      for (const auto& lengths : {std::vector<index_t>{1}, {31, 32, 33}, {252, 1, 253, 1025}}) {
        problem<T> p(lengths, 21, 13, heads, gated);
        stroma::attention_pool(ctx, p.input(), p.parameters(), p.output());
        const auto [slide, weight] = oracle(p);
        CHECK(largest_difference(p.slide, slide) < score_tolerance(p));
        CHECK(largest_difference(p.weight, weight) < score_tolerance(p));
      }
}

TEST_CASE("attention_pool: a masked instance has weight 0 and changes nothing; a wholly masked tile is left out") {
  problem<double> p({600, 5}, 7, 4, 2, true);
  std::vector<std::uint8_t> mask(605, 1);
  for (std::size_t n = 0; n < 300; ++n) mask[n] = 0;  // the first tile of 252 as a whole
  mask[602] = 0;
  p.x[602 * 7] = std::numeric_limits<double>::quiet_NaN();
  const stroma::attention_options options{.mask = {mask.data(), 605}};
  stroma::cpu_context ctx;
  stroma::attention_pool(ctx, p.input(), p.parameters(), p.output(), options);
  CHECK(p.weight[0] == 0);
  CHECK(p.weight[602 * 2] == 0);
  p.x[602 * 7] = 0;
  const auto [slide, weight] = oracle(p, mask);
  CHECK(largest_difference(p.slide, slide) < score_tolerance(p));
  CHECK(largest_difference(p.weight, weight) < score_tolerance(p));
}

TEST_CASE("attention_pool_backward: matches central differences for inputs and every parameter, through both outputs") {
  for (const bool gated : {false, true})
    for (const index_t heads : {1, 2})
      for (const double dropout : {0.0, 0.25}) {
        problem<double> p({3, 1, 6}, 5, 4, heads, gated);
        stroma::attention_options options;
        options.dropout = dropout;
        options.hidden_key = {7, 0, 1};
        options.gate_key = {7, 0, 2};
        stroma::random_stream random(5);
        std::vector<double> ws(p.slide.size()), wa(p.weight.size());
        for (double& w : ws) w = random.normal();
        for (double& w : wa) w = random.normal();
        stroma::cpu_context ctx;
        const auto objective = [&] {
          stroma::attention_pool(ctx, p.input(), p.parameters(), p.output(), options);
          double sum = 0;
          for (std::size_t i = 0; i < ws.size(); ++i) sum += ws[i] * p.slide[i];
          for (std::size_t i = 0; i < wa.size(); ++i) sum += wa[i] * p.weight[i];
          return sum;
        };
        problem<double> gradient = p;
        for (auto* part : {&gradient.x, &gradient.v, &gradient.a, &gradient.u, &gradient.b, &gradient.c, &gradient.d})
          std::fill(part->begin(), part->end(), 0.0);
        stroma::attention_gradients<double> to{{gradient.x.data(), p.rows(), 5},
                                               {{gradient.v.data(), 4, 5},
                                                {gradient.a.data(), 4},
                                                {gradient.u.data(), 4, 5},
                                                {gradient.b.data(), 4},
                                                {gradient.c.data(), heads, 4},
                                                {gradient.d.data(), heads}}};
        if (!gated) to.parameters.gate_weight = {}, to.parameters.gate_bias = {};
        stroma::attention_pool(ctx, p.input(), p.parameters(), p.output(true), options);
        stroma::attention_pool_backward(ctx, p.input(), p.parameters(), p.output(true),
                                        {{ws.data(), 3, heads * 5}, {wa.data(), p.rows(), heads}}, to, options);
        const auto check = [&](std::vector<double>& at, const std::vector<double>& analytic, const char* name) {
          CAPTURE(name);
          const std::vector<double> original = at;
          const auto f = [&](const std::vector<double>& value) {
            at = value;
            return objective();
          };
          CHECK(gradient_error(f, original, analytic) < gradient_tolerance);
          at = original;
        };
        check(p.x, gradient.x, "instances");
        check(p.v, gradient.v, "hidden_weight");
        check(p.a, gradient.a, "hidden_bias");
        check(p.c, gradient.c, "score_weight");
        check(p.d, gradient.d, "score_bias");
        if (gated) check(p.u, gradient.u, "gate_weight");
        if (gated) check(p.b, gradient.b, "gate_bias");
      }
}

TEST_CASE(
    "attention_pool: many bags in one call give the bits of one call a bag, for any number of threads, dropout "
    "included") {
  const std::vector<index_t> lengths{1, 257, 5, 511, 1000};
  for (const double dropout : {0.0, 0.4}) {
    problem<float> p(lengths, 33, 17, 1, true);
    stroma::attention_options options;
    options.dropout = dropout;
    options.hidden_key = {3, 10, 1};
    options.gate_key = {3, 10, 2};
    std::vector<float> slides;
    for (index_t b = 0; b < p.bags(); ++b) {
      stroma::cpu_context ctx;
      auto own = options;
      own.hidden_key.step += static_cast<std::uint32_t>(b);
      own.gate_key.step += static_cast<std::uint32_t>(b);
      const auto bag = p.input()[b];
      const std::vector<index_t> ends{0, bag.rows};
      std::vector<float> slide(33), weight(static_cast<std::size_t>(bag.rows));
      stroma::attention_pool(
          ctx, stroma::bag_view<const float>{bag, {ends.data(), 2}}, p.parameters(),
          stroma::attention_output<float>{{slide.data(), 1, 33}, {weight.data(), bag.rows, 1}, {}, {}}, own);
      slides.insert(slides.end(), slide.begin(), slide.end());
    }
    for (const int threads : {1, 2, 3}) {
      stroma::cpu_context ctx(threads);
      stroma::attention_pool(ctx, p.input(), p.parameters(), p.output(), options);
      CHECK(p.slide == slides);
      stroma::attention_pool(ctx, p.input(), p.parameters(), p.output(true), options);
      CHECK(p.slide == slides);
    }
  }
}

TEST_CASE("attention_pool: strided instances") {
  problem<float> p({40}, 8, 5, 1, true);
  std::vector<float> by_column(p.x.size());
  for (std::size_t i = 0; i < 40; ++i)
    for (std::size_t j = 0; j < 8; ++j) by_column[j * 40 + i] = p.x[i * 8 + j];
  stroma::cpu_context ctx;
  stroma::attention_pool(ctx, p.input(), p.parameters(), p.output());
  const auto expected = p.slide;
  const stroma::bag_view<const float> bags{{by_column.data(), 40, 8, 1, 40}, p.input().offsets};
  stroma::attention_pool(ctx, bags, p.parameters(), p.output());
  CHECK(p.slide == expected);
}

TEST_CASE("attention_pool: the second call takes no memory") {
  problem<float> p({300, 20}, 16, 8, 1, true);
  stroma::cpu_context ctx;
  const auto call = [&] { stroma::attention_pool(ctx, p.input(), p.parameters(), p.output()); };
  call();
  CHECK(allocations_in(call) == 0);
}

TEST_CASE("attention_pool: scores of +-1e4 stay finite") {
  problem<double> p({5}, 4, 3, 1, false);
  for (double& c : p.c) c *= 2e4;
  stroma::cpu_context ctx;
  stroma::attention_pool(ctx, p.input(), p.parameters(), p.output());
  double sum = 0;
  for (const double w : p.weight) sum += w;
  CHECK(std::abs(sum - 1) < 5 * std::numeric_limits<double>::epsilon());
}

TEST_CASE("attention_pool: bad input is named and nothing is written") {
  problem<double> p({3, 2}, 4, 3, 1, true);
  std::fill(p.slide.begin(), p.slide.end(), 42.0);
  stroma::cpu_context ctx;
  const auto message = [&](const char* text, auto type, auto&& change) {
    auto bad = p;
    const auto options = change(bad);
    using error = decltype(type);
    const auto call = [&] { stroma::attention_pool(ctx, bad.input(), bad.parameters(), bad.output(), options); };
    CHECK_THROWS_WITH_AS(call(), text, error);
    CHECK(bad.slide == p.slide);
  };
  const stroma::shape_error shape("");
  const stroma::value_error value("");
  std::vector<std::uint8_t> mask{1, 1, 1, 0, 0};
  message("attention_pool: bag 1: 0 instances, expected 1 or more", shape, [](auto& bad) {
    bad.offsets = {0, 5, 5};
    return stroma::attention_options{};
  });
  message("attention_pool: offsets: from 1 to 5, expected from 0 to 5 (the rows of instances)", shape, [&](auto& bad) {
    bad.offsets = {1, 3, 5};
    return stroma::attention_options{};
  });
  message("attention_pool: mask: all 2 instances of bag 1 masked, expected 1 or more that take part", value,
          [&](auto&) {
            return stroma::attention_options{.mask = {mask.data(), 5}};
          });
  message("attention_pool: mask: length 4, expected 5 (the rows of instances)", shape, [&](auto&) {
    return stroma::attention_options{.mask = {mask.data(), 4}};
  });
  message("attention_pool: instances: a score of nan at instance 1 of bag 1, expected finite features and parameters",
          value, [](auto& bad) {
            bad.x[4 * 4 + 2] = std::numeric_limits<double>::quiet_NaN();
            return stroma::attention_options{};
          });
}

TEST_CASE("attention_pool: on a graph, pooling raw half bags without a layer before it") {
  problem<float> p({260, 3}, 12, 6, 1, true);
  std::vector<stroma::half> narrow;
  for (float& v : p.x) {
    narrow.push_back(stroma::to_half(v));
    v = stroma::to_float(narrow.back());
  }
  stroma::gated_attention<float> layer(12, 6);
  std::copy(p.v.begin(), p.v.end(), layer.hidden.weight.begin());
  std::copy(p.a.begin(), p.a.end(), layer.hidden.bias.begin());
  std::copy(p.u.begin(), p.u.end(), layer.gate.weight.begin());
  std::copy(p.b.begin(), p.b.end(), layer.gate.bias.begin());
  std::copy(p.c.begin(), p.c.end(), layer.score.weight.begin());
  std::copy(p.d.begin(), p.d.end(), layer.score.bias.begin());
  stroma::cpu_context ctx;
  stroma::attention_pool(ctx, p.input(), p.parameters(), p.output());
  for (const auto mode : {stroma::graph_mode::inference, stroma::graph_mode::training}) {
    stroma::graph<float> g(ctx, mode);
    const auto out = stroma::attention_pool(
        g, g.input(stroma::bag_view<const stroma::half>{{narrow.data(), 263, 12}, p.input().offsets}), layer);
    const auto slide = g.value(out.slide);
    CHECK(std::vector<float>(slide.data, slide.data + 24) == p.slide);
  }
}
