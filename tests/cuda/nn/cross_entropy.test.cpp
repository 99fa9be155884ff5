#include <cstdint>

#include <stroma/nn/cross_entropy.cuh>

#include "cuda/nn/device_loss_cases.hpp"

using namespace stroma_test;

namespace {

/// Variant: reduction, and 2 with weights.
struct cross_entropy_case {
  [[maybe_unused]] static constexpr index_t widths[] = {1, 4, 37};
  static constexpr int variants = 4;
  static constexpr std::uint64_t kernels = 3, backward_kernels = 3;
  template <class T, class Space, class Side>
  static stroma::cross_entropy_options<T, Space> options(const Side& side, int variant, bool check_values) {
    stroma::cross_entropy_options<T, Space> o;
    if (variant >= 2) o.class_weight = stroma::as_const_view(std::get<1>(side));
    o.reduce = variant % 2 == 0 ? stroma::reduction::mean : stroma::reduction::sum;
    o.check_values = check_values;
    return o;
  }
  template <class T>
  static auto side(index_t rows, index_t width) {
    stroma::array<std::int32_t, 1> label(rows);
    stroma::array<T, 1> weight(width);
    for (index_t r = 0; r < rows; ++r) label[r] = static_cast<std::int32_t>(r * 7 % width);
    for (index_t c = 0; c < width; ++c) weight[c] = T(c % 3) + T(0.5);
    return std::tuple{label, weight};
  }
  template <class Context, class X, class Side, class T>
  static void forward(Context& ctx, const X& x, const Side& side, T* value, int variant, bool check_values) {
    stroma::cross_entropy(ctx, x, std::get<0>(side), value,
                          options<T, typename Context::space>(side, variant, check_values));
  }
  template <class Context, class X, class Side, class T, class D>
  static void backward(Context& ctx, const X& x, const Side& side, const T* d_value, D d_x, int variant) {
    stroma::cross_entropy_backward(ctx, x, std::get<0>(side), d_value, d_x,
                                   options<T, typename Context::space>(side, variant, false));
  }
  template <class Graph, class Side>
  static stroma::node record(Graph& g, stroma::node x, const Side& side, int variant) {
    return stroma::cross_entropy(g, x, std::get<0>(side),
                                 options<typename Graph::scalar, typename Graph::space>(side, variant, true));
  }
};
/// One class alone costs nothing, so that its loss says nothing.
struct several_classes : cross_entropy_case {
  static constexpr index_t widths[] = {2, 4, 37, 300};
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: cross_entropy: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_loss_values_and_gradients<several_classes, T>();
}
TEST_CASE_TEMPLATE("cuda: cross_entropy: recorded", T, STROMA_DEVICE_SCALARS) {
  check_recorded_loss<several_classes, T>();
}
TEST_CASE_TEMPLATE("cuda: cross_entropy: without a row it is 0", T, STROMA_DEVICE_SCALARS) {
  check_empty_loss<several_classes, T>();
}
TEST_CASE("cuda: cross_entropy: few launches; the second call allocates nothing") {
  check_loss_cost<several_classes>();
}
TEST_CASE_TEMPLATE("cuda: cross_entropy: bad values touch no memory out of bounds", T, STROMA_DEVICE_SCALARS) {
  check_loss_of_bad_input<several_classes, T>();
  for (const std::int32_t bad : {-1, 4, 0x7fffffff}) check_loss_of_bad_side<several_classes, T, 0>(bad);
}
TEST_CASE_TEMPLATE("cuda: cross_entropy: bad weights", T, STROMA_DEVICE_SCALARS) {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<T>(3, 2, 1));
  const auto label = on_device(ctx, std::vector<std::int32_t>{0, 1, 0});
  device_array<T> value(1, 1);
  const auto run = [&](std::vector<T> w) {
    const auto weight = on_device(ctx, w);
    stroma::cross_entropy(ctx, x, label, value.data(), {.class_weight = stroma::as_const_view(weight)});
    return on_host(ctx, value)(0, 0);
  };
  CHECK_THROWS_AS(run({T(1), T(-1)}), stroma::value_error);
  CHECK_THROWS_AS(run({T(1)}), stroma::shape_error);
  CHECK(run({T(0), T(0)}) == T(0));  // no weight at all
}
TEST_CASE_TEMPLATE("cuda: cross_entropy: one class, no class, logits of any size", T, STROMA_DEVICE_SCALARS) {
  stroma::cuda_context ctx;
  const auto label = on_device(ctx, std::vector<std::int64_t>{0, 0});
  device_array<T> value(1, 1);
  const auto one = on_device(ctx, normal_matrix<T>(2, 1, 1));
  stroma::cross_entropy(ctx, one, label, value.data());
  CHECK(on_host(ctx, value)(0, 0) == T(0));
  const device_array<T> none(2, 0);
  device_array<T> d(2, 0);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::cross_entropy(ctx, none, label, value.data()), stroma::value_error);
  stroma::cross_entropy_backward(ctx, none, label, std::as_const(value).data(), d, {.check_values = false});
  stroma::array<T, 2> large(2, 2);
  large(0, 0) = large(1, 1) = T(1e4);
  const auto far = on_device(ctx, large);
  stroma::cross_entropy(ctx, far, label, value.data());
  CHECK(on_host(ctx, value)(0, 0) == T(5e3));
}
