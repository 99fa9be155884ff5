#include <stroma/nn/binary_cross_entropy.cuh>

#include "cuda/nn/device_loss_cases.hpp"

using namespace stroma_test;

namespace {

struct binary_cross_entropy_case {
  static constexpr index_t widths[] = {1, 4, 37};
  static constexpr int variants = 3;
  static constexpr std::uint64_t kernels = 1, backward_kernels = 1;
  static stroma::binary_cross_entropy_options options(int variant, bool check_values) {
    return {.positive_weight = variant == 2 ? 2.5 : 1,
            .reduce = variant == 0 ? stroma::reduction::mean : stroma::reduction::sum,
            .check_values = check_values};
  }
  /// Probabilities, 0 and 1 among them.
  template <class T>
  static auto side(index_t rows, index_t width) {
    auto y = normal_matrix<T>(rows, width, 2);
    for (T& p : y) p = std::min(T(1), std::max(T(0), p));
    return std::tuple{y};
  }
  template <class Context, class X, class Side, class T>
  static void forward(Context& ctx, const X& x, const Side& side, T* value, int variant, bool check_values) {
    stroma::binary_cross_entropy(ctx, x, std::get<0>(side), value, options(variant, check_values));
  }
  template <class Context, class X, class Side, class T, class D>
  static void backward(Context& ctx, const X& x, const Side& side, const T* d_value, D d_x, int variant) {
    stroma::binary_cross_entropy_backward(ctx, x, std::get<0>(side), d_value, d_x, options(variant, false));
  }
  template <class Graph, class Side>
  static stroma::node record(Graph& g, stroma::node x, const Side& side, int variant) {
    return stroma::binary_cross_entropy(g, x, std::get<0>(side), options(variant, true));
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: binary_cross_entropy: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_loss_values_and_gradients<binary_cross_entropy_case, T>();
}
TEST_CASE_TEMPLATE("cuda: binary_cross_entropy: recorded", T, STROMA_DEVICE_SCALARS) {
  check_recorded_loss<binary_cross_entropy_case, T>();
}
TEST_CASE_TEMPLATE("cuda: binary_cross_entropy: without an element it is 0", T, STROMA_DEVICE_SCALARS) {
  check_empty_loss<binary_cross_entropy_case, T>();
}
TEST_CASE("cuda: binary_cross_entropy: few launches; the second call allocates nothing") {
  check_loss_cost<binary_cross_entropy_case>();
}
TEST_CASE_TEMPLATE("cuda: binary_cross_entropy: bad values", T, STROMA_DEVICE_SCALARS) {
  check_loss_of_bad_input<binary_cross_entropy_case, T>();
  check_loss_of_bad_side<binary_cross_entropy_case, T, 0>(std::numeric_limits<T>::quiet_NaN());
  check_loss_of_bad_side<binary_cross_entropy_case, T, 0>(1.5);
}
TEST_CASE_TEMPLATE("cuda: binary_cross_entropy: logits of any size", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::array<T, 1> z(4), y(4), value(1);
  for (index_t i = 0; i < 4; ++i) {
    z[i] = i % 2 == 0 ? T(1e4) : T(-1e4);
    y[i] = T(i / 2);
  }
  stroma::binary_cross_entropy(host, z, y, value.data());
  const auto device_z = on_device(ctx, z);
  const auto device_y = on_device(ctx, y);
  device_vector<T> device_value(1);
  stroma::binary_cross_entropy(ctx, device_z, device_y, device_value.data());
  CHECK(on_host(ctx, device_value)[0] == value[0]);
  CHECK(value[0] == T(5e3));
}
