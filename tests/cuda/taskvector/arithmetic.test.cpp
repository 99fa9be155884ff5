#include <cmath>

#include <stroma/taskvector/arithmetic.cuh>

#include "cuda/taskvector/device_models.hpp"

using namespace stroma_test;

namespace {

/// Three models on both sides, and room for results.
struct both_sides {
  stroma::cpu_context host_ctx;
  stroma::cuda_context ctx;
  std::vector<host_merged> host;
  std::vector<device_merged> device;
  host_merged expected;
  device_merged found;
  both_sides() {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) host.push_back(random_model<host_merged>(seed));
    device = copies_on_device<device_merged>(ctx, host);
  }
};

}  // namespace

TEST_CASE("cuda: arithmetic: where products are exact, the host's bits") {
  both_sides x;
  stroma::difference(x.host_ctx, x.host[0], x.host[1], x.expected);
  stroma::difference(x.ctx, x.device[0], x.device[1], x.found);
  CHECK(same_model(x.ctx, x.found, x.expected));
  stroma::scale(x.host_ctx, -0.3, x.host[0], x.expected);  // one product, rounded as the host's
  stroma::scale(x.ctx, -0.3, x.device[0], x.found);
  CHECK(same_model(x.ctx, x.found, x.expected));
  stroma::analogy(x.host_ctx, x.host[0], x.host[1], x.host[2], x.expected);
  stroma::analogy(x.ctx, x.device[0], x.device[1], x.device[2], x.found);
  CHECK(same_model(x.ctx, x.found, x.expected));
}

TEST_CASE("cuda: arithmetic: elsewhere within what a fused multiplication and addition rounds otherwise") {
  both_sides x;
  // Products of up to 0.75 times 5 that are rounded before they are added, or not; and the sum.
  stroma::add_scaled(x.host_ctx, x.host[0], -0.3, x.host[1], x.expected);
  stroma::add_scaled(x.ctx, x.device[0], -0.3, x.device[1], x.found);
  CHECK(model_error(x.ctx, x.found, x.expected, 0) <= 1);
  stroma::mixup(x.host_ctx, x.host[0], x.host[1], 0.75, x.expected);
  stroma::mixup(x.ctx, x.device[0], x.device[1], 0.75, x.found);
  CHECK(model_error(x.ctx, x.found, x.expected, 0) <= 1);
}

TEST_CASE("cuda: arithmetic: ends are exact, out may be an operand") {
  both_sides x;
  stroma::mixup(x.ctx, x.device[0], x.device[1], 1, x.found);
  CHECK(same_model(x.ctx, x.found, x.host[0]));
  stroma::mixup(x.ctx, x.device[0], x.device[1], 0, x.found);
  CHECK(same_model(x.ctx, x.found, x.host[1]));
  stroma::difference(x.ctx, x.device[0], x.device[0], x.found);
  CHECK(same_model(x.ctx, x.found, host_merged{}));
  stroma::add_scaled(x.ctx, x.device[0], 0, x.device[1], x.found);
  CHECK(same_model(x.ctx, x.found, x.host[0]));
  stroma::difference(x.host_ctx, x.host[0], x.host[1], x.expected);
  stroma::difference(x.ctx, x.device[0], x.device[1], x.device[0]);
  CHECK(same_model(x.ctx, x.device[0], x.expected));
}

TEST_CASE("cuda: arithmetic: a launch a tensor, no memory the second time; mistakes") {
  both_sides x;
  check_second_call([&] { stroma::add_scaled(x.ctx, x.device[0], 0.5, x.device[1], x.found); }, 5);
  device_merged other;
  other.bias = device_vector<double>(12);
  CHECK(message_of<stroma::shape_error>([&] { stroma::difference(x.ctx, other, x.device[0], x.found); }) ==
        "difference: an operand: bias of 12, expected 13");
  CHECK(message_of<stroma::value_error>([&] { stroma::scale(x.ctx, std::nan(""), x.device[0], x.found); }) ==
        "scale: a factor: nan, expected a finite number");
  CHECK(message_of<stroma::value_error>([&] { stroma::mixup(x.ctx, x.device[0], x.device[1], 1.5, x.found); }) ==
        "mixup: share: 1.5, expected 0 to 1");
}
