#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/taskvector/mixing_penalty.hpp>

#include "support/counting_allocator.hpp"
#include "support/graph_gradient.hpp"

using namespace stroma;

namespace {

double penalty(const std::vector<double>& weight, const std::vector<double>& share, index_t bags,
               const mixing_penalty_options& options) {
  cpu_context ctx;
  double value = 0;
  const index_t sources = static_cast<index_t>(weight.size()) / bags;
  mixing_penalty(ctx, matrix_view<const double>(weight.data(), bags, sources),
                 matrix_view<const double>(share.data(), bags, sources), mixing_penalty_output<double>{&value, {}, {}},
                 options);
  return value;
}

}  // namespace

TEST_CASE("mixing_penalty: the published example, term by term") {
  const std::vector<double> w{0, .5, 1.2, .3, 0, .9}, s{1, .8, .4, .6, 1, .5};
  CHECK(std::abs(penalty(w, s, 1, {.top_k = 3, .aggregation = 1, .balance = 0, .share = 0}) - 5.6526720) < 1e-7);
  CHECK(std::abs(penalty(w, s, 1, {.top_k = 3, .aggregation = 0, .balance = 1, .share = 0}) - .8666667) < 1e-7);
  CHECK(std::abs(penalty(w, s, 1, {.top_k = 3, .aggregation = 0, .balance = 0, .share = 1}) - .35) < 1e-7);
  // As published, with seven digits. Its least value, where all weights are 0: the squared logarithm of the number of
  // sources.
  CHECK(std::abs(penalty(std::vector<double>(12), std::vector<double>(12, 1), 1,
                         {.top_k = 5, .aggregation = 1, .balance = 0, .share = 0}) -
                 6.1748) < 1e-4);
}

TEST_CASE("mixing_penalty: the mean over bags; large weights stay finite; nothing selected costs nothing") {
  const std::vector<double> w{0, .5, 1e4, .3}, s{1, .8, .4, .6};
  const mixing_penalty_options o{.top_k = 1, .aggregation = .5, .balance = .25, .share = .125};
  const double first = penalty({0, .5}, {1, .8}, 1, o), second = penalty({1e4, .3}, {.4, .6}, 1, o);
  CHECK(std::abs(penalty(w, s, 2, o) - (first + second) / 2) <= second * 4 * std::numeric_limits<double>::epsilon());
  CHECK(second == doctest::Approx(.5e8 + .25e4 + .125 * .16).epsilon(8 * std::numeric_limits<double>::epsilon()));
  CHECK(penalty({1, 2}, {1, 1}, 1, {.top_k = 0, .aggregation = 0, .balance = 1, .share = 1}) == 0);
}

TEST_CASE("mixing_penalty: the derivatives") {
  stroma::array<double, 2> w(3, 5), s(3, 5);
  for (index_t i = 0; i < 15; ++i) {  // apart by more than a step of the difference
    w.data()[i] = static_cast<double>((i * 7) % 15) / 5 - 0.5;
    s.data()[i] = static_cast<double>((i * 4 + 3) % 15) / 15;
  }
  for (const index_t k : {0, 1, 3, 5, 8})
    CHECK(stroma_test::graph_gradient_error({w, s}, [&](graph<double>& g, const std::vector<node>& x) {
            return mixing_penalty(g, x[0], x[1], {.top_k = k, .aggregation = .3, .balance = .7, .share = .2});
          }) < gradient_tolerance);
}

TEST_CASE("mixing_penalty: refuses what does not fit; a second call takes no memory") {
  CHECK_THROWS_AS(penalty({1, 2}, {1, 1}, 1, {.top_k = -1}), value_error);
  CHECK_THROWS_AS(penalty({1, 2}, {1, 1}, 1, {.share = std::numeric_limits<double>::quiet_NaN()}), value_error);
  cpu_context ctx;
  const std::vector<double> w{1, 2, 3}, s{1, 1};
  double value = 0;
  CHECK_THROWS_WITH_AS(
      mixing_penalty(ctx, matrix_view<const double>(w.data(), 1, 3), matrix_view<const double>(s.data(), 1, 2),
                     mixing_penalty_output<double>{&value, {}, {}}),
      "mixing_penalty: share: shape 1 x 2, expected 1 x 3", shape_error);
  const auto step = [&] {
    mixing_penalty(ctx, matrix_view<const double>(w.data(), 1, 3), matrix_view<const double>(w.data(), 1, 3),
                   mixing_penalty_output<double>{&value, {}, {}});
  };
  step();
  CHECK(allocations_in(step) == 0);
}
