#include <cmath>

#include <stroma/taskvector/fisher.cuh>

#include "cuda/taskvector/device_models.hpp"

using namespace stroma_test;

namespace {

std::vector<host_merged> random_information(int count) {
  std::vector<host_merged> f;
  for (int t = 0; t < count; ++t) {
    f.push_back(random_model<host_merged>(50 + static_cast<std::uint64_t>(t), 0.1));
    stroma::for_each_parameter(
        [](std::string_view, auto& p) {
          for (auto& x : p) x = x * x;
        },
        f.back());
  }
  return f;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: fisher: information is added up from gradients, as on the host", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const auto gradient = random_model<test_model<T>>(1);
  const auto there = copy_on_device<device_model<T>>(ctx, gradient);
  test_model<T> expected;
  device_model<T> found;
  for (const double weight : {0.25, 0.7, 0.0}) {
    stroma::add_information(host, weight, gradient, expected);
    stroma::add_information(ctx, weight, there, found);
  }
  // Numbers of up to 25, to which three are added: the last bit of each sum may be another where it is fused.
  CHECK(model_error(ctx, found, expected, -5) <= 1);
  check_second_call([&] { stroma::add_information(ctx, 0.25, there, found); }, 2);
  CHECK(message_of<stroma::value_error>([&] { stroma::add_information(ctx, -1, there, found); }) ==
        "add_information: weight: -1, expected a finite number of 0 or more");
  device_model<T> other;
  other.last = device_vector<T>(7);
  CHECK_THROWS_AS(stroma::add_information(ctx, 1, other, found), stroma::shape_error);
}

TEST_CASE("cuda: fisher: models are merged with the host's bits") {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  const auto models = tuned_from(random_model<host_merged>(1), 3);
  const auto information = random_information(3);
  const auto models_there = copies_on_device<device_merged>(ctx, models),
             information_there = copies_on_device<device_merged>(ctx, information);
  for (const bool normalise : {false, true}) {
    const stroma::fisher_options options{{1, 0.5, 2}, 1e-3, stroma::fisher_floor::first, normalise};
    host_merged expected;
    device_merged found;
    stroma::merge_fisher(host, models, information, expected, options);
    stroma::merge_fisher(ctx, models_there, information_there, found, options);
    CHECK(same_model(ctx, found, expected));
  }
}

TEST_CASE("cuda: fisher: mistakes leave the result as it was") {
  stroma::cuda_context ctx;
  const auto models = copies_on_device<device_merged>(ctx, std::vector<host_merged>(2));
  auto information = random_information(2);
  const auto before = random_model<host_merged>(1);
  auto out = copy_on_device<device_merged>(ctx, before);
  CHECK(message_of<stroma::shape_error>([&] {
          stroma::merge_fisher(ctx, models, copies_on_device<device_merged>(ctx, std::vector<host_merged>(1)), out);
        }) == "fisher: importance: length 1, expected 2 (the number of models)");
  information[1].last[299] = -1;
  const auto there = copies_on_device<device_merged>(ctx, information);
  CHECK(message_of<stroma::value_error>([&] { stroma::merge_fisher(ctx, models, there, out, {.normalise = false}); }) ==
        "fisher: importance[1]: last: -1 at 299, expected finite numbers of 0 or more");
  CHECK(message_of<stroma::value_error>([&] { stroma::merge_fisher(ctx, models, there, out); }) ==
        "fisher: importance[1]: last: -1 at 299, expected finite numbers of 0 or more");
  CHECK(same_model(ctx, out, before));
}
