#include <cmath>
#include <limits>
#include <map>
#include <set>

#include <doctest/doctest.h>

#include <stroma/survival/log_rank.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/golden.hpp"
#endif

using namespace stroma;

namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();

struct plain_test {
  std::vector<long double> observed, expected;
  std::vector<std::vector<long double>> variance;
};

/// Everything from its definition, by walking over all patients at every time, in long double.
plain_test plain_log_rank(const cohort<>& c, const std::vector<int>& group, double rho, bool weighted, bool late,
                          bool stratified) {
  const std::set<int> labels(group.begin(), group.end());
  const std::size_t k = labels.size();
  plain_test t{std::vector<long double>(k), std::vector<long double>(k),
               std::vector<std::vector<long double>>(k, std::vector<long double>(k))};
  std::map<std::pair<int, double>, int> times;
  for (std::size_t i = 0; i < group.size(); ++i) times[{stratified ? c.stratum[i] : 0, c.time[i]}] = 1;
  long double survival = 1;
  int stratum = std::numeric_limits<int>::min();
  for (const auto& [at, unused] : times) {
    if (at.first != stratum) survival = 1;
    stratum = at.first;
    std::vector<long double> n(k), d(k);
    long double all = 0, died = 0;
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (stratified && c.stratum[i] != stratum) continue;
      const auto j = static_cast<std::size_t>(std::distance(labels.begin(), labels.find(group[i])));
      const long double w = weighted ? static_cast<long double>(c.weight[i]) : 1;
      if (c.time[i] < at.second || (late && c.entry[i] >= at.second)) continue;
      n[j] += w;
      all += w;
      if (c.time[i] != at.second || c.event[i] == 0) continue;
      d[j] += w;
      died += w;
    }
    const long double scale = std::pow(survival, static_cast<long double>(rho));
    for (std::size_t j = 0; j < k && died > 0; ++j) {
      t.observed[j] += scale * d[j];
      t.expected[j] += scale * died * n[j] / all;
      for (std::size_t l = 0; l < k && all > 1; ++l)
        t.variance[j][l] +=
            scale * scale * died * (all - died) / (all - 1) * n[j] / all * ((j == l ? 1 : 0) - n[l] / all);
    }
    if (died > 0) survival *= 1 - died / all;
  }
  return t;
}

/// Gauss's elimination with all groups but the last.
long double plain_statistic(const plain_test& t) {
  const std::size_t k = t.observed.size() - 1;
  auto v = t.variance;
  std::vector<long double> x(k);
  for (std::size_t j = 0; j < k; ++j) x[j] = t.observed[j] - t.expected[j];
  const auto difference = x;
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j) {
      if (j == i) continue;
      const long double factor = v[j][i] / v[i][i];
      for (std::size_t l = 0; l < k; ++l) v[j][l] -= factor * v[i][l];
      x[j] -= factor * x[i];
    }
  long double sum = 0;
  for (std::size_t j = 0; j < k; ++j) sum += difference[j] * x[j] / v[j][j];
  return sum;
}

std::vector<int> random_groups(std::size_t n, int groups, unsigned seed) {
  std::mt19937 draw(seed);
  std::vector<int> group;
  for (std::size_t i = 0; i < n; ++i) group.push_back(3 * static_cast<int>(draw() % static_cast<unsigned>(groups)) - 4);
  return group;
}

void check_near(const log_rank_result& found, const plain_test& expected, double allowed) {
  const auto near = [&](double a, long double b) { CHECK(std::abs(a - static_cast<double>(b)) <= allowed); };
  REQUIRE(found.observed.size() == static_cast<index_t>(expected.observed.size()));
  for (index_t j = 0; j < found.observed.size(); ++j) {
    const auto at = static_cast<std::size_t>(j);
    near(found.observed[j], expected.observed[at]);
    near(found.expected[j], expected.expected[at]);
    for (index_t l = 0; l < found.observed.size(); ++l)
      near(found.variance(j, l), expected.variance[at][static_cast<std::size_t>(l)]);
  }
}

}  // namespace

#ifdef STROMA_TEST_JSON
TEST_CASE("log_rank: R's survdiff") {
  cpu_context ctx;
  int cases = 0;
  for (const auto& name : golden::sets("curves")) {
    const auto table = golden::table(name);
    const auto file = golden::cases(name, "curves");
    for (const auto& of : file["logrank"]) {
      CAPTURE(name);
      const auto group = table.named_by(of, "group"), stratum = table.named_by(of, "strata");
      const risk_order<> order(ctx, table["time"], table["status"], {.stratum = stratum});
      const auto found = log_rank(ctx, group, order, {.rho = of["rho"].get<double>()});
      CHECK(golden::close(found.patients, of["n"], 0));
      CHECK(golden::close(found.observed, of["observed"], 1e-9));
      CHECK(golden::close(found.expected, of["expected"], 1e-9));
      // Off the diagonal elements may nearly cancel in R's sum: of the size of the whole.
      std::vector<double> variance(found.variance.begin(), found.variance.end());
      CHECK(golden::close(variance, of["var"], 1e-9, 1e-3));
      CHECK(golden::close(found.test.statistic, of["chisq"], 1e-9));
      CHECK(golden::close(found.test.p_value, of["p"], 1e-9));
      CHECK(found.test.degrees_of_freedom == of["df"].get<index_t>());
      ++cases;
    }
  }
  CHECK(cases >= 3);
}
#endif

TEST_CASE("log_rank: the definition, with every column") {
  cpu_context ctx;
  for (const std::size_t n : {2u, 31u, 32u, 33u, 150u})
    for (const int groups : {2, 3, 7})
      for (const double rho : {0.0, 1.0, 0.5})
        for (int columns = 0; columns < 8; ++columns) {
          const bool weighted = columns & 1, late = columns & 2, stratified = columns & 4;
          auto c = random_cohort(n, 20, static_cast<unsigned>(n) + 11);
          for (double& w : c.weight) w += 1;  // for a sum at risk of 1 or less the variance is another convention
          const auto group = random_groups(n, groups, 5);
          risk_order_options<> with;
          if (weighted) with.weight = c.weight;
          if (late) with.entry = c.entry;
          if (stratified) with.stratum = c.stratum;
          const risk_order<> order(ctx, c.time, c.event, with);
          const auto found = log_rank(ctx, group, order, {.rho = rho});
          const auto expected = plain_log_rank(c, group, rho, weighted, late, stratified);
          // n terms of up to the number at risk each, and S of n factors.
          const auto size = static_cast<double>(n);
          check_near(found, expected, 8 * size * size * eps);
          if (n < 100 || late) continue;  // the variance may be singular
          const auto statistic = static_cast<double>(plain_statistic(expected));
          CHECK(std::abs(found.test.statistic - statistic) <= 1e-10 * statistic);
          CHECK(found.test.degrees_of_freedom == groups - 1);
        }
}

TEST_CASE("log_rank: hand-worked") {
  cpu_context ctx;
  // Times 1, 2, 3, 4; deaths at 1 (of group 0), 2 (1), 3 (0); the last is censored.
  const std::vector<double> time{1, 2, 3, 4};
  const std::vector<int> event{1, 1, 1, 0}, group{0, 1, 0, 1};
  const auto r = log_rank(ctx, group, risk_order<>(ctx, time, event));
  CHECK(r.observed[0] == 2);
  CHECK(r.expected[0] == doctest::Approx(2.0 / 4 + 1.0 / 3 + 1.0 / 2));
  CHECK(r.variance(0, 0) == doctest::Approx(1.0 / 4 + 2.0 / 9 + 1.0 / 4));
  const double difference = 2 - (0.5 + 1.0 / 3 + 0.5);
  CHECK(r.test.statistic == doctest::Approx(difference * difference / (0.5 + 2.0 / 9)));
  CHECK(r.test.degrees_of_freedom == 1);
}

TEST_CASE("log_rank: whole weights are repeated rows; rows in any order; groups by any name") {
  cpu_context ctx;
  auto c = random_cohort(160, 30, 8);
  const auto group = random_groups(160, 3, 9);
  cohort<> repeated;
  std::vector<int> repeated_group;
  std::vector<float> renamed;
  for (std::size_t i = 0; i < 160; ++i) {
    renamed.push_back(static_cast<float>(group[i]) / 2 + 100);
    c.weight[i] = static_cast<double>(i % 4);
    for (std::size_t k = 0; k < i % 4; ++k) {
      repeated.time.push_back(c.time[i]);
      repeated.event.push_back(c.event[i]);
      repeated.entry.push_back(c.entry[i]);
      repeated_group.push_back(group[i]);
    }
  }
  const auto a = log_rank(ctx, group, risk_order<>(ctx, c.time, c.event, {.weight = c.weight, .entry = c.entry})),
             b = log_rank(ctx, repeated_group,
                          risk_order<>(ctx, repeated.time, repeated.event, {.entry = repeated.entry}));
  CHECK(a.test.statistic == b.test.statistic);
  for (index_t j = 0; j < 3; ++j) CHECK(a.patients[j] == b.patients[j]);

  const auto plain = log_rank(ctx, group, risk_order<>(ctx, c.time, c.event));
  const auto p = random_permutation(160, 3);
  CHECK(
      log_rank(ctx, permuted(group, p), risk_order<>(ctx, permuted(c.time, p), permuted(c.event, p))).test.statistic ==
      plain.test.statistic);
  CHECK(log_rank(ctx, renamed, risk_order<>(ctx, c.time, c.event)).test.statistic == plain.test.statistic);
  CHECK(log_rank(ctx, renamed, risk_order<>(ctx, c.time, c.event)).label[0] == 98);
}

TEST_CASE("log_rank: groups that are never compared take no degree of freedom") {
  cpu_context ctx;
  // Two hospitals as strata, each with arms of its own.
  const auto c = random_cohort(200, 25, 10);
  std::vector<int> hospital, arm;
  for (int i = 0; i < 200; ++i) {
    hospital.push_back(i % 2);
    arm.push_back(i % 4);
  }
  const auto both = log_rank(ctx, arm, risk_order<>(ctx, c.time, c.event, {.stratum = hospital}));
  CHECK(both.test.degrees_of_freedom == 2);
  double sum = 0;
  for (const int h : {0, 1}) {
    cohort<> part;
    std::vector<int> part_arm;
    for (std::size_t i = 0; i < 200; ++i) {
      if (hospital[i] != h) continue;
      part.time.push_back(c.time[i]);
      part.event.push_back(c.event[i]);
      part_arm.push_back(arm[i]);
    }
    sum += log_rank(ctx, part_arm, risk_order<>(ctx, part.time, part.event)).test.statistic;
  }
  CHECK(both.test.statistic == doctest::Approx(sum).epsilon(200 * eps));
  CHECK(both.variance(0, 1) == 0);
}

TEST_CASE("log_rank: nothing to compare") {
  cpu_context ctx;
  const std::vector<double> none, time{1, 2, 3}, same{2, 2, 2};
  const std::vector<int> empty, dead{1, 1, 1}, alive{0, 0, 0}, one_group{7, 7, 7}, two{0, 1, 1};
  const auto nothing = log_rank(ctx, empty, risk_order<>(ctx, none, empty));
  CHECK(nothing.label.size() == 0);
  CHECK(nothing.test.degrees_of_freedom == 0);
  const auto one = log_rank(ctx, one_group, risk_order<>(ctx, time, dead));
  CHECK(one.label.size() == 1);
  CHECK(one.observed[0] == 3);
  CHECK(one.expected[0] == 3);
  CHECK(one.variance(0, 0) == 0);
  CHECK(one.test.p_value == 1);
  for (const auto& [t, e] : {std::pair{time, alive}, std::pair{same, dead}}) {  // nobody dies; nobody outlives another
    const auto r = log_rank(ctx, two, risk_order<>(ctx, t, e));
    CHECK(r.test.statistic == 0);
    CHECK(r.test.degrees_of_freedom == 0);
    CHECK(r.test.p_value == 1);
  }
}

TEST_CASE("log_rank: the second call allocates nothing") {
  cpu_context ctx;
  const auto c = random_cohort(1025, 300, 6);
  const auto group = random_groups(1025, 4, 7);
  const risk_order<> order(ctx, c.time, c.event, {.weight = c.weight, .entry = c.entry, .stratum = c.stratum});
  log_rank_result result;
  log_rank(ctx, group, order, result, {.rho = 1});
  CHECK(allocations_in([&] { log_rank(ctx, group, order, result, {.rho = 1}); }) == 0);
}

TEST_CASE("log_rank: bad arguments") {
  cpu_context ctx;
  const std::vector<double> time{1, 2, 3}, bad{1, std::numeric_limits<double>::quiet_NaN(), 2};
  const std::vector<int> event{1, 1, 0}, group{0, 1, 0}, two{0, 1};
  const risk_order<> order(ctx, time, event);
  CHECK(message_of<shape_error>([&] { static_cast<void>(log_rank(ctx, two, order)); }) ==
        "log_rank: group: length 2, expected 3 (the length of order)");
  CHECK_THROWS_AS(static_cast<void>(log_rank(ctx, bad, order)), value_error);
  CHECK_THROWS_AS(static_cast<void>(log_rank(ctx, group, order, {.rho = -1})), value_error);
  std::vector<double> many(1001);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<double>(i);
  const std::vector<int> events(1001, 1);
  CHECK(message_of<value_error>([&] { static_cast<void>(log_rank(ctx, many, risk_order<>(ctx, many, events))); }) ==
        "log_rank: group: more than 1000 labels, expected few groups of many patients");
}
