#include <stroma/nn/mean_squared_error.cuh>

#include "cuda/nn/device_loss_cases.hpp"

using namespace stroma_test;

namespace {

struct mean_squared_error_case {
  static constexpr index_t widths[] = {1, 4, 37};
  static constexpr int variants = 2;
  static constexpr std::uint64_t kernels = 1, backward_kernels = 1;
  static stroma::mean_squared_error_options options(int variant, bool check_values) {
    return {variant == 0 ? stroma::reduction::mean : stroma::reduction::sum, check_values};
  }
  template <class T>
  static auto side(index_t rows, index_t width) {
    return std::tuple{normal_matrix<T>(rows, width, 2)};
  }
  template <class Context, class X, class Side, class T>
  static void forward(Context& ctx, const X& x, const Side& side, T* value, int variant, bool check_values) {
    stroma::mean_squared_error(ctx, x, std::get<0>(side), value, options(variant, check_values));
  }
  template <class Context, class X, class Side, class T, class D>
  static void backward(Context& ctx, const X& x, const Side& side, const T* d_value, D d_x, int variant) {
    stroma::mean_squared_error_backward(ctx, x, std::get<0>(side), d_value, d_x, options(variant, false));
  }
  template <class Graph, class Side>
  static stroma::node record(Graph& g, stroma::node x, const Side& side, int variant) {
    return stroma::mean_squared_error(g, x, std::get<0>(side), options(variant, true));
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: mean_squared_error: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_loss_values_and_gradients<mean_squared_error_case, T>();
}
TEST_CASE_TEMPLATE("cuda: mean_squared_error: recorded", T, STROMA_DEVICE_SCALARS) {
  check_recorded_loss<mean_squared_error_case, T>();
}
TEST_CASE_TEMPLATE("cuda: mean_squared_error: without an element it is 0", T, STROMA_DEVICE_SCALARS) {
  check_empty_loss<mean_squared_error_case, T>();
}
TEST_CASE("cuda: mean_squared_error: few launches; the second call allocates nothing") {
  check_loss_cost<mean_squared_error_case>();
}
TEST_CASE_TEMPLATE("cuda: mean_squared_error: bad values", T, STROMA_DEVICE_SCALARS) {
  check_loss_of_bad_input<mean_squared_error_case, T>();
  check_loss_of_bad_side<mean_squared_error_case, T, 0>(std::numeric_limits<T>::quiet_NaN());
}
TEST_CASE("cuda: mean_squared_error: vectors, targets of another type") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const auto x = normal_vector<float>(33, 1);
  const auto y = normal_vector<double>(33, 2);
  const auto device_x = on_device(ctx, x);
  const auto device_y = on_device(ctx, y);
  stroma::array<float, 1> value(1);
  device_vector<float> device_value(1);
  stroma::mean_squared_error(host, x, y, value.data());
  stroma::mean_squared_error(ctx, device_x, device_y, device_value.data());
  CHECK(device_error_of_sum(ctx, device_value, value, 0, 4) <= 1);
}
