#include <cmath>
#include <cstdio>
#include <vector>

#include <Eigen/Core>

#include <stroma/adapt/eigen.hpp>
#include <stroma/adapt/std.hpp>
#include <stroma/models/abmil.hpp>
#include <stroma/nn/initialise.hpp>
#include <stroma/survival/concordance.hpp>

static_assert(__cplusplus >= 202002L, "stroma::stroma asks for C++20");

int main() {
  stroma::abmil<float> model({.features = 8, .hidden = {4}, .attention = 3, .outputs = 1});
  stroma::initialise(model, 1);
  const Eigen::MatrixXf patches = Eigen::MatrixXf::Random(20, 8);  // column-major, as Eigen's default is
  stroma::cpu_context ctx;
  stroma::graph<float> g(ctx, stroma::graph_mode::inference);
  const float score = g.scalar_value(model(g, g.input(patches)).logits);

  const std::vector<double> risk{3, 2, 1}, time{1, 2, 3};
  const std::vector<int> event{1, 1, 0};
  const double c = stroma::concordance(ctx, risk, time, event).value;
  std::printf("stroma says %g and %g\n", static_cast<double>(score), c);
  return std::isfinite(score) && c == 1 ? 0 : 1;
}
