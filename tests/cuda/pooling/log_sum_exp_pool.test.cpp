#include <stroma/pooling/log_sum_exp_pool.cuh>

#include "cuda/pooling/device_pool_cases.hpp"

using namespace stroma_test;

namespace {

/// Tenths: 10 is the usual sharpness.
template <int Tenths>
struct smooth {
  static constexpr double sharpness = Tenths / 10.0;
  static constexpr index_t steps = 40 + 8 * Tenths;  // exp multiplies an error of its argument, which is up to 16 r
  static constexpr std::uint64_t kernels = 8, backward_kernels = 2;
  template <class Context, class Bags, class Y, class Mask>
  static void forward(Context& ctx, const Bags& bags, Y out, const Mask& mask, bool check_values) {
    stroma::log_sum_exp_pool(ctx, bags, out, {.sharpness = sharpness, .mask = mask, .check_values = check_values});
  }
  template <class Context, class Bags, class D, class Gradients, class Mask>
  static void backward(Context& ctx, const Bags& bags, const D& d_out, const Gradients& d_bags, const Mask& mask) {
    using T = stroma::scalar_of<D>;
    using space = typename Context::space;
    stroma::array<T, 2, space> out(d_out.rows, d_out.cols);
    forward(ctx, bags, stroma::as_view(out), mask, false);
    stroma::log_sum_exp_pool_backward(
        ctx, bags, stroma::log_sum_exp_pool_gradients<T, space>{stroma::as_const_view(out), d_out, d_bags.instances},
        {.sharpness = sharpness, .mask = mask});
  }
  template <class Graph, class Mask>
  static stroma::node record(Graph& g, stroma::node x, const Mask& mask, bool check_values) {
    return stroma::log_sum_exp_pool(g, x, {.sharpness = sharpness, .mask = mask, .check_values = check_values});
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: log_sum_exp_pool: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_values_and_gradients<smooth<10>, T>();
  check_values_and_gradients<smooth<80>, T>();
}
TEST_CASE_TEMPLATE("cuda: log_sum_exp_pool: 16-bit bags", S, stroma::half, stroma::bfloat16) {
  check_narrow_bags<smooth<10>, S>();
}
TEST_CASE_TEMPLATE("cuda: log_sum_exp_pool: recorded", T, STROMA_DEVICE_SCALARS) { check_recorded<smooth<10>, T>(); }
TEST_CASE_TEMPLATE("cuda: log_sum_exp_pool: a bag alone has the bits of the bag in a batch", T, STROMA_DEVICE_SCALARS) {
  check_alone_as_in_batch<smooth<10>, T>();
}
TEST_CASE("cuda: log_sum_exp_pool: bad values are found and touch no memory out of bounds") {
  check_bad_values<smooth<10>>();
}
TEST_CASE("cuda: log_sum_exp_pool: few launches; the second call of a size allocates nothing") {
  check_device_cost<smooth<10>>();
}

TEST_CASE_TEMPLATE("cuda: log_sum_exp_pool: features of any finite size; infinities as on the host", T, float, double) {
  const auto offsets = offsets_of_sizes({300, 2, 2, 3});
  auto x = normal_matrix<T>(307, 3, 1, 1e4);
  const T infinite = std::numeric_limits<T>::infinity();
  for (index_t j = 0; j < 3; ++j) {
    x(300, j) = infinite;
    x(302, j) = x(303, j) = -infinite;
    x(304, j) = -infinite;
  }
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::array<T, 2> expected(4, 3);
  stroma::log_sum_exp_pool(host, host_bags(x, offsets), expected, {.sharpness = 3, .check_values = false});
  const auto in = on_device(ctx, x);
  const offsets_on_device o(ctx, offsets);
  device_array<T> out(4, 3);
  stroma::log_sum_exp_pool(ctx, o.of(stroma::as_const_view(in)), out, {.sharpness = 3, .check_values = false});
  CHECK(device_error_of_sum(ctx, out, expected, 8, 4e4) <= 1);
}
