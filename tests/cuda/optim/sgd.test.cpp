#include <stroma/optim/sgd.cuh>

#include "cuda/optim/device_model.hpp"

using namespace stroma_test;
using stroma::sgd;
using stroma::sgd_options;

namespace {

/// Three roundings, of numbers up to about the gradient's size, 30, times the rate.
constexpr double sgd_terms = 10;

template <class T>
void check(const sgd_options& options) {
  check_optimiser<device_model<T>, test_model<T>>(
      [&]<class Model>(const Model& model) { return sgd<Model>(model, options); }, sgd_terms);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: sgd: steps are the host's", T, STROMA_DEVICE_SCALARS) {
  check<T>({});
  check<T>({.weight_decay = 0.1});
  check<T>({.momentum = 0.9});
  check<T>({.momentum = 0.9, .weight_decay = 0.1, .decay = stroma::decay_on::matrices});
  check<T>({.momentum = 0.9, .weight_decay = 0.1, .kind = stroma::momentum_kind::nesterov});
}
TEST_CASE("cuda: sgd: parameters of two scalars in one model") {
  check_optimiser<mixed_model<stroma::backend::cuda>, mixed_model<stroma::backend::cpu>>(
      []<class Model>(const Model& model) { return sgd<Model>(model, {.momentum = 0.9}); }, sgd_terms);
}
TEST_CASE("cuda: sgd: one launch for 32 parameters; mistakes change nothing") {
  check_optimiser_cost([]<class Model>(const Model& model) { return sgd<Model>(model); });
  check_optimiser_cost([]<class Model>(const Model& model) { return sgd<Model>(model, {.momentum = 0.9}); });
}
