#include <stroma/nn/activations.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

namespace {

constexpr std::array<stroma::activation, 6> activations{stroma::activation::identity, stroma::activation::relu,
                                                        stroma::activation::tanh,     stroma::activation::sigmoid,
                                                        stroma::activation::gelu,     stroma::activation::elu};

template <class T>
stroma::array<T, 2> with_special_values(index_t rows, index_t cols) {
  auto x = normal_matrix<T>(rows, cols, 1, 3);
  const T infinite = std::numeric_limits<T>::infinity();
  const T special[]{T(0),  T(-0.0), T(1e4), T(-1e4),  T(1e-30),  T(-1e-30), std::numeric_limits<T>::quiet_NaN(),
                    T(88), T(-88),  T(0.5), infinite, -infinite, T(-1e-5),  T(6)};
  for (index_t i = 0; i < std::min<index_t>(x.size(), 14); ++i) x.data()[i] = special[i];
  return x;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: activations: values and derivatives are the host's, in every layout", T,
                   STROMA_DEVICE_SCALARS) {
  for (const auto f : activations)
    for (const index_t cols : {1, 31, 33, 1025})
      for (const layout how : layouts) {
        CAPTURE(static_cast<int>(f));
        CAPTURE(cols);
        auto x = with_special_values<T>(37, cols);
        stroma::cpu_context host;
        stroma::cuda_context ctx;
        stroma::array<T, 2> expected(37, cols), d_x = normal_matrix<T>(37, cols, 3);
        laid_out_on_device<T> in(ctx, stroma::as_const_view(x), how);
        laid_out_on_device<T> out(ctx, stroma::as_const_view(expected), how), d(ctx, stroma::as_const_view(d_x), how);
        stroma::activate(host, f, x, expected);
        stroma::activate(ctx, f, in.view(), out.view());
        CHECK(error_of_function(out.elements(ctx), expected) <= 1);
        CHECK(out.gaps_untouched(ctx));
        // From the same saved values: what is left is the derivative's own error.
        x = normal_matrix<T>(37, cols, 1, 3);
        const auto d_out = normal_matrix<T>(37, cols, 2);
        if (f == stroma::activation::gelu) expected = x;
        else stroma::activate(host, f, x, expected);
        laid_out_on_device<T> saved(ctx, stroma::as_const_view(expected), how);
        laid_out_on_device<T> dd(ctx, stroma::as_const_view(d_out), how);
        stroma::activate_backward(host, f, expected, d_out, d_x);
        stroma::activate_backward(ctx, f, saved.view(), dd.view(), d.view());
        CHECK(error_of_function(d.elements(ctx), d_x) <= 1);
        CHECK(d.gaps_untouched(ctx));
        stroma::activate(host, f, x, expected);
        laid_out_on_device<T> same(ctx, stroma::as_const_view(x), how);
        stroma::activate(ctx, f, same.view(), same.view());
        CHECK(error_of_function(same.elements(ctx), expected) <= 1);
      }
}

TEST_CASE("cuda: activations: 16-bit storage, and each by its name") {
  const auto check = [&]<class S>(S) {
    const auto x = normal_matrix<S>(37, 33, 1);
    stroma::cpu_context host;
    stroma::cuda_context ctx;
    stroma::array<float, 2> expected(37, 33);
    device_array<float> out(37, 33);
    const auto in = on_device(ctx, x);
    const auto equal = [&] { return error_of_function(on_host(ctx, out), expected) <= 1; };
    stroma::relu(host, x, expected), stroma::relu(ctx, in, out);
    CHECK(equal());
    stroma::tanh(host, x, expected), stroma::tanh(ctx, in, out);
    CHECK(equal());
    stroma::sigmoid(host, x, expected), stroma::sigmoid(ctx, in, out);
    CHECK(equal());
    stroma::gelu(host, x, expected), stroma::gelu(ctx, in, out);
    CHECK(equal());
    stroma::elu(host, x, expected), stroma::elu(ctx, in, out);
    CHECK(equal());
  };
  check(stroma::half{});
  check(stroma::bfloat16{});
}

TEST_CASE_TEMPLATE("cuda: activations: recorded; one launch; no memory", T, float, double) {
  for (const auto f : activations) {
    const auto offsets = offsets_of_sizes({3, 30});
    CHECK(recorded_error<T>({normal_matrix<T>(33, 9, 1)}, offsets, 32, 4,
                            [f](auto& g, const auto& n) { return stroma::activate(g, f, n[0]); }) <= 1);
  }
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<T>(33, 9, 1));
  device_array<T> out(33, 9);
  check_second_call([&] { stroma::gelu(ctx, x, out); }, 1);
  check_second_call([&] { stroma::gelu_backward(ctx, x, x, out); }, 1);
}
