#include <cmath>

#include <stroma/taskvector/greedy_soup.cuh>

#include "cuda/taskvector/device_models.hpp"

using namespace stroma_test;

namespace {

std::vector<device_merged> with_bias(stroma::cuda_context& ctx, const std::vector<double>& numbers) {
  std::vector<device_merged> models;
  for (const double x : numbers) {
    host_merged m;
    m.last[7] = x;
    models.push_back(copy_on_device<device_merged>(ctx, m));
  }
  return models;
}

}  // namespace

TEST_CASE("cuda: greedy_soup: from the best downwards, as long as the average gains") {
  stroma::cuda_context ctx;
  const auto element = [&](const device_merged& m) {
    return stroma::primitives<stroma::backend::cuda>::read(ctx, m.last.data() + 7);
  };
  int calls = 0;
  const auto near_ten = [&](const device_merged& m) { return ++calls, -std::fabs(element(m) - 10); };
  // By score: 11 (-1), 8 (-2), 13 (-3), 2 (-8). 11 and 8: 9.5, taken. With 13: 10.67, refused. With 2: 7, refused.
  const auto models = with_bias(ctx, {2, 13, 11, 8});
  device_merged out;
  const auto soup = stroma::greedy_soup(ctx, models, near_ten, out);
  CHECK(soup.ingredients == std::vector<index_t>{2, 3});
  CHECK(soup.score == -0.5);
  CHECK(element(out) == 9.5);
  CHECK(calls == 7);
  CHECK(message_of<stroma::value_error>([&] {
          stroma::greedy_soup(
              ctx, models, [](const device_merged&) { return std::nan(""); }, out);
        }) == "greedy_soup: models[0]: a score of NaN, expected a number");
  CHECK_THROWS_AS(stroma::greedy_soup(ctx, std::span<const device_merged>(), near_ten, out), stroma::value_error);
}
