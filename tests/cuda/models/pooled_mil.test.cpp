#include <stroma/models/pooled_mil.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: pooled_mil: logits and gradients of every parameter are the host's", T,
                   STROMA_DEVICE_SCALARS) {
  const std::vector<index_t> offsets{0, 1, 300, 307};
  const auto x = normal_matrix<T>(307, 9, 1), d_out = normal_matrix<T>(3, 2, 2);
  for (const auto pooling : {stroma::instance_pooling::mean, stroma::instance_pooling::max}) {
    const stroma::abmil_shape shape{.features = 9, .hidden = {33, 12}, .outputs = 2};
    stroma::pooled_mil<T> model(shape, pooling), d_model = model;
    std::uint64_t seed = 10;
    stroma::for_each_parameter(
        [&](std::string_view, auto& p) {
          stroma::random_stream draw(++seed);
          for (T& v : p) v = static_cast<T>(0.3 * draw.normal());
        },
        model);
    stroma::cpu_context host;
    stroma::graph<T> g(host);
    g.bind(model, d_model);
    const auto n = model(g, g.input(host_bags(x, offsets)));
    stroma::array<T, 2> expected(3, 2);
    stroma::primitives<stroma::backend::cpu>::copy(host, g.value(n), stroma::as_view(expected));
    g.backward(n, stroma::as_const_view(d_out));

    stroma::cuda_context ctx;
    stroma::pooled_mil<T, stroma::backend::cuda> there(shape, pooling), d_there = there;
    stroma::transfer_parameters(ctx, model, there);
    const auto in = on_device(ctx, x), d = on_device(ctx, d_out);
    const offsets_on_device o(ctx, offsets);
    device_graph<T> dg(ctx), infer(ctx, stroma::graph_mode::inference);
    dg.bind(there, d_there);
    device_array<T> value(3, 2);
    const auto bags = o.of(stroma::as_const_view(in));
    for (device_graph<T>* at : {&infer, &dg}) {
      const auto dn = there(*at, at->input(bags));
      stroma::primitives<stroma::backend::cuda>::copy(ctx, at->value(dn), stroma::as_view(value));
      CHECK(device_error_of_sum(ctx, value, expected, 400, 2) <= 1);
      if (at == &dg) dg.backward(dn, stroma::as_const_view(d));
    }
    auto d_back = model;
    stroma::transfer_parameters(ctx, d_there, d_back);
    stroma::for_each_parameter(
        [&](std::string_view name, const auto& a, const auto& b) {
          CAPTURE(name);
          double worst = 0;
          for (index_t i = 0; i < a.size(); ++i)
            worst = std::max(worst, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
          CHECK(worst <= 2 * 400 * static_cast<double>(std::numeric_limits<T>::epsilon()));
        },
        d_back, d_model);
  }
}
