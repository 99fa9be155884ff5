#pragma once
#include "cuda/nn/device_cases.hpp"

/// What the poolings without parameters have in common on a device, tested on each. A `Pool` has
///   steps                                                     roundings of one term, in units of epsilon
///   forward(ctx, bags, out, mask, check_values)               the verb, on either side
///   backward(ctx, bags, d_out, d_bags, mask)                  after a forward call of its own
///   record(graph, node, mask, check_values)                   the recorded verb
///   kernels, backward_kernels                                 launches, masked and checked
namespace stroma_test {

struct masks {
  std::vector<std::uint8_t> host;
  device_vector<std::uint8_t> device;
  masks(stroma::cuda_context& ctx, const std::vector<index_t>& offsets, bool masked)
      : host(masked ? partial_mask(offsets) : std::vector<std::uint8_t>{}), device(on_device(ctx, host)) {}
  [[nodiscard]] stroma::vector_view<const std::uint8_t> for_host() const {
    return {host.data(), static_cast<index_t>(host.size())};
  }
  [[nodiscard]] device_mask_view for_device() const { return {device.data(), device.size()}; }
};

template <class Pool, class T>
void check_values_and_gradients() {
  for (const auto& sizes : bag_sizes)
    for (const bool masked : {false, true})
      for (const layout how : {layout::rows, layout::apart}) {
        CAPTURE(sizes.size());
        CAPTURE(masked);
        const auto offsets = offsets_of_sizes(sizes);
        const index_t rows = offsets.back(), cols = 19, bags = static_cast<index_t>(sizes.size());
        const auto x = normal_matrix<T>(rows, cols, 1, 2), d_out = normal_matrix<T>(bags, cols, 2),
                   start = normal_matrix<T>(rows, cols, 3);
        stroma::cpu_context host;
        stroma::cuda_context ctx;
        const masks mask(ctx, offsets, masked);
        stroma::array<T, 2> expected(bags, cols), expected_d = start;
        Pool::forward(host, host_bags(x, offsets), stroma::as_view(expected), mask.for_host(), true);
        Pool::backward(host, host_bags(x, offsets), stroma::as_const_view(d_out),
                       stroma::bag_view<T>{stroma::as_view(expected_d), as_offsets(offsets)}, mask.for_host());

        const offsets_on_device o(ctx, offsets);
        laid_out_on_device<T> in(ctx, stroma::as_const_view(x), how), d(ctx, stroma::as_const_view(d_out), how);
        laid_out_on_device<T> out(ctx, stroma::as_const_view(stroma::array<T, 2>(bags, cols)), how);
        laid_out_on_device<T> d_x(ctx, stroma::as_const_view(start), how);
        const auto on_device_bags = o.of(device_matrix_view<const T>(in.view()));
        Pool::forward(ctx, on_device_bags, out.view(), mask.for_device(), true);
        Pool::backward(ctx, on_device_bags, device_matrix_view<const T>(d.view()), o.of(d_x.view()), mask.for_device());
        const index_t terms = *std::max_element(sizes.begin(), sizes.end()) + Pool::steps;
        CHECK(error_of_sum(out.elements(ctx), expected, terms, 4) <= 1);
        CHECK(error_of_sum(d_x.elements(ctx), expected_d, Pool::steps, 8) <= 1);
        CHECK(out.gaps_untouched(ctx));
        CHECK(d_x.gaps_untouched(ctx));
      }
}

template <class Pool, class S>
void check_narrow_bags() {
  const std::vector<index_t> offsets{0, 300, 301};
  const auto x = normal_matrix<S>(301, 19, 1);
  const auto check = [&]<class T>(T) {
    stroma::cpu_context host;
    stroma::cuda_context ctx;
    stroma::array<T, 2> expected(2, 19);
    Pool::forward(host, host_bags(x, offsets), stroma::as_view(expected), stroma::vector_view<const std::uint8_t>{},
                  true);
    const offsets_on_device o(ctx, offsets);
    for (const layout how : layouts) {
      laid_out_on_device<S> in(ctx, stroma::as_const_view(x), how);
      device_array<T> out(2, 19);
      const auto bags = o.of(device_matrix_view<const S>(in.view()));
      Pool::forward(ctx, bags, stroma::as_view(out), device_mask_view{}, true);
      CHECK(device_error_of_sum(ctx, out, expected, 300 + Pool::steps, 4) <= 1);
      for (const auto mode : {stroma::graph_mode::training, stroma::graph_mode::inference}) {
        device_graph<T> g(ctx, mode);
        device_array<T> recorded_out(2, 19);
        const auto v = g.value(Pool::record(g, g.input(bags), device_mask_view{}, true));
        stroma::primitives<stroma::backend::cuda>::copy(ctx, v, stroma::as_view(recorded_out));
        CHECK(same_matrix(on_host(ctx, recorded_out), on_host(ctx, out)));
      }
    }
  };
  check(float{});
  check(double{});
}

template <class Pool, class T>
void check_recorded() {
  for (const auto& sizes : bag_sizes)
    for (const bool masked : {false, true}) {
      const auto offsets = offsets_of_sizes(sizes);
      const auto x = normal_matrix<T>(offsets.back(), 7, 1);
      stroma::cuda_context ctx;
      const masks mask(ctx, offsets, masked);
      const auto record = [&]<class B>(stroma::graph<T, B>& g, const std::vector<stroma::node>& n) {
        if constexpr (std::is_same_v<B, stroma::backend::cpu>) return Pool::record(g, n[0], mask.for_host(), true);
        else return Pool::record(g, n[0], mask.for_device(), true);
      };
      const index_t terms = offsets.back() + Pool::steps;
      CHECK(recorded_error<T>({x}, offsets, terms, 4, record) <= 1);
      if (sizes.size() == 1) CHECK(recorded_error<T>({x}, {}, terms, 4, record) <= 1);  // without bags: one
    }
}

template <class Pool, class T>
void check_alone_as_in_batch() {
  const std::vector<index_t> sizes{257, 1, 511, 252, 1000, 3};
  const auto offsets = offsets_of_sizes(sizes);
  const auto x = normal_matrix<T>(offsets.back(), 33, 1);
  stroma::cuda_context ctx;
  const auto in = on_device(ctx, x);
  const masks mask(ctx, offsets, true);
  device_array<T> batch(6, 33), alone(1, 33);
  const offsets_on_device o(ctx, offsets);
  Pool::forward(ctx, o.of(stroma::as_const_view(in)), stroma::as_view(batch), mask.for_device(), true);
  const auto expected = on_host(ctx, batch);
  for (std::size_t b = 0; b < sizes.size(); ++b) {
    const offsets_on_device own(ctx, {0, sizes[b]});
    Pool::forward(ctx, own.of(stroma::as_const_view(in).middle_rows(offsets[b], sizes[b])), stroma::as_view(alone),
                  mask.for_device().slice(offsets[b], sizes[b]), true);
    CHECK(same_matrix(on_host(ctx, alone), stroma::as_const_view(expected).middle_rows(static_cast<index_t>(b), 1)));
  }
}

/// Wrong offsets, bags and features, each on a context of its own, whose memory then ends where it should.
template <class Pool>
void check_bad_values() {
  using T = double;
  const auto x = normal_matrix<T>(600, 7, 1);
  const auto call = [&](const stroma::array<T, 2>& values, const std::vector<index_t>& offsets,
                        const std::vector<std::uint8_t>& mask, bool check_values, auto&& then) {
    stroma::cuda_context ctx;
    const auto in = on_device(ctx, values);
    const auto m = on_device(ctx, mask);
    const offsets_on_device o(ctx, offsets);
    const index_t bags = static_cast<index_t>(offsets.size()) - 1;
    device_array<T> out(bags, 7), d_x(600, 7);
    const auto d_out = on_device(ctx, normal_matrix<T>(bags, 7, 2));
    const device_mask_view mask_of{m.data(), m.size()};
    then(
        ctx,
        [&] {
          const auto of = o.of(stroma::as_const_view(in));
          Pool::forward(ctx, of, stroma::as_view(out), mask_of, check_values);
          Pool::backward(ctx, of, stroma::as_const_view(d_out), o.of(stroma::as_view(d_x)), mask_of);
        },
        out);
  };
  const auto shape = [](stroma::cuda_context& ctx, auto&& f, auto&) {
    CHECK_THROWS_ON_DEVICE(ctx, f(), stroma::shape_error);
  };
  const auto value = [](stroma::cuda_context& ctx, auto&& f, auto&) {
    CHECK_THROWS_ON_DEVICE(ctx, f(), stroma::value_error);
  };
  for (const auto& offsets : bad_offsets) call(x, offsets, {}, true, shape);
  for (const auto& offsets : bad_offsets) call(x, offsets, partial_mask({0, 600}), true, shape);
  call(x, {0, 300, 300, 600}, {}, true, shape);  // a bag without instances
  call(x, {0, 300, 600}, std::vector<std::uint8_t>(599, 1), true, shape);
  std::vector<std::uint8_t> mask(600, 1);
  for (std::size_t n = 300; n < 600; ++n) mask[n] = 0;
  call(x, {0, 300, 600}, mask, true, value);
  for (const T bad : {std::numeric_limits<T>::quiet_NaN(), -std::numeric_limits<T>::infinity()}) {
    auto broken = x;
    broken(302, 5) = bad;
    call(broken, {0, 300, 600}, {}, true, value);
    // Masked, or looked away from: then it reaches its own column only.
    std::vector<std::uint8_t> without(600, 1);
    without[302] = 0;
    call(broken, {0, 300, 600}, without, true, [](stroma::cuda_context& ctx, auto&& f, auto& out) {
      f();
      const auto found = on_host(ctx, out);
      for (const T v : found) CHECK(std::isfinite(v));
    });
    call(broken, {0, 300, 600}, {}, false, [&](stroma::cuda_context& ctx, auto&& f, auto& out) {
      f();
      const auto found = on_host(ctx, out);
      for (index_t i = 0; i < 14; ++i) CHECK((i == 12 || std::isfinite(found.data()[i])));
      if (std::isnan(bad)) CHECK(std::isnan(found(1, 5)));
    });
  }
}

template <class Pool>
void check_device_cost() {
  using T = float;
  stroma::cuda_context ctx;
  const auto offsets = offsets_of_sizes({257, 1, 511});
  const auto in = on_device(ctx, normal_matrix<T>(offsets.back(), 19, 1));
  const offsets_on_device o(ctx, offsets);
  const masks mask(ctx, offsets, true);
  device_array<T> out(3, 19), d_out(3, 19), d_x(offsets.back(), 19);
  const auto bags = o.of(stroma::as_const_view(in));
  check_second_call([&] { Pool::forward(ctx, bags, stroma::as_view(out), mask.for_device(), true); }, Pool::kernels);
  // No bags at all.
  const offsets_on_device none(ctx, {0});
  Pool::forward(ctx, none.of(device_matrix_view<const T>(nullptr, 0, 7)), device_matrix_view<T>(nullptr, 0, 7),
                device_mask_view{}, true);
  // A step of training.
  device_graph<T> g(ctx);
  const auto step = [&] {
    g.reset();
    const auto n = g.variable(stroma::as_const_view(in), stroma::as_view(d_x));
    g.backward(Pool::record(g, with_bags(g, g.input(bags), n), mask.for_device(), true), stroma::as_const_view(d_out));
  };
  check_second_call(step, Pool::kernels + Pool::backward_kernels + 5);
  CHECK_NOTHROW(ctx.synchronize());
}

}  // namespace stroma_test
