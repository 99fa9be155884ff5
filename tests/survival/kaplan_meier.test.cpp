#include <cmath>
#include <limits>
#include <map>

#include <doctest/doctest.h>

#include <stroma/survival/kaplan_meier.hpp>

#include "support/counting_allocator.hpp"
#include "survival/cohort.hpp"
#ifdef STROMA_TEST_JSON
#include "survival/golden.hpp"
#endif

using namespace stroma;

namespace {

constexpr double eps = std::numeric_limits<double>::epsilon(), infinite = std::numeric_limits<double>::infinity();

std::vector<double> values(vector_view<const double> x) { return {x.data, x.data + x.size}; }

struct plain_row {
  long double time, at_risk = 0, events = 0, censored = 0, survival, log_error, hazard, hazard_error;
};

/// The definitions at every distinct time, by walking over all patients; in long double. Influences are differences
/// of the whole curve, each patient's weight being changed by a little.
struct plain_curve {
  const cohort<>& c;
  bool weighted, late;
  std::vector<std::size_t> rows;
  curve_estimate estimate = curve_estimate::kaplan_meier;

  [[nodiscard]] long double weight(std::size_t i) const {
    return weighted ? static_cast<long double>(c.weight[i]) : 1.0L;
  }
  [[nodiscard]] plain_row counts(long double t, std::size_t changed, long double by) const {
    plain_row row{};
    row.time = t;
    for (const std::size_t i : rows) {
      const long double w = weight(i) * (i == changed ? 1 + by : 1);
      if (static_cast<long double>(c.time[i]) >= t && !(late && static_cast<long double>(c.entry[i]) >= t))
        row.at_risk += w;
      if (static_cast<long double>(c.time[i]) == t) (c.event[i] != 0 ? row.events : row.censored) += w;
    }
    return row;
  }
  [[nodiscard]] std::vector<plain_row> table(std::size_t changed = ~std::size_t{0}, long double by = 0) const {
    std::map<double, std::vector<long double>> deaths;  // weights of those who die, by time
    for (const std::size_t i : rows) {
      deaths[c.time[i]];
      if (c.event[i] != 0) deaths[c.time[i]].push_back(weight(i) * (i == changed ? 1 + by : 1));
    }
    std::vector<plain_row> all;
    long double survival = 1, log_variance = 0, hazard = 0, hazard_variance = 0;
    for (const auto& [t, weights] : deaths) {
      plain_row row = counts(static_cast<long double>(t), changed, by);
      const long double n = row.at_risk, d = row.events;
      if (d > 0 && estimate == curve_estimate::kaplan_meier) {
        survival *= d == n ? 0 : 1 - d / n;
        log_variance += d / (n * (n - d));
        hazard += d / n;
        hazard_variance += d / (n * n);
      } else if (d > 0) {
        const auto m = static_cast<long double>(weights.size());
        for (std::size_t k = 0; k < weights.size(); ++k) {
          const long double left = n - static_cast<long double>(k) * d / m;
          hazard += d / m / left;
          hazard_variance += d / m / (left * left);
        }
        survival = std::exp(-hazard);
        log_variance = hazard_variance;
      }
      row.survival = survival;
      row.log_error = std::sqrt(log_variance);
      row.hazard = hazard;
      row.hazard_error = std::sqrt(hazard_variance);
      all.push_back(row);
    }
    return all;
  }
  /// Errors from influences.
  [[nodiscard]] std::vector<plain_row> robust_table() const {
    auto all = table();
    for (auto& row : all) row.log_error = row.hazard_error = 0;
    constexpr long double step = 1e-6L;
    for (const std::size_t i : rows) {
      const auto more = table(i, step), less = table(i, -step);
      for (std::size_t k = 0; k < all.size(); ++k) {
        const long double on_log = (std::log(more[k].survival) - std::log(less[k].survival)) / (2 * step);
        const long double on_hazard = (more[k].hazard - less[k].hazard) / (2 * step);
        all[k].log_error += on_log * on_log;
        all[k].hazard_error += on_hazard * on_hazard;
      }
    }
    for (auto& row : all) {
      row.log_error = row.survival == 0 ? std::numeric_limits<long double>::infinity() : std::sqrt(row.log_error);
      row.hazard_error = std::sqrt(row.hazard_error);
    }
    return all;
  }
};

/// Within `allowed`, relative; infinities equal.
bool near(double found, long double expected, double allowed) {
  const auto e = static_cast<double>(expected);
  return found == e || std::abs(found - e) <= allowed * std::abs(e);
}
void check_curve(const survival_curve<>& found, const std::vector<plain_row>& expected, double allowed,
                 double allowed_error) {
  REQUIRE(found.size() == static_cast<index_t>(expected.size()));
  for (index_t k = 0; k < found.size(); ++k) {
    const auto& e = expected[static_cast<std::size_t>(k)];
    CAPTURE(k);
    CHECK(found.time[k] == static_cast<double>(e.time));
    CHECK(near(found.at_risk[k], e.at_risk, allowed));
    CHECK(near(found.events[k], e.events, allowed));
    CHECK(near(found.censored[k], e.censored, allowed));
    CHECK(near(found.survival[k], e.survival, allowed));
    CHECK(near(found.hazard[k], e.hazard, allowed));
    CHECK(near(found.log_error[k], e.log_error, allowed_error));
    CHECK(near(found.hazard_error[k], e.hazard_error, allowed_error));
  }
}

std::vector<std::vector<std::size_t>> rows_by_stratum(const cohort<>& c, bool stratified) {
  std::map<int, std::vector<std::size_t>> by;
  for (std::size_t i = 0; i < c.time.size(); ++i) by[stratified ? c.stratum[i] : 0].push_back(i);
  std::vector<std::vector<std::size_t>> all;
  for (const auto& [label, rows] : by) all.push_back(rows);
  return all;
}

struct columns_used {
  bool weight, entry, stratum;
};
constexpr columns_used all_columns[] = {{false, false, false}, {true, false, false}, {false, true, false},
                                        {true, true, false},   {false, false, true}, {true, true, true}};

risk_order<> order_of(cpu_context& ctx, const cohort<>& c, const columns_used& use) {
  risk_order_options<> columns;
  if (use.weight) columns.weight = c.weight;
  if (use.entry) columns.entry = c.entry;
  if (use.stratum) columns.stratum = c.stratum;
  return {ctx, c.time, c.event, columns};
}

}  // namespace

#ifdef STROMA_TEST_JSON
namespace {

void check_limits(cpu_context& ctx, const risk_order<>& order, const golden::json& of, const char* field,
                  curve_interval interval) {
  kaplan_meier_curves<> curves(ctx, order, {.interval = interval});
  CAPTURE(field);
  CHECK(golden::close(values(curves.stacked().lower), of[field]["lower"], 1e-9));
  CHECK(golden::close(values(curves.stacked().upper), of[field]["upper"], 1e-9));
}

void check_summaries(const kaplan_meier_curves<>& curves, const golden::json& of) {
  std::vector<double> time, lower, upper, mean, mean_error;
  for (index_t s = 0; s < curves.size(); ++s) {
    for (const double p : golden::numbers(of["quantiles"]["p"])) {
      const auto q = quantile(curves[s], p);
      time.push_back(q.time);
      lower.push_back(q.lower);
      upper.push_back(q.upper);
    }
    const auto m = restricted_mean(curves[s], of["rmst"]["tau"].get<double>());
    mean.push_back(m.value);
    mean_error.push_back(m.standard_error);
  }
  CHECK(golden::close(time, of["quantiles"]["time"], 1e-9));
  CHECK(golden::close(lower, of["quantiles"]["lower_log"], 1e-9));
  CHECK(golden::close(upper, of["quantiles"]["upper_log"], 1e-9));
  CHECK(golden::close(mean, of["rmst"]["rmst"], 1e-9));
  CHECK(golden::close(mean_error, of["rmst"]["se"], 1e-9));
}

void check_case(cpu_context& ctx, const golden::columns& table, const golden::json& of) {
  const auto weight = table.named_by(of, "weights"), entry = table.named_by(of, "start"),
             group = table.named_by(of, "group");
  const risk_order<> order(ctx, table["time"], table["status"], {.weight = weight, .entry = entry, .stratum = group});
  const kaplan_meier_curves<> curves(ctx, order);
  const auto all = curves.stacked();
  CHECK(golden::close(values(all.time), of["time"], 0));
  CHECK(golden::close(values(all.at_risk), of["n_risk"], 1e-9));
  CHECK(golden::close(values(all.events), of["n_event"], 1e-9));
  CHECK(golden::close(values(all.censored), of["n_censor"], 1e-9));
  CHECK(golden::close(values(all.survival), of["surv"], 1e-9));
  CHECK(golden::close(values(all.log_error), of["std_err_log_surv"], 1e-9));
  CHECK(golden::close(values(all.hazard), of["cumhaz"], 1e-9));
  CHECK(golden::close(values(all.hazard_error), of["std_err_cumhaz"], 1e-9));
  check_limits(ctx, order, of, "ci_log", curve_interval::log);
  check_limits(ctx, order, of, "ci_log-log", curve_interval::log_log);
  check_limits(ctx, order, of, "ci_plain", curve_interval::plain);
  check_summaries(curves, of);
  std::vector<double> lengths;
  for (index_t s = 0; s < curves.size(); ++s) lengths.push_back(static_cast<double>(curves[s].size()));
  if (of.contains("curve_lengths")) CHECK(golden::close(lengths, of["curve_lengths"], 0));

  const kaplan_meier_curves<> fleming(ctx, order, {.estimate = curve_estimate::fleming_harrington});
  const auto& expected = of["fleming_harrington"];
  CHECK(golden::close(values(fleming.stacked().survival), expected["surv"], 1e-9));
  CHECK(golden::close(values(fleming.stacked().hazard), expected["cumhaz"], 1e-9));
  CHECK(golden::close(values(fleming.stacked().hazard_error), expected["std_err_cumhaz"], 1e-9));

  if (!of.contains("robust")) return;
  const kaplan_meier_curves<> robust(ctx, order, {.error = curve_error::robust});
  auto error = values(robust.stacked().log_error);  // R's `std.err` is that of S itself
  for (std::size_t k = 0; k < error.size(); ++k)
    error[k] = all.survival[static_cast<index_t>(k)] > 0 ? error[k] * all.survival[static_cast<index_t>(k)] : 0;
  CHECK(golden::close(error, of["robust"]["std_err_log_surv"], 1e-9));
  CHECK(golden::close(values(robust.stacked().hazard_error), of["robust"]["std_err_cumhaz"], 1e-9));
}

}  // namespace

TEST_CASE("kaplan_meier: R's survfit") {
  cpu_context ctx;
  int cases = 0;
  for (const auto& name : golden::sets("curves")) {
    const auto table = golden::table(name);
    const auto file = golden::cases(name, "curves");
    for (const auto& of : file["km"]) {
      const auto label = of["label"].get<std::string>();
      CAPTURE(name);
      CAPTURE(label);
      if (of.contains("event_time")) continue;  // what is before a time: below
      check_case(ctx, table, of);
      ++cases;
    }
  }
  CHECK(cases >= 8);
}

TEST_CASE("kaplan_meier: R's left limits of survival, and numbers at risk") {
  cpu_context ctx;
  int cases = 0;
  for (const auto& name : golden::sets("curves")) {
    const auto table = golden::table(name);
    const auto file = golden::cases(name, "curves");
    for (const auto& of : file["km"]) {
      if (!of.contains("event_time")) continue;
      ++cases;
      CAPTURE(name);
      const auto weight = table.named_by(of, "weights");
      const risk_order<> order(ctx, table["time"], table["status"], {.weight = weight});
      const kaplan_meier_curves<> curves(ctx, order);
      std::vector<detail::risk_count> counts(static_cast<std::size_t>(order.groups()));
      std::vector<detail::survival_step> censoring(counts.size());
      detail::count_at_risk(order.plan(), counts.data());
      detail::product_limit(order.plan(), counts.data(), detail::surviving_censoring, censoring.data());
      const auto times = golden::numbers(of["event_time"]);
      std::vector<double> before, at_risk, uncensored;
      for (const double t : times) {
        before.push_back(survival_before(curves[0], t));
        at_risk.push_back(at_risk_at(curves[0], t));
        for (std::size_t g = 0; g < counts.size(); ++g)
          if (order.plan().time[g] == t) uncensored.push_back(censoring[g].before);
      }
      CHECK(golden::close(before, of["S_left"], 1e-9));
      CHECK(golden::close(at_risk, of["n_risk"], 1e-9));
      CHECK(golden::close(uncensored, of["G_left"], 1e-9));
    }
  }
  CHECK(cases >= 2);
}
#endif

TEST_CASE("kaplan_meier: the definitions, with every column") {
  cpu_context ctx;
  for (const std::size_t n : {1u, 2u, 31u, 32u, 33u, 200u})
    for (const auto& use : all_columns)
      for (const auto estimate : {curve_estimate::kaplan_meier, curve_estimate::fleming_harrington}) {
        const auto c = random_cohort(n, n < 100 ? 12 : 150, static_cast<unsigned>(n) + 3);
        const kaplan_meier_curves<> curves(ctx, order_of(ctx, c, use), {.estimate = estimate});
        const auto strata = rows_by_stratum(c, use.stratum);
        REQUIRE(curves.size() == static_cast<index_t>(strata.size()));
        // A factor's or a term's error is a few epsilon, there are at most n of them; counts are exact.
        const double allowed = 8 * static_cast<double>(n) * eps;
        for (std::size_t s = 0; s < strata.size(); ++s) {
          check_curve(curves[static_cast<index_t>(s)],
                      plain_curve{c, use.weight, use.entry, strata[s], estimate}.table(), allowed, allowed);
          const auto patient = static_cast<std::size_t>(curves.patient(static_cast<index_t>(s)));
          CHECK(std::find(strata[s].begin(), strata[s].end(), patient) != strata[s].end());
        }
      }
}

TEST_CASE("kaplan_meier: robust errors are those of a small change of every weight") {
  cpu_context ctx;
  for (const std::size_t n : {1u, 7u, 40u})
    for (const auto& use : all_columns)
      for (const auto estimate : {curve_estimate::kaplan_meier, curve_estimate::fleming_harrington}) {
        const auto c = random_cohort(n, 15, static_cast<unsigned>(n) + 5);
        const kaplan_meier_curves<> curves(ctx, order_of(ctx, c, use),
                                           {.estimate = estimate, .error = curve_error::robust});
        const auto strata = rows_by_stratum(c, use.stratum);
        for (std::size_t s = 0; s < strata.size(); ++s) {
          const auto found = curves[static_cast<index_t>(s)];
          const auto expected = plain_curve{c, use.weight, use.entry, strata[s], estimate}.robust_table();
          REQUIRE(found.size() == static_cast<index_t>(expected.size()));
          for (index_t k = 0; k < found.size(); ++k) {
            const auto& e = expected[static_cast<std::size_t>(k)];
            CAPTURE(k);
            // The difference quotient's error: its step squared, times the third derivative (at most n^2 here), and
            // the rounding of long double over the step. Where all die an error is a sum of differences from 0.
            const double allowed = 1e-12 * static_cast<double>(n * n) + 1e-12;
            CHECK((found.log_error[k] == static_cast<double>(e.log_error) ||
                   std::abs(found.log_error[k] - static_cast<double>(e.log_error)) <= allowed));
            CHECK(std::abs(found.hazard_error[k] - static_cast<double>(e.hazard_error)) <= allowed);
          }
        }
      }
}

TEST_CASE("kaplan_meier: whole weights are repeated rows, weight 0 is nobody") {
  cpu_context ctx;
  auto c = random_cohort(120, 25, 4);
  cohort<> repeated;
  for (std::size_t i = 0; i < 120; ++i) {
    c.weight[i] = static_cast<double>(i % 4);
    for (std::size_t k = 0; k < i % 4; ++k) {
      repeated.time.push_back(c.time[i]);
      repeated.event.push_back(c.event[i]);
      repeated.entry.push_back(c.entry[i]);
    }
  }
  const kaplan_meier_curves<> a(ctx, order_of(ctx, c, {true, true, false})),
      b(ctx, order_of(ctx, repeated, {false, true, false}));
  for (double t = -1; t < 26; t += 0.5) {
    CHECK(survival_at(a[0], t) == survival_at(b[0], t));
    CHECK(survival_before(a[0], t) == survival_before(b[0], t));
  }
  CHECK(restricted_mean(a[0], 20).value == restricted_mean(b[0], 20).value);
  CHECK(restricted_mean(a[0], 20).standard_error == restricted_mean(b[0], 20).standard_error);
}

TEST_CASE("kaplan_meier: entry before all times is no late entry; rows in any order; strata one by one") {
  cpu_context ctx;
  auto c = random_cohort(300, 40, 9);
  const std::vector<double> from_start(300, -1.0);
  for (const auto error : {curve_error::greenwood, curve_error::robust}) {
    const kaplan_meier_options options{.error = error};
    const kaplan_meier_curves<> plain(ctx, risk_order(ctx, c.time, c.event), options),
        entered(ctx, risk_order(ctx, c.time, c.event, {.entry = from_start}), options);
    CHECK(values(plain.stacked().survival) == values(entered.stacked().survival));
    CHECK(values(plain.stacked().log_error) == values(entered.stacked().log_error));
    CHECK(values(plain.stacked().upper) == values(entered.stacked().upper));

    const auto p = random_permutation(300, 2);
    const kaplan_meier_curves<> moved(ctx, risk_order(ctx, permuted(c.time, p), permuted(c.event, p)), options);
    CHECK(values(plain.stacked().survival) == values(moved.stacked().survival));
    CHECK(values(plain.stacked().log_error) == values(moved.stacked().log_error));

    const kaplan_meier_curves<> strata(ctx, order_of(ctx, c, {true, true, true}), options);
    const auto parts = rows_by_stratum(c, true);
    for (std::size_t s = 0; s < parts.size(); ++s) {
      cohort<> part;
      for (const std::size_t i : parts[s]) {
        part.time.push_back(c.time[i]);
        part.event.push_back(c.event[i]);
        part.weight.push_back(c.weight[i]);
        part.entry.push_back(c.entry[i]);
      }
      const kaplan_meier_curves<> alone(ctx, order_of(ctx, part, {true, true, false}), options);
      CHECK(values(strata[static_cast<index_t>(s)].survival) == values(alone[0].survival));
      CHECK(values(strata[static_cast<index_t>(s)].log_error) == values(alone[0].log_error));
      CHECK(values(strata[static_cast<index_t>(s)].hazard_error) == values(alone[0].hazard_error));
    }
  }
}

TEST_CASE("kaplan_meier: nobody, one, all censored, all dead at once") {
  cpu_context ctx;
  const std::vector<double> none, one{3}, three{2, 2, 2};
  const std::vector<int> no_event, alive{0}, dead{1}, all_alive{0, 0, 0}, all_dead{1, 1, 1};
  kaplan_meier_curves<> curves;
  CHECK(curves.size() == 0);
  CHECK(curves.stacked().size() == 0);
  curves.remake(ctx, risk_order<>());
  CHECK(curves.size() == 0);
  curves.remake(ctx, risk_order(ctx, none, no_event));
  CHECK(curves.size() == 0);

  for (const auto interval : {curve_interval::log, curve_interval::log_log, curve_interval::plain}) {
    curves.remake(ctx, risk_order(ctx, three, all_alive), {.interval = interval});
    REQUIRE(curves[0].size() == 1);
    CHECK(curves[0].survival[0] == 1);
    CHECK(curves[0].log_error[0] == 0);
    CHECK(std::isnan(curves[0].lower[0]) == (interval == curve_interval::log_log));
    CHECK(curves[0].censored[0] == 3);

    for (const auto error : {curve_error::greenwood, curve_error::robust}) {
      curves.remake(ctx, risk_order(ctx, three, all_dead, {.weight = std::vector<double>{0.1, 0.2, 0.7}}),
                    {.error = error, .interval = interval});
      CHECK(curves[0].survival[0] == 0);
      CHECK(curves[0].log_error[0] == infinite);
      CHECK(std::isnan(curves[0].lower[0]));
      CHECK(std::isnan(curves[0].upper[0]));
      CHECK(median(curves[0]).time == 2);
      CHECK(std::isnan(median(curves[0]).lower));
    }
  }
  curves.remake(ctx, risk_order(ctx, one, dead), {.interval = curve_interval::none});
  CHECK(curves[0].survival[0] == 0);
  CHECK(curves[0].lower.size == 0);
  CHECK(std::isnan(median(curves[0]).upper));
  curves.remake(ctx, risk_order(ctx, one, alive));
  CHECK(std::isnan(median(curves[0]).time));
}

TEST_CASE("kaplan_meier: who enters late after all have died finds S at 0") {
  cpu_context ctx;
  const std::vector<double> time{1, 2, 5, 6}, entry{0, 0, 3, 3};
  const std::vector<int> event{1, 1, 1, 0};
  for (const auto error : {curve_error::greenwood, curve_error::robust}) {
    const kaplan_meier_curves<> curves(ctx, risk_order(ctx, time, event, {.entry = entry}), {.error = error});
    CHECK(values(curves[0].at_risk) == std::vector<double>{2, 1, 2, 1});
    CHECK(values(curves[0].survival) == std::vector<double>{0.5, 0, 0, 0});
    CHECK(curves[0].hazard[2] == 2);
    CHECK(curves[0].log_error[3] == infinite);
  }
}

TEST_CASE("kaplan_meier: the second call allocates nothing") {
  cpu_context ctx;
  const auto c = random_cohort(1025, 300, 6);
  for (const auto& use : all_columns) {
    const auto order = order_of(ctx, c, use);
    kaplan_meier_curves<> curves;
    for (const auto error : {curve_error::greenwood, curve_error::robust}) {
      curves.remake(ctx, order, {.error = error});
      CHECK(allocations_in([&] { curves.remake(ctx, order, {.error = error}); }) == 0);
    }
  }
}

TEST_CASE("kaplan_meier: a confidence that is none") {
  cpu_context ctx;
  const risk_order<> order(ctx, std::vector<double>{1}, std::vector<int>{1});
  for (const double c : {0.0, 1.0, -1.0, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(kaplan_meier_curves<>(ctx, order, {.confidence = c}), value_error);
  CHECK(message_of<value_error>([&] { kaplan_meier_curves<>(ctx, order, {.confidence = 1.5}); }) ==
        "kaplan_meier_curves: confidence: 1.5, expected a number between 0 and 1");
}
