#include <stroma/optim/adam.cuh>

#include "cuda/optim/device_model.hpp"

using namespace stroma_test;
using stroma::adam;
using stroma::adam_options;
using stroma::adamw;
using stroma::decay_on;

namespace {

/// A step moves by at most about 10 rates of up to 0.03, with an error of some 20 roundings and what m loses by
/// cancellation.
constexpr double adam_terms = 40;

template <class T, template <class> class Optimiser>
void check(const adam_options& options) {
  check_optimiser<device_model<T>, test_model<T>>(
      [&]<class Model>(const Model& model) { return Optimiser<Model>(model, options); }, adam_terms);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: adam: steps are the host's", T, STROMA_DEVICE_SCALARS) {
  check<T, adam>({});
  check<T, adam>({.weight_decay = 0.1});
  check<T, adam>({.weight_decay = 0.1, .decay = decay_on::matrices});
  check<T, adam>({.beta1 = 0, .beta2 = 0.9, .epsilon = 1e-3});
  check<T, adamw>({});
  check<T, adamw>({.weight_decay = 0.1});
  check<T, adamw>({.weight_decay = 0.1, .decay = decay_on::matrices});
}
TEST_CASE("cuda: adam: parameters of two scalars in one model") {
  check_optimiser<mixed_model<stroma::backend::cuda>, mixed_model<stroma::backend::cpu>>(
      []<class Model>(const Model& model) { return adamw<Model>(model, {.weight_decay = 0.1}); }, adam_terms);
}
TEST_CASE("cuda: adam: one launch for 32 parameters; mistakes change nothing") {
  check_optimiser_cost([]<class Model>(const Model& model) { return adam<Model>(model); });
}
