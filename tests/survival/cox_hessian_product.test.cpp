#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/survival/cox_hessian_product.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/golden_cox.hpp"
#endif

using namespace stroma;

namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();

std::vector<double> directions(std::size_t n, unsigned seed) {
  std::mt19937 draw(seed);
  std::vector<double> v;
  for (std::size_t i = 0; i < n; ++i) v.push_back(static_cast<double>(draw() % 65) / 16 - 2);
  return v;
}
std::vector<double> product(const cohort<>& c, const risk_order<>& order, const std::vector<double>& v,
                            const cox_options& options) {
  cpu_context ctx;
  std::vector<double> out(v.size(), -7);
  cox_hessian_product(ctx, c.score, order, v, out, options);
  return out;
}
/// Every kind of cohort that a method takes.
template <class F>
void for_each_cohort(std::size_t n, const F& f) {
  cpu_context ctx;
  const auto c = random_cohort(n, 9, static_cast<unsigned>(n));
  for (const ties method : {ties::breslow, ties::efron, ties::exact})
    for (const bool strata : {false, true})
      for (const bool late : {false, true}) {
        risk_order_options<> columns;
        if (method != ties::exact) columns.weight = c.weight;
        if (strata) columns.stratum = c.stratum;
        if (late) columns.entry = c.entry;
        f(c, risk_order<>(ctx, c.time, c.event, columns), method);
      }
}

}  // namespace

TEST_CASE("cox_hessian_product: the gradient's derivative, and the Hessian's diagonal") {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 31u, 32u, 33u})
    for_each_cohort(n, [&](const cohort<>& c, const risk_order<>& order, ties method) {
      for (const reduction reduce : {reduction::sum, reduction::mean}) {
        const cox_options options{.tie_method = method, .reduce = reduce};
        const auto v = directions(n, 3);
        const auto hv = product(c, order, v, options);
        // along v the loss has the second derivative v' H v; d / d x of gradient' v is H v
        const auto slope = [&](const std::vector<double>& x) {
          double value = 0, sum = 0;
          std::vector<double> gradient(n);
          cox_partial_likelihood(ctx, x, order, {&value, as_view(gradient)}, options);
          for (std::size_t i = 0; i < n; ++i) sum += gradient[i] * v[i];
          return sum;
        };
        CHECK(gradient_error(slope, c.score, hv) < gradient_tolerance);

        double value = 0;
        std::vector<double> diagonal(n);
        cox_partial_likelihood(ctx, c.score, order, {&value, {}, as_view(diagonal)}, options);
        for (std::size_t j = 0; j < n; ++j) {
          std::vector<double> unit(n);
          unit[j] = 1;
          // chances of a row add up to its weight times the times it was at risk, 9 at most
          CHECK(std::abs(product(c, order, unit, options)[j] - diagonal[j]) <= 9 * 2 * (32 + 4.0 * double(n)) * eps);
        }
      }
    });
}

TEST_CASE("cox_hessian_product: symmetric, and 0 for what all scores share") {
  for_each_cohort(60, [&](const cohort<>& c, const risk_order<>& order, ties method) {
    const cox_options options{.tie_method = method};
    const auto u = directions(60, 4), v = directions(60, 5);
    const auto hu = product(c, order, u, options), hv = product(c, order, v, options);
    double uhv = 0, vhu = 0, size = 0;
    for (std::size_t i = 0; i < 60; ++i) {
      uhv += u[i] * hv[i];
      vhu += v[i] * hu[i];
      size += std::abs(u[i] * hv[i]);
    }
    CHECK(std::abs(uhv - vhu) <= 60 * 32 * eps * size);
    for (const double x : product(c, order, std::vector<double>(60, 1.0), options))
      CHECK(std::abs(x) <= 9 * 2 * (32 + 4 * 60) * eps);
  });
}

TEST_CASE("cox_hessian_product: scores of 1e4 either way") {
  auto c = random_cohort(50, 9, 6);
  cpu_context ctx;
  const risk_order order(ctx, c.time, c.event, {.entry = c.entry});
  const auto v = directions(50, 5);
  for (const ties method : {ties::breslow, ties::efron, ties::exact}) {
    const auto base = product(c, order, v, {.tie_method = method});
    for (const double shift : {700.0, -700.0, 1e4, -1e4}) {
      auto moved = c;
      for (double& s : moved.score) s += shift;  // exact: multiples of 1/8
      const auto found = product(moved, order, v, {.tie_method = method});
      for (std::size_t i = 0; i < 50; ++i) CHECK(std::abs(found[i] - base[i]) <= 9 * 2 * (32 + 4 * 50) * eps);
    }
    for (std::size_t i = 0; i < 50; i += 3) c.score[i] = i % 2 == 0 ? 1e4 : -1e4;
    for (const double x : product(c, order, v, {.tie_method = method})) CHECK(std::isfinite(x));
  }
}

TEST_CASE("cox_hessian_product: strides, in place, threads, no memory taken again") {
  const auto c = random_cohort(300, 40, 7);
  cpu_context ctx(3);
  const risk_order order(ctx, c.time, c.event, {.entry = c.entry, .stratum = c.stratum});
  const auto v = directions(300, 8);
  const auto expected = product(c, order, v, {.tie_method = ties::efron});
  auto score = spread_out(c.score, 3, std::nan("")), direction = spread_out(v, 2, std::nan(""));
  cox_hessian_product(ctx, strided(score, 3), order, strided(direction, 2), strided(direction, 2),
                      {.tie_method = ties::efron});
  for (std::size_t i = 0; i < 300; ++i) CHECK(direction[2 * i] == expected[i]);
  CHECK(std::isnan(direction[1]));
  std::vector<double> out(300);
  for (const ties method : {ties::breslow, ties::efron, ties::exact}) {
    const auto call = [&] { cox_hessian_product(ctx, c.score, order, v, out, {.tie_method = method}); };
    call();
    CHECK(allocations_in(call) == 0);
  }
  const std::vector<float> single(c.score.begin(), c.score.end());
  std::vector<float> narrow(300);
  cox_hessian_product(ctx, single, order, v, narrow, {.tie_method = ties::efron});
  for (std::size_t i = 0; i < 300; ++i)
    CHECK(std::abs(static_cast<double>(narrow[i]) - expected[i]) <=
          std::numeric_limits<float>::epsilon() * std::abs(expected[i]));
}

TEST_CASE("cox_hessian_product: refuses what does not fit") {
  cpu_context ctx;
  const std::vector<double> score{1, 2, 3}, bad{1, std::nan(""), 3}, time{1, 2, 3}, four(4);
  const std::vector<int> event{1, 0, 1};
  const risk_order order(ctx, time, event);
  std::vector<double> out(3, 5), small(2);
  const auto call = [&](const auto& s, const auto& v, auto& o, ties method = ties::breslow) {
    cox_hessian_product(ctx, s, order, v, o, {.tie_method = method});
  };
  CHECK(message_of<shape_error>([&] { call(four, score, out); }) ==
        "cox_hessian_product: score: length 4, expected 3 (the length of order)");
  CHECK(message_of<shape_error>([&] { call(score, four, out); }) ==
        "cox_hessian_product: direction: length 4, expected 3 (the length of score)");
  CHECK(message_of<shape_error>([&] { call(score, score, small); }) ==
        "cox_hessian_product: out: length 2, expected 3 (the length of score)");
  CHECK(message_of<value_error>([&] { call(bad, score, out); }) ==
        "cox_hessian_product: score: nan at 1, expected finite values");
  CHECK(message_of<value_error>([&] { call(score, bad, out); }) ==
        "cox_hessian_product: direction: nan at 1, expected finite values");
  const risk_order weighted(ctx, time, event, {.weight = score});
  CHECK(message_of<value_error>([&] {
          cox_hessian_product(ctx, score, weighted, score, out, {.tie_method = ties::exact});
        }) == "cox_hessian_product: order: a weighted cohort, expected one without weights, for exact ties");
  CHECK(out == std::vector<double>{5, 5, 5});
}

#ifdef STROMA_TEST_JSON
TEST_CASE("cox_hessian_product: R's information, and whole Hessians, in every golden case") {
  cpu_context ctx;
  std::size_t cases = 0;
  for_each_golden_cox([&](const golden_cox& given, const golden::json& c) {
    ++cases;
    const std::size_t n = given.eta.size(), p = given.x.size();
    const cox_options options{.tie_method = given.method};
    const auto order = given.order(ctx);
    const auto information = golden::numbers(c.at("information"));
    std::vector<double> out(n);
    for (std::size_t j = 0; j < p; ++j) {
      cox_hessian_product(ctx, given.eta, order, given.x[j], out, options);
      for (std::size_t k = 0; k < p; ++k) {
        double sum = 0, size = 0;
        for (std::size_t i = 0; i < n; ++i) {
          sum += given.x[k][i] * out[i];
          size += std::abs(given.x[k][i] * out[i]);
        }
        CHECK(golden::close(sum, information[j * p + k], 1e-9, size));
      }
    }
    if (!c.contains("neg_hess_eta")) return;
    const auto hessian = golden::numbers(c.at("neg_hess_eta"));
    REQUIRE(hessian.size() == n * n);
    for (std::size_t j = 0; j < n; ++j) {
      std::vector<double> unit(n);
      unit[j] = 1;
      cox_hessian_product(ctx, given.eta, order, unit, out, options);
      CHECK(golden::close(out,
                          std::vector<double>(hessian.begin() + static_cast<std::ptrdiff_t>(j * n),
                                              hessian.begin() + static_cast<std::ptrdiff_t>((j + 1) * n)),
                          1e-9, 1e-3));
    }
  });
  CHECK(cases >= 40);
}
#endif
