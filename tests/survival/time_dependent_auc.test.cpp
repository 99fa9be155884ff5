#include <cmath>

#include <doctest/doctest.h>

#include <stroma/survival/time_dependent_auc.hpp>

#include "support/counting_allocator.hpp"
#include "survival/censored.hpp"
#include "survival/golden.hpp"

using namespace stroma;

namespace {

using options = time_dependent_auc_options<>;
constexpr auc_weights all_weights[] = {auc_weights::left_limit, auc_weights::right_limit, auc_weights::none};

struct judged {
  std::vector<double> auc;
  std::vector<index_t> undefined;
};
template <class Scores>
judged auc(cpu_context& ctx, const Scores& score, const std::vector<double>& times, const risk_order<>& order,
           const options& how = {}) {
  judged j{std::vector<double>(times.size()), std::vector<index_t>(times.size())};
  time_dependent_auc(ctx, score, times, order, estimate_at_times<double>{as_view(j.auc), as_view(j.undefined)}, how);
  return j;
}

/// Every pair. score(i): of patient i at time t.
template <class T, class Score>
long double oracle_auc(const cohort<T>& c, const Score& score, double t, const options& how,
                       const cohort<T>& censoring) {
  const bool incident = how.cases == auc_cases::incident;
  long double pairs = 0, all = 0;
  for (std::size_t i = 0; i < c.time.size(); ++i) {
    if (c.event[i] == 0 || (incident ? c.time[i] != static_cast<T>(t) : static_cast<double>(c.time[i]) > t)) continue;
    long double weight = c.weight[i];
    if (how.weights != auc_weights::none && weight > 0 && !incident)
      weight /= oracle::product_limit(censoring, oracle::who::censored, static_cast<long double>(c.time[i]),
                                      how.weights == auc_weights::right_limit);
    for (std::size_t j = 0; j < c.time.size(); ++j) {
      if (!(static_cast<double>(c.time[j]) > t)) continue;
      const long double w = weight * static_cast<long double>(c.weight[j]);
      all += w;
      pairs += score(i) > score(j) ? w : score(i) == score(j) ? w / 2 : 0;
    }
  }
  return pairs / all;
}

}  // namespace

TEST_CASE("time_dependent_auc: the golden definitions") {
  cpu_context ctx;
  for (const auto& name : golden::sets()) {
    const auto expected = golden::cases(name, "curves").at("prediction");
    if (expected.is_null()) continue;
    CAPTURE(name);
    const auto table = golden::table(name);
    const risk_order order(ctx, table["time"], table["status"]);
    const auto times = golden::numbers(expected["times"]);
    const auto& score = table[expected["risk"].get<std::string>()];
    const auto& of = expected["auc"];
    CHECK(golden::close(auc(ctx, score, times, order).auc, of["cumulative_dynamic_left_limit"], 1e-9));
    CHECK(golden::close(auc(ctx, score, times, order, {.weights = auc_weights::right_limit}).auc,
                        of["cumulative_dynamic_right_limit"], 1e-9));
    CHECK(golden::close(auc(ctx, score, times, order, {.weights = auc_weights::none}).auc,
                        of["cumulative_dynamic_unweighted"], 1e-9));
    for (const auto weights : all_weights)
      CHECK(golden::close(auc(ctx, score, times, order, {.cases = auc_cases::incident, .weights = weights}).auc,
                          of["incident_dynamic_unweighted"], 1e-9));
  }
}

TEST_CASE_TEMPLATE("time_dependent_auc: every pair, one score for all times and one for each", T, double, float) {
  cpu_context ctx(2);
  for (const std::size_t n : {1u, 2u, 3u, 31u, 32u, 33u, 120u})
    for (const int last : {1, 7, 150})
      for (const bool weighted : {false, true}) {
        auto c = random_cohort<T>(n, last, static_cast<unsigned>(n) + 50);
        if (!weighted) c = unweighted(c);
        else if (n == 120) c.weight[5] = c.weight[60] = 0;
        auto train = random_cohort<T>(50, last, 11);
        train.time[0] = T(last + 1);
        train.event[0] = 1;
        const censoring_curve other(ctx, risk_order(ctx, train.time, train.event, {.weight = train.weight}));
        std::vector<double> times{-1, 0, 0.5, 1, 1, 2, 3, last / 2.0, std::floor(last / 2.0), last - 1.0, last + 5.0};
        std::sort(times.begin(), times.end());
        array<T, 2> of_time(static_cast<index_t>(n), static_cast<index_t>(times.size()));
        std::mt19937 draw(4);
        for (T& s : of_time) s = static_cast<T>(draw() % 20);
        const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
        for (const auto cases : {auc_cases::cumulative, auc_cases::incident})
          for (const auto weights : all_weights)
            for (const bool own : {true, false}) {
              const options how{.cases = cases, .weights = weights, .censoring = own ? step_curve<>{} : other.steps()};
              const auto& g = own ? c : train;
              const auto one = auc(ctx, c.score, times, order, how), each = auc(ctx, of_time, times, order, how);
              const double eps = 16 * static_cast<double>(n + 50) * 2.3e-16;
              for (std::size_t k = 0; k < times.size(); ++k) {
                const auto score = [&](std::size_t i) { return c.score[i]; };
                const auto score_then = [&](std::size_t i) {
                  return of_time(static_cast<index_t>(i), static_cast<index_t>(k));
                };
                CHECK(one.undefined[k] == each.undefined[k]);
                if (one.undefined[k] != 0) {
                  CHECK(std::isnan(one.auc[k]));
                  continue;
                }
                CHECK(golden::close(one.auc[k], static_cast<double>(oracle_auc(c, score, times[k], how, g)), eps));
                CHECK(
                    golden::close(each.auc[k], static_cast<double>(oracle_auc(c, score_then, times[k], how, g)), eps));
              }
            }
      }
}

TEST_CASE("time_dependent_auc: at every time of a larger cohort, exact without weights") {
  cpu_context ctx;
  const auto c = unweighted(random_cohort(700, 90, 2));
  std::vector<double> times;
  for (int t = 0; t < 90; ++t) times.push_back(t);
  const risk_order order(ctx, c.time, c.event);
  for (const auto cases : {auc_cases::cumulative, auc_cases::incident}) {
    const options how{.cases = cases, .weights = auc_weights::none};
    const auto found = auc(ctx, c.score, times, order, how);
    for (std::size_t k = 0; k < times.size(); ++k) {
      long double pairs = 0, all = 0;
      for (std::size_t i = 0; i < 700; ++i)
        for (std::size_t j = 0; j < 700; ++j) {
          if (c.event[i] == 0 || c.time[i] > times[k] || c.time[j] <= times[k]) continue;
          if (cases == auc_cases::incident && c.time[i] != times[k]) continue;
          all += 1;
          pairs += c.score[i] > c.score[j] ? 1 : c.score[i] == c.score[j] ? 0.5L : 0;
        }
      if (all > 0) CHECK(found.auc[k] == static_cast<double>(pairs) / static_cast<double>(all));
      else CHECK(std::isnan(found.auc[k]));
    }
  }
}

TEST_CASE("time_dependent_auc: sums of pairs lose nothing to those who left") {
  cpu_context ctx;
  // Late times are judged by 2 patients of weight 1e-9 among 500 of weight 1: subtracting would leave noise.
  auto c = unweighted(random_cohort(500, 40, 9));
  for (double& t : c.time) ++t;
  for (int k = 0; k < 2; ++k) {
    c.score.push_back(0.0625 + k);
    c.time.push_back(60 + k);
    c.event.push_back(1);
    c.weight.push_back(1e-9);
  }
  const std::vector<double> times{0.5, 20, 60.5};
  c.time[0] = 0.25;  // a first case of next to no weight
  c.event[0] = 1;
  c.weight[0] = 1e-9;
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  const options how{.weights = auc_weights::none};
  const auto found = auc(ctx, c.score, times, order, how);
  for (std::size_t k = 0; k < 3; ++k) {
    const auto score = [&](std::size_t i) { return c.score[i]; };
    CHECK(golden::close(found.auc[k], static_cast<double>(oracle_auc(c, score, times[k], how, c)), 600 * 2.3e-16));
  }
}

TEST_CASE("time_dependent_auc: whole weights are copies, the order of rows does not count, a higher score is worse") {
  cpu_context ctx;
  auto c = random_cohort(90, 12, 8);
  for (std::size_t i = 0; i < 90; ++i) c.weight[i] = static_cast<double>(i % 4);
  const std::vector<double> times{1, 3, 4.5, 8, 10};
  const auto expanded = repeated(c);
  const auto p = random_permutation(90, 3);
  auto reversed = c.score;
  for (double& s : reversed) s = -s;
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  for (const auto cases : {auc_cases::cumulative, auc_cases::incident})
    for (const auto weights : all_weights) {
      const options how{.cases = cases, .weights = weights};
      const auto found = auc(ctx, c.score, times, order, how);
      CHECK(golden::close(found.auc,
                          auc(ctx, expanded.score, times, risk_order(ctx, expanded.time, expanded.event), how).auc,
                          300 * 2.3e-16));
      CHECK(golden::close(
          auc(ctx, permuted(c.score, p), times,
              risk_order(ctx, permuted(c.time, p), permuted(c.event, p), {.weight = permuted(c.weight, p)}), how)
              .auc,
          found.auc, 300 * 2.3e-16));
      const auto opposite = auc(ctx, reversed, times, order, how);
      for (std::size_t k = 0; k < 5; ++k)
        if (!std::isnan(found.auc[k])) CHECK(std::abs(found.auc[k] + opposite.auc[k] - 1) < 300 * 2.3e-16);
    }
}

TEST_CASE("time_dependent_auc: where G is 0, no case, no control, nobody") {
  cpu_context ctx;
  const std::vector<double> train{1, 2, 3}, time{1, 2, 3, 4, 5}, score{5, 4, 3, 2, 1}, times{0.5, 2.5, 3.5, 4.5, 6},
      none;
  const std::vector<int> train_event{1, 0, 0}, event{1, 1, 1, 1, 0}, censored{0, 0, 0, 0, 0};
  const censoring_curve g(ctx, risk_order(ctx, train, train_event));
  const risk_order order(ctx, time, event);
  const auto found = auc(ctx, score, times, order, {.censoring = g.steps()});
  CHECK(found.undefined == std::vector<index_t>{0, 0, 0, 1, 1});
  CHECK(std::isnan(found.auc[0]));  // no case
  CHECK(found.auc[1] == 1);
  CHECK(found.auc[2] == 1);
  CHECK(std::isnan(found.auc[3]));
  CHECK(std::isnan(found.auc[4]));  // no control
  CHECK(auc(ctx, score, times, order).auc[3] == 1);
  for (const double x : auc(ctx, score, times, risk_order(ctx, time, censored)).auc) CHECK(std::isnan(x));
  for (const double x : auc(ctx, none, times, risk_order(ctx, none, none)).auc) CHECK(std::isnan(x));
  CHECK(auc(ctx, score, none, order).auc.empty());
  CHECK(auc(ctx, std::vector<double>(5, 3.0), times, order).auc[1] == 0.5);
  CHECK(auc(ctx, std::vector<double>{0.0, -0.0, 0.0, -0.0, 0.0}, times, order).auc[1] == 0.5);
}

TEST_CASE("mean_time_dependent_auc: the drops of Kaplan-Meier's curve as weights") {
  cpu_context ctx;
  const auto c = random_cohort(150, 40, 21);
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  const std::vector<double> times{2, 5, 5, 11, 30};
  const auto areas = auc(ctx, c.score, times, order).auc;
  long double sum = 0, before = 1;
  for (std::size_t k = 0; k < 5; ++k) {
    const auto at = oracle::product_limit(c, oracle::who::died, times[k], true);
    sum += (before - at) * static_cast<long double>(areas[k]);
    before = at;
  }
  CHECK(
      golden::close(mean_time_dependent_auc(ctx, areas, times, order), static_cast<double>(sum / (1 - before)), 1e-13));
  // Before the first death there is no AUC; its weight is 0.
  const std::vector<double> time{1, 2, 3}, at{0.5, 1.5}, late{0.25, 0.5};
  const risk_order three(ctx, time, std::vector<int>{1, 1, 1});
  const auto with_gap = auc(ctx, std::vector<double>{3, 2, 1}, at, three).auc;
  CHECK(std::isnan(with_gap[0]));
  CHECK(mean_time_dependent_auc(ctx, with_gap, at, three) == 1);
  CHECK(std::isnan(mean_time_dependent_auc(ctx, with_gap, late, three)));
}

TEST_CASE_TEMPLATE("time_dependent_auc: layouts, threads, memory taken once", T, double, float) {
  cpu_context ctx, many(3);
  const auto c = random_cohort<T>(1025, 40, 12);
  const std::vector<double> times{1, 5, 5, 17, 33};
  const risk_order order(ctx, c.time, c.event, {.weight = c.weight});
  array<T, 2> score(1025, 5), columns(5, 1025);
  for (index_t i = 0; i < 1025; ++i)
    for (index_t k = 0; k < 5; ++k)
      score(i, k) = columns(k, i) = c.score[static_cast<std::size_t>(i)] + static_cast<T>((i * 7 + k * 3) % 11);
  const auto expected = auc(ctx, score, times, order);
  CHECK(auc(many, score, times, order).auc == expected.auc);
  CHECK(auc(ctx, as_const_view(columns).transposed(), times, order).auc == expected.auc);
  auto apart = spread_out(c.score, 3, std::numeric_limits<T>::quiet_NaN());
  const auto one = auc(ctx, c.score, times, order);
  CHECK(auc(ctx, strided(apart, 3), times, order).auc == one.auc);
  CHECK(golden::close(one.auc[1], one.auc[2], 1025 * 2.3e-16));
  std::vector<double> found(10, 7);
  const estimate_at_times<double> out{vector_view<double>(found.data(), 5, 2), {}};
  time_dependent_auc(ctx, c.score, times, order, out);
  for (std::size_t k = 0; k < 5; ++k) CHECK((found[2 * k] == one.auc[k] && found[2 * k + 1] == 7));
  CHECK(allocations_in([&] { time_dependent_auc(ctx, c.score, times, order, out); }) == 0);
  time_dependent_auc(ctx, score, times, order, out);
  CHECK(allocations_in([&] { time_dependent_auc(ctx, score, times, order, out); }) == 0);
}

TEST_CASE("time_dependent_auc: refuses what does not fit") {
  cpu_context ctx;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> time{1, 2}, times{1, 2, 3}, falling{1, 3, 2}, early{-1, -1}, score{1, 2}, bad{1, nan};
  const std::vector<int> event{1, 0}, stratum{1, 2};
  const risk_order order(ctx, time, event);
  const array<double, 2> wide(2, 4);
  std::vector<double> value(3), two(2);
  const estimate_at_times<double> out{as_view(value), {}}, narrow{as_view(two), {}};
  CHECK(message_of<shape_error>([&] { time_dependent_auc(ctx, times, times, order, out); }) ==
        "time_dependent_auc: score: length 3, expected 2 (the length of order)");
  CHECK(message_of<shape_error>([&] { time_dependent_auc(ctx, wide, times, order, out); }) ==
        "time_dependent_auc: score: shape 2 x 4, expected 2 x 3");
  CHECK(message_of<shape_error>([&] { time_dependent_auc(ctx, score, times, order, narrow); }) ==
        "time_dependent_auc: value: length 2, expected 3 (the length of times)");
  CHECK(message_of<value_error>([&] { time_dependent_auc(ctx, score, falling, order, out); }) ==
        "time_dependent_auc: times: a fall at 2, expected numbers that never fall");
  CHECK(message_of<value_error>([&] { time_dependent_auc(ctx, bad, times, order, out); }) ==
        "time_dependent_auc: score: nan at 1, expected finite values");
  CHECK(message_of<value_error>([&] {
          time_dependent_auc(ctx, score, times, risk_order(ctx, time, event, {.stratum = stratum}), out);
        }) == "time_dependent_auc: order: strata, expected a cohort without strata");
  CHECK(message_of<value_error>([&] {
          time_dependent_auc(ctx, score, times, risk_order(ctx, time, event, {.entry = early}), out);
        }) == "time_dependent_auc: order: late entry, expected a cohort that is followed from time 0 on");
  CHECK(message_of<shape_error>([&] { (void)mean_time_dependent_auc(ctx, two, times, order); }) ==
        "mean_time_dependent_auc: auc: length 2, expected 3 (the length of times)");
  time_dependent_auc(ctx, bad, times, order, out, {.check_values = false});
}
