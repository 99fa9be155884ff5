#include <cstdint>
#include <limits>

#include <stroma/backend/cuda/scan.cuh>

#include "support/device.hpp"

using namespace stroma_test;

namespace {

/// x -> a x + b in whole numbers that wrap: joins do not commute, and are exact.
struct line {
  std::uint64_t a, b;
  friend bool operator==(const line&, const line&) = default;
};
struct then {
  STROMA_HOST_DEVICE line operator()(const line& first, const line& second) const {
    return {second.a * first.a, second.a * first.b + second.b};
  }
};
struct is_odd {
  const int* x;
  __device__ index_t operator()(index_t i) const { return x[i] % 2; }
};

// Around a thread's neighbours, a piece, and pieces of pieces.
const std::vector<index_t> sizes{1, 2, 7, 8, 9, 31, 32, 33, 255, 256, 257, 1025, 2047, 2048, 2049, 4096, 5000, 20000};

std::vector<line> lines(index_t n) {
  std::vector<line> x;
  stroma::random_stream draw(static_cast<std::uint64_t>(n));
  for (index_t i = 0; i < n; ++i)
    x.push_back(
        {static_cast<std::uint64_t>(1e9 * draw.uniform()) | 1, static_cast<std::uint64_t>(1e9 * draw.uniform())});
  return x;
}
template <class T>
std::vector<T> as_list(stroma::cuda_context& ctx, const device_vector<T>& x) {
  const auto host = on_host(ctx, x);
  return {host.begin(), host.end()};
}

}  // namespace

TEST_CASE("cuda: inclusive_scan: the definition, in both directions") {
  stroma::cuda_context ctx;
  for (const index_t n : sizes) {
    const auto x = lines(n);
    auto forward = x, backward = x;
    const then join;
    for (std::size_t i = 1; i < x.size(); ++i) forward[i] = join(forward[i - 1], x[i]);
    for (std::size_t i = x.size() - 1; i-- > 0;) backward[i] = join(backward[i + 1], x[i]);
    auto device = on_device(ctx, x);
    stroma::detail::inclusive_scan(ctx, n, device.data(), join);
    CHECK(as_list(ctx, device) == forward);
    device = on_device(ctx, x);
    stroma::detail::reversed_inclusive_scan(ctx, n, device.data(), join);
    CHECK(as_list(ctx, device) == backward);
  }
}

TEST_CASE("cuda: inclusive_scan: sums of double are as exact as their order allows, and the same each time") {
  stroma::cuda_context ctx;
  const index_t n = 20000;
  const auto x = normal_vector<double>(n, 3);
  stroma::array<double, 1> expected(n);
  long double sum = 0, size = 0;
  for (index_t i = 0; i < n; ++i) {
    expected[i] = static_cast<double>(sum += x[i]);
    size += std::abs(x[i]);
  }
  auto device = on_device(ctx, x), again = on_device(ctx, x);
  stroma::detail::inclusive_scan(ctx, n, device.data(), stroma::detail::add_values{});
  stroma::detail::inclusive_scan(ctx, n, again.data(), stroma::detail::add_values{});
  // A sum passes a thread, a block and the blocks before: 8 + 8 joins twice, and one.
  const double allowed = 40 * std::numeric_limits<double>::epsilon() * static_cast<double>(size);
  CHECK(device_error(ctx, device, expected, allowed) <= 1);
  CHECK(as_list(ctx, device) == as_list(ctx, again));
}

TEST_CASE("cuda: inclusive_scan: nothing and beyond") {
  stroma::cuda_context ctx;
  stroma::detail::inclusive_scan<double>(ctx, 0, nullptr, stroma::detail::add_values{});
  auto x = on_device(ctx, std::vector<int>{1, 1, 1, 100});
  stroma::detail::inclusive_scan(ctx, 3, x.data(), stroma::detail::add_values{});
  CHECK(as_list(ctx, x) == std::vector<int>{1, 2, 3, 100});
}

TEST_CASE("cuda: exclusive_sum: where the elements that are kept go") {
  stroma::cuda_context ctx;
  for (const index_t n : {0, 1, 31, 32, 33, 1025, 5000}) {
    std::vector<int> x;
    for (index_t i = 0; i < n; ++i) x.push_back(static_cast<int>(i * i / 3 % 10));
    std::vector<index_t> expected{0};
    for (const int v : x) expected.push_back(expected.back() + v % 2);
    const auto device = on_device(ctx, x);
    device_vector<index_t> sums(n + 1);
    stroma::detail::exclusive_sum(ctx, n, is_odd{device.data()}, sums.data());
    CHECK(as_list(ctx, sums) == expected);
  }
}

TEST_CASE("cuda: inclusive_scan: segments with sums of their own") {
  stroma::cuda_context ctx;
  using element = stroma::detail::segment_sum<index_t>;
  for (const index_t n : sizes)
    for (const index_t length : {index_t{1}, index_t{3}, index_t{700}, n}) {
      std::vector<element> x;
      std::vector<index_t> expected;
      for (index_t i = 0; i < n; ++i) {
        x.push_back({i % 11, i % length == 0});
        expected.push_back(i % 11 + (i % length == 0 ? 0 : expected.back()));
      }
      auto device = on_device(ctx, x);
      stroma::detail::inclusive_scan(ctx, n, device.data(), stroma::detail::join_segment_sums{});
      std::vector<index_t> found;
      for (const element& e : as_list(ctx, device)) found.push_back(e.sum);
      CHECK(found == expected);
    }
}

#if !defined(__CUDACC__)
TEST_CASE("cuda: inclusive_scan: the second call allocates nothing, and none waits") {
  stroma::cuda_context ctx;
  auto x = on_device(ctx, std::vector<double>(5000, 1.0));
  stroma::detail::inclusive_scan(ctx, 5000, x.data(), stroma::detail::add_values{});
  const auto before = cuda_emulator::count();
  stroma::detail::inclusive_scan(ctx, 5000, x.data(), stroma::detail::add_values{});
  const auto after = cuda_emulator::count();
  CHECK(after.allocations == before.allocations);
  CHECK(after.synchronisations == before.synchronisations);
  CHECK(after.kernels - before.kernels == 3);
}
#endif
