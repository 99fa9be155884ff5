#include <stroma/pooling/max_pool.cuh>

#include "cuda/pooling/device_pool_cases.hpp"

using namespace stroma_test;

namespace {

struct maximum {
  static constexpr index_t steps = 0;
  static constexpr std::uint64_t kernels = 7, backward_kernels = 3;
  template <class Context, class Bags, class Y, class Mask>
  static void forward(Context& ctx, const Bags& bags, Y out, const Mask& mask, bool check_values) {
    stroma::max_pool(ctx, bags, out, {.mask = mask, .check_values = check_values});
  }
  template <class Context, class Bags, class D, class Gradients, class Mask>
  static void backward(Context& ctx, const Bags& bags, const D& d_out, const Gradients& d_bags, const Mask& mask) {
    using T = stroma::scalar_of<D>;
    using space = typename Context::space;
    stroma::array<T, 2, space> out(d_out.rows, d_out.cols);
    stroma::array<index_t, 2, space> first(d_out.rows, d_out.cols);
    stroma::max_pool(ctx, bags, stroma::max_pool_output<T, space>{stroma::as_view(out), stroma::as_view(first)},
                     {.mask = mask, .check_values = false});
    stroma::max_pool_backward(ctx, first, d_out, d_bags.instances);
  }
  template <class Graph, class Mask>
  static stroma::node record(Graph& g, stroma::node x, const Mask& mask, bool check_values) {
    return stroma::max_pool(g, x, {.mask = mask, .check_values = check_values});
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: max_pool: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_values_and_gradients<maximum, T>();
}
TEST_CASE_TEMPLATE("cuda: max_pool: 16-bit bags", S, stroma::half, stroma::bfloat16) {
  check_narrow_bags<maximum, S>();
}
TEST_CASE_TEMPLATE("cuda: max_pool: recorded", T, STROMA_DEVICE_SCALARS) { check_recorded<maximum, T>(); }
TEST_CASE_TEMPLATE("cuda: max_pool: a bag alone has the bits of the bag in a batch", T, STROMA_DEVICE_SCALARS) {
  check_alone_as_in_batch<maximum, T>();
}
TEST_CASE("cuda: max_pool: bad values are found and touch no memory out of bounds") { check_bad_values<maximum>(); }
TEST_CASE("cuda: max_pool: few launches; the second call of a size allocates nothing") { check_device_cost<maximum>(); }

TEST_CASE_TEMPLATE("cuda: max_pool: of equal values and of NaN the first is named, as on the host", T,
                   STROMA_DEVICE_SCALARS) {
  const auto offsets = offsets_of_sizes({600, 5, 300});
  auto x = normal_matrix<T>(905, 4, 1);
  const T nan = std::numeric_limits<T>::quiet_NaN();
  for (const index_t n : {3, 251, 252, 599, 602, 604}) x(n, 0) = T(9);
  for (const index_t n : {300, 500, 601, 604}) x(n, 1) = nan;
  x(10, 2) = std::numeric_limits<T>::infinity();
  for (index_t n = 605; n < 905; ++n) x(n, 2) = -std::numeric_limits<T>::infinity();
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::array<T, 2> value(3, 4);
  stroma::array<index_t, 2> first(3, 4);
  stroma::max_pool(host, host_bags(x, offsets),
                   stroma::max_pool_output<T>{stroma::as_view(value), stroma::as_view(first)}, {.check_values = false});
  const auto in = on_device(ctx, x);
  const offsets_on_device o(ctx, offsets);
  device_array<T> device_value(3, 4);
  device_array<index_t> device_first(3, 4);
  stroma::max_pool(
      ctx, o.of(stroma::as_const_view(in)),
      stroma::max_pool_output<T, stroma::device_space>{stroma::as_view(device_value), stroma::as_view(device_first)},
      {.check_values = false});
  CHECK(device_error(ctx, device_value, value, 0) == 0);
  CHECK(same_matrix(on_host(ctx, device_first), first));
}

TEST_CASE("cuda: max_pool: a row that the gradients do not have is refused") {
  for (const index_t bad : {index_t{-1}, index_t{5}, index_t{1} << 40}) {
    stroma::cuda_context ctx;
    stroma::array<index_t, 2> first(2, 3);
    first(1, 2) = bad;
    const auto at = on_device(ctx, first);
    device_array<float> d_out(2, 3), d_x(5, 3);
    CHECK_THROWS_ON_DEVICE(ctx, stroma::max_pool_backward(ctx, at, d_out, d_x), stroma::value_error);
  }
}
