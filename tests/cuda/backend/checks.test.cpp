#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <stroma/backend/cuda/checks.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;
using checks = stroma::value_checks<stroma::backend::cuda>;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float inf = std::numeric_limits<float>::infinity();

stroma::vector_view<const float, stroma::device_space> view(const device_vector<float>& v) {
  return stroma::as_const_view(v);
}
/// What the next wait throws; empty: nothing.
std::string told(stroma::cuda_context& ctx) {
  try {
    ctx.synchronize();
  } catch (const stroma::value_error& e) {
    return e.what();
  }
  return {};
}
/// f() with blocks, warps and lanes in several orders, where they can be chosen.
template <class F>
void in_orders(const F& f) {
#if defined(__CUDACC__)
  for (int i = 0; i < 4; ++i) f();
#else
  for (const std::uint64_t seed : {0u, 1u, 2u, 3u}) {
    cuda_emulator::options how = cuda_emulator::settings();
    how.order_seed = seed;
    const cuda_emulator::settings_scope scope(how);
    f();
  }
#endif
}

}  // namespace

TEST_CASE("cuda: checks: the first wrong element of many blocks is told with its value, once") {
  stroma::cuda_context ctx;
  for (const index_t size : {1, 32, 257, 9000}) {
    std::vector<float> x(static_cast<std::size_t>(size), 1);
    const auto right = on_device(ctx, x);
    const auto wrong_at = [&](index_t i, float value) { x[static_cast<std::size_t>(i)] = value; };
    wrong_at(size - 1, not_a_number);
    wrong_at(size / 2, inf);
    wrong_at(size / 2 + size / 4, -inf);
    const auto wrong = on_device(ctx, x);
    const std::string expected = "f: x: " + std::string(size == 1 ? "-inf" : "inf") + " at " +
                                 std::to_string(size / 2) + ", expected finite values";
    in_orders([&] {
      checks::finite(ctx, "f", "x", view(right));
      CHECK(told(ctx).empty());
      checks::finite(ctx, "f", "x", view(wrong));
      checks::finite(ctx, "f", "x", view(right));
      CHECK(told(ctx) == expected);
      CHECK(told(ctx).empty());
    });
  }
}

TEST_CASE("cuda: checks: what was found first stays until it is told; each check has its own") {
  stroma::cuda_context ctx;
  const auto late = on_device(ctx, std::vector<float>{1, 1, 1, inf}),
             early = on_device(ctx, std::vector<float>{not_a_number, 1});
  checks::weights(ctx, "g", "w", view(on_device(ctx, std::vector<float>{1, 2})));
  checks::finite(ctx, "f", "x", view(late));
  checks::finite(ctx, "f", "x", view(early));
  checks::finite(ctx, "f", "y", view(early));
  CHECK(told(ctx) == "f: x: inf at 3, expected finite values");
  CHECK(told(ctx).empty());  // the others of that wait are forgotten with it
  checks::finite(ctx, "f", "x", view(early));
  CHECK(told(ctx) == "f: x: nan at 0, expected finite values");
}

TEST_CASE("cuda: checks: more checks than there are slots") {
  stroma::cuda_context ctx;
  const auto labels = on_device(ctx, std::vector<float>{1, 300});
  for (index_t classes = 301; classes < 601; ++classes) checks::labels(ctx, "f", "label", view(labels), classes);
  CHECK(told(ctx).empty());
  checks::labels(ctx, "f", "label", view(labels), index_t{300});
  CHECK(told(ctx) == "f: label: 300 at 1, expected 0 to 299");
}

TEST_CASE("cuda: checks: one launch, no memory and no wait") {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, std::vector<float>(9000, 1.0f));
  check_second_call([&] { checks::finite(ctx, "f", "x", view(x)); }, 1);
  CHECK_NOTHROW(ctx.synchronize());
}
