#include "cuda/taskvector/device_stack.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: vector_stack: a copy of the host's, in every storage type", S, float, stroma::half,
                   stroma::bfloat16) {
  stroma::cuda_context ctx;
  for (const auto base : {stroma::merge_base::origin, stroma::merge_base::target}) {
    device_stack<float, S> there;
    stroma::array<float, 1> expected_base;
    stroma::array<S, 2> expected_rows;
    {
      const auto stack = stack_of<float, S>(layers<float>(5, 33), base);  // the copy outlives it
      there = {ctx, stack};
      CHECK(there.sources() == 3);
      CHECK(there.size() == stack.size());
      expected_base = stroma::array<float, 1>(stack.size());
      expected_rows = stroma::array<S, 2>(4, stack.size());
      for (index_t i = 0; i < stack.size(); ++i) {
        expected_base[i] = stack.base()[i];
        for (index_t j = 0; j < 4; ++j) expected_rows(j, i) = stack.rows()(j, i);
      }
    }
    stroma::array<float, 1> found_base(there.size());
    stroma::array<S, 2> found_rows(4, there.size());
    stroma::transfer(ctx, there.base(), found_base);
    stroma::transfer(ctx, there.rows(), found_rows);
    CHECK(same_matrix(found_rows, expected_rows));
    CHECK(same_matrix(as_row(found_base), as_row(expected_base)));
  }
}

TEST_CASE("cuda: vector_stack: a merged row runs in a graph, and is written into a model") {
  stroma::cuda_context ctx;
  const auto models = layers<double>(3, 33);
  const auto there = on_device(ctx, models);
  const device_stack<double> stack(ctx, stack_of(models, stroma::merge_base::target));
  device_graph<double> g(ctx, stroma::graph_mode::inference);
  const stroma::node merged =
      g.input(stroma::matrix_view<const double, stroma::device_space>(stack.base().data, 1, stack.size()));
  stack.substitute(g, there[0], merged);
  device_array<double> used(1, 33);
  stroma::primitives<stroma::backend::cuda>::copy(ctx, g.value(g.parameter(there[0].weight)), stroma::as_view(used));
  CHECK(same_matrix(on_host(ctx, used), models[1].weight));

  auto written = there[0];
  stack.assign(ctx, stack.base(), written);
  CHECK(same_matrix(on_host(ctx, written.weight), models[1].weight));
  CHECK(on_host(ctx, written.bias)[0] == models[1].bias[0]);
  // From elements that are apart, as what a caller keeps may be.
  stroma::array<double, 2> spread(stack.size(), 2);
  for (index_t i = 0; i < spread.rows(); ++i) spread(i, 1) = static_cast<double>(i);
  const auto spread_there = on_device(ctx, spread);
  stack.assign(ctx, stroma::as_const_view(spread_there).col(1), written);
  const auto weight = on_host(ctx, written.weight);
  for (index_t i = 0; i < 33; ++i) CHECK(weight(0, i) == static_cast<double>(i));

  device_layer<double> wide(40, 1);
  CHECK_THROWS_AS(stack.assign(ctx, stack.base(), wide), stroma::shape_error);
  CHECK_THROWS_AS(stack.assign(ctx, stack.base().slice(0, 5), written), stroma::shape_error);
  CHECK_THROWS_AS(stack.substitute(g, wide, merged), stroma::shape_error);
}
