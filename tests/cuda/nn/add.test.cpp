#include <stroma/nn/add.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: add: values and gradients are the host's, in every layout", T, STROMA_DEVICE_SCALARS) {
  for (const index_t rows : {1, 31, 33, 1025})
    for (const bool one_row : {false, true})
      for (const layout how : layouts) {
        const auto a = normal_matrix<T>(rows, 33, 1), b = normal_matrix<T>(one_row ? 1 : rows, 33, 2),
                   d_out = normal_matrix<T>(rows, 33, 3);
        stroma::cpu_context host;
        stroma::cuda_context ctx;
        stroma::array<T, 2> expected(rows, 33), d_a = a, d_b = b;
        laid_out_on_device<T> da(ctx, stroma::as_const_view(a), how), db(ctx, stroma::as_const_view(b), how),
            dd(ctx, stroma::as_const_view(d_out), how);
        laid_out_on_device<T> out(ctx, stroma::as_const_view(expected), how), to_a(ctx, stroma::as_const_view(a), how),
            to_b(ctx, stroma::as_const_view(b), how);
        stroma::add(host, a, b, expected);
        stroma::add(ctx, da.view(), db.view(), out.view());
        CHECK(same_matrix(out.elements(ctx), expected));
        stroma::add_backward(host, d_out, d_a, d_b);
        stroma::add_backward(ctx, dd.view(), to_a.view(), to_b.view());
        CHECK(same_matrix(to_a.elements(ctx), d_a));
        CHECK(error_of_sum(to_b.elements(ctx), d_b, rows, 4) <= 1);
        stroma::add(ctx, da.view(), db.view(), da.view());
        CHECK(same_matrix(da.elements(ctx), expected));
        for (auto* m : {&out, &to_a, &to_b, &da}) CHECK(m->gaps_untouched(ctx));
      }
}

TEST_CASE("cuda: add: 16-bit storage, a vector for every row") {
  const auto check = [&]<class S>(S) {
    const auto a = normal_matrix<S>(40, 33, 1);
    const auto b = normal_vector<float>(33, 2);
    stroma::cpu_context host;
    stroma::cuda_context ctx;
    stroma::array<float, 2> expected(40, 33);
    device_array<float> out(40, 33);
    stroma::add(host, a, b, expected);
    stroma::add(ctx, on_device(ctx, a), on_device(ctx, b), out);
    CHECK(same_matrix(on_host(ctx, out), expected));
  };
  check(stroma::half{});
  check(stroma::bfloat16{});
}

TEST_CASE_TEMPLATE("cuda: add: recorded; few launches; no memory", T, float, double) {
  const auto record = [](auto& g, const auto& n) { return stroma::add(g, n[0], n[1]); };
  for (const index_t rows : {1, 33, 300}) {
    CHECK(recorded_error<T>({normal_matrix<T>(rows, 9, 1), normal_matrix<T>(rows, 9, 2)}, {}, 8, 4, record) <= 1);
    CHECK(recorded_error<T>({normal_matrix<T>(rows, 9, 1), normal_matrix<T>(1, 9, 2)}, {}, rows, 4, record) <= 1);
    CHECK(recorded_error<T>({normal_matrix<T>(rows, 9, 1)}, {}, 8, 4,
                            [](auto& g, const auto& n) { return stroma::add(g, n[0], n[0]); }) <= 1);
  }
  stroma::cuda_context ctx;
  const auto a = on_device(ctx, normal_matrix<T>(300, 9, 1));
  device_array<T> out(300, 9), row(1, 9);
  check_second_call([&] { stroma::add(ctx, a, a, out); }, 2);
  check_second_call([&] { stroma::add_backward(ctx, a, out, row); }, 3);
}
