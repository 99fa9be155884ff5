#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <doctest/doctest.h>

#include <stroma/adapt/std.hpp>
#include <stroma/survival/cox_regression.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cox_study.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/cox_cases.hpp"
#endif

using namespace stroma;

namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();

/// The log partial likelihood, its gradient and minus its Hessian: the definition, in long double, every risk set
/// summed anew, and of exact ties every subset.
struct oracle {
  long double value = 0;
  std::vector<long double> score, information;

  oracle(const study& s, const array<double, 1>& beta, ties method, bool weighted, bool late, bool strata, bool offset)
      : oracle(s, std::vector<double>(beta.begin(), beta.end()), method, weighted, late, strata, offset) {}
  oracle(const study& s, const std::vector<double>& beta, ties method, bool weighted, bool late, bool strata,
         bool offset)
      : score(beta.size()), information(beta.size() * beta.size()) {
    const auto& c = s.patients;
    const std::size_t n = c.time.size(), p = beta.size();
    const auto x = [&](std::size_t i, std::size_t j) {
      return static_cast<long double>(s.x(static_cast<index_t>(i), static_cast<index_t>(j)));
    };
    const auto weight = [&](std::size_t i) { return weighted ? static_cast<long double>(c.weight[i]) : 1.0L; };
    std::vector<long double> eta(n, 0);
    for (std::size_t i = 0; i < n; ++i) {
      if (offset) eta[i] = static_cast<long double>(s.offset[i]);
      for (std::size_t j = 0; j < p; ++j) eta[i] += x(i, j) * static_cast<long double>(beta[j]);
    }
    for (std::size_t i = 0; i < n; ++i) {
      const auto same = [&](std::size_t j) { return !strata || c.stratum[j] == c.stratum[i]; };
      bool first = c.event[i] != 0;
      for (std::size_t j = 0; j < i; ++j) first = first && !(c.event[j] != 0 && c.time[j] == c.time[i] && same(j));
      if (!first) continue;
      std::vector<std::size_t> others, dead;
      for (std::size_t j = 0; j < n; ++j) {
        if (!same(j) || c.time[j] < c.time[i] || (late && c.entry[j] >= c.time[i])) continue;
        (c.event[j] != 0 && c.time[j] == c.time[i] ? dead : others).push_back(j);
      }
      long double died = 0, peak = -1e30L;
      for (const auto* set : {&others, &dead})
        for (const std::size_t j : *set) peak = std::max(peak, eta[j]);
      for (const std::size_t j : dead) {
        died += weight(j);
        value += weight(j) * (eta[j] - peak);
        for (std::size_t a = 0; a < p; ++a) score[a] += weight(j) * x(j, a);
      }
      if (method == ties::exact) {
        auto all = others;
        all.insert(all.end(), dead.begin(), dead.end());
        std::vector<bool> chosen(all.size(), false);
        std::fill_n(chosen.begin(), dead.size(), true);
        std::vector<std::vector<long double>> subsets;  // log weight less d peak, then the sum of x
        do {
          std::vector<long double> sum(p + 1, 0);
          for (std::size_t k = 0; k < all.size(); ++k) {
            if (!chosen[k]) continue;
            sum[0] += eta[all[k]] - peak;
            for (std::size_t a = 0; a < p; ++a) sum[a + 1] += x(all[k], a);
          }
          sum[0] = std::exp(sum[0]);
          subsets.push_back(sum);
        } while (std::prev_permutation(chosen.begin(), chosen.end()));
        add_term(subsets, 1, p);
        continue;
      }
      const std::size_t d = dead.size();
      for (std::size_t k = 0; k < d; ++k) {
        const long double left =
            method == ties::efron ? 1 - static_cast<long double>(k) / static_cast<long double>(d) : 1;
        std::vector<std::vector<long double>> rows;
        const auto add = [&](std::size_t j, long double part) {
          std::vector<long double> row{part * weight(j) * std::exp(eta[j] - peak)};
          for (std::size_t a = 0; a < p; ++a) row.push_back(x(j, a));
          rows.push_back(row);
        };
        for (const std::size_t j : others) add(j, 1);
        for (const std::size_t j : dead) add(j, left);
        add_term(rows, died / static_cast<long double>(d), p);
      }
    }
  }

 private:
  /// Of rows {count, x...}: less w log of the counts' sum, with its derivatives.
  void add_term(const std::vector<std::vector<long double>>& rows, long double w, std::size_t p) {
    long double all = 0;
    std::vector<long double> mean(p, 0);
    for (const auto& row : rows) {
      all += row[0];
      for (std::size_t a = 0; a < p; ++a) mean[a] += row[0] * row[a + 1];
    }
    value -= w * std::log(all);
    for (std::size_t a = 0; a < p; ++a) score[a] -= w * (mean[a] /= all);
    for (const auto& row : rows)
      for (std::size_t a = 0; a < p; ++a)
        for (std::size_t b = 0; b < p; ++b)
          information[a * p + b] += w * row[0] / all * (row[a + 1] - mean[a]) * (row[b + 1] - mean[b]);
  }
};

/// The library's derivatives in the coefficients of the covariates as they are.
struct evaluated {
  double value;
  std::vector<double> score, information;
};
evaluated evaluate(cpu_context& ctx, const risk_order<>& order, const array<double, 2>& x,
                   const std::vector<double>& beta, const std::vector<double>& offset, ties method) {
  const auto plan = order.plan();
  const index_t p = x.cols();
  auto scratch = ctx.workspace().open();
  auto design = detail::cox_design::in(scratch, plan, p);
  std::vector<double> by_position, scaled;
  for (index_t k = 0; k < plan.rows && !offset.empty(); ++k)
    by_position.push_back(offset[static_cast<std::size_t>(plan.row[k])]);
  if (!offset.empty()) design.offset = by_position.data();
  design.set_columns(as_const_view(x), nullptr, plan);
  for (index_t j = 0; j < p; ++j) scaled.push_back(beta[static_cast<std::size_t>(j)] * design.scale[j]);
  const detail::risk_sets sets(plan, scratch);
  detail::cox_derivatives at{0, scratch.take<double>(p), scratch.take<double>(detail::risk_moments::triangle(p))};
  design.predict(scaled.data());
  detail::differentiate_cox(ctx, sets, design.rows, method, at);
  evaluated out{at.log_likelihood, {}, {}};
  for (index_t j = 0; j < p; ++j) out.score.push_back(at.score[j] * design.scale[j]);
  for (index_t i = 0; i < p; ++i)
    for (index_t j = 0; j < p; ++j)
      out.information.push_back(at.information[detail::in_triangle(std::max(i, j), std::min(i, j))] * design.scale[i] *
                                design.scale[j]);
  return out;
}

/// Largest difference of two arrays, in units of the largest element of the second.
template <class A, class B>
double difference(const A& found, const B& expected) {
  double size = 0, off = 0;
  auto at = expected.begin();
  for (const auto f : found) {
    off = std::max(off, std::abs(static_cast<double>(f) - static_cast<double>(*at)));
    size = std::max(size, std::abs(static_cast<double>(*at++)));
  }
  return size > 0 ? off / size : off;
}

}  // namespace

TEST_CASE("cox_regression: the likelihood and its derivatives are those of the definition") {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 31u, 32u, 33u, 150u})
    for (const ties method : {ties::breslow, ties::efron, ties::exact})
      for (const bool late : {false, true})
        for (const bool strata : {false, true}) {
          if (method == ties::exact && n > 33) continue;
          const study s(n, 3, method == ties::exact ? 14 : 9, static_cast<unsigned>(n));
          const bool weighted = method != ties::exact;
          const std::vector<double> beta{0.5, -1.25, 0.125};
          const oracle expected(s, beta, method, weighted, late, strata, true);
          const auto found = evaluate(ctx, s.order(ctx, weighted, late, strata), s.x, beta, s.offset, method);
          // sums of n terms, of size n at most but for the covariates' 2 and their squares; exact: d derivatives deep
          const double tolerance = 16 * static_cast<double>(n) * eps * static_cast<double>(n);
          CAPTURE(n);
          CAPTURE(static_cast<int>(method));
          CHECK(std::abs(found.value - static_cast<double>(expected.value)) <= tolerance);
          for (std::size_t a = 0; a < 3; ++a)
            CHECK(std::abs(found.score[a] - static_cast<double>(expected.score[a])) <= tolerance);
          for (std::size_t a = 0; a < 9; ++a)
            CHECK(std::abs(found.information[a] - static_cast<double>(expected.information[a])) <= 4 * tolerance);
        }
}

TEST_CASE("cox_regression: score and information by central differences") {
  cpu_context ctx;
  const study s(60, 3, 14, 5);
  for (const ties method : {ties::breslow, ties::efron, ties::exact}) {
    const auto order = s.order(ctx, method != ties::exact);
    const std::vector<double> beta{0.25, -0.5, 0.75};
    const auto at = evaluate(ctx, order, s.x, beta, s.offset, method);
    constexpr double step = 6e-6;  // cube root of epsilon
    for (std::size_t a = 0; a < 3; ++a) {
      auto above = beta, below = beta;
      above[a] += step;
      below[a] -= step;
      const auto high = evaluate(ctx, order, s.x, above, s.offset, method),
                 low = evaluate(ctx, order, s.x, below, s.offset, method);
      const double tolerance = 100 * (step * step + eps / step) * std::abs(at.value);
      CHECK(std::abs((high.value - low.value) / (2 * step) - at.score[a]) <= tolerance);
      for (std::size_t b = 0; b < 3; ++b)
        CHECK(std::abs((low.score[b] - high.score[b]) / (2 * step) - at.information[3 * a + b]) <= tolerance);
    }
  }
}

TEST_CASE("cox_regression: the maximum, where the definition's gradient is 0, and its curvature there") {
  cpu_context ctx;
  for (const ties method : {ties::breslow, ties::efron, ties::exact})
    for (const double ridge : {0.0, 3.5}) {
      const bool exact = method == ties::exact;
      const study s(exact ? 33 : 120, 2, exact ? 14 : 30, 9);
      const auto fit =
          cox_regression(ctx, s.x, s.order(ctx, !exact), {.tie_method = method, .offset = s.offset, .ridge = ridge});
      CHECK(fit.converged);
      const oracle at(s, fit.coefficient, method, !exact, true, true, true);
      CHECK(fit.log_likelihood == doctest::Approx(static_cast<double>(at.value)).epsilon(1e-13));
      long double h[4];
      for (std::size_t a = 0; a < 4; ++a) h[a] = at.information[a] + (a % 3 == 0 ? static_cast<long double>(ridge) : 0);
      for (std::size_t a = 0; a < 2; ++a) {
        const auto slope = static_cast<double>(at.score[a]) - ridge * fit.coefficient[static_cast<index_t>(a)];
        CHECK(std::abs(slope * fit.standard_error[static_cast<index_t>(a)]) < 1e-11);
      }
      const long double determinant = h[0] * h[3] - h[1] * h[2];
      CHECK(fit.covariance(0, 0) == doctest::Approx(static_cast<double>(h[3] / determinant)).epsilon(1e-12));
      CHECK(fit.covariance(1, 0) == doctest::Approx(static_cast<double>(-h[1] / determinant)).epsilon(1e-11));
      CHECK(fit.covariance(0, 1) == fit.covariance(1, 0));
      CHECK(fit.covariance(1, 1) == doctest::Approx(static_cast<double>(h[0] / determinant)).epsilon(1e-12));
      CHECK(fit.standard_error[1] == std::sqrt(fit.covariance(1, 1)));
      const oracle null(s, std::vector<double>{0, 0}, method, !exact, true, true, true);
      CHECK(fit.null_log_likelihood == doctest::Approx(static_cast<double>(null.value)).epsilon(1e-13));
      CHECK(std::isnan(fit.likelihood_ratio_test.p_value) == (ridge > 0));
      CHECK(fit.likelihood_ratio_test.degrees_of_freedom == 2);
    }
}

TEST_CASE("cox_regression: worked by hand") {
  // Therneau and Grambsch's first example. With r = exp(b): at time 1 the dead r among 3 r + 3, at time 2 the dead r
  // and 1 among r + 3, at time 4 the last one.
  cpu_context ctx;
  const std::vector<double> time{4, 1, 1, 2, 2, 3}, x{0, 1, 1, 1, 0, 0};
  const std::vector<int> event{1, 1, 0, 1, 1, 0};
  const risk_order order(ctx, time, event);
  const matrix_view<const double> column(x.data(), 6, 1);
  {
    const auto fit = cox_regression(ctx, column, order, {.tie_method = ties::breslow});
    const double r = (3 + std::sqrt(33.0)) / 2;  // r^2 - 3 r - 6 = 0
    CHECK(fit.coefficient[0] == doctest::Approx(std::log(r)).epsilon(1e-14));
    CHECK(fit.log_likelihood ==
          doctest::Approx(2 * std::log(r) - std::log(3 * r + 3) - 2 * std::log(r + 3)).epsilon(1e-14));
    CHECK(fit.null_log_likelihood == doctest::Approx(-std::log(6.0) - 2 * std::log(4.0)).epsilon(1e-15));
    const double information = r / ((r + 1) * (r + 1)) + 6 * r / ((r + 3) * (r + 3));
    CHECK(fit.covariance(0, 0) == doctest::Approx(1 / information).epsilon(1e-13));
    CHECK(fit.score_test.statistic == doctest::Approx(1 / (0.25 + 6.0 / 16)).epsilon(1e-14));  // score 2 - 1/2 - 1/2
    CHECK(fit.wald_test.statistic == doctest::Approx(std::log(r) * std::log(r) * information).epsilon(1e-13));
    CHECK(fit.wald_test.p_value == doctest::Approx(std::erfc(std::sqrt(fit.wald_test.statistic / 2))).epsilon(1e-14));
    CHECK(fit.centre[0] == 0.5);
  }
  {
    const auto fit = cox_regression(ctx, column, order);  // Efron: the second of the dead among (r + 5) / 2
    double low = 1, high = 10;                            // 2 = r / (r + 1) + r / (r + 3) + r / (r + 5)
    for (int i = 0; i < 100; ++i) {
      const double r = (low + high) / 2;
      (r / (r + 1) + r / (r + 3) + r / (r + 5) < 2 ? low : high) = r;
    }
    CHECK(fit.coefficient[0] == doctest::Approx(std::log(low)).epsilon(1e-14));
    CHECK(fit.coefficient[0] == doctest::Approx(1.676857).epsilon(1e-6));  // as the book has it
  }
  {
    // Exact: both dead of time 2 are r among e_2 = 3 r + 3, so every term rises with r, towards 1 / 3.
    const auto fit = cox_regression(ctx, column, order, {.tie_method = ties::exact});
    CHECK(fit.status[0] == coefficient_status::diverging);
    CHECK(fit.coefficient[0] > 5);
    CHECK(fit.log_likelihood == doctest::Approx(-2 * std::log(3.0)).epsilon(1e-7));
  }
}

TEST_CASE("cox_regression: infinite coefficients are told") {
  cpu_context ctx;
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> time(12);
  std::iota(time.begin(), time.end(), 1);
  const std::vector<int> event{1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0};
  const risk_order order(ctx, time, event);
  for (const ties method : {ties::breslow, ties::efron, ties::exact}) {
    // A test of R's: who dies has both covariates 0. The likelihood is at most 1 / (3 2 1).
    array<double, 2> x(12, 2);
    for (index_t i = 0; i < 12; ++i) {
      x(i, 0) = static_cast<double>(i % 2);
      x(i, 1) = i < 6 ? 0 : 1;
    }
    const auto fit = cox_regression(ctx, x, order, {.tie_method = method});
    CHECK(!fit.converged);
    CHECK(fit.iterations < 30);
    for (index_t j = 0; j < 2; ++j) {
      CHECK(fit.status[j] == coefficient_status::diverging);
      CHECK(fit.coefficient[j] < -5);
      CHECK(fit.standard_error[j] == infinity);
    }
    CHECK(fit.null_log_likelihood == doctest::Approx(-std::log(12.0 * 10 * 8)).epsilon(1e-15));
    CHECK(fit.log_likelihood == doctest::Approx(-std::log(6.0)).epsilon(1e-7));
    CHECK(fit.likelihood_ratio_test.statistic == doctest::Approx(2 * std::log(160.0)).epsilon(1e-7));
    CHECK(std::isnan(fit.wald_test.statistic));
    // With a ridge there is a maximum.
    const auto ridge = cox_regression(ctx, x, order, {.tie_method = method, .ridge = 0.1});
    CHECK(ridge.converged);
    CHECK(ridge.status[0] == coefficient_status::estimated);
    CHECK(ridge.coefficient[0] > fit.coefficient[0]);
  }
}

TEST_CASE(
    "cox_regression: beside a diverging coefficient the others are those of the patients that it leaves at risk") {
  // Nobody with the mark dies: with its coefficient at -infinity those are at risk no more.
  cpu_context ctx;
  for (const bool late : {false, true}) {
    study s(150, 3, 40, 21);
    cohort<> left;
    std::vector<double> rows;
    for (std::size_t i = 0; i < 150; ++i) {
      const bool marked = i % 5 == 0;
      s.x(static_cast<index_t>(i), 1) = marked ? 1 : 0;
      if (marked) {
        s.patients.event[i] = 0;
        continue;
      }
      left.time.push_back(s.patients.time[i]);
      left.event.push_back(s.patients.event[i]);
      left.entry.push_back(s.patients.entry[i]);
      for (const index_t j : {0, 2}) rows.push_back(s.x(static_cast<index_t>(i), j));
    }
    risk_order_options<> columns;
    if (late) columns.entry = left.entry;
    const auto fit = cox_regression(ctx, s.x, s.order(ctx, false, late, false));
    const auto expected =
        cox_regression(ctx, matrix_view<const double>(rows.data(), static_cast<index_t>(rows.size()) / 2, 2),
                       risk_order(ctx, left.time, left.event, columns));
    REQUIRE(expected.converged);
    CHECK(fit.status[0] == coefficient_status::estimated);
    CHECK(fit.status[1] == coefficient_status::diverging);
    CHECK(fit.status[2] == coefficient_status::estimated);
    for (const index_t j : {0, 1}) {  // the likelihood is within 1e-8 of its bound, the coefficients not more than 1e-4
      CHECK(fit.coefficient[2 * j] == doctest::Approx(expected.coefficient[j]).epsilon(1e-5));
      CHECK(fit.standard_error[2 * j] == doctest::Approx(expected.standard_error[j]).epsilon(1e-5));
    }
    CHECK(fit.log_likelihood == doctest::Approx(expected.log_likelihood).epsilon(1e-8));
  }
}

TEST_CASE("cox_regression: a large but finite coefficient is not said to diverge") {
  // One death of 400 speaks against 399: the coefficient of who dies first against who stays is near log 399, and the
  // separation of the others must not be taken for proof.
  cpu_context ctx;
  std::vector<double> time, x;
  std::vector<int> event;
  for (int i = 0; i < 200; ++i)
    for (const int high : {1, 0}) {
      time.push_back(high == 1 ? 1 + i / 1000.0 : 5 + i);
      event.push_back(high == 1 || i == 199 ? 1 : 0);
      x.push_back(high);
    }
  time.push_back(1.1005);  // who dies with the low covariate among many of the high one
  event.push_back(1);
  x.push_back(0);
  const auto fit = cox_regression(ctx, matrix_view<const double>(x.data(), 401, 1), risk_order(ctx, time, event));
  CHECK(fit.converged);
  CHECK(fit.status[0] == coefficient_status::estimated);
  CHECK(fit.coefficient[0] > 3);
  CHECK(std::isfinite(fit.standard_error[0]));
}

TEST_CASE("cox_regression: collinear columns are refused by name, or dropped") {
  cpu_context ctx;
  const study s(80, 2, 20, 12);
  const auto order = s.order(ctx);
  const auto with = [&](const auto& third) {
    array<double, 2> x(80, 4);
    for (index_t i = 0; i < 80; ++i) {
      x(i, 0) = s.x(i, 0);
      x(i, 1) = third(i);
      x(i, 2) = s.x(i, 1);
      x(i, 3) = 3 * s.x(i, 0) - s.x(i, 1) / 3 + 1000;
    }
    return x;
  };
  const auto refused = [&](const array<double, 2>& x, int column) {
    CHECK(
        message_of<value_error>([&] { (void)cox_regression(ctx, x, order); }) ==
        "cox_regression: covariates: column " + std::to_string(column) +
            " constant in every risk set, or a combination of the columns before it, expected independent columns (or "
            "options.collinear drop)");
  };
  const auto constant = with([](index_t) { return 0.1; });
  const auto of_stratum = with([&](index_t i) { return 0.3 * s.patients.stratum[static_cast<std::size_t>(i)]; });
  const auto doubled = with([&](index_t i) { return -2 * s.x(i, 0) + 1e5; });
  for (const auto* x : {&constant, &of_stratum, &doubled}) {
    refused(*x, 1);
    const auto fit = cox_regression(ctx, *x, order, {.collinear = collinear_columns::drop});
    const auto expected = cox_regression(ctx, s.x, order);
    CHECK(fit.converged);
    CHECK(fit.score_test.degrees_of_freedom == 2);
    for (const index_t j : {1, 3}) {
      CHECK(fit.status[j] == coefficient_status::dropped);
      CHECK(fit.coefficient[j] == 0);
      CHECK(std::isnan(fit.standard_error[j]));
      CHECK(std::isnan(fit.covariance(j, 0)));
    }
    for (const index_t j : {0, 1}) {
      CHECK(fit.status[2 * j] == coefficient_status::estimated);
      CHECK(fit.coefficient[2 * j] == expected.coefficient[j]);
      CHECK(fit.standard_error[2 * j] == expected.standard_error[j]);
    }
    CHECK(fit.covariance(0, 2) == expected.covariance(0, 1));
  }
  // More columns than the risk sets of three events can tell apart.
  const std::vector<double> time{1, 2, 3, 4};
  const study few(4, 4, 9, 1);
  const risk_order small(ctx, time, std::vector<int>{1, 1, 1, 0});
  CHECK_THROWS_AS((void)cox_regression(ctx, few.x, small), value_error);
  // A ridge makes them one model.
  CHECK(cox_regression(ctx, doubled, order, {.ridge = 1}).converged);
}

TEST_CASE("cox_regression: shifts and units of the covariates") {
  cpu_context ctx;
  const study s(200, 3, 60, 14);
  const double unit[3] = {1024, 1.0 / 64, -1}, shift[3] = {1 << 20, -77, 1 << 30};
  auto moved = s.x;
  for (index_t i = 0; i < 200; ++i)
    for (index_t j = 0; j < 3; ++j) moved(i, j) = unit[j] * s.x(i, j) + shift[j];
  for (const bool late : {false, true})
    for (const ties method : {ties::breslow, ties::efron}) {
      const auto order = s.order(ctx, true, late);
      const auto a = cox_regression(ctx, s.x, order, {.tie_method = method}),
                 b = cox_regression(ctx, moved, order, {.tie_method = method});
      CHECK(b.log_likelihood == doctest::Approx(a.log_likelihood).epsilon(1e-13));
      CHECK(b.score_test.statistic == doctest::Approx(a.score_test.statistic).epsilon(1e-11));
      CHECK(a.iterations == b.iterations);
      for (index_t j = 0; j < 3; ++j) {
        CHECK(b.coefficient[j] * unit[j] == doctest::Approx(a.coefficient[j]).epsilon(1e-11));
        CHECK(b.standard_error[j] * std::abs(unit[j]) == doctest::Approx(a.standard_error[j]).epsilon(1e-12));
      }
    }
}

TEST_CASE("cox_regression: whole weights are repeated rows (Breslow), rows of weight 0 are absent") {
  cpu_context ctx;
  study s(90, 2, 25, 15);
  std::vector<double> repeated, present, time, time_present, weight_present, entry, entry_present;
  std::vector<int> event, event_present;
  for (std::size_t i = 0; i < 90; ++i) {
    s.patients.weight[i] = static_cast<double>(i % 4);
    const auto copy = [&](auto& x, auto& t, auto& e, auto& since) {
      for (const index_t j : {0, 1}) x.push_back(s.x(static_cast<index_t>(i), j));
      t.push_back(s.patients.time[i]);
      e.push_back(s.patients.event[i]);
      since.push_back(s.patients.entry[i]);
    };
    for (std::size_t k = 0; k < i % 4; ++k) copy(repeated, time, event, entry);
    if (i % 4 == 0) {
      s.x(static_cast<index_t>(i), 0) = 1e6;  // must not even be in the mean and the scale
      continue;
    }
    copy(present, time_present, event_present, entry_present);
    weight_present.push_back(s.patients.weight[i]);
  }
  const auto rows_of = [](const std::vector<double>& x) {
    return matrix_view<const double>(x.data(), static_cast<index_t>(x.size()) / 2, 2);
  };
  const auto order = s.order(ctx, true, true, false);
  const auto a = cox_regression(ctx, s.x, order, {.tie_method = ties::breslow});
  const auto b = cox_regression(ctx, rows_of(repeated), risk_order(ctx, time, event, {.entry = entry}),
                                {.tie_method = ties::breslow});
  const auto c = cox_regression(ctx, s.x, order);
  const auto d =
      cox_regression(ctx, rows_of(present),
                     risk_order(ctx, time_present, event_present, {.weight = weight_present, .entry = entry_present}));
  for (const auto& [one, other] : {std::pair{&a, &b}, std::pair{&c, &d}}) {
    CHECK(one->log_likelihood == doctest::Approx(other->log_likelihood).epsilon(1e-13));
    CHECK(difference(one->coefficient, other->coefficient) < 1e-12);
    CHECK(difference(one->covariance, other->covariance) < 1e-12);
    CHECK(difference(one->centre, other->centre) < 1e-13);
  }
}

TEST_CASE("cox_regression: who enters late with a large score costs no digits before") {
  // R's sums lose the others' digits for good: its log likelihood is off by 5 on such data.
  cpu_context ctx;
  study s(100, 2, 50, 16);
  for (std::size_t i = 0; i < 100; ++i) s.patients.entry[i] = -1;
  s.patients.time[0] = 49;
  s.patients.event[0] = 0;
  s.patients.entry[0] = 40;
  for (const double large : {38.0, 700.0, 1e5}) {
    s.offset[0] = large;
    const oracle expected(s, std::vector<double>{0.25, -0.5}, ties::efron, true, true, false, true);
    const auto found = evaluate(ctx, s.order(ctx, true, true, false), s.x, {0.25, -0.5}, s.offset, ties::efron);
    CHECK(found.value == doctest::Approx(static_cast<double>(expected.value)).epsilon(1e-13));
    CHECK(difference(found.score, expected.score) < 1e-12);
    CHECK(difference(found.information, expected.information) < 1e-12);
    const auto fit = cox_regression(ctx, s.x, s.order(ctx, true, true, false), {.offset = s.offset});
    CHECK(fit.converged);
    const oracle at(s, fit.coefficient, ties::efron, true, true, false, true);
    for (std::size_t a = 0; a < 2; ++a)
      CHECK(std::abs(static_cast<double>(at.score[a])) * fit.standard_error[static_cast<index_t>(a)] < 1e-11);
  }
}

TEST_CASE("cox_regression: start, tolerance and number of iterations") {
  cpu_context ctx;
  const study s(150, 2, 40, 17);
  const auto order = s.order(ctx);
  const auto fit = cox_regression(ctx, s.x, order);
  for (const auto& start : {std::vector<double>{1, -1}, std::vector<double>{-8, 9}, std::vector<double>{20, 20}}) {
    const auto other = cox_regression(ctx, s.x, order, {.start = start});
    CHECK(other.converged);
    CHECK(difference(other.coefficient, fit.coefficient) < 1e-11);
    CHECK(other.null_log_likelihood == fit.null_log_likelihood);
    CHECK(other.score_test.statistic == fit.score_test.statistic);
  }
  const auto none = cox_regression(ctx, s.x, order, {.start = std::vector<double>{0.5, 0.25}, .iterations = 0});
  CHECK(!none.converged);
  CHECK(none.iterations == 0);
  CHECK(none.coefficient[0] == doctest::Approx(0.5).epsilon(eps));
  CHECK(none.status[0] == coefficient_status::estimated);
  const auto rough = cox_regression(ctx, s.x, order, {.tolerance = 0.5});
  CHECK(rough.converged);
  CHECK(rough.iterations < fit.iterations);
}

TEST_CASE("cox_regression: storage, row order, threads, float") {
  cpu_context ctx, three(3);
  const study s(120, 3, 30, 18);
  const auto order = s.order(ctx);
  const auto fit = cox_regression(ctx, s.x, order);
  array<double, 2> spread(240, 6), columns(3, 120);
  spread.fill(std::nan(""));
  std::vector<float> narrow;
  for (index_t i = 0; i < 120; ++i)
    for (index_t j = 0; j < 3; ++j) {
      spread(2 * i, 2 * j) = columns(j, i) = s.x(i, j);
      narrow.push_back(static_cast<float>(s.x(i, j)));
    }
  const auto same = [&](const cox_fit& other) {
    CHECK(difference(other.coefficient, fit.coefficient) == 0);
    CHECK(difference(other.covariance, fit.covariance) == 0);
    CHECK(other.log_likelihood == fit.log_likelihood);
  };
  same(cox_regression(three, matrix_view<const double>(spread.data(), 120, 3, 12, 2), s.order(three)));
  same(cox_regression(ctx, as_const_view(columns).transposed(), order));
  same(cox_regression(ctx, matrix_view<const float>(narrow.data(), 120, 3), order));
  const auto from = random_permutation(120, 2);
  study t = s;
  t.patients = {permuted(s.patients.score, from), permuted(s.patients.time, from),  permuted(s.patients.weight, from),
                permuted(s.patients.event, from), permuted(s.patients.entry, from), permuted(s.patients.stratum, from)};
  for (std::size_t i = 0; i < 120; ++i)
    for (index_t j = 0; j < 3; ++j) t.x(static_cast<index_t>(i), j) = s.x(static_cast<index_t>(from[i]), j);
  CHECK(difference(cox_regression(ctx, t.x, t.order(ctx)).coefficient, fit.coefficient) < 1e-12);
}

TEST_CASE("cox_regression: strata together are the sum of their likelihoods; no covariate, one patient") {
  cpu_context ctx;
  const study s(60, 1, 15, 19);
  const array<double, 2> nothing(60, 0);
  const auto fit = cox_regression(ctx, nothing, s.order(ctx));
  CHECK(fit.coefficient.size() == 0);
  CHECK(fit.converged);
  CHECK(fit.log_likelihood == fit.null_log_likelihood);
  const oracle null(s, std::vector<double>{0}, ties::efron, true, true, true, false);
  CHECK(fit.log_likelihood == doctest::Approx(static_cast<double>(null.value)).epsilon(1e-13));
  const std::vector<double> one{1};
  CHECK(cox_regression(ctx, array<double, 2>(1, 0), risk_order(ctx, one, one)).log_likelihood == 0);
}

TEST_CASE("cox_regression: times and events in place of an order") {
  cpu_context ctx;
  const study s(50, 2, 20, 22);
  const auto direct = cox_regression(ctx, s.x, s.patients.time, s.patients.event, {.offset = s.offset});
  const auto fit = cox_regression(ctx, s.x, s.order(ctx, false, false, false), {.offset = s.offset});
  CHECK(difference(direct.coefficient, fit.coefficient) == 0);
  CHECK(direct.log_likelihood == fit.log_likelihood);
  CHECK(message_of<value_error>([&] {
          (void)cox_regression(ctx, s.x, s.patients.time, s.patients.time);
        }).starts_with("cox_regression: event: "));
}

TEST_CASE("cox_regression: takes memory once") {
  cpu_context ctx;
  const study s(300, 4, 60, 20);
  const auto late = s.order(ctx), plain = s.order(ctx, false, false, false);
  cox_fit fit;
  for (const ties method : {ties::breslow, ties::efron, ties::exact})
    for (const auto* order : {&plain, &late}) {
      if (method == ties::exact && order->weighted()) continue;
      const cox_regression_options options{.tie_method = method, .offset = s.offset};
      cox_regression(ctx, s.x, *order, fit, options);
      CHECK(allocations_in([&] { cox_regression(ctx, s.x, *order, fit, options); }) == 0);
    }
}

TEST_CASE("cox_regression: refuses what does not fit") {
  cpu_context ctx;
  const study s(30, 2, 10, 21);
  const auto order = s.order(ctx), plain = s.order(ctx, false, false, false);
  const std::vector<double> two{1, std::nan("")}, three(3);
  const auto message = [&](const auto& x, const risk_order<>& by, const cox_regression_options& options) {
    try {
      (void)cox_regression(ctx, x, by, options);
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  auto bad = s.x;
  bad(3, 1) = std::numeric_limits<double>::infinity();
  CHECK(message(bad, order, {}) == "cox_regression: covariates: inf at row 3, column 1, expected finite values");
  CHECK(message(array<double, 2>(29, 2), order, {}) ==
        "cox_regression: covariates: length 29, expected 30 (the length of order)");
  CHECK(message(s.x, order, {.offset = three}) ==
        "cox_regression: offset: length 3, expected 30 (the rows of covariates)");
  CHECK(message(s.x, order, {.start = three}) ==
        "cox_regression: start: length 3, expected 2 (the columns of covariates)");
  CHECK(message(s.x, order, {.start = two}) == "cox_regression: start: nan at 1, expected finite values");
  CHECK(message(s.x, order, {.ridge = -1}) == "cox_regression: ridge: -1, expected a finite number of 0 or more");
  CHECK(message(s.x, order, {.iterations = -1}) == "cox_regression: iterations: -1, expected 0 or more");
  CHECK(message(s.x, order, {.tolerance = 0}) == "cox_regression: tolerance: 0, expected a number above 0");
  CHECK(message(s.x, order, {.tie_method = ties::exact}) ==
        "cox_regression: order: a weighted cohort, expected one without weights, for exact ties");
  CHECK(message(s.x, plain, {.tie_method = ties::exact}).empty());
  const std::vector<int> censored(30, 0);
  CHECK(message(s.x, risk_order(ctx, s.patients.time, censored), {}) ==
        "cox_regression: event: none, expected 1 or more of positive weight");
  CHECK(message(array<double, 2>(0, 2), risk_order(ctx, std::vector<double>{}, std::vector<int>{}), {}) ==
        "cox_regression: event: none, expected 1 or more of positive weight");
}

#ifdef STROMA_TEST_JSON
TEST_CASE("cox_regression: R's survival") {
  const int count = golden::for_each_cox_case("optimum", [](const golden::cox_case& c) {
    cpu_context ctx;
    const auto fit = cox_regression(ctx, c.covariates, c.order(ctx), {.tie_method = c.tie_method, .offset = c.offset});
    CHECK(fit.converged);
    CHECK(fit.iterations < 12);
    CHECK(golden::close(fit.coefficient, c.expected.at("beta"), 1e-9));
    CHECK(golden::close(fit.standard_error, c.expected.at("se"), 1e-9));
    CHECK(golden::close(fit.log_likelihood, c.expected.at("loglik"), 1e-9));
    CHECK(golden::close(fit.null_log_likelihood, c.expected.at("loglik_null"), 1e-9));
    CHECK(golden::close(fit.score_test.statistic, c.expected.at("score_test"), 1e-9));
    CHECK(golden::close(fit.wald_test.statistic, c.expected.at("wald_test"), 1e-9));
  });
  CHECK(count >= 18);  // ovarian's
}
TEST_CASE("cox_regression: R's likelihood, score and information at given coefficients") {
  for (const auto* point : {"zero", "fixed"}) {
    const int count = golden::for_each_cox_case(point, [](const golden::cox_case& c) {
      cpu_context ctx;
      const auto found =
          evaluate(ctx, c.order(ctx), c.covariates, golden::numbers(c.expected.at("beta")), c.offset, c.tie_method);
      CHECK(golden::close(found.value, c.expected.at("loglik"), 1e-9));
      CHECK(golden::close(found.score, c.expected.at("score"), 1e-9));
      CHECK(golden::close(found.information, c.expected.at("information"), 1e-9));
    });
    CHECK(count >= 18);
  }
}
#endif
