#include <stroma/nn/softmax.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: softmax: rows and their gradients are the host's, in every layout", T,
                   STROMA_DEVICE_SCALARS) {
  for (const index_t cols : {1, 31, 32, 33, 1025})
    for (const layout how : layouts) {
      CAPTURE(cols);
      const auto x = normal_matrix<T>(37, cols, 1, 3), d_out = normal_matrix<T>(37, cols, 2),
                 start = normal_matrix<T>(37, cols, 3);
      stroma::cpu_context host;
      stroma::cuda_context ctx;
      stroma::array<T, 2> expected(37, cols), expected_d = start;
      stroma::softmax(host, x, expected);
      stroma::softmax_backward(host, expected, d_out, expected_d);
      laid_out_on_device<T> in(ctx, stroma::as_const_view(x), how), d(ctx, stroma::as_const_view(d_out), how);
      laid_out_on_device<T> out(ctx, stroma::as_const_view(x), how), d_x(ctx, stroma::as_const_view(start), how);
      stroma::softmax(ctx, in.view(), out.view());
      stroma::softmax_backward(ctx, out.view(), d.view(), d_x.view());
      stroma::softmax(ctx, in.view(), in.view());
      CHECK(error_of_sum(out.elements(ctx), expected, 16, 1) <= 1);
      CHECK(error_of_sum(d_x.elements(ctx), expected_d, 16, 4) <= 1);
      CHECK(same_matrix(in.elements(ctx), out.elements(ctx)));
      CHECK(out.gaps_untouched(ctx));
      CHECK(d_x.gaps_untouched(ctx));
    }
}

TEST_CASE_TEMPLATE("cuda: softmax: scores of any size, -infinity and NaN as on the host; 16-bit storage", T, float,
                   double) {
  const T infinite = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  auto x = normal_matrix<T>(6, 70, 1, 1e4);
  x(1, 3) = x(1, 69) = -infinite;
  x(2, 40) = nan;
  for (index_t j = 0; j < 70; ++j) x(3, j) = -infinite;
  for (index_t j = 1; j < 70; ++j) x(4, j) = -infinite;
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::array<T, 2> expected(6, 70);
  stroma::softmax(host, x, expected);
  device_array<T> out(6, 70);
  stroma::softmax(ctx, on_device(ctx, x), out);
  CHECK(device_error_of_sum(ctx, out, expected, 16, 1) <= 1);
  const auto narrow = [&]<class S>(S) {
    const auto y = normal_matrix<S>(6, 70, 2, 3);
    stroma::softmax(host, y, expected);
    stroma::softmax(ctx, on_device(ctx, y), out);
    CHECK(device_error_of_sum(ctx, out, expected, 16, 1) <= 1);
  };
  narrow(stroma::half{});
  narrow(stroma::bfloat16{});
}

TEST_CASE_TEMPLATE("cuda: segmented_softmax: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  auto all = bag_sizes;
  all.push_back({0, 3, 0, 0, 700, 0});
  for (const auto& sizes : all)
    for (const index_t heads : {1, 3}) {
      const auto offsets = offsets_of_sizes(sizes);
      const index_t rows = offsets.back();
      auto e = normal_matrix<T>(rows, heads, 1, 3);
      if (rows > 40) e(7, heads - 1) = -std::numeric_limits<T>::infinity();
      const auto d_out = normal_matrix<T>(rows, heads, 2), start = normal_matrix<T>(rows, heads, 3);
      stroma::cpu_context host;
      stroma::cuda_context ctx;
      stroma::array<T, 2> expected(rows, heads), expected_d = start;
      stroma::segmented_softmax(host, e, as_offsets(offsets), expected);
      stroma::segmented_softmax_backward(host, expected, as_offsets(offsets), d_out, expected_d);
      const offsets_on_device o(ctx, offsets);
      for (const layout how : layouts) {
        laid_out_on_device<T> in(ctx, stroma::as_const_view(e), how), d(ctx, stroma::as_const_view(d_out), how);
        laid_out_on_device<T> d_e(ctx, stroma::as_const_view(start), how);
        stroma::segmented_softmax(ctx, in.view(), o.view(), in.view());
        stroma::segmented_softmax_backward(ctx, in.view(), o.view(), d.view(), d_e.view());
        CHECK(error_of_sum(in.elements(ctx), expected, 16, 1) <= 1);
        CHECK(error_of_sum(d_e.elements(ctx), expected_d, 16, 4) <= 1);
        CHECK(in.gaps_untouched(ctx));
        CHECK(d_e.gaps_untouched(ctx));
      }
      const auto record = [](auto& g, const auto& n) { return stroma::segmented_softmax(g, n[0]); };
      if (rows <= 40) {
        CHECK(recorded_error<T>({e}, offsets, 32, 4, record) <= 1);
        CHECK(recorded_error<T>({e}, {}, 32, 4, record) <= 1);
      }
    }
}

TEST_CASE_TEMPLATE("cuda: softmax: recorded", T, STROMA_DEVICE_SCALARS) {
  for (const index_t cols : {1, 33, 1025})
    CHECK(recorded_error<T>({normal_matrix<T>(35, cols, 1, 3)}, {}, 32, 4,
                            [](auto& g, const auto& n) { return stroma::softmax(g, n[0]); }) <= 1);
}

TEST_CASE("cuda: segmented_softmax: wrong offsets are found and touch no memory out of bounds") {
  for (const auto& offsets : bad_offsets) {
    stroma::cuda_context ctx;
    const auto e = on_device(ctx, normal_matrix<double>(600, 2, 1));
    device_array<double> p(600, 2), d_e(600, 2);
    const offsets_on_device o(ctx, offsets);
    CHECK_THROWS_ON_DEVICE(ctx, stroma::segmented_softmax(ctx, e, o.view(), p), stroma::shape_error);
    CHECK_THROWS_ON_DEVICE(ctx, stroma::segmented_softmax_backward(ctx, p, o.view(), e, d_e), stroma::shape_error);
  }
}

TEST_CASE("cuda: softmax: a row or segment alone has the bits of a batch; one launch; no memory") {
  stroma::cuda_context ctx;
  const std::vector<index_t> sizes{257, 1, 511};
  const auto offsets = offsets_of_sizes(sizes);
  const auto x = on_device(ctx, normal_matrix<float>(769, 40, 1));
  device_array<float> rows(769, 40), segments(769, 40), alone(769, 40);
  const offsets_on_device o(ctx, offsets);
  stroma::softmax(ctx, x, rows);
  stroma::segmented_softmax(ctx, x, o.view(), segments);
  const auto all_rows = on_host(ctx, rows), all_segments = on_host(ctx, segments);
  for (std::size_t b = 0; b < sizes.size(); ++b) {
    const offsets_on_device own(ctx, {0, sizes[b]});
    const auto part = stroma::as_const_view(x).middle_rows(offsets[b], sizes[b]);
    stroma::segmented_softmax(ctx, part, own.view(), stroma::as_view(alone).middle_rows(0, sizes[b]));
    CHECK(same_matrix(stroma::as_const_view(on_host(ctx, alone)).middle_rows(0, sizes[b]),
                      stroma::as_const_view(all_segments).middle_rows(offsets[b], sizes[b])));
    stroma::softmax(ctx, part, stroma::as_view(alone).middle_rows(0, sizes[b]));
    CHECK(same_matrix(stroma::as_const_view(on_host(ctx, alone)).middle_rows(0, sizes[b]),
                      stroma::as_const_view(all_rows).middle_rows(offsets[b], sizes[b])));
  }
  check_second_call([&] { stroma::softmax(ctx, x, rows); }, 1);
  check_second_call([&] { stroma::softmax_backward(ctx, rows, x, alone); }, 1);
  check_second_call([&] { stroma::segmented_softmax(ctx, x, o.view(), rows); }, 3);
  check_second_call([&] { stroma::segmented_softmax_backward(ctx, rows, o.view(), x, alone); }, 3);
}
