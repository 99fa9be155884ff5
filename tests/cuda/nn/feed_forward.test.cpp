#include <stroma/nn/feed_forward.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: feed_forward: values and gradients of every parameter are the host's", T,
                   STROMA_DEVICE_SCALARS) {
  const stroma::feed_forward_options options{
      .between = stroma::activation::gelu, .after = stroma::activation::tanh, .dropout = 0.25};
  stroma::feed_forward<T> net({9, 32, 5}, options), d_net = net;
  for (std::size_t i = 0; i < 2; ++i) {
    net.layers[i].weight = normal_matrix<T>(net.layers[i].weight.rows(), net.layers[i].weight.cols(), i + 1, 0.3);
    net.layers[i].bias = normal_vector<T>(net.layers[i].bias.size(), i + 10);
  }
  const auto x = normal_matrix<T>(300, 9, 20), d_out = normal_matrix<T>(300, 5, 21);
  stroma::cpu_context host;
  stroma::graph<T> g(host);
  g.set_random(3, 4);
  g.bind(net, d_net);
  const auto n = net(g, g.input(x));
  g.backward(n, stroma::as_const_view(d_out));

  stroma::cuda_context ctx;
  stroma::feed_forward<T, stroma::backend::cuda> on_gpu({9, 32, 5}, options), d_gpu = on_gpu;
  stroma::transfer_parameters(ctx, net, on_gpu);
  const auto in = on_device(ctx, x), d = on_device(ctx, d_out);
  device_graph<T> dg(ctx);
  dg.set_random(3, 4);
  dg.bind(on_gpu, d_gpu);
  const auto dn = on_gpu(dg, dg.input(in));
  device_array<T> value(300, 5);
  stroma::primitives<stroma::backend::cuda>::copy(ctx, dg.value(dn), stroma::as_view(value));
  stroma::array<T, 2> expected(300, 5);
  stroma::primitives<stroma::backend::cpu>::copy(host, g.value(n), stroma::as_view(expected));
  CHECK(device_error_of_sum(ctx, value, expected, 64, 4) <= 1);
  dg.backward(dn, stroma::as_const_view(d));
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(device_error_of_sum(ctx, d_gpu.layers[i].weight, d_net.layers[i].weight, 400, 8) <= 1);
    CHECK(device_error_of_sum(ctx, d_gpu.layers[i].bias, d_net.layers[i].bias, 400, 8) <= 1);
  }
}
