#include <stroma/survival/piecewise_hazard.cuh>

#include "cuda/survival/discrete_cases.hpp"

using namespace stroma_test;

namespace {

struct piecewise_hazard_case {
  static constexpr index_t widths[] = {1, 4, 37};
  static constexpr int variants = 2;
  static constexpr std::uint64_t kernels = 1, backward_kernels = 1, checks = 4;
  static stroma::piecewise_hazard_options options(int variant, bool check_values) {
    return {.reduce = variant == 0 ? stroma::reduction::mean : stroma::reduction::sum, .check_values = check_values};
  }
  template <class T>
  static auto side(index_t rows, index_t width) {
    const auto [bin, event] = discrete_side(rows, width);
    stroma::array<float, 1> part(rows);
    for (index_t r = 0; r < rows; ++r) part[r] = static_cast<float>(r * 5 % 9) / 8;
    return std::tuple{bin, event, part};
  }
  template <class Context, class X, class Side, class T>
  static void forward(Context& ctx, const X& x, const Side& side, T* value, int variant, bool check_values) {
    stroma::piecewise_hazard(ctx, x, std::get<0>(side), std::get<2>(side), std::get<1>(side), value,
                             options(variant, check_values));
  }
  template <class Context, class X, class Side, class T, class D>
  static void backward(Context& ctx, const X& x, const Side& side, const T* d_value, D d_x, int variant) {
    stroma::piecewise_hazard_backward(ctx, x, std::get<0>(side), std::get<2>(side), std::get<1>(side), d_value, d_x,
                                      options(variant, false));
  }
  template <class Graph, class Side>
  static stroma::node record(Graph& g, stroma::node x, const Side& side, int variant) {
    return stroma::piecewise_hazard(g, x, std::get<0>(side), std::get<2>(side), std::get<1>(side),
                                    options(variant, true));
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: piecewise_hazard: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_loss_values_and_gradients<piecewise_hazard_case, T>();
}
TEST_CASE_TEMPLATE("cuda: piecewise_hazard: recorded", T, STROMA_DEVICE_SCALARS) {
  check_recorded_loss<piecewise_hazard_case, T>();
}
TEST_CASE_TEMPLATE("cuda: piecewise_hazard: without a patient it is 0", T, STROMA_DEVICE_SCALARS) {
  check_empty_loss<piecewise_hazard_case, T>();
}
TEST_CASE("cuda: piecewise_hazard: few launches; the second call allocates nothing") {
  check_loss_cost<piecewise_hazard_case>();
}
TEST_CASE_TEMPLATE("cuda: piecewise_hazard: bad values touch no memory out of bounds", T, STROMA_DEVICE_SCALARS) {
  check_loss_of_bad_input<piecewise_hazard_case, T>();
  check_bad_bins_and_events<piecewise_hazard_case, T>();
  for (const float bad : {-0.5f, 1.5f}) check_loss_of_bad_side<piecewise_hazard_case, T, 2>(bad);
}
