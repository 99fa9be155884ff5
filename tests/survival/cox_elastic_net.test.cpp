#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/cox_elastic_net.hpp>
#include <stroma/survival/cox_regression.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"

using namespace stroma;

namespace {

/// Patients whose hazard depends on the first two covariates; the fourth nearly repeats the third.
struct study {
  cohort<> patients;
  array<double, 2> x;
  std::vector<double> offset;

  study(std::size_t n, index_t p, unsigned seed)
      : patients(random_cohort(n, 40, seed)), x(static_cast<index_t>(n), p), offset(n) {
    std::mt19937 draw(seed + 3);
    const auto normal = [&] {
      return (static_cast<double>(draw() % 4097) + static_cast<double>(draw() % 4097)) / 1024 - 4;
    };
    for (index_t i = 0; i < x.rows(); ++i)
      for (index_t j = 0; j < p; ++j) x(i, j) = normal() * (j % 3 == 0 ? 10 : 1) + (j == 3 ? 8 * x(i, 2) : 0);
    for (std::size_t i = 0; i < n; ++i) {
      const auto row = static_cast<index_t>(i);
      const double risk = std::exp(0.05 * x(row, 0) - 0.6 * x(row, 1));
      patients.time[i] = 1 + std::floor(30 * -std::log((static_cast<double>(draw() % 1000) + 1) / 1001) / risk);
      patients.entry[i] = patients.time[i] - 1 - static_cast<double>(draw() % 20);
      patients.stratum[i] = static_cast<int>(draw() % 2);
      offset[i] = normal() / 8;
    }
  }
};

/// The definition: slopes of the log partial likelihood along the covariates' columns, in long double.
std::vector<long double> slopes(const study& s, const array<double, 2>& x, vector_view<const double> beta, bool efron) {
  const auto& c = s.patients;
  const std::size_t n = c.time.size(), p = static_cast<std::size_t>(x.cols());
  std::vector<long double> eta(n), slope(p, 0);
  const auto at = [&](std::size_t i, std::size_t j) {
    return static_cast<long double>(x(static_cast<index_t>(i), static_cast<index_t>(j)));
  };
  for (std::size_t i = 0; i < n; ++i) {
    eta[i] = static_cast<long double>(s.offset[i]);
    for (std::size_t j = 0; j < p; ++j) eta[i] += at(i, j) * static_cast<long double>(beta[static_cast<index_t>(j)]);
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (c.event[i] == 0) continue;
    long double deaths = 0, before = 0, weight = 0;
    const auto with = [&](std::size_t j) {
      return c.stratum[j] == c.stratum[i] && c.time[j] == c.time[i] && c.event[j] != 0;
    };
    for (std::size_t j = 0; j < n; ++j) {
      if (!with(j)) continue;
      deaths += 1;
      before += j < i ? 1 : 0;
      weight += static_cast<long double>(c.weight[j]);
    }
    long double all = 0;
    std::vector<long double> mean(p, 0);
    for (std::size_t j = 0; j < n; ++j) {
      if (c.stratum[j] != c.stratum[i] || c.time[j] < c.time[i] || c.entry[j] >= c.time[i]) continue;
      const long double part = efron && with(j) ? 1 - before / deaths : 1;
      const long double risk = part * static_cast<long double>(c.weight[j]) * std::exp(eta[j]);
      all += risk;
      for (std::size_t a = 0; a < p; ++a) mean[a] += risk * at(j, a);
    }
    for (std::size_t a = 0; a < p; ++a)
      slope[a] += static_cast<long double>(c.weight[i]) * at(i, a) - weight / deaths * mean[a] / all;
  }
  return slope;
}

struct column {
  long double mean = 0, deviation = 0;
};
std::vector<column> columns_of(const study& s, const array<double, 2>& x, long double& total) {
  std::vector<column> all(static_cast<std::size_t>(x.cols()));
  total = 0;
  for (const double w : s.patients.weight) total += static_cast<long double>(w);
  for (index_t j = 0; j < x.cols(); ++j) {
    auto& c = all[static_cast<std::size_t>(j)];
    const auto weight = [&](index_t i) {
      return static_cast<long double>(s.patients.weight[static_cast<std::size_t>(i)]) / total;
    };
    for (index_t i = 0; i < x.rows(); ++i) c.mean += weight(i) * static_cast<long double>(x(i, j));
    for (index_t i = 0; i < x.rows(); ++i) {
      const long double away = static_cast<long double>(x(i, j)) - c.mean;
      c.deviation += weight(i) * away * away;
    }
    c.deviation = std::sqrt(c.deviation);
  }
  return all;
}

}  // namespace

TEST_CASE("cox_elastic_net: the conditions of a minimum, by the definition") {
  cpu_context ctx;
  for (const auto& [n, p] : {std::pair<std::size_t, index_t>{80, 6}, {40, 70}})
    for (const double mixing : {1.0, 0.5, 0.05})
      for (const ties method : {ties::breslow, ties::efron}) {
        const study s(n, p, static_cast<unsigned>(n));
        const risk_order order(ctx, s.patients.time, s.patients.event,
                               {.weight = s.patients.weight, .entry = s.patients.entry, .stratum = s.patients.stratum});
        const auto path =
            cox_elastic_net(ctx, s.x, order, {.tie_method = method, .mixing = mixing, .path = 12, .offset = s.offset});
        CHECK(path.converged);
        long double total = 0;
        const auto columns = columns_of(s, s.x, total);
        for (index_t l = 0; l < 12; ++l) {
          const double lambda = path.lambda[l];
          if (l > 0) CHECK(lambda < path.lambda[l - 1]);
          const auto beta = as_const_view(path.coefficient).row(l);
          const auto slope = slopes(s, s.x, beta, method == ties::efron);
          index_t nonzero = 0;
          for (index_t j = 0; j < p; ++j) {
            const auto& c = columns[static_cast<std::size_t>(j)];
            const auto deviation = static_cast<double>(c.deviation);
            const auto pull = static_cast<double>(slope[static_cast<std::size_t>(j)] / (total * c.deviation));
            const double b = beta[j] * deviation;
            const double tolerance = 1.1e-9 * path.lambda[0];  // the option's, and rounding
            nonzero += b != 0 ? 1 : 0;
            if (b == 0) CHECK(std::abs(pull) <= lambda * mixing + tolerance);
            else CHECK(std::abs(pull - lambda * (1 - mixing) * b - std::copysign(lambda * mixing, b)) <= tolerance);
          }
          CHECK(path.nonzero[l] == nonzero);
        }
        CHECK(path.nonzero[0] == 0);
        CHECK(path.log_likelihood[0] == path.null_log_likelihood);
        CHECK(path.nonzero[11] > 2);
        CHECK(path.log_likelihood[11] > path.null_log_likelihood);
        CHECK(path.lambda[11] == doctest::Approx(0.01 * path.lambda[0]).epsilon(1e-14));
      }
}

TEST_CASE("cox_elastic_net: one penalty, a list of them, and a path agree") {
  cpu_context ctx;
  const study s(60, 10, 5);
  const risk_order order(ctx, s.patients.time, s.patients.event, {.weight = s.patients.weight});
  const auto path = cox_elastic_net(ctx, s.x, order, {.mixing = 0.7, .path = 8});
  for (index_t l = 1; l < 8; ++l) {
    const auto one = cox_elastic_net(ctx, s.x, order, {.mixing = 0.7, .lambda = std::vector<double>{path.lambda[l]}});
    CHECK(one.converged);
    CHECK(one.lambda[0] == path.lambda[l]);
    for (index_t j = 0; j < 10; ++j) CHECK(std::abs(one.coefficient(0, j) - path.coefficient(l, j)) < 1e-7);
  }
  const std::vector<double> rising{path.lambda[6], path.lambda[2]};
  const auto list = cox_elastic_net(ctx, s.x, order, {.mixing = 0.7, .lambda = rising});
  for (index_t j = 0; j < 10; ++j) {
    CHECK(std::abs(list.coefficient(0, j) - path.coefficient(6, j)) < 1e-7);
    CHECK(std::abs(list.coefficient(1, j) - path.coefficient(2, j)) < 1e-7);
  }
  // Just below the largest penalty of a lasso one coefficient is not 0, above it none.
  const auto first = cox_elastic_net(ctx, s.x, order, {.path = 1});
  const std::vector<double> around{first.lambda[0] * 1.001, first.lambda[0] * 0.999};
  const auto ends = cox_elastic_net(ctx, s.x, order, {.lambda = around});
  CHECK(ends.nonzero[0] == 0);
  CHECK(ends.nonzero[1] == 1);
}

TEST_CASE("cox_elastic_net: with alpha 0 it is the ridge of cox_regression, with next to no penalty its maximum") {
  cpu_context ctx;
  study s(90, 4, 6);
  long double total = 0;
  const auto columns = columns_of(s, s.x, total);
  for (index_t i = 0; i < 90; ++i)
    for (index_t j = 0; j < 4; ++j) s.x(i, j) /= static_cast<double>(columns[static_cast<std::size_t>(j)].deviation);
  const risk_order order(ctx, s.patients.time, s.patients.event, {.weight = s.patients.weight});
  for (const ties method : {ties::breslow, ties::efron}) {
    const auto net = cox_elastic_net(
        ctx, s.x, order, {.tie_method = method, .mixing = 0, .lambda = std::vector<double>{0.3}, .tolerance = 1e-13});
    const auto fit = cox_regression(ctx, s.x, order, {.tie_method = method, .ridge = 0.3 * static_cast<double>(total)});
    for (index_t j = 0; j < 4; ++j) CHECK(net.coefficient(0, j) == doctest::Approx(fit.coefficient[j]).epsilon(1e-10));
    CHECK(net.log_likelihood[0] == doctest::Approx(fit.log_likelihood).epsilon(1e-12));
    CHECK(net.null_log_likelihood == doctest::Approx(fit.null_log_likelihood).epsilon(1e-13));
    const auto most = cox_elastic_net(ctx, s.x, order, {.tie_method = method, .lambda = std::vector<double>{1e-10}});
    const auto maximum = cox_regression(ctx, s.x, order, {.tie_method = method});
    for (index_t j = 0; j < 4; ++j) CHECK(std::abs(most.coefficient(0, j) - maximum.coefficient[j]) < 1e-6);
  }
}

TEST_CASE("cox_elastic_net: exact ties, float, a constant column, and again in the same memory") {
  cpu_context ctx;
  study s(70, 5, 7);
  for (index_t i = 0; i < 70; ++i) s.x(i, 4) = 0.1;
  const risk_order order(ctx, s.patients.time, s.patients.event, {.stratum = s.patients.stratum});
  cox_path path;
  const cox_elastic_net_options options{.tie_method = ties::exact, .mixing = 0.9, .path = 5};
  cox_elastic_net(ctx, s.x, order, path, options);
  CHECK(path.converged);
  CHECK(path.nonzero[4] >= 2);
  CHECK(path.coefficient(4, 4) == 0);
  const auto smallest = cox_elastic_net(ctx, matrix_view<const double>(s.x.data(), 70, 4, 5, 1), order,
                                        {.tie_method = ties::exact, .lambda = std::vector<double>{1e-10}});
  const auto fit =
      cox_regression(ctx, matrix_view<const double>(s.x.data(), 70, 4, 5, 1), order, {.tie_method = ties::exact});
  for (index_t j = 0; j < 4; ++j) CHECK(std::abs(smallest.coefficient(0, j) - fit.coefficient[j]) < 1e-6);
  CHECK(allocations_in([&] { cox_elastic_net(ctx, s.x, order, path, options); }) == 0);
  std::vector<float> narrow(s.x.begin(), s.x.end());
  array<double, 2> rounded(70, 5);
  std::copy(narrow.begin(), narrow.end(), rounded.begin());
  const auto a = cox_elastic_net(ctx, matrix_view<const float>(narrow.data(), 70, 5), order),
             b = cox_elastic_net(ctx, rounded, order);
  CHECK(std::equal(a.coefficient.begin(), a.coefficient.end(), b.coefficient.begin()));
}

TEST_CASE("cox_elastic_net: refuses what does not fit") {
  cpu_context ctx;
  const study s(20, 2, 8);
  const risk_order order(ctx, s.patients.time, s.patients.event);
  const std::vector<double> bad{0.1, 0}, three(3);
  const auto message = [&](const cox_elastic_net_options& options) {
    try {
      (void)cox_elastic_net(ctx, s.x, order, options);
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(message({.mixing = 1.5}) == "cox_elastic_net: mixing: 1.5, expected 0 to 1");
  CHECK(message({.lambda = bad}) == "cox_elastic_net: lambda: 0 at 1, expected finite numbers above 0");
  CHECK(message({.path = 0}) == "cox_elastic_net: path: 0, expected 1 or more");
  CHECK(message({.smallest = 1}) == "cox_elastic_net: smallest: 1, expected a number between 0 and 1");
  CHECK(message({.offset = three}) == "cox_elastic_net: offset: length 3, expected 20 (the rows of covariates)");
  CHECK(message({.tolerance = 0}) == "cox_elastic_net: tolerance: 0, expected a number above 0");
}
