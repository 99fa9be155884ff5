#include <stroma/pooling/mean_pool.hpp>

#include "pool_cases.hpp"

using namespace stroma_test;

namespace {

struct mean {
  static constexpr const char* name = "mean_pool";
  static constexpr long double magnitude = 8;  // the largest of the features, about
  static long double steps(index_t rows) {
    return static_cast<long double>(std::min<index_t>(rows, stroma::tile_rows) + rows / stroma::tile_rows + 2);
  }
  static long double definition(const std::vector<long double>& x) {
    long double sum = 0;
    for (const auto v : x) sum += v;
    return sum / static_cast<long double>(x.size());
  }
  template <class Bags, class Out>
  static void forward(stroma::cpu_context& ctx, const Bags& bags, Out out, mask_view mask, bool check) {
    stroma::mean_pool(ctx, bags, out, {.mask = mask, .check_values = check});
  }
  template <class T>
  static void backward(stroma::cpu_context& ctx, const stroma::bag_view<const T>&, stroma::matrix_view<const T> d_out,
                       stroma::bag_view<T> d_bags, mask_view mask) {
    stroma::mean_pool_backward(ctx, d_out, d_bags, {.mask = mask});
  }
  template <class T>
  static stroma::node record(stroma::graph<T>& g, stroma::node x, mask_view mask, bool check) {
    return stroma::mean_pool(g, x, {.mask = mask, .check_values = check});
  }
};

}  // namespace

TEST_CASE_TEMPLATE("mean_pool: against the definition, one bag or many, in any layout, with any number of threads", T,
                   float, double) {
  check_against_definition<mean, T>();
}
TEST_CASE_TEMPLATE("mean_pool: 16-bit storage gives the bits of the same numbers in full", S, stroma::half,
                   stroma::bfloat16) {
  check_16_bit_storage<mean, S>();
}
TEST_CASE("mean_pool: gradients") { check_gradients<mean>(); }
TEST_CASE_TEMPLATE("mean_pool: backward adds what the graph adds", T, float, double) { check_backward_adds<mean, T>(); }
TEST_CASE_TEMPLATE("mean_pool: inference pools a chain by tiles and has the bits of training", T, float, double) {
  check_inference<mean, T>();
}
TEST_CASE("mean_pool: refusals, values that are not finite, memory") {
  check_refusals<mean>();
  stroma::cpu_context ctx;
  const std::vector<index_t> offsets{0, 2, 4};
  stroma::array<double, 2> d(3, 5), d_x(4, 5);
  CHECK_THROWS_WITH_AS(
      stroma::mean_pool_backward(ctx, d, stroma::bag_view<double>{stroma::as_view(d_x), as_offsets(offsets)}),
      "mean_pool_backward: d_out: shape 3 x 5, expected 2 x 5", stroma::shape_error);
}
