#include <algorithm>
#include <numeric>
#include <random>

#include <stroma/backend/cuda/sort.cuh>

#include "support/device.hpp"

using namespace stroma_test;

namespace {

struct by_key {
  std::vector<std::uint64_t> key;
  std::vector<index_t> value;
};
by_key sorted_on_device(stroma::cuda_context& ctx, const std::vector<std::uint64_t>& keys) {
  std::vector<index_t> numbers(keys.size());
  std::iota(numbers.begin(), numbers.end(), index_t{0});
  auto key = on_device(ctx, keys);
  auto value = on_device(ctx, numbers);
  stroma::detail::sort_by_key(ctx, key.size(), key.data(), value.data());
  const auto sorted_key = on_host(ctx, key);
  const auto sorted_value = on_host(ctx, value);
  return {{sorted_key.begin(), sorted_key.end()}, {sorted_value.begin(), sorted_value.end()}};
}

}  // namespace

TEST_CASE("cuda: sort_by_key: ascending, and equal keys keep their order") {
  stroma::cuda_context ctx;
  std::mt19937_64 draw(1);
  for (const std::size_t n : {0u, 1u, 2u, 31u, 32u, 33u, 1025u, 5000u})
    for (const std::uint64_t different : {std::uint64_t{1}, std::uint64_t{5}, ~std::uint64_t{0}}) {
      std::vector<std::uint64_t> keys(n);
      for (auto& k : keys) k = different == ~std::uint64_t{0} ? draw() : draw() % different << 60;
      std::vector<index_t> expected(n);
      std::iota(expected.begin(), expected.end(), index_t{0});
      std::stable_sort(expected.begin(), expected.end(), [&](index_t a, index_t b) {
        return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
      });
      const by_key found = sorted_on_device(ctx, keys);
      CHECK(found.value == expected);
      CHECK(std::is_sorted(found.key.begin(), found.key.end()));
      bool together = true;
      for (std::size_t i = 0; i < n; ++i)
        together = together && found.key[i] == keys[static_cast<std::size_t>(expected[i])];
      CHECK(together);
    }
}

TEST_CASE("cuda: sort_by_key: the smallest and the largest keys") {
  stroma::cuda_context ctx;
  const std::uint64_t top = ~std::uint64_t{0};
  CHECK(sorted_on_device(ctx, {top, 0, top, 1, 0, top - 1}).key ==
        std::vector<std::uint64_t>{0, 0, 1, top - 1, top, top});
}

TEST_CASE("cuda: sort_by_key: values of other sizes") {
  stroma::cuda_context ctx;
  auto key = on_device(ctx, std::vector<std::uint64_t>{3, 1, 2});
  auto bytes = on_device(ctx, std::vector<std::uint8_t>{30, 10, 20});
  stroma::detail::sort_by_key(ctx, 3, key.data(), bytes.data());
  const auto sorted = on_host(ctx, bytes);
  CHECK(std::vector<int>(sorted.begin(), sorted.end()) == std::vector<int>{10, 20, 30});
}

#if !defined(__CUDACC__)
TEST_CASE("cuda: sort_by_key: the second call allocates nothing, and none waits") {
  stroma::cuda_context ctx;
  auto key = on_device(ctx, std::vector<std::uint64_t>(3000, 7));
  auto value = on_device(ctx, std::vector<index_t>(3000, 1));
  stroma::detail::sort_by_key(ctx, 3000, key.data(), value.data());
  const auto before = cuda_emulator::count();
  stroma::detail::sort_by_key(ctx, 3000, key.data(), value.data());
  const auto after = cuda_emulator::count();
  CHECK(after.allocations == before.allocations);
  CHECK(after.synchronisations == before.synchronisations);
}
#endif
