#include <span>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/models/abmil.hpp>
#include <stroma/nn/initialise.hpp>
#include <stroma/taskvector/vector_stack.hpp>

using namespace stroma;

namespace {

using model_type = abmil<float>;
model_type made(std::uint64_t seed, index_t hidden = 5) {
  model_type model({.features = 6, .hidden = {hidden}, .attention = 4, .outputs = 3});
  initialise(model, seed);
  return model;
}
constexpr auto not_the_head = [](std::string_view name) { return !name.starts_with("pred_head"); };

}  // namespace

TEST_CASE("vector_stack: rows are the differences of the merged parameters, aligned") {
  const model_type origin = made(1), target = made(2);
  const std::vector<model_type> sources{made(3), made(4)};
  for (const merge_base base : {merge_base::origin, merge_base::target}) {
    const vector_stack<float> stack(origin, std::span<const model_type>(sources), target, not_the_head, base);
    CHECK(stack.sources() == 2);
    CHECK(stack.rows().rows == 3);
    CHECK(stack.size() % 16 == 0);
    index_t at = 0;
    for_each_parameter(
        [&](std::string_view name, const auto& o, const auto& a, const auto& b, const auto& t) {
          if (!not_the_head(name)) return;
          CHECK(at % 16 == 0);
          for (index_t i = 0; i < o.size(); ++i) {
            CHECK(stack.rows()(0, at + i) == a.data()[i] - o.data()[i]);
            CHECK(stack.rows()(1, at + i) == b.data()[i] - o.data()[i]);
            CHECK(stack.rows()(2, at + i) == t.data()[i] - o.data()[i]);
            CHECK(stack.base()[at + i] == (base == merge_base::origin ? o : t).data()[i]);
          }
          at += o.size();
          for (; at % 16 != 0; ++at)
            for (index_t j = 0; j < 3; ++j) CHECK(stack.rows()(j, at) == 0);
        },
        origin, sources[0], sources[1], target);
    CHECK(at == stack.size());
  }
}

TEST_CASE("vector_stack: a merged row runs in a graph, and is written into a model") {
  const model_type origin = made(1), target = made(2);
  const vector_stack<float> stack(origin, std::span<const model_type>(), target, not_the_head, merge_base::target);
  cpu_context ctx;
  graph<float> g(ctx, graph_mode::inference);
  stack.substitute(g, origin, g.input(matrix_view<const float>(stack.base().data, 1, stack.size())));
  model_type written = origin;
  stack.assign(stack.base(), written);
  for_each_parameter(
      [&](std::string_view name, const auto& o, const auto& t, const auto& w) {
        const auto value = g.value(g.parameter(o));
        const auto& expected = not_the_head(name) ? t : o;
        for (index_t i = 0; i < o.size(); ++i) {
          CHECK(value.data[i] == expected.data()[i]);
          CHECK(w.data()[i] == expected.data()[i]);
        }
      },
      origin, target, written);
  model_type wide = made(1, 9);
  CHECK_THROWS_AS(stack.assign(stack.base(), wide), shape_error);
  CHECK_THROWS_AS(stack.substitute(g, wide, g.input(matrix_view<const float>(stack.base().data, 1, stack.size()))),
                  shape_error);
}

TEST_CASE("vector_stack: refuses models of different extents, and an empty choice") {
  const model_type origin = made(1), target = made(2);
  const std::vector<model_type> sources{made(3, 9)};
  const auto stack = [&](const model_type& tuned, auto merges) {
    return vector_stack<float>(origin, std::span<const model_type>(sources), tuned, merges);
  };
  CHECK_THROWS_WITH_AS(stack(target, not_the_head),
                       "vector_stack: feat_proj.0.weight: length 54, expected 30 (the elements in the stack)",
                       shape_error);
  CHECK_THROWS_WITH_AS(stack(target, [](std::string_view) { return false; }),
                       "vector_stack: merges: no parameter, expected one that is merged", value_error);
}
