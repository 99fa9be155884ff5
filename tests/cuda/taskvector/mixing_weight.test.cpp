#include <stroma/taskvector/mixing_weight.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

namespace {

constexpr stroma::positive_map maps[] = {stroma::positive_map::relu, stroma::positive_map::softplus,
                                         stroma::positive_map::sigmoid};

/// Numbers of usual size with some far out, and a zero.
template <class T>
stroma::array<T, 2> outputs_of_network(index_t bags, index_t sources) {
  auto x = normal_matrix<T>(bags, sources, 1, 3);
  const T far[] = {T(0), T(1e4), T(-1e4), T(100), T(-100)};
  for (index_t i = 0; i < x.size(); i += 7) x.data()[i] = far[i / 7 % 5];
  return x;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: mixing_weight: weights and shares are the host's, in every layout", T,
                   STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const index_t sources : {1, 31, 33, 1025})
    for (const index_t bags : {1, 3})
      for (const stroma::positive_map f : maps) {
        CAPTURE(sources);
        const auto x = outputs_of_network<T>(bags, sources);
        stroma::array<T, 2> weight(bags, sources), share(bags, sources);
        stroma::mixing_weight(host, x, weight, f);
        stroma::mixing_share(host, x, share, f);
        for (const layout how : layouts) {
          laid_out_on_device<T> in(ctx, stroma::as_const_view(x), how), out(ctx, stroma::as_const_view(x), how);
          stroma::mixing_weight(ctx, in.view(), out.view(), f);
          CHECK(error_of_function(out.elements(ctx), weight) <= 1);
          stroma::mixing_share(ctx, in.view(), in.view(), f);
          CHECK(error_of_function(in.elements(ctx), share) <= 1);
          CHECK(in.gaps_untouched(ctx));
          CHECK(out.gaps_untouched(ctx));
        }
      }
  const auto x = on_device(ctx, normal_matrix<T>(3, 4, 1));
  device_array<T> other(4, 3);
  CHECK_THROWS_AS(stroma::mixing_weight(ctx, x, other), stroma::shape_error);
  CHECK_THROWS_AS(stroma::mixing_share(ctx, x, other), stroma::shape_error);
}

TEST_CASE_TEMPLATE("cuda: mixing_weight: what a graph records is the host's", T, STROMA_DEVICE_SCALARS) {
  for (const stroma::positive_map f : maps) {
    const std::vector<stroma::array<T, 2>> x{outputs_of_network<T>(2, 33)};
    const auto error = [&](auto record) {
      const auto host = recorded_on_host<T>(x, {}, record), device = recorded_on_device<T>(x, {}, record);
      return std::max(error_of_function(device.value, host.value),
                      error_of_function(device.gradients[0], host.gradients[0]));
    };
    CHECK(error([&](auto& g, const auto& n) { return stroma::mixing_weight(g, n[0], f); }) <= 1);
    CHECK(error([&](auto& g, const auto& n) { return stroma::mixing_share(g, n[0], f); }) <= 1);
  }
}

TEST_CASE("cuda: mixing_weight: one launch; nothing for no bags") {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<float>(3, 12, 1));
  device_array<float> out(3, 12), none(0, 12);
  check_second_call([&] { stroma::mixing_weight(ctx, x, out); }, 1);
  check_second_call([&] { stroma::mixing_share(ctx, x, out); }, 1);
  CHECK(kernels_in([&] { stroma::mixing_weight(ctx, none, none); }) == 0);
}

TEST_CASE_TEMPLATE("cuda: mixing_softmax: what a graph records is the host's", T, STROMA_DEVICE_SCALARS) {
  for (const index_t top_k : {1, 5, 40}) {
    const std::vector<stroma::array<T, 2>> inputs{normal_matrix<T>(2, 33, 1, 3), normal_matrix<T>(1, 1, 2)};
    CHECK(recorded_error<T>(inputs, {}, 2 * 33, 4, [top_k](auto& g, const auto& n) {
            return stroma::mixing_softmax(g, n[0], n[1], top_k);
          }) <= 1);
  }
}
