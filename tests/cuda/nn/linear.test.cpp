#include <stroma/nn/linear.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

namespace {

constexpr std::array<stroma::activation, 6> activations{stroma::activation::identity, stroma::activation::relu,
                                                        stroma::activation::tanh,     stroma::activation::sigmoid,
                                                        stroma::activation::gelu,     stroma::activation::elu};

template <class T>
using device_gradients = stroma::linear_gradients<T, stroma::device_space>;

struct extents {
  index_t rows, in, out;
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: linear: values and every gradient are the host's, in every layout", T,
                   STROMA_DEVICE_SCALARS) {
  for (const auto& [rows, in, out] : {extents{1, 1, 1}, {31, 33, 32}, {1025, 7, 3}, {5, 1025, 2}, {300, 20, 33}})
    for (const layout how : layouts) {
      const index_t rows_of_x = rows;  // clang 14 does not capture a binding
      CAPTURE(rows_of_x);
      const auto x = normal_matrix<T>(rows, in, 1), w = normal_matrix<T>(out, in, 2),
                 d_out = normal_matrix<T>(rows, out, 3);
      const auto bias = normal_vector<T>(out, 4);
      stroma::cpu_context host;
      stroma::cuda_context ctx;
      stroma::array<T, 2> expected(rows, out), d_x = normal_matrix<T>(rows, in, 5), d_w = normal_matrix<T>(out, in, 6);
      stroma::array<T, 1> d_b = normal_vector<T>(out, 7);
      // What products are stored to has neighbouring columns.
      const layout to = how == layout::rows ? layout::rows : layout::padded_rows;
      laid_out_on_device<T> dx(ctx, stroma::as_const_view(x), how), dw(ctx, stroma::as_const_view(w), how),
          dd(ctx, stroma::as_const_view(d_out), how);
      laid_out_on_device<T> result(ctx, stroma::as_const_view(expected), to), to_x(ctx, stroma::as_const_view(d_x), to),
          to_w(ctx, stroma::as_const_view(d_w), to);
      auto to_b = on_device(ctx, d_b);
      const auto db = on_device(ctx, bias);
      stroma::linear(host, x, w, bias, expected, {.activate = stroma::activation::relu});
      stroma::linear(ctx, dx.view(), dw.view(), db, result.view(), {.activate = stroma::activation::relu});
      CHECK(error_of_sum(result.elements(ctx), expected, in, 8) <= 1);
      stroma::linear_backward(
          host, x, w, d_out,
          stroma::linear_gradients<T>{stroma::as_view(d_x), stroma::as_view(d_w), stroma::as_view(d_b)});
      stroma::linear_backward(ctx, dx.view(), dw.view(), dd.view(),
                              device_gradients<T>{to_x.view(), to_w.view(), stroma::as_view(to_b)});
      CHECK(error_of_sum(to_x.elements(ctx), d_x, out, 8) <= 1);
      CHECK(error_of_sum(to_w.elements(ctx), d_w, rows, 8) <= 1);
      CHECK(device_error_of_sum(ctx, to_b, d_b, rows, 4) <= 1);
      CHECK(result.gaps_untouched(ctx));
      CHECK(to_x.gaps_untouched(ctx));
      CHECK(to_w.gaps_untouched(ctx));
      stroma::linear(host, x, w, stroma::vector_view<const T>{}, expected);
      stroma::linear(ctx, dx.view(), dw.view(), stroma::vector_view<const T, stroma::device_space>{}, result.view());
      CHECK(error_of_sum(result.elements(ctx), expected, in, 8) <= 1);
    }
}

TEST_CASE("cuda: linear: 16-bit rows, widened or multiplied as they are stored") {
  const auto check = [&]<class S, class T>(S, T, stroma::matrix_precision precision) {
    const auto x = normal_matrix<S>(65, 40, 1);
    auto w = normal_matrix<T>(33, 40, 2), d_out = normal_matrix<T>(65, 33, 3);
    const auto bias = normal_vector<T>(33, 4);
    stroma::cpu_context host;
    stroma::cuda_context ctx(nullptr, {.precision = precision});
    const auto dw = on_device(ctx, w), dd = on_device(ctx, d_out);
    if (precision == stroma::matrix_precision::storage)  // the other factor is rounded
      for (auto* m : {&w, &d_out})
        for (T& v : *m) v = stroma::widen<T>(stroma::narrow<S>(v));
    stroma::array<T, 2> expected(65, 33), d_w(33, 40);
    stroma::linear(host, x, w, bias, expected, {.activate = stroma::activation::tanh});
    stroma::linear_backward(host, x, w, d_out, stroma::linear_gradients<T>{{}, stroma::as_view(d_w), {}});
    device_array<T> out(65, 33), to_w(33, 40);
    for (const layout how : layouts) {
      laid_out_on_device<S> in(ctx, stroma::as_const_view(x), how);
      stroma::linear(ctx, in.view(), dw, on_device(ctx, bias), out, {.activate = stroma::activation::tanh});
      CHECK(device_error_of_sum(ctx, out, expected, 40, 8) <= 1);
      to_w.fill(0);
      stroma::linear_backward(ctx, in.view(), dw, dd, device_gradients<T>{{}, stroma::as_view(to_w), {}});
      CHECK(device_error_of_sum(ctx, to_w, d_w, 65, 8) <= 1);
    }
  };
  for (const auto p : {stroma::matrix_precision::full, stroma::matrix_precision::storage}) {
    check(stroma::half{}, float{}, p);
    check(stroma::bfloat16{}, float{}, p);
  }
  check(stroma::half{}, double{}, stroma::matrix_precision::full);
}

TEST_CASE("cuda: linear: 16-bit rows that are widened in two strips") {
  // Of two columns: a strip holds 2^21 rows.
  constexpr index_t rows = (index_t{1} << 21) + 3;
  stroma::cuda_context ctx;
  stroma::array<stroma::bfloat16, 2> x(rows, 2);
  for (const index_t n : {index_t{0}, rows - 4, rows - 3, rows - 1})
    for (index_t j = 0; j < 2; ++j) x(n, j) = stroma::to_bfloat16(static_cast<float>(n % 100 + j));
  const auto in = on_device(ctx, x);
  stroma::array<float, 2> w(1, 2), d(rows, 1);
  w(0, 0) = 2;
  w(0, 1) = 3;
  d.fill(1);
  device_array<float> out(rows, 1), to_w(1, 2);
  stroma::linear(ctx, in, on_device(ctx, w), stroma::vector_view<const float, stroma::device_space>{}, out);
  const auto found = on_host(ctx, out);
  float first = 0, second = 0;
  for (const index_t n : {index_t{0}, rows - 4, rows - 3, rows - 1}) {
    const auto a = static_cast<float>(n % 100);
    CHECK(found(n, 0) == 2 * a + 3 * (a + 1));
    first += a;
    second += a + 1;
  }
  CHECK(found(1, 0) == 0);
  stroma::linear_backward(ctx, in, on_device(ctx, w), on_device(ctx, d),
                          device_gradients<float>{{}, stroma::as_view(to_w), {}});
  CHECK(on_host(ctx, to_w)(0, 0) == first);
  CHECK(on_host(ctx, to_w)(0, 1) == second);
}

TEST_CASE_TEMPLATE("cuda: linear: recorded with every activation", T, STROMA_DEVICE_SCALARS) {
  for (const auto f : activations)
    for (const index_t rows : {1, 33, 300}) {
      const auto record = [f](auto& g, const auto& n) {
        return stroma::linear(g, stroma::linear(g, n[0], n[1], n[2], {.activate = f}), n[3], {}, {.activate = f});
      };
      CHECK(recorded_error<T>({normal_matrix<T>(rows, 9, 1), normal_matrix<T>(32, 9, 2, 0.3),
                               normal_matrix<T>(1, 32, 3), normal_matrix<T>(5, 32, 4, 0.3)},
                              {}, 64 + rows, 16, record) <= 1);
    }
}

TEST_CASE("cuda: linear: the layer takes the host's parameters; few launches; no memory") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::linear_layer<float> layer(9, 5);
  layer.weight = normal_matrix<float>(5, 9, 1);
  layer.bias = normal_vector<float>(5, 2);
  stroma::linear_layer<float, stroma::backend::cuda> on_gpu(9, 5), gradient(9, 5);
  stroma::transfer_parameters(ctx, layer, on_gpu);
  const auto x = normal_matrix<float>(40, 9, 3);
  const auto in = on_device(ctx, x), d = on_device(ctx, normal_matrix<float>(40, 5, 4));
  stroma::array<float, 2> expected(40, 5);
  stroma::linear(host, x, layer.weight, layer.bias, expected);
  device_graph<float> g(ctx);
  g.bind(on_gpu, gradient);
  device_array<float> out(40, 5);
  const auto step = [&] {
    g.reset();
    const auto n = on_gpu(g, g.input(in));
    stroma::primitives<stroma::backend::cuda>::copy(ctx, g.value(n), stroma::as_view(out));
    g.backward(n, stroma::as_const_view(d));
  };
  check_second_call(step, 6);
  CHECK(device_error_of_sum(ctx, out, expected, 9, 8) <= 1);
  CHECK_THROWS_AS(stroma::linear(ctx, in, on_gpu.weight, on_gpu.bias, gradient.weight), stroma::shape_error);
}
