#include <cmath>

#include <doctest/doctest.h>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/io/safetensors_reader.hpp>
#include <stroma/survival/cox_partial_likelihood.hpp>

#include "support/counting_allocator.hpp"
#include "support/gradient.hpp"
#include "support/shared.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/golden_cox.hpp"
#endif

using namespace stroma;

namespace {

struct likelihood {
  long double value = 0;
  std::vector<long double> gradient;
};

/// The definition, in long double, each risk set summed anew.
template <class T>
likelihood oracle(const cohort<T>& c, ties method, bool weighted) {
  const std::size_t n = c.time.size();
  likelihood out;
  out.gradient.assign(n, 0);
  const auto weight = [&](std::size_t i) { return weighted ? static_cast<long double>(c.weight[i]) : 1.0L; };
  for (std::size_t i = 0; i < n; ++i) {
    bool first = c.event[i] != 0;
    for (std::size_t j = 0; j < i; ++j) first = first && !(c.event[j] != 0 && c.time[j] == c.time[i]);
    if (!first) continue;  // one term for each event time
    long double peak = -1e30L, others = 0, tied = 0, tied_weight = 0;
    int deaths = 0;
    for (std::size_t j = 0; j < n; ++j)
      if (c.time[j] >= c.time[i]) peak = std::max<long double>(peak, c.score[j]);
    const auto died_now = [&](std::size_t j) { return c.time[j] == c.time[i] && c.event[j] != 0; };
    const auto risk = [&](std::size_t j) { return weight(j) * std::exp(static_cast<long double>(c.score[j]) - peak); };
    for (std::size_t j = 0; j < n; ++j) {
      if (c.time[j] < c.time[i]) continue;
      (died_now(j) ? tied : others) += risk(j);
      if (!died_now(j)) continue;
      ++deaths;
      tied_weight += weight(j);
      out.value -= weight(j) * (static_cast<long double>(c.score[j]) - peak);
      out.gradient[j] -= weight(j);
    }
    for (int k = 0; k < deaths; ++k) {
      const long double left = method == ties::efron ? 1 - static_cast<long double>(k) / deaths : 1;
      const long double sum = others + left * tied;
      out.value += tied_weight / deaths * std::log(sum);
      for (std::size_t j = 0; j < n; ++j)
        if (c.time[j] >= c.time[i]) out.gradient[j] += tied_weight / deaths * (died_now(j) ? left : 1) * risk(j) / sum;
    }
  }
  return out;
}

template <class T>
struct evaluated {
  T value{};
  std::vector<T> gradient;
};
template <class T>
evaluated<T> evaluate(const cohort<T>& c, const cox_options& options, bool weighted = false) {
  cpu_context ctx;
  evaluated<T> out{T(-1), std::vector<T>(c.score.size(), T(-7))};
  if (weighted)
    cox_partial_likelihood(ctx, c.score, risk_order(ctx, c.time, c.event, {.weight = c.weight}),
                           {&out.value, as_view(out.gradient)}, options);
  else cox_partial_likelihood(ctx, c.score, c.time, c.event, {&out.value, as_view(out.gradient)}, options);
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("cox_partial_likelihood: the definition", T, double, float) {
  for (const std::size_t n : {1u, 2u, 31u, 32u, 33u, 200u})
    for (const double spread : {1.0, 30.0, 5000.0})
      for (const ties method : {ties::breslow, ties::efron})
        for (const bool weighted : {false, true}) {
          const auto c = random_cohort<T>(n, 12, static_cast<unsigned>(n), spread);
          const auto expected = oracle(c, method, weighted);
          const auto found = evaluate(c, {.tie_method = method}, weighted);
          const double eps = std::numeric_limits<T>::epsilon();
          CHECK(std::abs(static_cast<double>(found.value - expected.value)) <=
                4 * eps * (1 + std::abs(static_cast<double>(expected.value))));
          for (std::size_t i = 0; i < n; ++i)
            CHECK(std::abs(static_cast<double>(found.gradient[i] - expected.gradient[i])) <=
                  (8 + 2.0 * static_cast<double>(n)) * eps);
        }
}

TEST_CASE("cox_partial_likelihood: 1025 rows, many distinct times") {
  const auto c = random_cohort(1025, 700, 5);
  for (const ties method : {ties::breslow, ties::efron}) {
    const auto expected = oracle(c, method, true);
    const auto found = evaluate(c, {.tie_method = method}, true);
    CHECK(found.value == doctest::Approx(static_cast<double>(expected.value)).epsilon(1e-13));
    for (std::size_t i = 0; i < 1025; ++i)
      CHECK(std::abs(found.gradient[i] - static_cast<double>(expected.gradient[i])) < 1e-12);
  }
}

TEST_CASE("cox_partial_likelihood: R's survival") {
  const auto logs = read_columns(test_data("survival/cox_loglik.csv"));
  for (std::size_t k = 0; k < logs.at("dataset").size(); ++k) {
    const std::string method = logs.at("ties")[k];
    const bool weighted = logs.at("weighted")[k] == "1";
    const auto table = read_columns(test_data("survival/" + logs.at("dataset")[k] + ".csv"));
    cohort<> c;
    c.score = numbers(table.at("eta"));
    c.time = numbers(table.at("time"));
    c.weight = numbers(table.at("w"));
    for (const double e : numbers(table.at("status"))) c.event.push_back(static_cast<std::uint8_t>(e));
    const auto found = evaluate(c, {.tie_method = method == "efron" ? ties::efron : ties::breslow}, weighted);
    const double expected = -std::stod(logs.at("loglik")[k]);
    CHECK(std::abs(found.value - expected) < 1e-13 * expected);
    const auto gradient = numbers(table.at(method + (weighted ? "_weights" : "_plain")));
    REQUIRE(gradient.size() == c.time.size());
    for (std::size_t i = 0; i < gradient.size(); ++i) CHECK(std::abs(found.gradient[i] + gradient[i]) < 1e-12);
  }
}

TEST_CASE_TEMPLATE("cox_partial_likelihood: PyTorch", T, double, float) {
  const double tolerance = sizeof(T) == 8 ? 1e-10 : 1e-5;
  for (const std::string name : {"breslow", "breslow_weighted", "efron", "efron_weighted"}) {
    const safetensors_reader file(test_data("models/loss_cox_" + name + ".safetensors"));
    const auto z = file.read<T>("input.z"), time = file.read<T>("input.time"), event = file.read<T>("input.event"),
               weight = file.read<T>("input.weight");
    const auto loss = file.read<double>("output.loss"), gradient = file.read<double>("grad.input.z");
    cpu_context ctx;
    T value{};
    std::vector<T> found(41);
    const cox_options options{.tie_method = name[0] == 'e' ? ties::efron : ties::breslow};
    const bool weighted = name.find('_') != std::string::npos;
    const auto order = weighted ? risk_order(ctx, time.flat(), event.flat(), {.weight = weight.flat()})
                                : risk_order(ctx, time.flat(), event.flat());
    cox_partial_likelihood(ctx, z.flat(), order, {&value, as_view(found)}, options);
    CHECK(std::abs(value - loss.flat()[0]) <= tolerance * std::abs(loss.flat()[0]));
    for (index_t i = 0; i < 41; ++i)
      CHECK(std::abs(found[static_cast<std::size_t>(i)] - gradient.flat()[i]) <= tolerance * 10);
  }
}

TEST_CASE("cox_partial_likelihood: gradient by central differences") {
  cpu_context ctx;
  const auto c = random_cohort(33, 9, 4);
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  for (const ties method : {ties::breslow, ties::efron})
    for (const reduction reduce : {reduction::sum, reduction::mean}) {
      const cox_options options{.tie_method = method, .reduce = reduce};
      const auto found = evaluate(c, options, true);
      const auto f = [&](const std::vector<double>& x) { return cox_partial_likelihood(ctx, x, order, options); };
      CHECK(gradient_error(f, c.score, found.gradient) < gradient_tolerance);
    }
}

TEST_CASE_TEMPLATE("cox_partial_likelihood: scores of 1e4 either way, and shifts", T, double, float) {
  for (const ties method : {ties::breslow, ties::efron}) {
    // Who dies first has the high score: the loss is 0 up to exp(-20000). The other way round: 20000 a death.
    cohort<T> c{{1e4, -1e4}, {1, 2}, {1, 1}, {1, 1}};
    auto found = evaluate(c, {.tie_method = method});
    CHECK(found.value == T(0));
    CHECK(found.gradient[0] == T(0));
    CHECK(found.gradient[1] == T(0));
    std::swap(c.score[0], c.score[1]);
    found = evaluate(c, {.tie_method = method});
    CHECK(found.value == T(20000));
    CHECK(found.gradient[0] == T(-1));
    CHECK(found.gradient[1] == T(1));

    // Multiples of 1/8 near 1e4 are exact in float too, so that only exp is rounded otherwise.
    auto many = random_cohort<T>(300, 20, 6);
    const auto base = evaluate(many, {.tie_method = method}, true);
    for (const T shift : {T(1e4), T(-1e4)}) {
      auto moved = many;
      for (T& s : moved.score) s += shift;
      const auto there = evaluate(moved, {.tie_method = method}, true);
      const double eps = std::numeric_limits<T>::epsilon();
      CHECK(std::abs(there.value - base.value) <= 4 * eps * base.value);
      for (std::size_t i = 0; i < 300; ++i)
        CHECK(std::abs(there.gradient[i] - base.gradient[i]) <= (8 + 2 * 300) * eps);
    }
  }
}

TEST_CASE("cox_partial_likelihood: the gradient sums to 0") {
  for (const ties method : {ties::breslow, ties::efron}) {
    const auto found = evaluate(random_cohort(500, 30, 7, 4), {.tie_method = method}, true);
    double sum = 0, size = 0;
    for (const double d : found.gradient) {
      sum += d;
      size += std::abs(d);
    }
    CHECK(std::abs(sum) < 1e-14 * size);
  }
}

TEST_CASE("cox_partial_likelihood: whole weights are repeated rows (Breslow), zero weights are absent rows") {
  cohort<> c = random_cohort(60, 8, 8), repeated, present;
  for (std::size_t i = 0; i < 60; ++i) {
    c.weight[i] = static_cast<double>(i % 3);
    for (std::size_t k = 0; k < i % 3; ++k) {
      repeated.score.push_back(c.score[i]);
      repeated.time.push_back(c.time[i]);
      repeated.event.push_back(c.event[i]);
    }
    if (i % 3 == 0) continue;
    present.score.push_back(c.score[i]);
    present.time.push_back(c.time[i]);
    present.event.push_back(c.event[i]);
    present.weight.push_back(c.weight[i]);
  }
  c.score[0] = 1e4;  // absent: must not even be the largest score at risk
  for (const reduction reduce : {reduction::sum, reduction::mean}) {
    const auto weighted = evaluate(c, {.reduce = reduce}, true);
    CHECK(weighted.value == doctest::Approx(evaluate(repeated, {.reduce = reduce}).value).epsilon(1e-14));
    CHECK(weighted.gradient[0] == 0);
    const cox_options efron{.tie_method = ties::efron, .reduce = reduce};
    CHECK(evaluate(c, efron, true).value == doctest::Approx(evaluate(present, efron, true).value).epsilon(1e-14));
  }
}

TEST_CASE("cox_partial_likelihood: rows in another order") {
  const auto c = random_cohort(200, 10, 9);
  const auto p = random_permutation(200, 1);
  const cohort<> d{permuted(c.score, p), permuted(c.time, p), permuted(c.weight, p), permuted(c.event, p)};
  for (const ties method : {ties::breslow, ties::efron}) {
    const auto a = evaluate(c, {.tie_method = method}, true), b = evaluate(d, {.tie_method = method}, true);
    CHECK(std::abs(a.value - b.value) < 1e-13 * a.value);
    for (std::size_t i = 0; i < 200; ++i) CHECK(std::abs(b.gradient[i] - a.gradient[p[i]]) < 1e-13);
  }
}

TEST_CASE("cox_partial_likelihood: no event, no row, one row, one time") {
  cohort<> c{{1, 2, 3}, {4, 5, 6}, {1, 1, 1}, {0, 0, 0}};
  for (const reduction reduce : {reduction::sum, reduction::mean}) {
    const auto none = evaluate(c, {.reduce = reduce});
    CHECK(none.value == 0);
    CHECK(none.gradient == std::vector<double>{0, 0, 0});
    CHECK(evaluate(cohort<>{}, {.reduce = reduce}).value == 0);
    const auto one = evaluate(cohort<>{{3}, {2}, {1}, {1}}, {.reduce = reduce});
    CHECK(one.value == 0);
    CHECK(one.gradient[0] == 0);
  }
  c.event = {1, 1, 1};
  c.time = {7, 7, 7};
  c.score = {0, 0, 0};
  CHECK(evaluate(c, {}).value == doctest::Approx(3 * std::log(3.0)));
  CHECK(evaluate(c, {.tie_method = ties::efron}).value == doctest::Approx(std::log(6.0)));
  CHECK(evaluate(c, {.reduce = reduction::mean}).value == doctest::Approx(std::log(3.0)));
}

TEST_CASE("cox_partial_likelihood: strides, an order or times, threads: the same bits") {
  const auto c = random_cohort(100, 12, 10);
  const auto expected = evaluate(c, {});
  auto score = spread_out(c.score, 3, std::nan("")), time = spread_out(c.time, 2, std::nan("")),
       gradient = std::vector<double>(400, 5);
  auto event = spread_out(c.event, 4, std::uint8_t{9});
  cpu_context ctx(3);
  double value{};
  cox_partial_likelihood(ctx, strided(score, 3), strided(time, 2), strided(event, 4), {&value, strided(gradient, 4)});
  CHECK(value == expected.value);
  for (std::size_t i = 0; i < 100; ++i) {
    CHECK(gradient[4 * i] == expected.gradient[i]);
    CHECK(gradient[4 * i + 1] == 5);
  }
  CHECK(cox_partial_likelihood(ctx, c.score, c.time, c.event) == expected.value);
  CHECK(cox_partial_likelihood(ctx, c.score, risk_order(ctx, c.time, c.event)) == expected.value);
}

TEST_CASE("cox_partial_likelihood: takes memory once") {
  cpu_context ctx;
  const auto c = random_cohort(300, 12, 11);
  const risk_order order(ctx, c.time, c.event);
  std::vector<double> gradient(300);
  double value{};
  const auto direct = [&] { cox_partial_likelihood(ctx, c.score, c.time, c.event, {&value, as_view(gradient)}); };
  const auto planned = [&] { cox_partial_likelihood(ctx, c.score, order, {&value, as_view(gradient)}); };
  direct();
  CHECK(allocations_in(direct) == 0);
  CHECK(allocations_in(planned) == 0);
}

TEST_CASE("cox_partial_likelihood: recorded on a graph") {
  cpu_context ctx;
  graph<double> g(ctx);
  const auto c = random_cohort(33, 6, 12);
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  const cox_options options{.tie_method = ties::efron, .reduce = reduction::mean};
  const auto expected = evaluate(c, options, true);
  std::vector<double> gradient(33, 1.0);
  const auto step = [&](index_t rows, index_t cols) {
    const node score = g.variable(matrix_view<const double>(c.score.data(), rows, cols),
                                  matrix_view<double>(gradient.data(), rows, cols));
    const node loss = cox_partial_likelihood(g, score, order, options);
    g.backward(loss, 2.0);
    return g.scalar_value(loss);
  };
  CHECK(step(33, 1) == expected.value);
  for (std::size_t i = 0; i < 33; ++i)
    CHECK(gradient[i] == doctest::Approx(1 + 2 * expected.gradient[i]).epsilon(1e-14));
  g.reset();
  CHECK(step(1, 33) == expected.value);
  g.reset();
  CHECK(allocations_in([&] { step(33, 1); }) == 0);
  g.reset();
  const node constant = g.input(c.score);
  CHECK(g.scalar_value(cox_partial_likelihood(g, constant, c.time, c.event)) ==
        cox_partial_likelihood(ctx, c.score, c.time, c.event));
  const std::vector<double> six(6);
  const node matrix = g.input(matrix_view<const double>(six.data(), 2, 3));
  CHECK(message_of<shape_error>([&] { cox_partial_likelihood(g, matrix, order); }) ==
        "cox_partial_likelihood: score: shape 2 x 3, expected one row or one column");
}

TEST_CASE("cox_partial_likelihood: refuses what does not fit, and writes nothing") {
  cpu_context ctx;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> score{1, 2, 3}, bad{1, nan, 3}, time{1, 2, 3}, early{-1, 2, 3}, four(4);
  const std::vector<int> event{1, 0, 1}, twos{1, 0, 2};
  double value = 77;
  std::vector<double> gradient(3, 78), small_gradient(2, 78);
  const auto call = [&](const auto& s, const auto& t, const auto& e) {
    cox_partial_likelihood(ctx, s, t, e, {&value, as_view(gradient)});
  };
  CHECK(message_of<shape_error>([&] { call(score, four, event); }) ==
        "cox_partial_likelihood: time: length 4, expected 3 (the length of score)");
  CHECK(message_of<shape_error>([&] { call(score, time, four); }) ==
        "cox_partial_likelihood: event: length 4, expected 3 (the length of score)");
  CHECK(message_of<shape_error>([&] {
          cox_partial_likelihood(ctx, score, time, event, {&value, as_view(small_gradient)});
        }) == "cox_partial_likelihood: gradient: length 2, expected 3 (the length of score)");
  CHECK(message_of<shape_error>([&] {
          cox_partial_likelihood(ctx, four, risk_order(ctx, time, event), {&value, {}});
        }) == "cox_partial_likelihood: score: length 4, expected 3 (the length of order)");
  CHECK(message_of<value_error>([&] { call(bad, time, event); }) ==
        "cox_partial_likelihood: score: nan at 1, expected finite values");
  CHECK(message_of<value_error>([&] { call(score, early, event); }) ==
        "cox_partial_likelihood: time: -1 at 0, expected finite times of 0 or later");
  CHECK(message_of<value_error>([&] { call(score, time, twos); }) ==
        "cox_partial_likelihood: event: 2 at 2, expected 0 (censored) or 1 (observed)");
  CHECK(value == 77);
  CHECK(gradient == std::vector<double>{78, 78, 78});
  CHECK(std::isnan(cox_partial_likelihood(ctx, bad, time, event, {.check_values = false})));
}

namespace {

/// The definition for cohorts with every column, in long double: each risk set anew, exact ties by the recursion over
/// the whole of it for every term, gradients and the Hessian's diagonal from the chances of each row.
struct full_likelihood {
  long double value = 0;
  std::vector<long double> gradient, diagonal;
};
long double log_elementary(const std::vector<long double>& logs, std::size_t degree) {  // log e_d of exp(logs)
  if (degree > logs.size()) return -HUGE_VALL;
  std::vector<long double> e(degree + 1, -HUGE_VALL);
  e[0] = 0;
  for (const long double x : logs)
    for (std::size_t m = degree; m > 0; --m) {
      const long double a = e[m], b = e[m - 1] + x, top = std::max(a, b);
      if (top > -HUGE_VALL) e[m] = top + std::log(std::exp(a - top) + std::exp(b - top));
    }
  return e[degree];
}
full_likelihood full_oracle(const cohort<>& c, ties method, bool weighted, bool late, bool strata) {
  const std::size_t n = c.time.size();
  full_likelihood out{0, std::vector<long double>(n), std::vector<long double>(n)};
  const auto weight = [&](std::size_t i) { return weighted ? static_cast<long double>(c.weight[i]) : 1.0L; };
  const auto together = [&](std::size_t i, std::size_t j) { return !strata || c.stratum[i] == c.stratum[j]; };
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<std::size_t> at_risk, dead;
    bool first = c.event[i] != 0;
    for (std::size_t j = 0; j < n; ++j) {
      if (!together(i, j) || c.time[j] < c.time[i] || (late && c.entry[j] >= c.time[i])) continue;
      at_risk.push_back(j);
      if (c.time[j] != c.time[i] || c.event[j] == 0) continue;
      first = first && j >= i;
      dead.push_back(j);
    }
    if (!first) continue;
    const auto died = [&](std::size_t j) { return c.time[j] == c.time[i] && c.event[j] != 0; };
    long double peak = -HUGE_VALL, tied_weight = 0;
    for (const auto j : at_risk) peak = std::max(peak, static_cast<long double>(c.score[j]));
    for (const auto j : dead) {
      tied_weight += weight(j);
      out.value -= weight(j) * (static_cast<long double>(c.score[j]) - peak);
      out.gradient[j] -= weight(j);
    }
    const auto logs_without = [&](std::size_t left_out) {
      std::vector<long double> logs;
      for (const auto j : at_risk)
        if (j != left_out) logs.push_back(static_cast<long double>(c.score[j]) - peak);
      return logs;
    };
    if (method == ties::exact) {
      const long double all = log_elementary(logs_without(n), dead.size());
      out.value += all;
      for (const auto j : at_risk) {
        const long double chance = std::exp(static_cast<long double>(c.score[j]) - peak +
                                            log_elementary(logs_without(j), dead.size() - 1) - all);
        out.gradient[j] += chance;
        out.diagonal[j] += chance * (1 - chance);
      }
      continue;
    }
    const std::size_t steps = method == ties::efron ? dead.size() : 1;
    for (std::size_t k = 0; k < steps; ++k) {
      const auto risk = [&](std::size_t j) {
        const long double left = died(j) ? 1 - static_cast<long double>(k) / static_cast<long double>(steps) : 1;
        return left * weight(j) * std::exp(static_cast<long double>(c.score[j]) - peak);
      };
      long double sum = 0;
      for (const auto j : at_risk) sum += risk(j);
      const long double share = tied_weight / static_cast<long double>(steps);
      out.value += share * std::log(sum);
      for (const auto j : at_risk) {
        out.gradient[j] += share * risk(j) / sum;
        out.diagonal[j] += share * risk(j) / sum * (sum - risk(j)) / sum;
      }
    }
  }
  return out;
}
struct full_result {
  double value = -1;
  std::vector<double> gradient, diagonal;
};
full_result full_evaluate(cpu_context& ctx, const cohort<>& c, const risk_order<>& order, const cox_options& options) {
  full_result out{-1, std::vector<double>(c.score.size(), -7), std::vector<double>(c.score.size(), -7)};
  cox_partial_likelihood(ctx, c.score, order, {&out.value, as_view(out.gradient), as_view(out.diagonal)}, options);
  return out;
}
risk_order_options<> columns_of(const cohort<>& c, bool weighted, bool late, bool strata) {
  risk_order_options<> columns;
  if (weighted) columns.weight = c.weight;
  if (late) columns.entry = c.entry;
  if (strata) columns.stratum = c.stratum;
  return columns;
}

constexpr double eps = std::numeric_limits<double>::epsilon();
/// Every term is a chance below a weight of 2; a row has one for each time. A sum of n risks errs by n eps, and the
/// recursion over n rows by as much.
double derivative_tolerance(std::size_t n, int times) { return (8 + 2.0 * static_cast<double>(n)) * 2 * times * eps; }

}  // namespace

TEST_CASE("cox_partial_likelihood: the definition with strata, late entry, exact ties, second derivatives") {
  for (const std::size_t n : {1u, 2u, 31u, 33u, 150u})
    for (const double spread : {1.0, 30.0, 5000.0})
      for (const ties method : {ties::breslow, ties::efron, ties::exact})
        for (const int kind : {0, 1, 2, 3, 4, 5, 6, 7}) {
          const bool weighted = (kind & 1) != 0, late = (kind & 2) != 0, strata = (kind & 4) != 0;
          if (method == ties::exact && (weighted || n > 100)) continue;
          cpu_context ctx;
          const auto c = random_cohort(n, 9, static_cast<unsigned>(n) + 7, spread);
          const auto expected = full_oracle(c, method, weighted, late, strata);
          const risk_order order(ctx, c.time, c.event, columns_of(c, weighted, late, strata));
          const auto found = full_evaluate(ctx, c, order, {.tie_method = method});
          CAPTURE(static_cast<int>(method));
          CAPTURE(kind);
          CHECK(std::abs(found.value - static_cast<double>(expected.value)) <=
                4 * eps * (1 + std::abs(static_cast<double>(expected.value))));
          for (std::size_t i = 0; i < n; ++i) {
            CHECK(std::abs(found.gradient[i] - static_cast<double>(expected.gradient[i])) <=
                  derivative_tolerance(n, 9));
            CHECK(std::abs(found.diagonal[i] - static_cast<double>(expected.diagonal[i])) <=
                  2 * derivative_tolerance(n, 9));
          }
          std::vector<double> diagonal(n);
          double value = 0;  // asked for alone
          cox_partial_likelihood(ctx, c.score, order, {&value, {}, as_view(diagonal)}, {.tie_method = method});
          CHECK(diagonal == found.diagonal);
          CHECK(value == found.value);
          CHECK(cox_partial_likelihood(ctx, c.score, order, {.tie_method = method}) == found.value);
        }
}

namespace {

/// Breslow and Efron for long cohorts without late entry: sorted, with running sums in long double.
full_likelihood long_oracle(const cohort<>& c, ties method, bool weighted, bool strata) {
  const std::size_t n = c.time.size();
  std::vector<std::size_t> order(n);
  for (std::size_t i = 0; i < n; ++i) order[i] = i;
  const auto stratum = [&](std::size_t i) { return strata ? c.stratum[i] : 0; };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return stratum(a) != stratum(b) ? stratum(a) < stratum(b) : c.time[a] > c.time[b];
  });
  full_likelihood out{0, std::vector<long double>(n), std::vector<long double>(n)};
  const auto weight = [&](std::size_t i) { return weighted ? static_cast<long double>(c.weight[i]) : 1.0L; };
  const auto risk = [&](std::size_t i) { return weight(i) * std::exp(static_cast<long double>(c.score[i])); };
  for (std::size_t begin = 0, end = 0; begin < n; begin = end) {
    for (end = begin; end < n && stratum(order[end]) == stratum(order[begin]);) ++end;
    long double sum = 0;
    struct event_time {
      std::size_t first, last;
      long double all = 0, all_squared = 0, own = 0, own_squared = 0;
    };
    std::vector<event_time> times;
    for (std::size_t i = begin; i < end;) {
      event_time at{i, i};
      long double tied = 0, dying = 0;
      int deaths = 0;
      for (; at.last < end && c.time[order[at.last]] == c.time[order[i]]; ++at.last) {
        const std::size_t row = order[at.last];
        sum += risk(row);
        if (c.event[row] == 0 || !(weight(row) > 0)) continue;
        tied += risk(row);
        dying += weight(row);
        out.value -= weight(row) * static_cast<long double>(c.score[row]);
        ++deaths;
      }
      const int steps = method == ties::efron ? deaths : deaths > 0 ? 1 : 0;
      for (int l = 0; l < steps; ++l) {
        const long double gone = static_cast<long double>(l) / steps, left = sum - gone * tied, share = dying / steps;
        out.value += share * std::log(left);
        at.all += share / left;
        at.all_squared += share / left / left;
        at.own += share / left * (1 - gone);
        at.own_squared += share / left / left * (1 - gone) * (1 - gone);
      }
      times.push_back(at);
      i = at.last;
    }
    long double later = 0, later_squared = 0;  // of the earlier times, at which rows are at risk too
    for (std::size_t t = times.size(); t-- > 0;) {
      const event_time& at = times[t];
      for (std::size_t i = at.first; i < at.last; ++i) {
        const std::size_t row = order[i];
        const bool died = c.event[row] != 0;
        const long double r = risk(row);
        out.gradient[row] = r * (later + (died ? at.own : at.all)) - (died ? weight(row) : 0);
        out.diagonal[row] =
            r * (later + (died ? at.own : at.all)) - r * r * (later_squared + (died ? at.own_squared : at.all_squared));
      }
      later += at.all;
      later_squared += at.all_squared;
    }
  }
  return out;
}

}  // namespace

TEST_CASE("cox_partial_likelihood: cohorts of several tiles") {
  constexpr auto tile = static_cast<std::size_t>(detail::rows_of_task);
  for (const std::size_t n : {tile - 1, tile, tile + 1, 3 * tile + 5})
    for (const int times : {1, 3, 400, 1000000})
      for (const int strata : {1, 2, 300})
        for (const ties method : {ties::breslow, ties::efron}) {
          const bool weighted = strata == 2;
          auto c = random_cohort(n, times, static_cast<unsigned>(n) + 3, 2);
          for (std::size_t i = 0; i < n; ++i) c.stratum[i] = static_cast<int>(i * i % static_cast<unsigned>(strata));
          cpu_context ctx;
          const auto expected = long_oracle(c, method, weighted, strata > 1);
          const risk_order order(ctx, c.time, c.event, columns_of(c, weighted, false, strata > 1));
          CAPTURE(n);
          CAPTURE(times);
          CAPTURE(strata);
          // Sums of n risks, and of a hazard for each of the times, whose errors a row's risk (at most the sum's
          // largest term) carries over: relative to the largest derivative.
          long double largest = 1, largest_second = 1;
          for (std::size_t i = 0; i < n; ++i) {
            largest = std::max(largest, std::abs(expected.gradient[i]));
            largest_second = std::max(largest_second, expected.diagonal[i]);
          }
          const double bound = static_cast<double>(n) * eps;
          for (const bool wide : {false, true}) {  // a score beyond what a double is trusted with
            if (wide) c.score[n / 2] = 200;
            const auto truth = wide ? long_oracle(c, method, weighted, strata > 1) : expected;
            const auto found = full_evaluate(ctx, c, order, {.tie_method = method});
            CHECK(std::abs(found.value - static_cast<double>(truth.value)) <=
                  bound * (1 + std::abs(static_cast<double>(truth.value))));
            double worst = 0, worst_second = 0;
            for (std::size_t i = 0; i < n; ++i) {
              worst = std::max(worst, std::abs(found.gradient[i] - static_cast<double>(truth.gradient[i])));
              worst_second =
                  std::max(worst_second, std::abs(found.diagonal[i] - static_cast<double>(truth.diagonal[i])));
            }
            CHECK(worst <=
                  bound * static_cast<double>(wide ? std::max(largest, std::abs(truth.gradient[n / 2])) : largest));
            CHECK(worst_second <= bound * static_cast<double>(largest_second + largest));
          }
        }
}

TEST_CASE("cox_partial_likelihood: gradients by central differences with every column") {
  cpu_context ctx;
  const auto c = random_cohort(40, 9, 14);
  for (const ties method : {ties::breslow, ties::efron, ties::exact})
    for (const bool late : {false, true}) {
      const risk_order order(ctx, c.time, c.event, columns_of(c, method != ties::exact, late, true));
      const cox_options options{.tie_method = method, .reduce = reduction::mean};
      const auto f = [&](const std::vector<double>& x) { return cox_partial_likelihood(ctx, x, order, options); };
      CHECK(gradient_error(f, c.score, full_evaluate(ctx, c, order, options).gradient) < gradient_tolerance);
    }
}

TEST_CASE("cox_partial_likelihood: strata are the sum of their parts, and in each the gradient sums to 0") {
  cpu_context ctx;
  const auto c = random_cohort(300, 20, 15, 2);
  for (const ties method : {ties::breslow, ties::efron, ties::exact})
    for (const bool late : {false, true}) {
      const bool weighted = method != ties::exact;
      const cox_options options{.tie_method = method};
      const auto whole =
          full_evaluate(ctx, c, risk_order(ctx, c.time, c.event, columns_of(c, weighted, late, true)), options);
      double sum = 0;
      for (int s = -1; s < 4; ++s) {
        std::vector<std::size_t> rows;
        for (std::size_t i = 0; i < 300; ++i)
          if (c.stratum[i] == s) rows.push_back(i);
        const cohort<> part{permuted(c.score, rows), permuted(c.time, rows),  permuted(c.weight, rows),
                            permuted(c.event, rows), permuted(c.entry, rows), permuted(c.stratum, rows)};
        const auto alone = full_evaluate(
            ctx, part, risk_order(ctx, part.time, part.event, columns_of(part, weighted, late, false)), options);
        sum += alone.value;
        double gradient = 0;
        for (std::size_t i = 0; i < rows.size(); ++i) {
          CHECK(std::abs(alone.gradient[i] - whole.gradient[rows[i]]) <= derivative_tolerance(100, 20));
          gradient += whole.gradient[rows[i]];
        }
        CHECK(std::abs(gradient) <= static_cast<double>(rows.size()) * derivative_tolerance(100, 20));
      }
      CHECK(std::abs(sum - whole.value) <= 8 * eps * whole.value);
    }
}

TEST_CASE("cox_partial_likelihood: entry before all times is no entry") {
  cpu_context ctx;
  auto c = random_cohort(300, 20, 16);
  c.entry.assign(300, -1);
  for (const ties method : {ties::breslow, ties::efron, ties::exact}) {
    const cox_options options{.tie_method = method};
    const auto plain = full_evaluate(ctx, c, risk_order(ctx, c.time, c.event), options);
    const auto late = full_evaluate(ctx, c, risk_order(ctx, c.time, c.event, {.entry = c.entry}), options);
    CHECK(std::abs(plain.value - late.value) <= 8 * eps * plain.value);
    for (std::size_t i = 0; i < 300; ++i)
      CHECK(std::abs(plain.gradient[i] - late.gradient[i]) <= derivative_tolerance(300, 20));
  }
}

TEST_CASE("cox_partial_likelihood: shifts of +-700 and +-1e4, weights and entries and all") {
  cpu_context ctx;
  for (const ties method : {ties::breslow, ties::efron, ties::exact}) {
    const auto c = random_cohort(120, 20, 17, 3);
    const risk_order order(ctx, c.time, c.event, columns_of(c, method != ties::exact, true, true));
    const auto base = full_evaluate(ctx, c, order, {.tie_method = method});
    // Up to +-128 sums are doubles, beyond they have exponents of their own.
    for (const double shift : {126.0, -126.0, 130.0, 700.0, -700.0, 1e4, -1e4, 0x1p40}) {
      auto moved = c;
      for (double& x : moved.score) x += shift;  // exact: multiples of 1/8
      const auto there = full_evaluate(ctx, moved, order, {.tie_method = method});
      CHECK(std::abs(there.value - base.value) <= 8 * eps * base.value);
      for (std::size_t i = 0; i < 120; ++i) {
        CHECK(std::abs(there.gradient[i] - base.gradient[i]) <= derivative_tolerance(120, 20));
        CHECK(std::abs(there.diagonal[i] - base.diagonal[i]) <= 2 * derivative_tolerance(120, 20));
      }
    }
    if (method == ties::exact) continue;  // products of d risks add their exponents, which are exact up to 1e15
    auto far = c;                         // and nothing breaks at the end of the range
    for (std::size_t i = 0; i < 120; ++i)
      far.score[i] = (i % 3 == 0 ? 1e300 : i % 3 == 1 ? -1.7e308 : 1) * (1 + 1e-3 * double(i % 7));
    const auto there = full_evaluate(ctx, far, order, {.tie_method = method});
    for (const double d : there.gradient) CHECK(std::isfinite(d));
    for (const double d : there.diagonal) CHECK(std::isfinite(d));
  }
}

TEST_CASE("cox_partial_likelihood: weights of any size") {
  cpu_context ctx;
  const auto c = random_cohort(60, 12, 18);
  for (const double scale : {0x1p-1000, 0x1p-300, 0x1p300, 0x1p1000}) {
    std::vector<double> weight = c.weight;
    for (double& w : weight) w *= scale;
    for (const ties method : {ties::breslow, ties::efron}) {
      const auto base = full_evaluate(ctx, c, risk_order(ctx, c.time, c.event, {.weight = c.weight}),
                                      {.tie_method = method, .reduce = reduction::mean});
      const auto there = full_evaluate(ctx, c, risk_order(ctx, c.time, c.event, {.weight = weight}),
                                       {.tie_method = method, .reduce = reduction::mean});
      // log S grows by log scale: that much is what rounding is relative to
      CHECK(std::abs(there.value - base.value - std::log(scale)) <= 16 * eps * (base.value + 700));
      for (std::size_t i = 0; i < 60; ++i)
        CHECK(std::abs(there.gradient[i] - base.gradient[i]) <= derivative_tolerance(60, 12));
    }
  }
}

TEST_CASE("cox_partial_likelihood: where other programs are wrong") {
  cpu_context ctx;
  SUBCASE("XGBoost's times with equal scores") {
    // survival:cox of XGBoost: a negative label is censored; its gradient leaves out rows tied with a later death.
    const std::vector<double> time{0, 2, 2, 2, 3, 5, 10, 100};
    const std::vector<int> event{1, 0, 0, 1, 1, 1, 0, 1};
    cohort<> c{std::vector<double>(8, 0.0), time, {}, {1, 0, 0, 1, 1, 1, 0, 1}};
    const auto found = full_evaluate(ctx, c, risk_order(ctx, time, event), {});
    double sum = 0;
    for (const double d : found.gradient) sum += d;
    CHECK(std::abs(sum) <= 8 * 4 * eps);
    const auto expected = full_oracle(c, ties::breslow, false, false, false);
    for (std::size_t i = 0; i < 8; ++i)
      CHECK(std::abs(found.gradient[i] - static_cast<double>(expected.gradient[i])) <= 16 * eps);
    CHECK(found.gradient[1] == doctest::Approx(1.0 / 8 + 1.0 / 7).epsilon(4 * eps));  // not 0
    CHECK(found.gradient[1] == found.gradient[2]);
  }
  SUBCASE("XGBoost's own vector") {
    // Its test TestCoxRegressionGPair expects a gradient of 0 of rows 1 and 2, who were at risk; label 0 is censored.
    const cohort<> c{{0, 0.1, 0.9, 1, 0, 0.1, 0.9, 1}, {0, 2, 2, 2, 3, 5, 10, 100}, {}, {0, 0, 0, 1, 1, 1, 0, 1}};
    const auto found = evaluate(c, {});
    const long double at_risk = 1 + 2 * (std::exp(0.1L) + std::exp(0.9L) + std::exp(1.0L));
    CHECK(found.gradient[1] == doctest::Approx(static_cast<double>(std::exp(0.1L) / at_risk)).epsilon(8 * eps));
    CHECK(found.gradient[2] == doctest::Approx(static_cast<double>(std::exp(0.9L) / at_risk)).epsilon(8 * eps));
    CHECK(found.gradient[1] == doctest::Approx(0.0815).epsilon(1e-3));  // R's, as printed
    CHECK(found.gradient[2] == doctest::Approx(0.1813).epsilon(1e-3));
    double sum = 0;
    for (const double d : found.gradient) sum += d;
    CHECK(std::abs(sum) <= 8 * 4 * eps);
  }
  SUBCASE("torchsurv: ties in float, shifted") {
    // its loss is nan at + 89 and -infinity at - 110
    const cohort<float> base{{0, 1, -1, 0.5, 2}, {1, 1, 2, 3, 4}, {1, 1, 1, 1, 1}, {1, 1, 1, 1, 0}};
    const auto expected = evaluate(base, {.tie_method = ties::efron});
    for (const float shift : {89.0F, -110.0F}) {
      auto moved = base;
      for (float& s : moved.score) s += shift;
      const auto found = evaluate(moved, {.tie_method = ties::efron});
      CHECK(found.value == doctest::Approx(expected.value).epsilon(2 * std::numeric_limits<float>::epsilon()));
    }
    const auto mean = evaluate(base, {.tie_method = ties::efron, .reduce = reduction::mean});
    CHECK(mean.value == doctest::Approx(expected.value / 4).epsilon(2 * std::numeric_limits<float>::epsilon()));
  }
  SUBCASE("pycox: 1e-7 inside a logarithm") {
    // eta 0, -20, 20 from the latest time on, all die: 9.268 there
    const cohort<> c{{0, -20, 20}, {3, 2, 1}, {}, {1, 1, 1}};
    const auto found = evaluate(c, {.reduce = reduction::mean});
    const long double expected =
        (std::log1p(std::exp(-20.0L)) + 20 + std::log1p(std::exp(-20.0L) + std::exp(-40.0L))) / 3;
    CHECK(found.value == doctest::Approx(static_cast<double>(expected)).epsilon(4 * eps));
    CHECK(found.value == doctest::Approx(6.667).epsilon(1e-4));
  }
  SUBCASE("R: someone with a large score enters late") {
    // Risk sets by differences lose what all others had while row 0 was there: R's loglik is 5 off, its gradient 2.
    auto c = random_cohort(60, 40, 19, 0.25);
    c.score[0] = 38;
    c.time[0] = 39;
    c.entry.assign(60, -1);
    c.entry[0] = 20;
    c.event[0] = 1;
    for (const ties method : {ties::breslow, ties::efron, ties::exact}) {
      const auto expected = full_oracle(c, method, false, true, false);
      const auto found =
          full_evaluate(ctx, c, risk_order(ctx, c.time, c.event, {.entry = c.entry}), {.tie_method = method});
      CHECK(std::abs(found.value - static_cast<double>(expected.value)) <= 4 * eps * found.value);
      for (std::size_t i = 0; i < 60; ++i)
        CHECK(std::abs(found.gradient[i] - static_cast<double>(expected.gradient[i])) <= derivative_tolerance(60, 40));
    }
  }
  SUBCASE("R: scores from -720 to 720 overflow") {
    cohort<> c;
    for (int i = 0; i < 30; ++i) {
      c.score.push_back(i < 15 ? -720 : 720);  // every one of the first half dies before the second
      c.time.push_back(i + 1);
      c.event.push_back(i < 15 ? 1 : 0);
    }
    CHECK(evaluate(c, {}).value == doctest::Approx(15 * (1440 + std::log(15.0))).epsilon(4 * eps));
    CHECK(evaluate(c, {.tie_method = ties::exact}).value ==
          doctest::Approx(15 * (1440 + std::log(15.0))).epsilon(4 * eps));
  }
}

TEST_CASE("cox_partial_likelihood: many deaths at one time") {
  cpu_context ctx;
  // All scores equal: exact e_d = C(n, d), Efron d! in the steps.
  cohort<> c;
  const int n = 1500, d = 400;
  for (int i = 0; i < n; ++i) {
    c.score.push_back(-3);
    c.time.push_back(i < d ? 1 : 2);
    c.event.push_back(i < d ? 1 : 0);
  }
  const risk_order order(ctx, c.time, c.event);
  const auto exact = full_evaluate(ctx, c, order, {.tie_method = ties::exact});
  const long double choose = std::lgamma(n + 1.0L) - std::lgamma(d + 1.0L) - std::lgamma(n - d + 1.0L);
  CHECK(std::abs(exact.value - static_cast<double>(choose)) <= 2 * n * eps);
  const double chance = static_cast<double>(d) / n;
  for (int i = 0; i < n; ++i) {
    CHECK(std::abs(exact.gradient[static_cast<std::size_t>(i)] - (chance - (i < d ? 1 : 0))) <= 4 * n * eps);
    CHECK(std::abs(exact.diagonal[static_cast<std::size_t>(i)] - chance * (1 - chance)) <= 8 * n * eps);
  }
  const auto efron = full_evaluate(ctx, c, order, {.tie_method = ties::efron});
  const long double steps = std::lgamma(n + 1.0L) - std::lgamma(n - d + 1.0L);
  CHECK(std::abs(efron.value - static_cast<double>(steps)) <= d * (n + 4) * eps);  // each of d logs has S's error
}

TEST_CASE("cox_partial_likelihood: the same bits for any number of threads") {
  const auto c = random_cohort(60000, 20000, 21, 3);
  for (const bool late : {false, true}) {
    std::vector<full_result> found;
    for (const int threads : {1, 2, 5}) {
      cpu_context ctx(threads);
      const risk_order order(ctx, c.time, c.event, columns_of(c, true, late, true));
      found.push_back(full_evaluate(ctx, c, order, {.tie_method = ties::efron}));
    }
    for (const std::size_t i : {1u, 2u}) {
      CHECK(found[i].value == found[0].value);
      CHECK(found[i].gradient == found[0].gradient);
      CHECK(found[i].diagonal == found[0].diagonal);
    }
  }
}

TEST_CASE("cox_partial_likelihood: with every column it takes memory once; exact ties refuse weights") {
  cpu_context ctx;
  const auto c = random_cohort(300, 12, 22);
  for (const ties method : {ties::breslow, ties::efron, ties::exact}) {
    const risk_order order(ctx, c.time, c.event, columns_of(c, method != ties::exact, true, true));
    full_result out{0, std::vector<double>(300), std::vector<double>(300)};
    const auto call = [&] {
      cox_partial_likelihood(ctx, c.score, order, {&out.value, as_view(out.gradient), as_view(out.diagonal)},
                             {.tie_method = method});
    };
    call();
    CHECK(allocations_in(call) == 0);
  }
  double value = 77;
  const risk_order weighted(ctx, c.time, c.event, {.weight = c.weight});
  CHECK(message_of<value_error>([&] {
          cox_partial_likelihood(ctx, c.score, weighted, {&value, {}}, {.tie_method = ties::exact});
        }) == "cox_partial_likelihood: order: a weighted cohort, expected one without weights, for exact ties");
  std::vector<double> two(2);
  CHECK(message_of<shape_error>([&] {
          cox_partial_likelihood(ctx, c.score, weighted, {&value, {}, as_view(two)});
        }) == "cox_partial_likelihood: hessian_diagonal: length 2, expected 300 (the length of score)");
  CHECK(value == 77);
}

#ifdef STROMA_TEST_JSON
TEST_CASE("cox_partial_likelihood: R's survival in every golden case") {
  cpu_context ctx;
  std::size_t cases = 0;
  for_each_golden_cox([&](const golden_cox& given, const golden::json& c) {
    ++cases;
    const std::size_t n = given.eta.size();
    double value = 0;
    std::vector<double> gradient(n), diagonal(n);
    const cox_options options{.tie_method = given.method};
    const auto order = given.order(ctx);
    cox_partial_likelihood(ctx, given.eta, order, {&value, as_view(gradient), as_view(diagonal)}, options);
    CHECK(golden::close(-value, c.at("loglik").get<double>(), 1e-9));
    for (double& d : gradient) d = -d;
    if (c.contains("grad_eta")) CHECK(golden::close(gradient, golden::numbers(c.at("grad_eta")), 1e-9, 1));
    if (c.contains("neg_hess_diag_eta"))
      CHECK(golden::close(diagonal, golden::numbers(c.at("neg_hess_diag_eta")), 1e-9));
    const auto score = golden::numbers(c.at("score"));
    for (std::size_t j = 0; j < score.size(); ++j) {
      double found = 0, size = 0;
      for (std::size_t i = 0; i < n; ++i) {
        found += given.x[j][i] * gradient[i];
        size += std::abs(given.x[j][i] * gradient[i]);
      }
      CHECK(std::abs(found - score[j]) <= 1e-9 * size);
    }
  });
  CHECK(cases >= 40);
}
#endif
