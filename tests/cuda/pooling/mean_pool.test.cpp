#include <stroma/pooling/mean_pool.cuh>

#include "cuda/pooling/device_pool_cases.hpp"

using namespace stroma_test;

namespace {

struct mean {
  static constexpr index_t steps = 4;
  static constexpr std::uint64_t kernels = 8, backward_kernels = 2;
  template <class Context, class Bags, class Y, class Mask>
  static void forward(Context& ctx, const Bags& bags, Y out, const Mask& mask, bool check_values) {
    stroma::mean_pool(ctx, bags, out, {.mask = mask, .check_values = check_values});
  }
  template <class Context, class Bags, class D, class Gradients, class Mask>
  static void backward(Context& ctx, const Bags&, const D& d_out, const Gradients& d_bags, const Mask& mask) {
    stroma::mean_pool_backward(ctx, d_out, d_bags, {.mask = mask});
  }
  template <class Graph, class Mask>
  static stroma::node record(Graph& g, stroma::node x, const Mask& mask, bool check_values) {
    return stroma::mean_pool(g, x, {.mask = mask, .check_values = check_values});
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: mean_pool: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_values_and_gradients<mean, T>();
}
TEST_CASE_TEMPLATE("cuda: mean_pool: 16-bit bags", S, stroma::half, stroma::bfloat16) { check_narrow_bags<mean, S>(); }
TEST_CASE_TEMPLATE("cuda: mean_pool: recorded", T, STROMA_DEVICE_SCALARS) { check_recorded<mean, T>(); }
TEST_CASE_TEMPLATE("cuda: mean_pool: a bag alone has the bits of the bag in a batch", T, STROMA_DEVICE_SCALARS) {
  check_alone_as_in_batch<mean, T>();
}
TEST_CASE("cuda: mean_pool: bad values are found and touch no memory out of bounds") { check_bad_values<mean>(); }
TEST_CASE("cuda: mean_pool: few launches; the second call of a size allocates nothing") { check_device_cost<mean>(); }
