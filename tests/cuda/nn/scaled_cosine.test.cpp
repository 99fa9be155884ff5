#include <stroma/nn/scaled_cosine.cuh>

#include "cuda/nn/device_loss_cases.hpp"

using namespace stroma_test;

namespace {

struct scaled_cosine_case {
  static constexpr index_t widths[] = {1, 4, 37, 300};
  static constexpr int variants = 4;
  static constexpr std::uint64_t kernels = 2, backward_kernels = 1;
  static stroma::scaled_cosine_options options(int variant, bool check_values) {
    return {.exponent = variant < 2    ? 3.0
                        : variant == 2 ? 1.0
                                       : 2.5,
            .norm_floor = variant == 3 ? 3.0 : 1e-12,
            .reduce = variant == 1 ? stroma::reduction::sum : stroma::reduction::mean,
            .check_values = check_values};
  }
  template <class T>
  static auto side(index_t rows, index_t width) {
    auto t = normal_matrix<T>(rows, width, 9);
    for (index_t r = 1; r < rows; r += 5)
      for (index_t c = 0; c < width; ++c) t(r, c) = T(0);
    return std::tuple{t};
  }
  template <class Context, class X, class Side, class T>
  static void forward(Context& ctx, const X& x, const Side& side, T* value, int variant, bool check_values) {
    stroma::scaled_cosine(ctx, x, std::get<0>(side), value, options(variant, check_values));
  }
  template <class Context, class X, class Side, class T, class D>
  static void backward(Context& ctx, const X& x, const Side& side, const T* d_value, D d_x, int variant) {
    stroma::scaled_cosine_backward(ctx, x, std::get<0>(side), d_value, d_x, options(variant, false));
  }
  template <class Graph, class Side>
  static stroma::node record(Graph& g, stroma::node x, const Side& side, int variant) {
    return stroma::scaled_cosine(g, x, std::get<0>(side), options(variant, true));
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: scaled_cosine: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_loss_values_and_gradients<scaled_cosine_case, T>();
}
TEST_CASE_TEMPLATE("cuda: scaled_cosine: recorded", T, STROMA_DEVICE_SCALARS) {
  check_recorded_loss<scaled_cosine_case, T>();
}
TEST_CASE_TEMPLATE("cuda: scaled_cosine: without a row it is 0", T, STROMA_DEVICE_SCALARS) {
  check_empty_loss<scaled_cosine_case, T>();
}
TEST_CASE("cuda: scaled_cosine: few launches; the second call allocates nothing") {
  check_loss_cost<scaled_cosine_case>();
}
TEST_CASE_TEMPLATE("cuda: scaled_cosine: bad values", T, STROMA_DEVICE_SCALARS) {
  check_loss_of_bad_input<scaled_cosine_case, T>();
  check_loss_of_bad_side<scaled_cosine_case, T, 0>(std::numeric_limits<T>::infinity());
}
TEST_CASE_TEMPLATE("cuda: scaled_cosine: rows that agree, and rows of zeros", T, STROMA_DEVICE_SCALARS) {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<T>(5, 33, 1));
  device_array<T> value(1, 1), d(5, 33);
  stroma::scaled_cosine(ctx, x, x, value.data());
  CHECK(on_host(ctx, value)(0, 0) == T(0));
  const device_array<T> zero(5, 33);
  stroma::scaled_cosine(ctx, zero, x, value.data());
  CHECK(on_host(ctx, value)(0, 0) == T(1));
}
