#pragma once
#include <cstdint>
#include <tuple>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/autodiff/graph.hpp>
#include <stroma/core/random.hpp>
#include <stroma/nn/dropout.hpp>
#include <stroma/nn/linear.hpp>

/// Ragged bags of normal features, and of each bag a target, a time and an event.
template <class T>
struct cohort {
  std::vector<stroma::index_t> offsets{0};
  stroma::array<T, 2> instances;
  std::vector<T> target, time, event;

  cohort(stroma::index_t bags, stroma::index_t features, std::uint64_t seed, stroma::index_t most = 9) {
    stroma::random_stream random(seed);
    for (stroma::index_t b = 0; b < bags; ++b) {
      offsets.push_back(offsets.back() + 1 + random.below(static_cast<std::uint32_t>(most)));
      target.push_back(static_cast<T>(random.normal()));
      time.push_back(static_cast<T>(1 + random.below(20)));
      event.push_back(static_cast<T>(random.below(2)));
    }
    event[0] = 1;
    instances = stroma::array<T, 2>(offsets.back(), features);
    for (T& x : instances) x = static_cast<T>(random.normal());
  }
  [[nodiscard]] stroma::index_t count() const { return static_cast<stroma::index_t>(target.size()); }
  [[nodiscard]] stroma::bag_view<const T> all() const {
    return {stroma::as_const_view(instances), stroma::vector_view<const stroma::index_t>(offsets.data(), count() + 1)};
  }
  [[nodiscard]] stroma::matrix_view<const T> bag(stroma::index_t b) const { return all()[b]; }
  [[nodiscard]] std::vector<stroma::index_t> numbers() const {
    std::vector<stroma::index_t> n;
    for (stroma::index_t b = 0; b < count(); ++b) n.push_back(b);
    return n;
  }
};

/// The mean of each bag's rows, as a user's own verb.
template <class T>
stroma::node mean_of_rows(stroma::graph<T>& g, stroma::node x) {
  using stroma::index_t;
  const auto v = g.value(x);
  const auto given = g.offsets(x);
  const index_t bags = given.size > 0 ? given.size - 1 : 1;
  const auto first = [=](index_t b) { return given.size > 0 ? given[b] : b * v.rows; };
  const auto emitted = g.emit(bags, v.cols, {x});
  const stroma::node out = emitted.first;
  for (index_t b = 0; b < bags; ++b)
    for (index_t j = 0; j < v.cols; ++j) {
      T sum = 0;
      for (index_t i = first(b); i < first(b + 1); ++i) sum += v(i, j);
      emitted.second(b, j) = sum / static_cast<T>(first(b + 1) - first(b));
    }
  g.on_backward(out, [=](stroma::graph<T>& r) {
    const auto d_out = r.gradient(out);
    const auto d = r.gradient_of(x);
    for (index_t b = 0; b < bags; ++b)
      for (index_t i = first(b); i < first(b + 1); ++i)
        for (index_t j = 0; j < v.cols; ++j) d(i, j) += d_out(b, j) / static_cast<T>(first(b + 1) - first(b));
  });
  return out;
}

/// Linear, ReLU, dropout, mean over the instances, linear.
template <class T>
struct mean_model {
  stroma::linear_layer<T> embed, head;
  double rate = 0;
  mean_model(stroma::index_t features, stroma::index_t width, double dropout_rate = 0)
      : embed(features, width), head(width, 1), rate(dropout_rate) {
    stroma::random_stream random(5);
    stroma::for_each_parameter(
        [&](std::string_view, auto& p) {
          for (T& x : p) x = static_cast<T>(0.3 * random.normal());
        },
        *this);
  }
  static auto members(auto& s) { return std::tuple{stroma::member{"embed", s.embed}, stroma::member{"head", s.head}}; }
  stroma::node operator()(stroma::graph<T>& g, stroma::node bags) const {
    const auto instances = embed(g, bags, {.activate = stroma::activation::relu});
    return head(g, mean_of_rows(g, stroma::dropout(g, instances, rate)));
  }
};

template <class Model>
std::vector<double> flat(const Model& model) {
  std::vector<double> all;
  stroma::for_each_parameter([&](std::string_view, const auto& p) { all.insert(all.end(), p.begin(), p.end()); },
                             model);
  return all;
}
