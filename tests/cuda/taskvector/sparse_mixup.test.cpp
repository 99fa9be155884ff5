#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/adapt/std.hpp>
#include <stroma/taskvector/sparse_mixup.cuh>

#include "cuda/taskvector/device_stack.hpp"

using namespace stroma_test;

namespace {

template <class T>
struct mixture {
  stroma::array<T, 1> merged, coefficient;
  stroma::array<index_t, 1> selected;
};
template <class T, class Storage>
mixture<T> mixed_on_host(const std::vector<T>& weight, const std::vector<T>& share, const host_stack<T, Storage>& stack,
                         index_t k) {
  stroma::cpu_context ctx;
  mixture<T> m{stroma::array<T, 1>(stack.size()), stroma::array<T, 1>(stack.sources() + 1),
               stroma::array<index_t, 1>(std::min(k, stack.sources()))};
  stroma::sparse_mixup(ctx, weight, share, stack,
                       {stroma::as_view(m.merged), stroma::as_view(m.selected), stroma::as_view(m.coefficient)},
                       {.top_k = k});
  return m;
}
/// Outputs of a mixture on a device.
template <class T>
struct device_mixture {
  device_vector<T> merged, coefficient;
  device_vector<index_t> selected;
  device_mixture(index_t size, index_t sources, index_t k)
      : merged(size), coefficient(sources + 1), selected(std::min(k, sources)) {}
  stroma::sparse_mixup_output<T, stroma::device_space> out() {
    return {stroma::as_view(merged), stroma::as_view(selected), stroma::as_view(coefficient)};
  }
};

/// Checks one mixture; `how` says how weights and shares lie.
template <class T, class Storage>
void check_mixture(const std::vector<T>& weight, const std::vector<T>& share, const host_stack<T, Storage>& stack,
                   index_t k, layout how = layout::rows) {
  CAPTURE(k);
  stroma::cuda_context ctx;
  const auto expected = mixed_on_host(weight, share, stack, k);
  const auto sources = stack.sources();
  const device_stack<T, Storage> there(ctx, stack);
  laid_out_on_device<T> w(ctx, {weight.data(), 1, sources}, how), s(ctx, {share.data(), 1, sources}, how);
  device_mixture<T> found(stack.size(), sources, k);
  stroma::sparse_mixup(ctx, w.view().row(0), s.view().row(0), there, found.out(), {.top_k = k});
  CHECK(same_matrix(as_row(on_host(ctx, found.selected)), as_row(expected.selected)));
  // A product each; the target's are a sum of k.
  double coefficients = 0, largest = 0;
  for (const T c : expected.coefficient) coefficients += std::abs(static_cast<double>(c));
  const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
  CHECK(device_error(ctx, found.coefficient, expected.coefficient,
                     eps * (static_cast<double>(k) + 2) * std::max(coefficients, eps)) <= 1);
  // Sums of k + 1 products and the base, of coefficients that differ so much themselves.
  for (index_t j = 0; j <= sources; ++j)
    for (index_t i = 0; i < stack.size(); ++i)
      largest = std::max(largest, std::abs(stroma::widen<double>(stack.rows()(j, i))));
  CHECK(device_error(ctx, found.merged, expected.merged,
                     eps * (2 * static_cast<double>(k) + 6) * (coefficients * largest + 5)) <= 1);
}

/// Derivatives of a mixture on a graph for a random derivative of the merged parameters.
template <class T, class Storage>
void check_derivatives(index_t in, index_t sources, index_t k, bool with_share) {
  CAPTURE(in);
  CAPTURE(k);
  const auto stack = stack_of<T, Storage>(layers<T>(sources + 2, in));
  stroma::cuda_context ctx;
  const device_stack<T, Storage> there(ctx, stack);
  const std::vector<stroma::array<T, 2>> inputs{normal_matrix<T>(1, sources, 5), normal_matrix<T>(1, sources, 6)};
  const auto record = [&](auto& g, const auto& x, const auto& vectors) {
    const auto share = with_share
                           ? x[1]
                           : g.input(stroma::matrix_view<const T, typename std::remove_reference_t<decltype(g)>::space>(
                                 g.value(x[1])));
    return stroma::sparse_mixup(g, x[0], share, vectors, {.top_k = k}).merged;
  };
  const auto host = recorded_on_host<T>(inputs, {}, [&](auto& g, const auto& x) { return record(g, x, stack); });
  const auto device = recorded_on_device<T>(inputs, {}, [&](auto& g, const auto& x) { return record(g, x, there); });
  const auto d = normal_matrix<T>(1, stack.size(), 99);
  double products = 0;  // the largest sum of products' sizes
  for (index_t j = 0; j <= sources; ++j) {
    double sum = 0;
    for (index_t i = 0; i < stack.size(); ++i)
      sum += std::abs(static_cast<double>(d(0, i)) * stroma::widen<double>(stack.rows()(j, i)));
    products = std::max(products, sum);
  }
  double factor = 1;  // of weights and shares
  for (const auto& m : inputs)
    for (const T x : m) factor = std::max(factor, 1 + std::abs(static_cast<double>(x)));
  // Sums of 16 elements in T, and what is left in double.
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(error_of_sum(device.gradients[i], host.gradients[i], 16, 2 * factor * products) <= 1);
  double largest = 0, of_share = 0;
  for (const T x : host.gradients[0]) largest = std::max(largest, std::abs(static_cast<double>(x)));
  for (const T x : host.gradients[1]) of_share = std::max(of_share, std::abs(static_cast<double>(x)));
  CHECK((largest > 0) == (k > 0));
  CHECK((of_share > 0) == (k > 0 && with_share));
}

}  // namespace

TEST_CASE_TEMPLATE(
    "cuda: sparse_mixup: merges are the host's: ties, weights of 0, any number of sources that take part", T,
    STROMA_DEVICE_SCALARS) {
  for (const index_t in : {1, 31, 33, 1025, 5000}) {
    CAPTURE(in);
    const auto models = layers<T>(7, in);
    for (const auto base : {stroma::merge_base::origin, stroma::merge_base::target}) {
      const auto stack = stack_of<T>(models, base);
      const std::vector<T> weight{T(0.5), T(1.5), T(0), T(0.5), T(-0.25)}, share{T(1), T(0.25), T(0.5), T(0), T(0.75)};
      for (const index_t k : {0, 1, 2, 3, 5, 9}) {
        if (in > 1025 && k != 3) continue;
        check_mixture(weight, share, stack, k, k == 2 ? layout::apart : layout::rows);
      }
      check_mixture(std::vector<T>(5, T(0)), share, stack, 3);
    }
  }
}

TEST_CASE("cuda: sparse_mixup: a thousand sources, and one") {
  for (const index_t sources : {index_t{1}, index_t{1025}}) {
    const auto stack = stack_of<float>(layers<float>(sources + 2, 3));
    std::vector<float> weight, share;
    for (index_t j = 0; j < sources; ++j) {
      weight.push_back(static_cast<float>(j * 37 % 101) / 32);  // each ten times
      share.push_back(static_cast<float>(j % 5) / 4);
    }
    for (const index_t k : {1, 33, 1025}) check_mixture(weight, share, stack, k);
  }
}

TEST_CASE_TEMPLATE("cuda: sparse_mixup: task vectors in every storage type", S, stroma::half, stroma::bfloat16) {
  const auto stack = stack_of<float, S>(layers<float>(6, 301));
  check_mixture<float, S>({.9f, .1f, .4f, .7f}, {.2f, .8f, .5f, .6f}, stack, 3);
  check_derivatives<float, S>(301, 4, 3, true);
}

TEST_CASE_TEMPLATE("cuda: sparse_mixup: the derivatives on a graph are the host's", T, STROMA_DEVICE_SCALARS) {
  for (const index_t in : {1, 31, 33, 511, 1025, 5000})
    for (const index_t k : {0, 1, 3, 9}) check_derivatives<T, T>(in, 6, k, k != 3);
}

TEST_CASE("cuda: sparse_mixup: refuses what does not fit, and what is not finite") {
  stroma::cuda_context ctx;
  const device_stack<float> stack(ctx, stack_of(layers<float>(4, 33)));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto one = on_device(ctx, std::vector<float>{1}), two = on_device(ctx, std::vector<float>{1, 2}),
             bad = on_device(ctx, std::vector<float>{1, nan});
  device_mixture<float> found(stack.size(), 2, 2);
  CHECK_THROWS_AS(stroma::sparse_mixup(ctx, one, one, stack, found.out(), {.top_k = 2}), stroma::shape_error);
  CHECK_THROWS_AS(stroma::sparse_mixup(ctx, two, one, stack, found.out(), {.top_k = 2}), stroma::shape_error);
  CHECK_THROWS_AS(stroma::sparse_mixup(ctx, two, two, stack, found.out(), {.top_k = 1}), stroma::shape_error);
  CHECK_THROWS_AS(stroma::sparse_mixup(ctx, two, two, stack, found.out(), {.top_k = -1}), stroma::value_error);
  CHECK_THROWS_WITH_AS(
      [&] {
        stroma::sparse_mixup(ctx, bad, two, stack, found.out(), {.top_k = 2});
        ctx.synchronize();
      }(),
      "sparse_mixup: weight: nan at 1, expected finite values", stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::sparse_mixup(ctx, two, bad, stack, found.out(), {.top_k = 2}),
                         stroma::value_error);
  // Not checked, it has a place, and no memory is touched out of bounds.
  stroma::sparse_mixup(ctx, bad, bad, stack, found.out(), {.top_k = 2, .check_values = false});
  CHECK(on_host(ctx, found.selected).size() == 2);
  device_graph<float> g(ctx, stroma::graph_mode::inference);
  const auto row = g.input(stroma::matrix_view<const float, stroma::device_space>(bad.data(), 1, 2));
  CHECK_THROWS_ON_DEVICE(ctx, stroma::sparse_mixup(g, row, row, stack), stroma::value_error);
}

TEST_CASE("cuda: sparse_mixup: few launches; the second call allocates nothing") {
  stroma::cuda_context ctx;
  const device_stack<float> stack(ctx, stack_of(layers<float>(6, 1025)));
  const auto weight = on_device(ctx, normal_matrix<float>(1, 4, 1)),
             share = on_device(ctx, normal_matrix<float>(1, 4, 2));
  device_mixture<float> found(stack.size(), 4, 3);
  const auto w = stroma::as_const_view(weight).row(0), s = stroma::as_const_view(share).row(0);
  const auto out = found.out();
  check_second_call([&] { stroma::sparse_mixup(ctx, w, s, stack, out, {.top_k = 3, .check_values = false}); }, 3);
  check_second_call([&] { stroma::sparse_mixup(ctx, w, s, stack, out, {.top_k = 3}); }, 5);
  device_graph<float> g(ctx);
  device_array<float> d_weight(1, 4), d_share(1, 4);
  const auto seed = on_device(ctx, normal_matrix<float>(1, stack.size(), 3));
  check_second_call(
      [&] {
        g.reset();
        const auto merged = stroma::sparse_mixup(
                                g, g.variable(stroma::as_const_view(weight), stroma::as_view(d_weight)),
                                g.variable(stroma::as_const_view(share), stroma::as_view(d_share)), stack, {.top_k = 3})
                                .merged;
        g.backward(merged, stroma::as_const_view(seed));
      },
      5 + 3);  // forwards; a copy of the seed, and two launches for the derivatives
}
