#include <stroma/nn/dropout.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: dropout: bit by bit what the host gives, in every layout", T, STROMA_DEVICE_SCALARS) {
  for (const double rate : {0.0, 0.1, 0.5, 0.999})
    for (const index_t cols : {1, 31, 33, 130})
      for (const layout how : layouts) {
        const std::vector<index_t> offsets{0, 3, 3, 40, 61};
        const auto x = normal_matrix<T>(61, cols, 1), start = normal_matrix<T>(61, cols, 2);
        const stroma::dropout_options options{rate, {.seed = 0x123456789abcdef, .step = 5, .layer = 2}};
        stroma::cpu_context host;
        stroma::cuda_context ctx;
        const offsets_on_device o(ctx, offsets);
        laid_out_on_device<T> in(ctx, stroma::as_const_view(x), how);
        laid_out_on_device<T> out(ctx, stroma::as_const_view(start), how), d(ctx, stroma::as_const_view(start), how);
        stroma::array<T, 2> expected(61, cols), expected_d = start;
        stroma::dropout(host, x, expected, options);
        stroma::dropout(ctx, in.view(), out.view(), options);
        CHECK(same_matrix(out.elements(ctx), expected));
        stroma::dropout(host, host_bags(x, offsets), expected, options);
        stroma::dropout(ctx, o.of(in.view()), out.view(), options);
        CHECK(same_matrix(out.elements(ctx), expected));
        stroma::dropout_backward(host, host_bags(x, offsets), expected_d, options);
        stroma::dropout_backward(ctx, o.of(in.view()), d.view(), options);
        CHECK(error_of_function(d.elements(ctx), expected_d, 1) <= 1);  // the host may fuse the sum
        CHECK(out.gaps_untouched(ctx));
        CHECK(d.gaps_untouched(ctx));
        stroma::dropout(ctx, in.view(), in.view(), options);
        stroma::dropout(host, x, expected, options);
        CHECK(same_matrix(in.elements(ctx), expected));
      }
}

TEST_CASE("cuda: dropout: 16-bit storage") {
  const auto check = [&]<class S>(S) {
    const auto x = normal_matrix<S>(61, 33, 1);
    stroma::cpu_context host;
    stroma::cuda_context ctx;
    stroma::array<float, 2> expected(61, 33);
    device_array<float> out(61, 33);
    stroma::dropout(host, x, expected);
    stroma::dropout(ctx, on_device(ctx, x), out);
    CHECK(same_matrix(on_host(ctx, out), expected));
  };
  check(stroma::half{});
  check(stroma::bfloat16{});
}

TEST_CASE_TEMPLATE("cuda: dropout: recorded, with the graph's keys", T, STROMA_DEVICE_SCALARS) {
  for (const auto& sizes : bag_sizes) {
    const auto offsets = offsets_of_sizes(sizes);
    const auto x = normal_matrix<T>(offsets.back(), 9, 1);
    const auto record = [](auto& g, const auto& n) { return stroma::dropout(g, stroma::dropout(g, n[0], 0.3), 0.5); };
    const auto device = recorded_on_device<T>({x}, offsets, record), host = recorded_on_host<T>({x}, offsets, record);
    CHECK(same_matrix(device.value, host.value));
    CHECK(error_of_function(device.gradients[0], host.gradients[0], 1) <= 1);
  }
  stroma::cuda_context ctx;
  device_graph<T> g(ctx, stroma::graph_mode::inference);
  const auto x = on_device(ctx, normal_matrix<T>(3, 4, 1));
  const auto n = g.input(x);
  CHECK(stroma::dropout(g, n, 0.5).id == n.id);
}

TEST_CASE("cuda: dropout: wrong offsets are found and touch no memory out of bounds; few launches; no memory") {
  for (const auto& offsets : bad_offsets) {
    stroma::cuda_context ctx;
    const auto x = on_device(ctx, normal_matrix<double>(600, 7, 1));
    device_array<double> out(600, 7);
    const offsets_on_device o(ctx, offsets);
    CHECK_THROWS_ON_DEVICE(ctx, stroma::dropout(ctx, o.of(stroma::as_const_view(x)), out), stroma::shape_error);
    CHECK_THROWS_ON_DEVICE(ctx, stroma::dropout_backward(ctx, o.of(stroma::as_const_view(x)), out),
                           stroma::shape_error);
  }
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<float>(600, 7, 1));
  device_array<float> out(600, 7);
  const offsets_on_device o(ctx, {0, 300, 600});
  check_second_call([&] { stroma::dropout(ctx, o.of(stroma::as_const_view(x)), out); }, 3);
  check_second_call([&] { stroma::dropout_backward(ctx, o.of(stroma::as_const_view(x)), out); }, 3);
}
