#pragma once
#include <stroma/stroma.hpp>

/// Takes memory from one file and gives it back in another.
using exchanged = stroma::array<float, 2>;

// Compiled twice with different flags: the linker keeps either of each inline function, and they must fit together.
inline double sum(const exchanged& x) {
  stroma::abmil<float> model({.features = x.cols(), .hidden = {37}, .attention = 19, .outputs = 3});
  stroma::initialise(model, 7);
  auto gradient = stroma::zeros_like(model);
  stroma::cpu_context ctx(2);
  stroma::graph<float> g(ctx);
  g.bind(model, gradient);
  const auto logits = model(g, g.input(x)).logits;
  const exchanged one = [] {
    exchanged ones(1, 3);
    ones.fill(1);
    return ones;
  }();
  g.backward(logits, stroma::as_const_view(one));
  double total = 0;
  for (stroma::index_t j = 0; j < 3; ++j) total += static_cast<double>(g.value(logits)(0, j));
  stroma::for_each_parameter(
      [&](std::string_view, const auto& d) {
        for (const float v : d) total += static_cast<double>(v);
      },
      gradient);
  return total;
}
