#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/core/array.hpp>

#include "gradient.hpp"
#include "matrices.hpp"

namespace stroma_test {

/// A node with the value of `x` and the row boundaries of `like`: ragged data that needs a gradient.
template <class T>
stroma::node with_bags_of(stroma::graph<T>& g, stroma::node like, stroma::node x) {
  using ops = stroma::primitives<stroma::backend::cpu>;
  const auto emitted = g.emit_rows_of(like, g.shape(x).cols, {x});
  const stroma::node out = emitted.first;
  ops::copy(g.context(), g.value(x), emitted.second);
  g.on_backward(out, [=](stroma::graph<T>& r) { ops::axpy(r.context(), T(1), r.gradient(out), r.gradient_of(x)); });
  return out;
}

/// Largest error of the gradients, in all elements of all inputs, of a weighted sum of what record(graph, nodes of the
/// inputs) gives, as gradient_error measures it.
template <class F>
double graph_gradient_error(const std::vector<stroma::array<double, 2>>& inputs, F record) {
  stroma::cpu_context ctx;
  std::vector<double> x, analytic;
  stroma::array<double, 2> weight;
  const auto node_output = [&](stroma::graph<double>& g, const std::vector<stroma::array<double, 2>>& at,
                               std::vector<stroma::array<double, 2>>* gradients) {
    std::vector<stroma::node> nodes;
    for (std::size_t i = 0; i < at.size(); ++i)
      nodes.push_back(gradients == nullptr
                          ? g.input(at[i])
                          : g.variable(stroma::as_const_view(at[i]), stroma::as_view((*gradients)[i])));
    return record(g, nodes);
  };
  {
    std::vector<stroma::array<double, 2>> gradients;
    for (const auto& m : inputs) gradients.push_back(stroma::array<double, 2>(m.rows(), m.cols()));
    stroma::graph<double> g(ctx);
    const stroma::node out = node_output(g, inputs, &gradients);
    weight = normal_matrix<double>(g.shape(out).rows, g.shape(out).cols, 99);
    g.backward(out, stroma::as_const_view(weight));
    for (const auto& m : inputs) x.insert(x.end(), m.begin(), m.end());
    for (const auto& m : gradients) analytic.insert(analytic.end(), m.begin(), m.end());
  }
  auto at = inputs;
  const auto loss = [&](const std::vector<double>& values) {
    auto from = values.begin();
    for (auto& m : at)
      for (double& v : m) v = *from++;
    stroma::graph<double> g(ctx);
    const auto value = g.value(node_output(g, at, nullptr));
    double sum = 0;
    for (index_t r = 0; r < value.rows; ++r)
      for (index_t c = 0; c < value.cols; ++c) sum += weight(r, c) * value(r, c);
    return sum;
  };
  return gradient_error(loss, x, analytic);
}

}  // namespace stroma_test
