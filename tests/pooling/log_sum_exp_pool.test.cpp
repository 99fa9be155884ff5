#include <stroma/pooling/log_sum_exp_pool.hpp>

#include "pool_cases.hpp"

using namespace stroma_test;

namespace {

template <int Sharpness>
struct smooth {
  static constexpr const char* name = "log_sum_exp_pool";
  static constexpr double sharpness = Sharpness;
  // An error of the sum counts 1 / r; exp errs by r |x - max| and 2 ulp; the result has the size of a feature.
  static constexpr long double magnitude = 1;
  static long double steps(index_t rows) {
    return static_cast<long double>(std::min<index_t>(rows, stroma::tile_rows) + rows / stroma::tile_rows + 4) /
               Sharpness +
           16 + 8;
  }
  static long double definition(const std::vector<long double>& x) {
    long double sum = 0;
    const long double top = *std::max_element(x.begin(), x.end());
    for (const auto v : x) sum += std::exp(Sharpness * (v - top));
    return top + std::log(sum / static_cast<long double>(x.size())) / Sharpness;
  }
  template <class Bags, class Out>
  static void forward(stroma::cpu_context& ctx, const Bags& bags, Out out, mask_view mask, bool check) {
    stroma::log_sum_exp_pool(ctx, bags, out, {.sharpness = sharpness, .mask = mask, .check_values = check});
  }
  template <class T>
  static void backward(stroma::cpu_context& ctx, const stroma::bag_view<const T>& bags,
                       stroma::matrix_view<const T> d_out, stroma::bag_view<T> d_bags, mask_view mask) {
    stroma::array<T, 2> out(d_out.rows, d_out.cols);
    stroma::log_sum_exp_pool(ctx, bags, out, {.sharpness = sharpness, .mask = mask});
    stroma::log_sum_exp_pool_backward(
        ctx, bags, stroma::log_sum_exp_pool_gradients<T>{stroma::as_const_view(out), d_out, d_bags.instances},
        {.sharpness = sharpness, .mask = mask});
  }
  template <class T>
  static stroma::node record(stroma::graph<T>& g, stroma::node x, mask_view mask, bool check) {
    return stroma::log_sum_exp_pool(g, x, {.sharpness = sharpness, .mask = mask, .check_values = check});
  }
};

}  // namespace

TEST_CASE_TEMPLATE(
    "log_sum_exp_pool: against the definition, one bag or many, in any layout, with any number of threads", T, float,
    double) {
  check_against_definition<smooth<1>, T>();
  check_against_definition<smooth<5>, T>();
}
TEST_CASE_TEMPLATE("log_sum_exp_pool: 16-bit storage gives the bits of the same numbers in full", S, stroma::half,
                   stroma::bfloat16) {
  check_16_bit_storage<smooth<2>, S>();
}
TEST_CASE("log_sum_exp_pool: gradients") {
  check_gradients<smooth<1>>();
  check_gradients<smooth<5>>();
}
TEST_CASE_TEMPLATE("log_sum_exp_pool: backward adds what the graph adds", T, float, double) {
  check_backward_adds<smooth<3>, T>();
}
TEST_CASE_TEMPLATE("log_sum_exp_pool: inference pools a chain by tiles and has the bits of training", T, float,
                   double) {
  check_inference<smooth<2>, T>();
}

TEST_CASE_TEMPLATE("log_sum_exp_pool: features of any size, and the limits of the sharpness", T, float, double) {
  stroma::cpu_context ctx;
  const std::vector<index_t> offsets{0, 500};
  auto x = normal_matrix<T>(500, 3, 1);
  stroma::array<T, 2> out(1, 3);
  const stroma::bag_view<const T> bags{stroma::as_const_view(x), as_offsets(offsets)};
  for (index_t n = 0; n < 500; ++n) {
    x(n, 0) = T(1e4) + T(n % 2);
    x(n, 1) = T(-1e4);
    x(n, 2) = n < 300 ? -std::numeric_limits<T>::max() / 4 : T(-3);
  }
  stroma::log_sum_exp_pool(ctx, bags, out);
  const double eps = std::numeric_limits<T>::epsilon();
  CHECK(std::abs(static_cast<double>(out(0, 0)) - (1e4 + std::log((1 + std::exp(1.0)) / 2))) <= 1e4 * eps);
  CHECK(out(0, 1) == T(-1e4));
  CHECK(std::abs(static_cast<double>(out(0, 2)) - (-3 + std::log(0.4))) <= 16 * eps);
  // -infinity is what it was, the first tile being nothing else or the bag.
  for (index_t n = 0; n < 500; ++n) x(n, 1) = -std::numeric_limits<T>::infinity(), x(n, 2) = n < 300 ? x(n, 1) : T(-3);
  stroma::log_sum_exp_pool(ctx, bags, out, {.check_values = false});
  CHECK(out(0, 1) == -std::numeric_limits<T>::infinity());
  CHECK(std::abs(static_cast<double>(out(0, 2)) - (-3 + std::log(0.4))) <= 16 * eps);

  stroma::random_stream draw(1);
  for (T& v : x) v = static_cast<T>(draw.normal());
  double mean = 0, top = -10;
  for (index_t n = 0; n < 500; ++n)
    mean += static_cast<double>(x(n, 0)) / 500, top = std::max(top, static_cast<double>(x(n, 0)));
  stroma::log_sum_exp_pool(ctx, bags, out, {.sharpness = 1e4});
  CHECK(std::abs(static_cast<double>(out(0, 0)) - top) <= std::log(500) / 1e4 + 8 * eps);
  stroma::log_sum_exp_pool(ctx, bags, out, {.sharpness = 1e-3});
  CHECK(std::abs(static_cast<double>(out(0, 0)) - mean) <= 1e-3 + 300 * eps / 1e-3);
}

TEST_CASE("log_sum_exp_pool: refusals, values that are not finite, memory") {
  check_refusals<smooth<2>>();
  stroma::cpu_context ctx;
  const std::vector<index_t> offsets{0, 2};
  stroma::array<double, 2> x(2, 3), out(1, 3), wrong(1, 4);
  const stroma::bag_view<const double> bags{stroma::as_const_view(x), as_offsets(offsets)};
  CHECK_THROWS_WITH_AS(stroma::log_sum_exp_pool(ctx, bags, out, {.sharpness = 0}),
                       "log_sum_exp_pool: sharpness: 0, expected a finite number above 0", stroma::value_error);
  CHECK_THROWS_AS(stroma::log_sum_exp_pool(ctx, bags, out, {.sharpness = std::nan("")}), stroma::value_error);
  stroma::graph<double> g(ctx);
  CHECK_THROWS_AS(stroma::log_sum_exp_pool(g, g.input(x), {.sharpness = -1}), stroma::value_error);
  CHECK_THROWS_WITH_AS(stroma::log_sum_exp_pool_backward(
                           ctx, bags,
                           stroma::log_sum_exp_pool_gradients<double>{
                               stroma::as_const_view(out), stroma::as_const_view(wrong), stroma::as_view(x)}),
                       "log_sum_exp_pool_backward: d_out: shape 1 x 4, expected 1 x 3", stroma::shape_error);
}
