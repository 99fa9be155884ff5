#include <stroma/nn/concatenate.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: concatenate: bit by bit what the host gives, in every layout", T, STROMA_DEVICE_SCALARS) {
  for (const index_t rows : {1, 31, 33, 1025})
    for (const layout how : layouts) {
      const auto a = normal_matrix<T>(rows, 1, 1), b = normal_matrix<T>(rows, 32, 2), c = normal_matrix<T>(rows, 7, 3),
                 d_out = normal_matrix<T>(rows, 40, 4);
      stroma::cpu_context host;
      stroma::cuda_context ctx;
      stroma::array<T, 2> expected(rows, 40), d_a = a, d_c = c;
      laid_out_on_device<T> da(ctx, stroma::as_const_view(a), how), db(ctx, stroma::as_const_view(b), how),
          dc(ctx, stroma::as_const_view(c), how), dd(ctx, stroma::as_const_view(d_out), how);
      laid_out_on_device<T> out(ctx, stroma::as_const_view(expected), how);
      stroma::concatenate(host, {stroma::as_const_view(a), stroma::as_const_view(b), stroma::as_const_view(c)},
                          expected);
      stroma::concatenate(ctx, {da.view(), db.view(), dc.view()}, out.view());
      CHECK(same_matrix(out.elements(ctx), expected));
      stroma::concatenate_backward(
          host, d_out, {stroma::as_view(d_a), stroma::matrix_view<T>(nullptr, rows, 32), stroma::as_view(d_c)});
      stroma::concatenate_backward(ctx, dd.view(), {da.view(), device_matrix_view<T>(nullptr, rows, 32), dc.view()});
      CHECK(same_matrix(da.elements(ctx), d_a));
      CHECK(same_matrix(dc.elements(ctx), d_c));
      for (auto* m : {&out, &da, &dc}) CHECK(m->gaps_untouched(ctx));
    }
}

TEST_CASE_TEMPLATE("cuda: concatenate: recorded; a launch for each part; no memory", T, float, double) {
  for (const index_t rows : {1, 33, 300})
    CHECK(recorded_error<T>({normal_matrix<T>(rows, 9, 1), normal_matrix<T>(rows, 1, 2), normal_matrix<T>(rows, 33, 3)},
                            {}, 0, 1, [](auto& g, const auto& n) {
                              return stroma::concatenate(g, {n[0], n[1], n[2], n[1]});
                            }) <= 1);
  stroma::cuda_context ctx;
  const auto a = on_device(ctx, normal_matrix<T>(300, 9, 1));
  device_array<T> out(300, 18);
  check_second_call([&] { stroma::concatenate(ctx, a, a, out); }, 2);
  // 16-bit rows in the lead are widened.
  const auto narrow = normal_matrix<stroma::half>(30, 5, 1);
  const auto in = on_device(ctx, narrow);
  const auto wide = on_device(ctx, normal_matrix<T>(30, 2, 2));
  device_graph<T> g(ctx);
  const auto v = g.value(stroma::concatenate(g, {g.input(in), g.input(wide)}));
  device_array<T> copy(30, 7);
  stroma::primitives<stroma::backend::cuda>::copy(ctx, v, stroma::as_view(copy));
  const auto found = on_host(ctx, copy);
  for (index_t i = 0; i < 30; ++i)
    for (index_t j = 0; j < 5; ++j) CHECK(found(i, j) == stroma::widen<T>(narrow(i, j)));
}
