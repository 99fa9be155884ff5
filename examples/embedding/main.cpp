// The example of the README, as a program: a viewer asks a trained model for a slide's risk and its attention map.
#include <cstdio>

// [embedding]
#include <stroma/adapt/eigen.hpp>
#include <stroma/models/abmil.hpp>
#include <stroma/nn/initialise.hpp>

int main() {
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  stroma::abmil<float> model({.features = 1536, .hidden = {512}, .attention = 384, .outputs = 32});
  stroma::initialise(model, 42);  // or stroma::load_parameters("model.safetensors", model)

  const matrix patches = matrix::Random(1000, 1536);  // one row a patch, as your encoder gives them
  stroma::cpu_context ctx(2);                         // two threads; the result is the same with one
  stroma::graph<float> g(ctx, stroma::graph_mode::inference);
  const auto out = model(g, g.input(patches));
  const auto logits = g.value(out.logits), attention = g.value(out.attention);
  std::printf("first logit %.4f, attention of the first patch %.6f\n", logits(0, 0), attention(0, 0));
}
// [embedding]
