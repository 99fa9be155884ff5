#include <cmath>
#include <limits>
#include <tuple>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/cox_residuals.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cox_study.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/cox_cases.hpp"
#endif

using namespace stroma;

namespace {

struct residuals {
  array<double, 1> martingale, deviance;
  array<double, 2> score, dfbeta, schoenfeld;
  array<index_t, 1> schoenfeld_row;

  residuals(index_t n, index_t p, index_t events)
      : martingale(n), deviance(n), score(n, p), dfbeta(n, p), schoenfeld(events, p), schoenfeld_row(events) {}
  [[nodiscard]] cox_residual_output output() {
    return {as_view(martingale), as_view(deviance),   as_view(score),
            as_view(dfbeta),     as_view(schoenfeld), as_view(schoenfeld_row)};
  }
};

}  // namespace

namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();

/// The definition, in long double: every event time adds its terms to who is at risk.
struct oracle {
  std::vector<long double> martingale, score, schoenfeld;

  oracle(const study& s, const cox_fit& fit)
      : martingale(s.patients.time.size()),
        score(s.patients.time.size() * static_cast<std::size_t>(s.x.cols())),
        schoenfeld(score.size()) {
    const auto& c = s.patients;
    const std::size_t n = c.time.size(), p = static_cast<std::size_t>(s.x.cols());
    const auto x = [&](std::size_t i, std::size_t j) {
      return static_cast<long double>(s.x(static_cast<index_t>(i), static_cast<index_t>(j)));
    };
    std::vector<long double> risk(n);
    for (std::size_t i = 0; i < n; ++i) {
      long double eta = static_cast<long double>(s.offset[i]);
      for (std::size_t j = 0; j < p; ++j)
        eta += x(i, j) * static_cast<long double>(fit.coefficient[static_cast<index_t>(j)]);
      risk[i] = std::exp(eta);
    }
    for (std::size_t i = 0; i < n; ++i) {  // each event is one term of its time
      if (c.event[i] == 0) continue;
      martingale[i] += 1;
      const auto at_risk = [&](std::size_t j) {
        return c.stratum[j] == c.stratum[i] && c.time[j] >= c.time[i] && c.entry[j] < c.time[i];
      };
      const auto dying = [&](std::size_t j) { return at_risk(j) && c.time[j] == c.time[i] && c.event[j] != 0; };
      long double deaths = 0, before = 0, weight = 0, all = 0;
      for (std::size_t j = 0; j < n; ++j) {
        if (!dying(j)) continue;
        deaths += 1;
        before += j < i ? 1 : 0;
        weight += static_cast<long double>(c.weight[j]);
      }
      const auto part = [&](std::size_t j) {
        return fit.tie_method == ties::efron && dying(j) ? 1 - before / deaths : 1.0L;
      };
      std::vector<long double> mean(p, 0);
      for (std::size_t j = 0; j < n; ++j) {
        if (!at_risk(j)) continue;
        const long double r = part(j) * static_cast<long double>(c.weight[j]) * risk[j];
        all += r;
        for (std::size_t a = 0; a < p; ++a) mean[a] += r * x(j, a);
      }
      for (std::size_t a = 0; a < p; ++a) mean[a] /= all;
      for (std::size_t j = 0; j < n; ++j) {
        if (!at_risk(j)) continue;
        const long double hazard = weight / deaths / all * part(j) * risk[j];
        martingale[j] -= hazard;
        for (std::size_t a = 0; a < p; ++a) {
          const long double observed = dying(j) ? (x(j, a) - mean[a]) / deaths : 0;  // its share of every term
          schoenfeld[j * p + a] += observed;
          score[j * p + a] += observed - hazard * (x(j, a) - mean[a]);
        }
      }
    }
  }
};

template <class A, class B>
double difference(const A& found, const B& expected) {
  double off = 0;
  auto at = expected.begin();
  for (const auto f : found) off = std::max(off, std::abs(static_cast<double>(f) - static_cast<double>(*at++)));
  return off;
}

}  // namespace

TEST_CASE("cox_residuals: the definition, with weights, strata, late entry and offset") {
  cpu_context ctx;
  for (const std::size_t n : {31u, 32u, 33u, 150u})
    for (const ties method : {ties::breslow, ties::efron}) {
      const study s(n, 2, 12, static_cast<unsigned>(n));
      const auto order = s.order(ctx);
      const auto fit = cox_regression(ctx, s.x, order, {.tie_method = method, .offset = s.offset});
      REQUIRE(fit.converged);
      const oracle expected(s, fit);
      residuals r(order.size(), 2, order.events());
      cox_residuals(ctx, s.x, order, fit, r.output(), {.offset = s.offset});
      // a residual sums at most n terms, each at most the size of an event times the covariates' range of 4
      const double tolerance = 32 * static_cast<double>(n) * eps;
      CHECK(difference(r.martingale, expected.martingale) < tolerance);
      CHECK(difference(r.score, expected.score) < 4 * tolerance);
      double sum = 0;
      std::vector<double> gradient(2, 0);
      for (index_t i = 0; i < order.size(); ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double m = r.martingale[i], w = s.patients.weight[at];
        sum += w * m;
        const double deviance =
            2 * (-m - (s.patients.event[at] != 0 ? std::log(1 - m) : 0));  // from the residual that was just judged
        CHECK(r.deviance[i] == doctest::Approx(std::copysign(std::sqrt(std::max(deviance, 0.0)), m)).epsilon(1e-7));
        for (index_t j = 0; j < 2; ++j) {
          gradient[static_cast<std::size_t>(j)] += w * r.score(i, j);
          double influence = 0;
          for (index_t a = 0; a < 2; ++a) influence += w * r.score(i, a) * fit.covariance(a, j);
          CHECK(std::abs(r.dfbeta(i, j) - influence) < tolerance);
        }
      }
      CHECK(std::abs(sum) < tolerance * static_cast<double>(n));
      for (const double g : gradient) CHECK(std::abs(g) < 4 * tolerance * static_cast<double>(n));
      for (index_t e = 0; e < order.events(); ++e) {
        const auto i = static_cast<std::size_t>(r.schoenfeld_row[e]);
        CHECK(s.patients.event[i] == 1);
        for (index_t j = 0; j < 2; ++j)
          CHECK(std::abs(r.schoenfeld(e, j) -
                         static_cast<double>(expected.schoenfeld[2 * i + static_cast<std::size_t>(j)])) < tolerance);
        if (e == 0) continue;
        const auto before = static_cast<std::size_t>(r.schoenfeld_row[e - 1]);
        const auto place = [&](std::size_t k) { return std::tuple{s.patients.stratum[k], s.patients.time[k], k}; };
        CHECK(place(before) < place(i));
      }
    }
}

TEST_CASE("robust_covariance: clusters, as in R") {
  cpu_context ctx;
  const std::vector<double> time{4, 3, 9, 1, 6, 2, 8, 5, 7, 10, 3, 6}, weight{1, 2, 1, 0.5, 1, 1.5, 1, 1, 2, 1, 1, 0.5};
  const std::vector<int> event{1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1}, cluster{1, 2, 1, 3, 2, 4, 3, 1, 4, 4, 2, 3};
  const std::vector<double> x{1, 0, 2, 1, 3, 0, 2, 1, 0, 0, 2, 1}, z{0.5, 1.5, -1, 0, 1, 0.25, -0.75, 2, 1, -2, 0.5, 0};
  array<double, 2> covariates(12, 2), robust(2, 2);
  for (index_t i = 0; i < 12; ++i) {
    covariates(i, 0) = x[static_cast<std::size_t>(i)];
    covariates(i, 1) = z[static_cast<std::size_t>(i)];
  }
  const risk_order order(ctx, time, event, {.weight = weight});
  // coxph(Surv(time, event) ~ x + z, weights = weight, cluster = cluster), survival 3.5-3
  const struct {
    ties method;
    double coefficient[2], robust[3], covariance[3];
  } expected[] = {{ties::efron,
                   {0.21534672096390969, 0.87192808317359027},
                   {0.11172963925139266, 0.034826315640745606, 0.028059741452337653},
                   {0.10878261577396156, 0.024120760458602848, 0.23073104503781711}},
                  {ties::breslow,
                   {0.20051641849217561, 0.85162911520492945},
                   {0.10416001051314322, 0.037488189763944108, 0.025849219579629219},
                   {0.10750847404851525, 0.022415112133151179, 0.23472177930202742}}};
  for (const auto& e : expected) {
    const auto fit = cox_regression(ctx, covariates, order, {.tie_method = e.method});
    robust_covariance(ctx, covariates, order, fit, robust, {.cluster = cluster});
    for (index_t j = 0; j < 2; ++j) CHECK(fit.coefficient[j] == doctest::Approx(e.coefficient[j]).epsilon(1e-11));
    for (index_t i = 0; i < 2; ++i)
      for (index_t j = 0; j < 2; ++j) {
        CHECK(robust(i, j) == doctest::Approx(e.robust[i + j]).epsilon(1e-11));
        CHECK(fit.covariance(i, j) == doctest::Approx(e.covariance[i + j]).epsilon(1e-11));
      }
    array<double, 2> alone(2, 2), labels(2, 2);
    std::vector<int> own(12);
    for (int i = 0; i < 12; ++i) own[static_cast<std::size_t>(i)] = 100 - i;
    robust_covariance(ctx, covariates, order, fit, alone);
    robust_covariance(ctx, covariates, order, fit, labels, {.cluster = own});
    CHECK(difference(alone, labels) < 12 * eps);
  }
}

TEST_CASE("cox_residuals: scores of any size, and a row that enters late with a large one") {
  cpu_context ctx;
  study s(100, 1, 50, 16);
  for (std::size_t i = 0; i < 100; ++i) s.patients.entry[i] = -1;
  s.patients.time[0] = 49;
  s.patients.event[0] = 0;
  s.patients.entry[0] = 40;
  const auto order = s.order(ctx);
  for (const double large : {38.0, 600.0}) {
    s.offset[0] = large;
    const auto fit = cox_regression(ctx, s.x, order, {.offset = s.offset});
    const oracle expected(s, fit);
    residuals r(100, 1, order.events());
    cox_residuals(ctx, s.x, order, fit, r.output(), {.offset = s.offset});
    CHECK(difference(r.martingale, expected.martingale) < 1e-12);
    CHECK(difference(r.score, expected.score) < 1e-11);
  }
  auto moved = s.offset;
  s.offset[0] = moved[0] = 0;
  const auto fit = cox_regression(ctx, s.x, order, {.offset = s.offset});
  residuals here(100, 1, order.events()), there(100, 1, order.events());
  cox_residuals(ctx, s.x, order, fit, here.output(), {.offset = s.offset});
  for (double& o : moved) o += 1e4;
  cox_residuals(ctx, s.x, order, fit, there.output(), {.offset = moved});
  CHECK(difference(there.martingale, here.martingale) < 1e4 * 100 * eps);  // the scores are rounded by 1e4 eps
}

TEST_CASE("cox_residuals: parts of the output, a dropped column, memory, errors") {
  cpu_context ctx;
  const study s(80, 2, 20, 5);
  const auto order = s.order(ctx);
  const auto fit = cox_regression(ctx, s.x, order);
  residuals all(80, 2, order.events()), one(80, 2, order.events());
  cox_residuals(ctx, s.x, order, fit, all.output());
  one.martingale.fill(-5);
  cox_residuals(ctx, s.x, order, fit, {.dfbeta = as_view(one.dfbeta)});
  CHECK(difference(one.dfbeta, all.dfbeta) == 0);
  CHECK(one.martingale[3] == -5);
  CHECK(allocations_in([&] { cox_residuals(ctx, s.x, order, fit, all.output()); }) == 0);
  array<double, 2> robust(2, 2), wrong(2, 3);
  robust_covariance(ctx, s.x, order, fit, robust);
  CHECK(allocations_in([&] { robust_covariance(ctx, s.x, order, fit, robust); }) == 0);

  array<double, 2> three(80, 3);
  for (index_t i = 0; i < 80; ++i) {
    three(i, 0) = s.x(i, 0);
    three(i, 1) = 1;
    three(i, 2) = s.x(i, 1);
  }
  const auto dropped = cox_regression(ctx, three, order, {.collinear = collinear_columns::drop});
  residuals r(80, 3, order.events());
  cox_residuals(ctx, three, order, dropped, r.output());
  CHECK(difference(r.martingale, all.martingale) < 1e-13);
  for (index_t i = 0; i < 80; ++i) {
    CHECK(std::isnan(r.dfbeta(i, 1)));
    for (const index_t j : {0, 1}) CHECK(std::abs(r.dfbeta(i, 2 * j) - all.dfbeta(i, j)) < 1e-13);
  }

  CHECK(message_of<shape_error>([&] { cox_residuals(ctx, three, order, fit, all.output()); }) ==
        "cox_residuals: fit: length 2, expected 3 (the columns of covariates)");
  CHECK(message_of<shape_error>([&] { cox_residuals(ctx, s.x, order, fit, {.score = as_view(wrong)}); }) ==
        "cox_residuals: score: shape 2 x 3, expected 80 x 2");
  CHECK(message_of<shape_error>([&] { robust_covariance(ctx, s.x, order, fit, wrong); }) ==
        "robust_covariance: out: shape 2 x 3, expected 2 x 2");
  const auto plain = risk_order(ctx, s.patients.time, s.patients.event);
  const auto exact = cox_regression(ctx, s.x, plain, {.tie_method = ties::exact});
  CHECK(message_of<value_error>([&] { cox_residuals(ctx, s.x, plain, exact, all.output()); }) ==
        "cox_residuals: fit: exact ties, expected Breslow's or Efron's");
}

#ifdef STROMA_TEST_JSON
TEST_CASE("cox_residuals: R's survival") {
  int with_residuals = 0;
  const int count = golden::for_each_cox_case("optimum", [&](const golden::cox_case& c) {
    if (c.tie_method == ties::exact) return;
    cpu_context ctx;
    const auto order = c.order(ctx);
    const auto fit = cox_regression(ctx, c.covariates, order, {.tie_method = c.tie_method, .offset = c.offset});
    residuals r(order.size(), c.covariates.cols(), order.events());
    cox_residuals(ctx, c.covariates, order, fit, r.output(), {.offset = c.offset});
    array<double, 2> robust(c.covariates.cols(), c.covariates.cols());
    robust_covariance(ctx, c.covariates, order, fit, robust, {.offset = c.offset});
    CHECK(golden::close(std::vector<double>(robust.begin(), robust.end()), c.expected.at("robust_var"), 1e-9));
    for (index_t i = 0; i < order.size() && c.expected.contains("grad_eta"); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double w = c.weight.empty() ? 1 : c.weight[at];
      CHECK(golden::close(w * r.martingale[i], golden::number(c.expected.at("grad_eta")[at]), 1e-9, 1));
    }
    if (!c.expected.contains("residuals")) return;
    ++with_residuals;
    const auto& expected = c.expected.at("residuals");
    const auto flat = [](const auto& x) { return std::vector<double>(x.begin(), x.end()); };
    const auto largest = [](const golden::json& x) {
      double size = 0;
      for (const double element : golden::numbers(x)) size = std::max(size, std::abs(element));
      return size;
    };
    const auto close = [&](const auto& found, const char* name) {
      return golden::close(flat(found), expected.at(name), 1e-9, largest(expected.at(name)));
    };
    CHECK(close(r.deviance, "deviance"));
    CHECK(close(r.score, "score"));
    CHECK(close(r.schoenfeld, "schoenfeld"));
    CHECK(close(r.dfbeta, "dfbeta"));
  });
  CHECK(count >= 14);  // ovarian's
  CHECK(with_residuals >= 2);
}
#endif
