#include <stroma/pooling/max_pool.hpp>

#include "pool_cases.hpp"

using namespace stroma_test;

namespace {

struct maximum {
  static constexpr const char* name = "max_pool";
  static constexpr long double magnitude = 0;  // exact
  static long double steps(index_t) { return 0; }
  static long double definition(const std::vector<long double>& x) { return *std::max_element(x.begin(), x.end()); }
  template <class Bags, class Out>
  static void forward(stroma::cpu_context& ctx, const Bags& bags, Out out, mask_view mask, bool check) {
    stroma::max_pool(ctx, bags, out, {.mask = mask, .check_values = check});
  }
  template <class T>
  static void backward(stroma::cpu_context& ctx, const stroma::bag_view<const T>& bags,
                       stroma::matrix_view<const T> d_out, stroma::bag_view<T> d_bags, mask_view mask) {
    stroma::array<T, 2> out(d_out.rows, d_out.cols);
    stroma::array<index_t, 2> first(d_out.rows, d_out.cols);
    stroma::max_pool(ctx, bags, stroma::max_pool_output<T>{stroma::as_view(out), stroma::as_view(first)},
                     {.mask = mask});
    stroma::max_pool_backward(ctx, first, d_out, d_bags.instances);
  }
  template <class T>
  static stroma::node record(stroma::graph<T>& g, stroma::node x, mask_view mask, bool check) {
    return stroma::max_pool(g, x, {.mask = mask, .check_values = check});
  }
};

}  // namespace

TEST_CASE_TEMPLATE("max_pool: against the definition, one bag or many, in any layout, with any number of threads", T,
                   float, double) {
  check_against_definition<maximum, T>();
}
TEST_CASE_TEMPLATE("max_pool: 16-bit storage gives the bits of the same numbers in full", S, stroma::half,
                   stroma::bfloat16) {
  check_16_bit_storage<maximum, S>();
}
TEST_CASE("max_pool: gradients") { check_gradients<maximum>(); }
TEST_CASE_TEMPLATE("max_pool: backward adds what the graph adds", T, float, double) {
  check_backward_adds<maximum, T>();
}
TEST_CASE_TEMPLATE("max_pool: inference pools a chain by tiles and has the bits of training", T, float, double) {
  check_inference<maximum, T>();
}

TEST_CASE_TEMPLATE("max_pool: ties and NaN go to the first, within and across tiles", T, float, double) {
  stroma::cpu_context ctx(2);
  const std::vector<index_t> offsets{0, 3, 903};
  stroma::array<T, 2> x(903, 37), out(2, 37);
  stroma::array<index_t, 2> first(2, 37);
  const stroma::max_pool_output<T> both{stroma::as_view(out), stroma::as_view(first)};
  const stroma::bag_view<const T> bags{stroma::as_const_view(x), as_offsets(offsets)};
  stroma::max_pool(ctx, bags, both);  // all equal
  for (index_t j = 0; j < 37; ++j) CHECK((first(0, j) == 0 && first(1, j) == 3));
  // Column j of bag 1 has its maximum in rows 100 + j, 500 + j (equal) and not after.
  for (index_t j = 0; j < 37; ++j) x(103 + j, j) = x(503 + j, j) = T(5), x(703, j) = T(4);
  stroma::max_pool(ctx, bags, both);
  for (index_t j = 0; j < 37; ++j) CHECK((first(1, j) == 103 + j && out(1, j) == T(5)));
  // NaN beats what is larger before and after it, and the first NaN wins.
  const T nan = std::numeric_limits<T>::quiet_NaN();
  for (index_t j = 0; j < 37; j += 2) x(400 + j, j) = x(401 + j, j) = x(850, j) = nan;
  stroma::max_pool(ctx, bags, both, {.check_values = false});
  for (index_t j = 0; j < 37; ++j) {
    CHECK(std::isnan(out(1, j)) == (j % 2 == 0));
    CHECK(first(1, j) == (j % 2 == 0 ? 400 + j : 103 + j));
  }
  // A mask may take the first rows, or a whole tile.
  std::vector<std::uint8_t> mask(903, 1);
  for (std::size_t n = 3; n < 603; ++n) mask[n] = 0;
  mask[0] = 0;
  stroma::max_pool(ctx, bags, both, {.mask = as_mask(mask), .check_values = false});
  for (index_t j = 0; j < 37; ++j) {
    CHECK(first(0, j) == 1);
    CHECK(first(1, j) == (j % 2 == 0 ? 850 : 703));
  }
  // All at -infinity: still the first.
  x.fill(-std::numeric_limits<T>::infinity());
  stroma::max_pool(ctx, bags, both, {.check_values = false});
  for (index_t j = 0; j < 37; ++j) CHECK((first(1, j) == 3 && out(1, j) == x(0, 0)));
}

TEST_CASE("max_pool: refusals, values that are not finite, memory") {
  check_refusals<maximum>();
  stroma::cpu_context ctx;
  stroma::array<index_t, 2> first(2, 3), wrong(2, 4);
  stroma::array<double, 2> d(2, 3), d_x(5, 3), x(5, 3), out(2, 3);
  const std::vector<index_t> offsets{0, 2, 5};
  first(1, 2) = 5;
  CHECK_THROWS_WITH_AS(stroma::max_pool_backward(ctx, first, d, d_x), "max_pool_backward: first: 5, expected 0 to 4",
                       stroma::value_error);
  CHECK_THROWS_WITH_AS(stroma::max_pool_backward(ctx, wrong, d, d_x),
                       "max_pool_backward: first: shape 2 x 4, expected 2 x 3", stroma::shape_error);
  CHECK_THROWS_WITH_AS(
      stroma::max_pool(ctx, stroma::bag_view<const double>{stroma::as_const_view(x), as_offsets(offsets)},
                       stroma::max_pool_output<double>{stroma::as_view(out), stroma::as_view(wrong)}),
      "max_pool: first: shape 2 x 4, expected 2 x 3", stroma::shape_error);
}
