#include <limits>
#include <vector>

#include <stroma/nn/top_k.cuh>

#include "cuda/nn/device_cases.hpp"
#include "nn/top_k_cases.hpp"

using namespace stroma_test;

namespace {

template <class T>
struct best_on_device {
  stroma::array<index_t, 2, stroma::device_space> indices;
  device_array<T> values;
  best_on_device(index_t rows, index_t k) : indices(rows, k), values(rows, k) {}
  stroma::top_k_output<T, stroma::device_space> output() { return {stroma::as_view(indices), stroma::as_view(values)}; }
};
template <class T>
bool same_best(stroma::cuda_context& ctx, best_on_device<T>& found, const stroma::array<index_t, 2>& indices,
               const stroma::array<T, 2>& values) {
  return same_matrix(on_host(ctx, found.indices), indices) && same_matrix(on_host(ctx, found.values), values);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: top_k: rows are the host's, in every layout", T, STROMA_DEVICE_SCALARS) {
  constexpr index_t rows = 3;
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const index_t cols : {1, 31, 32, 33, 1025, 4100})
    for (const index_t k : {index_t{1}, index_t{7}, cols <= 33 ? cols + 3 : 200})
      for (const std::uint32_t distinct : {1u, 5u, 1u << 30}) {
        CAPTURE(cols);
        CAPTURE(k);
        CAPTURE(distinct);
        const auto x = scores_with_ties<T>(rows, cols, distinct, 1);
        stroma::array<index_t, 2> indices(rows, k);
        stroma::array<T, 2> values(rows, k);
        stroma::top_k(host, x, {stroma::as_view(indices), stroma::as_view(values)});
        for (const layout how : {layout::rows, layout::apart}) {
          laid_out_on_device<T> in(ctx, stroma::as_const_view(x), how);
          best_on_device<T> found(rows, k);
          stroma::top_k(ctx, in.view(), found.output());
          CHECK(same_best(ctx, found, indices, values));
        }
      }
}

TEST_CASE_TEMPLATE("cuda: segmented_top_k: bags are the host's", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const auto& sizes : {std::vector<index_t>{1}, {0, 3, 0, 0, 700, 33, 0}, {257, 1, 5000, 32}})
    for (const index_t k : {1, 40}) {
      const auto ends = offsets_of_sizes(sizes);
      const auto bags = static_cast<index_t>(sizes.size());
      const auto x = scores_with_ties<T>(ends.back(), 1, 700, 2);
      stroma::array<index_t, 2> indices(bags, k);
      stroma::array<T, 2> values(bags, k);
      stroma::segmented_top_k(host, stroma::as_const_view(x).col(0), as_offsets(ends),
                              {stroma::as_view(indices), stroma::as_view(values)});
      const auto there = on_device(ctx, x);
      const auto offsets = on_device(ctx, ends);
      best_on_device<T> found(bags, k);
      stroma::segmented_top_k(ctx, stroma::as_const_view(there).col(0), offsets, found.output());
      CHECK(same_best(ctx, found, indices, values));
    }
}

TEST_CASE("cuda: top_k: infinities and NaN have the host's places; NaN is told") {
  constexpr float infinite = std::numeric_limits<float>::infinity();
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  auto x = normal_matrix<float>(2, 300, 1);
  x(0, 7) = x(0, 290) = infinite;
  x(0, 8) = x(1, 8) = -infinite;
  x(1, 30) = std::numeric_limits<float>::quiet_NaN();
  x(1, 31) = -std::numeric_limits<float>::quiet_NaN();
  stroma::array<index_t, 2> indices(2, 300);
  stroma::array<float, 2> values(2, 300);
  stroma::top_k(host, x, {stroma::as_view(indices), stroma::as_view(values)}, {.check_values = false});
  const auto there = on_device(ctx, x);
  best_on_device<float> found(2, 300);
  stroma::top_k(ctx, there, found.output(), {.check_values = false});
  CHECK(same_best(ctx, found, indices, values));
  CHECK_THROWS_ON_DEVICE(ctx, stroma::top_k(ctx, there, found.output()), stroma::value_error);
}

TEST_CASE("cuda: segmented_top_k: bad offsets are told and touch no memory out of bounds") {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_vector<float>(600, 1));
  for (const auto& bad : bad_offsets) {
    const auto offsets = on_device(ctx, bad);
    best_on_device<float> found(static_cast<index_t>(bad.size()) - 1, 5);
    CHECK_THROWS_ON_DEVICE(ctx, stroma::segmented_top_k(ctx, x, offsets, found.output()), stroma::shape_error);
  }
}

TEST_CASE("cuda: top_k: gradients and what a graph records are the host's") {
  using host = stroma::backend::cpu;
  using device = stroma::backend::cuda;
  stroma::cpu_context cpu;
  stroma::cuda_context ctx;
  const std::vector<index_t> ends{0, 2, 40};
  const auto x = normal_matrix<float>(40, 1, 1), d = normal_matrix<float>(2, 4, 2),
             d_all = normal_matrix<float>(40, 2, 3);
  stroma::array<float, 2> expected(40, 1), expected_rows(40, 1);
  device_array<float> found(40, 1), found_rows(40, 1);
  const auto x_there = on_device(ctx, x), d_there = on_device(ctx, d), d_all_there = on_device(ctx, d_all);
  const auto offsets = on_device(ctx, ends);
  stroma::graph<float, host> g(cpu);
  stroma::graph<float, device> there(ctx);
  const auto record = [&](auto& graph, const auto& scores, auto& d_scores, auto& d_rows, const auto& derivative,
                          const auto& derivative_of_rows, const auto& bags) {
    const auto like = graph.input(bags);
    auto n = graph.variable(stroma::as_const_view(scores), stroma::as_view(d_scores));
    const auto in_bags = graph.emit_rows_of(like, 1, {n});
    std::remove_reference_t<decltype(graph)>::ops::copy(graph.context(), graph.value(n), in_bags.second);
    graph.on_backward(in_bags.first, [n, node = in_bags.first](auto& r) {
      std::remove_reference_t<decltype(r)>::ops::axpy(r.context(), 1.0f, r.gradient(node), r.gradient_of(n));
    });
    graph.backward(stroma::segmented_top_k(graph, in_bags.first, 4).values, stroma::as_const_view(derivative));
    graph.reset();
    n = graph.variable(stroma::as_const_view(scores), stroma::as_view(d_rows));
    const auto best = stroma::top_k(graph, n, 2);
    graph.backward(best.values, stroma::as_const_view(derivative_of_rows));
    return best.indices;
  };
  record(g, x, expected, expected_rows, d, d_all,
         stroma::bag_view<const float>{stroma::as_const_view(x), as_offsets(ends)});
  record(there, x_there, found, found_rows, d_there, d_all_there,
         stroma::bag_view<const float, stroma::device_space>{stroma::as_const_view(x_there),
                                                             stroma::as_const_view(offsets)});
  CHECK(same_matrix(on_host(ctx, found), expected));
  CHECK(same_matrix(on_host(ctx, found_rows), expected_rows));
}

TEST_CASE("cuda: top_k: one launch and one for the check; the second call allocates nothing") {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<float>(20, 100, 1));
  best_on_device<float> found(20, 9);
  check_second_call([&] { stroma::top_k(ctx, x, found.output()); }, 2);
  CHECK_NOTHROW(ctx.synchronize());
}
