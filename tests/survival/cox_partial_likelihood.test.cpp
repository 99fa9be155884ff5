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
