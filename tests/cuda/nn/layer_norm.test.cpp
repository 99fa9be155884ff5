#include <stroma/nn/layer_norm.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

namespace {

template <class T>
using device_gradients = stroma::layer_norm_gradients<T, stroma::device_space>;

}  // namespace

TEST_CASE_TEMPLATE("cuda: layer_norm: values and every gradient are the host's, in every layout", T,
                   STROMA_DEVICE_SCALARS) {
  for (const index_t cols : {1, 31, 32, 33, 1025})
    for (const layout how : layouts) {
      CAPTURE(cols);
      const index_t rows = cols == 33 ? 513 : 37;
      const auto x = normal_matrix<T>(rows, cols, 1), d_out = normal_matrix<T>(rows, cols, 2);
      const auto gain = normal_vector<T>(cols, 3), bias = normal_vector<T>(cols, 4);
      stroma::cpu_context host;
      stroma::cuda_context ctx;
      stroma::array<T, 2> expected(rows, cols), d_x = normal_matrix<T>(rows, cols, 5);
      stroma::array<T, 1> d_gain = normal_vector<T>(cols, 6), d_bias = normal_vector<T>(cols, 7);
      laid_out_on_device<T> in(ctx, stroma::as_const_view(x), how), d(ctx, stroma::as_const_view(d_out), how);
      laid_out_on_device<T> out(ctx, stroma::as_const_view(x), how), to_x(ctx, stroma::as_const_view(d_x), how);
      auto to_gain = on_device(ctx, d_gain), to_bias = on_device(ctx, d_bias);
      const auto w = on_device(ctx, gain), b = on_device(ctx, bias);

      stroma::layer_norm(host, x, gain, bias, expected);
      stroma::layer_norm_backward(
          host, x, gain, d_out,
          stroma::layer_norm_gradients<T>{stroma::as_view(d_x), stroma::as_view(d_gain), stroma::as_view(d_bias)});
      stroma::layer_norm(ctx, in.view(), w, b, out.view());
      stroma::layer_norm_backward(ctx, in.view(), w, d.view(),
                                  device_gradients<T>{to_x.view(), stroma::as_view(to_gain), stroma::as_view(to_bias)});
      // A single column is its own mean: the derivative, which is 0, is a difference over sqrt(epsilon).
      const double size = cols == 1 ? 400 * 8 : 8;
      CHECK(error_of_sum(out.elements(ctx), expected, 32, size) <= 1);
      CHECK(error_of_sum(to_x.elements(ctx), d_x, 64, size) <= 1);
      CHECK(device_error_of_sum(ctx, to_gain, d_gain, rows, size) <= 1);
      CHECK(device_error_of_sum(ctx, to_bias, d_bias, rows, 4) <= 1);
      stroma::layer_norm(ctx, in.view(), w, b, in.view());
      CHECK(same_matrix(in.elements(ctx), out.elements(ctx)));
      CHECK(out.gaps_untouched(ctx));
      CHECK(to_x.gaps_untouched(ctx));
    }
}

TEST_CASE_TEMPLATE("cuda: layer_norm: without gain and bias, each gradient alone, 16-bit storage", T,
                   STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const auto x = normal_matrix<T>(300, 40, 1), d_out = normal_matrix<T>(300, 40, 2);
  const auto gain = normal_vector<T>(40, 3);
  const auto in = on_device(ctx, x), d = on_device(ctx, d_out);
  const auto w = on_device(ctx, gain);
  const stroma::vector_view<const T> none;
  const stroma::vector_view<const T, stroma::device_space> device_none;
  stroma::array<T, 2> expected(300, 40), d_x(300, 40);
  stroma::array<T, 1> d_gain(40), d_bias(40);
  device_array<T> out(300, 40), to_x(300, 40);
  device_vector<T> to_gain(40), to_bias(40);
  stroma::layer_norm(host, x, none, none, expected);
  stroma::layer_norm(ctx, in, device_none, device_none, out);
  CHECK(device_error_of_sum(ctx, out, expected, 32, 4) <= 1);
  stroma::layer_norm_backward(host, x, none, d_out, stroma::layer_norm_gradients<T>{stroma::as_view(d_x), {}, {}});
  stroma::layer_norm_backward(ctx, in, device_none, d, device_gradients<T>{stroma::as_view(to_x), {}, {}});
  CHECK(device_error_of_sum(ctx, to_x, d_x, 64, 4) <= 1);
  stroma::layer_norm_backward(host, x, gain, d_out, stroma::layer_norm_gradients<T>{{}, stroma::as_view(d_gain), {}});
  stroma::layer_norm_backward(ctx, in, w, d, device_gradients<T>{{}, stroma::as_view(to_gain), {}});
  CHECK(device_error_of_sum(ctx, to_gain, d_gain, 300, 8) <= 1);
  stroma::layer_norm_backward(host, x, gain, d_out, stroma::layer_norm_gradients<T>{{}, {}, stroma::as_view(d_bias)});
  stroma::layer_norm_backward(ctx, in, w, d, device_gradients<T>{{}, {}, stroma::as_view(to_bias)});
  CHECK(device_error_of_sum(ctx, to_bias, d_bias, 300, 4) <= 1);
  const auto narrow = [&]<class S>(S) {
    const auto y = normal_matrix<S>(300, 40, 5);
    stroma::layer_norm(host, y, gain, none, expected);
    stroma::layer_norm(ctx, on_device(ctx, y), w, device_none, out);
    CHECK(device_error_of_sum(ctx, out, expected, 32, 8) <= 1);
  };
  narrow(stroma::half{});
  narrow(stroma::bfloat16{});
}

TEST_CASE_TEMPLATE("cuda: layer_norm: recorded", T, STROMA_DEVICE_SCALARS) {
  for (const index_t cols : {31, 33, 1025}) {
    const std::vector<stroma::array<T, 2>> inputs{normal_matrix<T>(35, cols, 1), normal_matrix<T>(1, cols, 2),
                                                  normal_matrix<T>(1, cols, 3)};
    CHECK(recorded_error<T>(inputs, {}, 64, 8,
                            [](auto& g, const auto& n) { return stroma::layer_norm(g, n[0], n[1], n[2]); }) <= 1);
    CHECK(recorded_error<T>(inputs, {}, 64, 8,
                            [](auto& g, const auto& n) { return stroma::layer_norm(g, n[0], {}, n[2]); }) <= 1);
  }
  const stroma::layer_norm_layer<T, stroma::backend::cuda> layer(9);
  stroma::cuda_context ctx;
  CHECK(on_host(ctx, layer.weight)[8] == T(1));
}

TEST_CASE("cuda: layer_norm: a row alone has the bits of a batch; few launches; no memory") {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<float>(600, 70, 1));
  const auto w = on_device(ctx, normal_vector<float>(70, 2));
  device_array<float> out(600, 70), alone(1, 70), d_x(600, 70);
  device_vector<float> d_gain(70), d_bias(70);
  stroma::layer_norm(ctx, x, w, w, out);
  const auto all = on_host(ctx, out);
  for (const index_t r : {0, 251, 252, 599}) {
    stroma::layer_norm(ctx, stroma::as_const_view(x).middle_rows(r, 1), w, w, alone);
    CHECK(same_matrix(on_host(ctx, alone), stroma::as_const_view(all).middle_rows(r, 1)));
  }
  check_second_call([&] { stroma::layer_norm(ctx, x, w, w, out); }, 1);
  check_second_call(
      [&] {
        stroma::layer_norm_backward(
            ctx, x, w, out,
            device_gradients<float>{stroma::as_view(d_x), stroma::as_view(d_gain), stroma::as_view(d_bias)});
      },
      5);
}
