#include <stroma/survival/expected_lifetime.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

TEST_CASE_TEMPLATE("cuda: expected_lifetime_risk: the host's", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  for (const index_t rows : {0, 1, 33, 300})
    for (const layout how : layouts) {
      const auto survival = normal_matrix<T>(rows, 7, 1, 3);
      stroma::array<T, 1> risk(rows);
      stroma::expected_lifetime_risk(host, survival, risk);
      laid_out_on_device<T> on(ctx, stroma::as_const_view(survival), how);
      device_vector<T> device_risk(rows);
      stroma::expected_lifetime_risk(ctx, on.view(), device_risk);
      CHECK(device_error_of_sum(ctx, device_risk, risk, 7, 20) <= 1);
    }
}
