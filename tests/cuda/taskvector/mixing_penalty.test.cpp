#include <algorithm>
#include <cmath>
#include <limits>

#include <stroma/taskvector/mixing_penalty.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

namespace {

/// Weights as ReLU gives them, many of them 0, and few values, so that there are ties.
template <class T>
stroma::array<T, 2> weights_with_ties(index_t bags, index_t sources) {
  auto w = normal_matrix<T>(bags, sources, 1);
  for (T& x : w) x = x > T(0) ? std::round(x * T(8)) / T(8) : T(0);
  return w;
}
template <class T>
double largest_of(const stroma::array<T, 2>& m) {
  double size = 0;
  for (const T x : m) size = std::max(size, std::abs(static_cast<double>(x)));
  return size;
}

constexpr stroma::mixing_penalty_options options{.top_k = 3, .aggregation = 0.3, .balance = 0.7, .share = 0.2};

}  // namespace

TEST_CASE_TEMPLATE("cuda: mixing_penalty: values and derivatives are the host's, in every layout", T,
                   STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const index_t sources : {1, 31, 33, 1025})
    for (const index_t bags : {1, 33})
      for (const index_t k : {0, 3, 40}) {
        CAPTURE(sources);
        CAPTURE(bags);
        CAPTURE(k);
        auto o = options;
        o.top_k = k;
        const auto w = weights_with_ties<T>(bags, sources), s = normal_matrix<T>(bags, sources, 2);
        stroma::array<T, 2> value(1, 1), d_weight(bags, sources), d_share(bags, sources);
        stroma::mixing_penalty(host, w, s, {value.data(), stroma::as_view(d_weight), stroma::as_view(d_share)}, o);
        // Terms, and sums of them in double, which for T = float show in its last digit alone.
        const index_t terms = std::is_same_v<T, float> ? 0 : sources + bags;
        for (const layout how : {layout::rows, layout::apart}) {
          laid_out_on_device<T> w_there(ctx, stroma::as_const_view(w), how),
              s_there(ctx, stroma::as_const_view(s), how), d_w(ctx, stroma::as_const_view(s), how),
              d_s(ctx, stroma::as_const_view(w), how);
          device_array<T> found(1, 1);
          stroma::mixing_penalty(ctx, w_there.view(), s_there.view(), {found.data(), d_w.view(), d_s.view()}, o);
          CHECK(device_error_of_sum(ctx, found, value, terms, largest_of(value)) <= 1);
          CHECK(error_of_sum(d_w.elements(ctx), d_weight, terms, largest_of(d_weight)) <= 1);
          CHECK(error_of_sum(d_s.elements(ctx), d_share, terms, largest_of(d_share)) <= 1);
          CHECK(d_w.gaps_untouched(ctx));
          CHECK(d_s.gaps_untouched(ctx));
          // The value alone.
          stroma::mixing_penalty(ctx, w_there.view(), s_there.view(), {found.data()}, o);
          CHECK(device_error_of_sum(ctx, found, value, terms, largest_of(value)) <= 1);
        }
        if (sources > 1) CHECK(largest_of(value) > 0);  // one weight of 0 costs nothing
        if (sources > 1) CHECK(largest_of(d_weight) > 0);
        CHECK((largest_of(d_share) > 0) == (k > 0));
      }
}

TEST_CASE_TEMPLATE("cuda: mixing_penalty: what a graph records is the host's", T, STROMA_DEVICE_SCALARS) {
  const std::vector<stroma::array<T, 2>> in{weights_with_ties<T>(2, 12), normal_matrix<T>(2, 12, 2)};
  CHECK(recorded_error<T>(in, {}, 12, 4,
                          [](auto& g, const auto& n) { return stroma::mixing_penalty(g, n[0], n[1], options); }) <= 1);
}

TEST_CASE_TEMPLATE("cuda: mixing_penalty: large weights; no source; no bag; NaN", T, STROMA_DEVICE_SCALARS) {
  stroma::cuda_context ctx;
  stroma::array<T, 2> weight(1, 3);
  weight(0, 1) = T(1e4);
  const auto w = on_device(ctx, weight);
  device_array<T> value = on_device(ctx, normal_matrix<T>(1, 1, 5));
  stroma::mixing_penalty(ctx, w, w, {value.data()}, {.top_k = 1, .aggregation = 0.5, .balance = 0.25, .share = 0});
  CHECK(on_host(ctx, value)(0, 0) == T(0.5e8 + 0.25e4));
  for (const auto& none : {device_array<T>(0, 3), device_array<T>(2, 0)}) {
    value = on_device(ctx, normal_matrix<T>(1, 1, 5));
    stroma::mixing_penalty(ctx, none, none, {value.data()}, options);
    CHECK(on_host(ctx, value)(0, 0) == T(0));
  }
  weight(0, 2) = std::numeric_limits<T>::quiet_NaN();
  const auto bad = on_device(ctx, weight);
  stroma::mixing_penalty(ctx, bad, bad, {value.data()}, options);
  CHECK(std::isnan(on_host(ctx, value)(0, 0)));
  CHECK_THROWS_AS(stroma::mixing_penalty(ctx, w, device_array<T>(1, 2), {value.data()}), stroma::shape_error);
  CHECK_THROWS_AS(stroma::mixing_penalty(ctx, w, w, {value.data()}, {.top_k = -1}), stroma::value_error);
}

TEST_CASE("cuda: mixing_penalty: three launches; the second call allocates nothing") {
  stroma::cuda_context ctx;
  const auto w = on_device(ctx, weights_with_ties<float>(3, 12)), s = on_device(ctx, normal_matrix<float>(3, 12, 2));
  device_array<float> value(1, 1), d_weight(3, 12), d_share(3, 12);
  check_second_call(
      [&] {
        stroma::mixing_penalty(ctx, w, s, {value.data(), stroma::as_view(d_weight), stroma::as_view(d_share)}, options);
      },
      3);
}
