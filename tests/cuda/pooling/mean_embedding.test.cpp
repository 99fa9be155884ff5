#include <stroma/pooling/mean_embedding.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: mean_embedding: mean and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  for (const index_t rows : {1, 33, 1009}) {
    CAPTURE(rows);
    const index_t in = 9, out = 5;
    const auto x = normal_matrix<T>(rows, in, 1), d_mean = normal_matrix<T>(1, out, 4);
    stroma::linear_layer<T> layer(in, out), gradient(in, out);
    layer.weight = normal_matrix<T>(out, in, 2);
    layer.bias = normal_vector<T>(out, 3);
    const auto embed = [](auto& g, const auto& from, stroma::node bag) {
      return stroma::mean_embedding(g, bag, g.parameter(from.weight), g.parameter(from.bias));
    };
    stroma::cpu_context host;
    stroma::graph<T> on_host_graph(host);
    on_host_graph.bind(layer, gradient);
    const auto u = embed(on_host_graph, layer, on_host_graph.input(x));
    stroma::array<T, 2> expected(1, out);
    stroma::primitives<stroma::backend::cpu>::copy(host, on_host_graph.value(u), stroma::as_view(expected));
    on_host_graph.backward(u, stroma::as_const_view(d_mean));

    stroma::cuda_context ctx;
    stroma::linear_layer<T, stroma::backend::cuda> on_gpu(in, out), to(in, out);
    stroma::transfer_parameters(ctx, layer, on_gpu);
    const auto dx = on_device(ctx, x), d = on_device(ctx, d_mean);
    device_graph<T> g(ctx);
    g.bind(on_gpu, to);
    device_array<T> mean(1, out);
    const auto step = [&] {
      g.reset();
      stroma::primitives<stroma::backend::cuda>::fill(ctx, stroma::as_view(to.weight), T(0));
      stroma::primitives<stroma::backend::cuda>::fill(
          ctx, stroma::matrix_view<T, stroma::device_space>(to.bias.data(), 1, out), T(0));
      const auto v = embed(g, on_gpu, g.input(dx));
      stroma::primitives<stroma::backend::cuda>::copy(ctx, g.value(v), stroma::as_view(mean));
      g.backward(v, stroma::as_const_view(d));
    };
    const std::uint64_t tiles = rows > 1008 ? 2 : 1;
    check_second_call(step, 12 + 10 * tiles);
    const index_t terms = in + rows;  // of a product and of a mean of them
    CHECK(device_error_of_sum(ctx, mean, expected, terms, 4) <= 1);
    CHECK(device_error_of_sum(ctx, to.weight, gradient.weight, terms, 4) <= 1);
    CHECK(device_error_of_sum(ctx, to.bias, gradient.bias, terms, 4) <= 1);
  }
}
