#include <cmath>
#include <limits>

#include <stroma/taskvector/arithmetic.cuh>
#include <stroma/taskvector/similarity.cuh>

#include "cuda/taskvector/device_models.hpp"

using namespace stroma_test;
using stroma::similarity;

namespace {

/// Largest error in units of what the device's sums allow: a thread adds 8 elements of a piece, 5 + 7 joins make a
/// block's sum; of the pieces, which are few here, 1 and 12 more; and 46 tensors on the host.
struct chain_error {
  double of_model = 0, of_tensors = 0;
};
template <class Host>
chain_error error_of(const Host& a, const Host& b, const stroma::inner_products& all,
                     const std::vector<stroma::tensor_similarity>& tensors) {
  constexpr long double eps = std::numeric_limits<double>::epsilon();
  long double sum[3] = {}, sizes[3] = {};
  chain_error worst;
  const auto compare = [](double& most, double found, long double expected, long double allowed) {
    if (static_cast<long double>(found) != expected)
      most = std::max(most, static_cast<double>(std::fabs(found - expected) / allowed));
  };
  std::size_t n = 0;
  stroma::for_each_parameter(
      [&](std::string_view name, const auto& x, const auto& y) {
        long double own[3] = {}, size[3] = {};
        for (index_t i = 0; i < x.size(); ++i) {
          const long double p = x.data()[i], q = y.data()[i], terms[3] = {p * q, p * p, q * q};
          for (int k = 0; k < 3; ++k) {
            own[k] += terms[k];
            size[k] += std::fabs(terms[k]);
          }
        }
        CHECK(tensors[n].name == name);
        const auto& found = tensors[n++].products;
        const double numbers[3] = {found.ab, found.aa, found.bb};
        for (int k = 0; k < 3; ++k) {
          compare(worst.of_tensors, numbers[k], own[k], (8 + 12 + 13 + 1) * eps * size[k]);
          sum[k] += own[k];
          sizes[k] += size[k];
        }
      },
      a, b);
  CHECK(n == tensors.size());
  const double numbers[3] = {all.ab, all.aa, all.bb};
  for (int k = 0; k < 3; ++k) compare(worst.of_model, numbers[k], sum[k], (8 + 12 + 13 + 1 + 46) * eps * sizes[k]);
  return worst;
}

template <class Host, class Device>
void check_products() {
  stroma::cuda_context ctx;
  const auto a = random_model<Host>(1), b = random_model<Host>(2);
  const auto x = copy_on_device<Device>(ctx, a), y = copy_on_device<Device>(ctx, b);
  const auto all = similarity(ctx, x, y);
  const auto error = error_of(a, b, all, stroma::similarity_by_tensor(ctx, x, y));
  CHECK(error.of_model <= 1);
  CHECK(error.of_tensors <= 1);
  const auto again = similarity(ctx, x, y);
  CHECK((all.ab == again.ab && all.aa == again.aa && all.bb == again.bb));
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: similarity: inner products in long double, of the model and of each tensor", T,
                   STROMA_DEVICE_SCALARS) {
  check_products<test_model<T>, device_model<T>>();
}
TEST_CASE("cuda: similarity: parameters of two scalars keep their order") {
  check_products<host_merged, device_merged>();
  check_products<mixed_model<stroma::backend::cpu>, mixed_model<stroma::backend::cuda>>();
}

TEST_CASE("cuda: similarity: parallel, opposite, zero; beyond the range of double") {
  stroma::cuda_context ctx;
  const auto a = copy_on_device<device_merged>(ctx, random_model<host_merged>(1));
  const device_merged zero;
  device_merged opposite;
  stroma::scale(ctx, -2, a, opposite);
  const double rounding = 4 * std::numeric_limits<double>::epsilon();
  CHECK(std::fabs(similarity(ctx, a, a).cosine() - 1) <= rounding);
  CHECK(std::fabs(similarity(ctx, a, opposite).cosine() + 1) <= rounding);
  CHECK(similarity(ctx, a, zero).cosine() == 0);
  CHECK(similarity(ctx, zero, zero).cosine() == 0);
  host_merged large;
  large.last[299] = 1e200;
  CHECK(std::isinf(similarity(ctx, copy_on_device<device_merged>(ctx, large), a).aa));
}

TEST_CASE("cuda: similarity: two launches for 32 tensors, one wait for all, no memory the second time; extents") {
  stroma::cuda_context ctx;
  const auto a = copy_on_device<device_model<float>>(ctx, random_model<test_model<float>>(1));
  check_cost([&] { (void)similarity(ctx, a, a); }, 4, 1);
  const auto b = copy_on_device<device_merged>(ctx, random_model<host_merged>(1));
  check_cost([&] { (void)similarity(ctx, b, b); }, 4, 1);  // one table of each scalar
  device_merged other;
  other.one = device_vector<double>(2);
  CHECK(message_of<stroma::shape_error>([&] { (void)similarity(ctx, b, other); }) ==
        "similarity: b: one of 2, expected 1");
}
