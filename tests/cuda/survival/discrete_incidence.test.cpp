#include <stroma/survival/discrete_incidence.cuh>

#include "cuda/survival/discrete_cases.hpp"

using namespace stroma_test;

namespace {

struct discrete_incidence_case {
  static constexpr index_t widths[] = {1, 4, 37};
  static constexpr int variants = 4;
  static constexpr std::uint64_t kernels = 1, backward_kernels = 1;
  static stroma::discrete_incidence_options options(int variant, bool check_values) {
    return {.model = variant < 2    ? stroma::incidence_model::bounded
                     : variant == 2 ? stroma::incidence_model::pmf
                                    : stroma::incidence_model::mtlr,
            .alpha = variant == 0 ? 0.0 : 0.3,
            .beyond_last_bin = variant == 0 ? 1e-7 : 0.01,
            .reduce = variant == 0 ? stroma::reduction::mean : stroma::reduction::sum,
            .check_values = check_values};
  }
  template <class T>
  static auto side(index_t rows, index_t width) {
    return discrete_side(rows, width);
  }
  template <class Context, class X, class Side, class T>
  static void forward(Context& ctx, const X& x, const Side& side, T* value, int variant, bool check_values) {
    stroma::discrete_incidence(ctx, x, std::get<0>(side), std::get<1>(side), value, options(variant, check_values));
  }
  template <class Context, class X, class Side, class T, class D>
  static void backward(Context& ctx, const X& x, const Side& side, const T* d_value, D d_x, int variant) {
    stroma::discrete_incidence_backward(ctx, x, std::get<0>(side), std::get<1>(side), d_value, d_x,
                                        options(variant, false));
  }
  template <class Graph, class Side>
  static stroma::node record(Graph& g, stroma::node x, const Side& side, int variant) {
    return stroma::discrete_incidence(g, x, std::get<0>(side), std::get<1>(side), options(variant, true));
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: discrete_incidence: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_loss_values_and_gradients<discrete_incidence_case, T>();
}
TEST_CASE_TEMPLATE("cuda: discrete_incidence: recorded", T, STROMA_DEVICE_SCALARS) {
  check_recorded_loss<discrete_incidence_case, T>();
}
TEST_CASE_TEMPLATE("cuda: discrete_incidence: without a patient it is 0", T, STROMA_DEVICE_SCALARS) {
  check_empty_loss<discrete_incidence_case, T>();
}
TEST_CASE("cuda: discrete_incidence: few launches; the second call allocates nothing") {
  check_loss_cost<discrete_incidence_case>();
}
TEST_CASE_TEMPLATE("cuda: discrete_incidence: bad values touch no memory out of bounds", T, STROMA_DEVICE_SCALARS) {
  check_loss_of_bad_input<discrete_incidence_case, T>();
  check_bad_bins_and_events<discrete_incidence_case, T>();
}
TEST_CASE_TEMPLATE("cuda: discrete_incidence_survival: the host's", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const auto model :
       {stroma::incidence_model::bounded, stroma::incidence_model::pmf, stroma::incidence_model::mtlr})
    for (const index_t rows : {0, 1, 33, 300})
      for (const layout how : layouts) {
        const auto z = normal_matrix<T>(rows, 7, 1, 3);
        stroma::array<T, 2> curve(rows, 7);
        stroma::discrete_incidence_survival(host, z, model, curve);
        laid_out_on_device<T> device_z(ctx, stroma::as_const_view(z), how);
        stroma::discrete_incidence_survival(ctx, device_z.view(), model, device_z.view());  // in place
        CHECK(error_of_sum(device_z.elements(ctx), curve, 49, 1) <= 1);
        CHECK(device_z.gaps_untouched(ctx));
      }
}
