#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <stroma/core/random.hpp>
#include <stroma/survival/detail/wavelet_sums.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;
using stroma::detail::wavelet_item, stroma::detail::wavelet_query;

namespace {

struct answer {
  index_t count, equal_but_lowest_bit, parts;
  double sum;
};
struct written_question {
  const wavelet_item* items;
  const wavelet_query* queries;
  [[nodiscard]] __device__ wavelet_item item(index_t i) const { return items[i]; }
  [[nodiscard]] __device__ wavelet_query query(index_t i) const { return queries[i]; }
};
struct join_parts {
  answer* to;
  __device__ void operator()(index_t i, int bit, index_t count, double sum) const {
    to[i].count += count;
    if (bit == 0) to[i].equal_but_lowest_bit += count;
    ++to[i].parts;
    to[i].sum += sum;
  }
};
/// The definition.
answer looked_through(const std::vector<wavelet_item>& items, const wavelet_query& q) {
  answer a{};
  long double sum = 0;
  for (index_t i = q.first; i < q.last; ++i) {
    const wavelet_item& item = items[static_cast<std::size_t>(i)];
    if (item.symbol >= q.threshold) continue;
    ++a.count;
    if (item.symbol / 2 == q.threshold / 2) ++a.equal_but_lowest_bit;
    sum += item.value;
  }
  a.sum = static_cast<double>(sum);
  return a;
}
struct asked {
  std::vector<wavelet_item> items;
  std::vector<wavelet_query> queries;
  index_t largest;
  [[nodiscard]] index_t size() const { return static_cast<index_t>(items.size()); }
};
std::vector<answer> answers(stroma::cuda_context& ctx, const asked& of) {
  const auto items = on_device(ctx, of.items);
  const auto queries = on_device(ctx, of.queries);
  auto to = on_device(ctx, std::vector<answer>(of.items.size(), answer{}));
  stroma::detail::sum_lower(ctx, of.size(), of.largest, written_question{items.data(), queries.data()},
                            join_parts{to.data()});
  const auto found = on_host(ctx, to);
  return {found.begin(), found.end()};
}

/// Ends of segments, and positions around every multiple of a power of two that is not a small part of all.
std::vector<index_t> boundaries(index_t n) {
  std::vector<index_t> at{0, n};
  for (index_t width = 1; width <= n; width *= 2)
    for (index_t m = 1; m * width <= n && m <= 3; ++m)
      for (const index_t p : {m * width - 1, m * width, m * width + 1})
        if (p <= n) at.push_back(p);
  return at;
}
/// Values are multiples of 1/8, and so are all their sums. Segments are of three sizes; a query keeps to one.
asked random_question(index_t n, index_t symbols, bool segments, std::uint64_t seed) {
  stroma::random_stream draw(seed);
  const auto below = [&](index_t limit) {
    return std::min(static_cast<index_t>(draw.uniform() * static_cast<double>(limit)), limit - 1);
  };
  const auto ends = boundaries(n);
  const auto some_end = [&] { return ends[static_cast<std::size_t>(below(static_cast<index_t>(ends.size())))]; };
  std::vector<index_t> start{0, segments ? n / 3 : 0, segments ? n / 2 : 0, n};
  asked of{{}, {}, symbols};
  for (index_t i = 0; i < n; ++i) {
    const index_t segment = segments ? (i >= start[1] ? 1 : 0) + (i >= start[2] ? 1 : 0) : 0;
    of.items.push_back({below(symbols), 2 - segment, static_cast<double>(below(64)) / 8});
  }
  for (index_t k = 0; k < n; ++k) {
    const auto s = segments ? static_cast<std::size_t>(below(3)) : 2;
    const index_t low = segments ? start[s] : 0, high = start[s + 1];
    index_t first = std::clamp(some_end(), low, high), last = std::clamp(some_end(), low, high);
    if (last < first && k % 5 != 0) std::swap(first, last);  // of an empty range nothing is lower
    of.queries.push_back({first, last, below(symbols + 1)});
  }
  return of;
}

}  // namespace

TEST_CASE("cuda: sum_lower: the definition, at every kind of range, exactly") {
  stroma::cuda_context ctx;
  for (const index_t n : {1, 2, 3, 31, 32, 33, 63, 64, 65, 1025, 2500})
    for (const index_t symbols : {index_t{1}, index_t{2}, n, 2 * n - 1, 5 * n})
      for (const bool segments : {false, true}) {
        CAPTURE(n);
        CAPTURE(symbols);
        CAPTURE(segments);
        const asked of = random_question(n, symbols, segments, static_cast<std::uint64_t>(n + symbols));
        const auto found = answers(ctx, of);
        const auto bits = static_cast<index_t>(std::bit_width(static_cast<std::uint64_t>(symbols)));
        index_t wrong = 0;
        for (std::size_t k = 0; k < found.size(); ++k) {
          const answer expected = looked_through(of.items, of.queries[k]);
          wrong += found[k].count != expected.count || found[k].sum != expected.sum ||
                   found[k].equal_but_lowest_bit != expected.equal_but_lowest_bit || found[k].parts > bits;
        }
        CHECK(wrong == 0);
      }
}

TEST_CASE("cuda: sum_lower: a sum from a segment's first item on knows nothing of other items") {
  stroma::cuda_context ctx;
  for (const index_t n : {33, 65, 2500}) {
    asked of = random_question(n, n, true, 9);
    stroma::random_stream draw(10);
    for (auto& item : of.items) {
      // Beside sums of these no digit of the others is left.
      const bool large = item.segment != 1 || item.symbol >= n / 2;
      item.value = large ? 1e20 : draw.uniform();
    }
    for (auto& q : of.queries) q = {n / 3, std::clamp(q.last, n / 3, n / 2), std::min(q.threshold, n / 2)};
    const auto found = answers(ctx, of);
    // Each item is once in a part, and passes less than n joins; of parts there are fewer than n.
    const double rounding = 2 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
    double largest = 0, wrong = 0;
    for (std::size_t k = 0; k < found.size(); ++k) {
      const answer expected = looked_through(of.items, of.queries[k]);
      largest = std::max(largest, expected.sum);
      wrong = std::max(wrong, std::abs(found[k].sum - expected.sum) - rounding * expected.sum);
    }
    CHECK(largest > 0);
    CHECK(largest < static_cast<double>(n));
    CHECK(wrong <= 0);
  }
}

TEST_CASE("cuda: sum_lower: nothing is lower, and nobody is there") {
  stroma::cuda_context ctx;
  stroma::detail::sum_lower(ctx, 0, -1, written_question{nullptr, nullptr}, join_parts{nullptr});
  asked of = random_question(65, 64, false, 11);
  stroma::random_stream draw(12);
  for (auto& item : of.items) item = {item.symbol | 1, 0, draw.uniform()};  // sums of which differences leave a rest
  for (std::size_t k = 0; k < 65; ++k) of.queries[k] = {0, 65, k % 2 == 0 ? 0 : 1};
  for (const answer& a : answers(ctx, of)) {
    CHECK(a.parts == 0);
    CHECK(a.sum == 0);
  }
}

#if !defined(__CUDACC__)

TEST_CASE("cuda: sum_lower: three launches a bit, five for more than one piece of a scan, and memory taken once") {
  stroma::cuda_context ctx;
  for (const index_t n : {64, 1000, 2048, 2049, 5000}) {
    const asked of = random_question(n, n, false, 13);
    const auto items = on_device(ctx, of.items);
    const auto queries = on_device(ctx, of.queries);
    auto to = on_device(ctx, std::vector<answer>(of.items.size(), answer{}));
    const auto call = [&] {
      stroma::detail::sum_lower(ctx, n, n, written_question{items.data(), queries.data()}, join_parts{to.data()});
    };
    check_called_again(call);
    const auto before = cuda_emulator::count().kernels;
    call();
    const auto launched = cuda_emulator::count().kernels - before;
    const auto bits = static_cast<std::uint64_t>(std::bit_width(static_cast<std::uint64_t>(n)));
    CHECK(launched == 1 + bits * (n <= stroma::detail::scan_piece ? 3 : 5));
  }
}

#endif
