#include <stroma/taskvector/prediction_entropy.cuh>

#include "cuda/nn/device_entropy_cases.hpp"

using namespace stroma_test;

namespace {

struct prediction_entropy_verb {
  static void value(auto& ctx, const auto& logit, auto* value) { stroma::prediction_entropy(ctx, logit, value); }
  static void backward(auto& ctx, const auto& logit, const auto* d_value, auto d_logit) {
    stroma::prediction_entropy_backward(ctx, logit, d_value, d_logit);
  }
  static stroma::node record(auto& g, stroma::node logit) { return stroma::prediction_entropy(g, logit); }
};
using prediction_entropy_case = entropy_case<prediction_entropy_verb>;

}  // namespace

TEST_CASE_TEMPLATE("cuda: prediction_entropy: values and gradients are the host's", T, STROMA_DEVICE_SCALARS) {
  check_loss_values_and_gradients<prediction_entropy_case, T>();
}
TEST_CASE_TEMPLATE("cuda: prediction_entropy: recorded", T, STROMA_DEVICE_SCALARS) {
  check_recorded_loss<prediction_entropy_case, T>();
}
TEST_CASE_TEMPLATE("cuda: prediction_entropy: without a row it is 0", T, STROMA_DEVICE_SCALARS) {
  check_empty_loss<prediction_entropy_case, T>();
}
TEST_CASE("cuda: prediction_entropy: few launches; the second call allocates nothing") {
  check_loss_cost<prediction_entropy_case>();
}
TEST_CASE("cuda: prediction_entropy: sure, unsure, enormous") { check_entropy_of_any_size<prediction_entropy_verb>(); }
TEST_CASE_TEMPLATE("cuda: prediction_entropy: refuses what the host refuses", T, STROMA_DEVICE_SCALARS) {
  check_entropy_refuses<prediction_entropy_verb, T>();
}
