#include <cstdint>
#include <vector>

#include <stroma/backend/cuda/kernels.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

namespace {

struct element {
  const double* x;
  __device__ double operator()(index_t i) const { return x[i]; }
};
struct store_sum {
  double* to;
  __device__ void operator()(double sum) const { *to = sum; }
};

}  // namespace

TEST_CASE("cuda: sum_each: sums in double, in an order of the length alone, in one launch while they fit one piece") {
  constexpr index_t piece = stroma::detail::sum_piece;
  stroma::cuda_context ctx;
  device_vector<double> sum(1);
  for (const index_t size : {index_t{0}, index_t{1}, index_t{33}, index_t{257}, piece, piece + 1, 3 * piece + 17}) {
    CAPTURE(size);
    const auto x = normal_vector<double>(size, 1);
    const auto there = on_device(ctx, x);
    long double exact = 0, magnitude = 0;
    for (const double value : x) exact += value, magnitude += std::abs(value);
    const auto run = [&] { stroma::detail::sum_each(ctx, size, element{there.data()}, store_sum{sum.data()}); };
    sum.fill(-1);
    run();
    const double found = on_host(ctx, sum)[0];
    CHECK(std::abs(static_cast<long double>(found) - exact) <=
          std::numeric_limits<double>::epsilon() * static_cast<double>(size) * magnitude);
    check_second_call(run, size <= piece ? 1 : 2);
    CHECK(same_bits(on_host(ctx, sum)[0], found));
  }
}
