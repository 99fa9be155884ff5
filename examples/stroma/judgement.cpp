#include "judgement.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>

#include <nlohmann/json.hpp>

#include <stroma/adapt/std.hpp>
#include <stroma/core/array.hpp>
#include <stroma/report/survival_plot.hpp>
#include <stroma/survival/baseline_hazard.hpp>
#include <stroma/survival/brier_score.hpp>
#include <stroma/survival/calibration.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/survival/cox_regression.hpp>
#include <stroma/survival/kaplan_meier.hpp>
#include <stroma/survival/log_rank.hpp>
#include <stroma/survival/time_dependent_auc.hpp>

namespace program {
namespace {

using numbers = std::vector<double>;
using stroma::index_t;

json concordance_json(const stroma::concordance_result& c) {
  const auto interval = c.interval();
  return {{"value", number_or_null(c.value)},
          {"se", number_or_null(c.standard_error())},
          {"interval", {number_or_null(interval.lower), number_or_null(interval.upper)}},
          {"undefined_events", c.undefined}};
}

json list(const numbers& x) {
  json values = json::array();
  for (const double v : x) values.push_back(number_or_null(v));
  return values;
}

/// The q-th part of the event times, each a time at which somebody died.
double event_quantile(numbers times, double q) {
  std::sort(times.begin(), times.end());
  return times[std::min(times.size() - 1, static_cast<std::size_t>(q * static_cast<double>(times.size())))];
}

/// Scores and their cohort.
class judged_scores {
 public:
  judged_scores(stroma::cpu_context& ctx, const numbers& score, const numbers& time, const numbers& event)
      : ctx_(ctx), score_(score), time_(time), event_(event), order_(ctx, time, event) {
    for (std::size_t i = 0; i < time.size(); ++i)
      if (event[i] != 0) event_times_.push_back(time[i]);
  }

  json judge() {
    json result = {{"harrell", concordance_json(stroma::concordance(ctx_, score_, order_, {.standard_error = true}))},
                   {"uno", concordance_json(stroma::concordance(
                               ctx_, score_, order_,
                               {.weighting = stroma::pair_weighting::inverse_censoring, .standard_error = true}))},
                   {"auc", auc()}};
    if (const auto [low, high] = std::minmax_element(score_.begin(), score_.end()); *low == *high) return result;
    predict();
    result["brier"] = brier();
    result["calibration"] = calibration();
    result["median_split"] = median_split();
    return result;
  }

 private:
  json auc() {
    numbers at;
    for (const double q : {0.25, 0.5, 0.75}) at.push_back(event_quantile(event_times_, q));
    numbers value(at.size());
    stroma::time_dependent_auc(ctx_, score_, at, order_, stroma::estimate_at_times<double>{stroma::as_view(value), {}});
    return {{"times", list(at)},
            {"auc", list(value)},
            {"mean", number_or_null(stroma::mean_time_dependent_auc(ctx_, value, at, order_))}};
  }

  /// Scores are no probabilities: what they say of survival is taken from Cox's model of the score in these very rows.
  void predict() {
    stroma::array<double, 2> x(static_cast<index_t>(score_.size()), 1);
    std::copy(score_.begin(), score_.end(), x.begin());
    slope_ = stroma::cox_regression(ctx_, x, order_).coefficient[0];
    log_hazard_ = score_;
    for (double& s : log_hazard_) s *= slope_;
    baseline_.remake(ctx_, log_hazard_, order_);
  }
  stroma::array<double, 2> survival_at(const numbers& times) {
    stroma::array<double, 2> survival(static_cast<index_t>(score_.size()), static_cast<index_t>(times.size()));
    stroma::survival_curves(ctx_, baseline_[0], log_hazard_, times, survival);
    return survival;
  }

  json brier() {
    numbers times;
    for (int tenth = 1; tenth < 10; ++tenth) times.push_back(event_quantile(event_times_, tenth / 10.0));
    times.erase(std::unique(times.begin(), times.end()), times.end());
    numbers score(times.size()), reference(times.size());
    const auto to = [](numbers& x) { return stroma::estimate_at_times<double>{stroma::as_view(x), {}}; };
    stroma::brier_score(ctx_, survival_at(times), times, order_, to(score));
    stroma::reference_brier_score(ctx_, times, order_, to(reference));
    json result = {{"times", list(times)}, {"score", list(score)}, {"kaplan_meier", list(reference)}};
    if (times.size() < 2) return result;
    const double whole = stroma::integrated_brier_score(ctx_, score, times),
                 plain = stroma::integrated_brier_score(ctx_, reference, times);
    result["integrated"] = number_or_null(whole);
    result["integrated_kaplan_meier"] = number_or_null(plain);
    result["skill"] = number_or_null(1 - whole / plain);
    return result;
  }

  json calibration() {
    // What each patient was given for its own time: a diagonal, a time at a time.
    numbers own(score_.size());
    for (std::size_t i = 0; i < own.size(); ++i) {
      const numbers score{log_hazard_[i]}, time{time_[i]};
      stroma::array<double, 2> at(1, 1);
      stroma::survival_curves(ctx_, baseline_[0], score, time, at);
      own[i] = at(0, 0);
    }
    numbers bins(10);
    const auto d = stroma::d_calibration(ctx_, own, order_, bins);
    const double time = event_quantile(event_times_, 0.5);
    const auto at_time = survival_at({time});
    const index_t groups = std::min<index_t>(5, static_cast<index_t>(score_.size()));
    numbers predicted(static_cast<std::size_t>(groups)), observed(predicted), error(predicted);
    stroma::calibration_groups(ctx_, numbers(at_time.begin(), at_time.end()), time, order_,
                               stroma::calibration_groups_output<double>{
                                   stroma::as_view(predicted), stroma::as_view(observed), stroma::as_view(error), {}});
    return {{"d_calibration",
             {{"statistic", d.statistic},
              {"df", d.degrees_of_freedom},
              {"p", number_or_null(d.p_value)},
              {"bins", list(bins)}}},
            {"groups",
             {{"time", time}, {"predicted", list(predicted)}, {"observed", list(observed)}, {"se", list(error)}}}};
  }

  json median_split() {
    const auto high = above_median(score_);
    const auto test = stroma::log_rank(ctx_, high, order_);
    const stroma::risk_order<> by_half(ctx_, time_, event_, {.stratum = high});
    const stroma::kaplan_meier_curves curves(ctx_, by_half);
    json result = {{"chi_square", number_or_null(test.test.statistic)}, {"p", number_or_null(test.test.p_value)}};
    const char* const names[] = {"low_risk", "high_risk"};
    for (index_t g = 0; g < curves.size(); ++g) {
      const auto half = static_cast<std::size_t>(high[static_cast<std::size_t>(curves.patient(g))]);
      result[names[half]] = {{"n", static_cast<std::int64_t>(test.patients[g])},
                             {"events", static_cast<std::int64_t>(test.observed[g])},
                             {"expected_events", test.expected[g]},
                             {"median_survival", number_or_null(stroma::median(curves[g]).time)}};
    }
    return result;
  }

  stroma::cpu_context& ctx_;
  const numbers &score_, &time_, &event_;
  stroma::risk_order<> order_;
  numbers event_times_, log_hazard_;
  stroma::baseline_hazards baseline_;
  double slope_ = 0;
};

double number(const json& j, const char* key) {
  return j.contains(key) && j[key].is_number() ? j[key].get<double>() : std::nan("");
}
std::string joined(const json& values, int digits) {
  std::string text;
  for (const auto& v : values)
    text.append(text.empty() ? "" : ", ").append(v.is_number() ? fixed(v.get<double>(), digits) : "-");
  return text;
}

}  // namespace

std::vector<double> above_median(const std::vector<double>& score) {
  numbers sorted = score;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2), sorted.end());
  const double upper = sorted[sorted.size() / 2];
  const double lower = *std::max_element(
      sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(sorted.size() / 2, 1)));
  const double median = sorted.size() % 2 == 1 ? upper : lower + (upper - lower) / 2;
  numbers above;
  for (const double s : score) above.push_back(s > median ? 1 : 0);
  return above;
}

json judge_scores(stroma::cpu_context& ctx, const numbers& score, const numbers& time, const numbers& event) {
  return judged_scores(ctx, score, time, event).judge();
}

std::string median_split_picture(stroma::cpu_context& ctx, const std::string& title, const numbers& score,
                                 const numbers& time, const numbers& event) {
  const auto high = above_median(score);
  const stroma::risk_order<> by_half(ctx, time, event, {.stratum = high}), all(ctx, time, event);
  const stroma::kaplan_meier_curves curves(ctx, by_half, {.interval = stroma::curve_interval::log_log});
  std::vector<stroma::plotted_group> groups;
  for (index_t g = 0; g < curves.size(); ++g)
    groups.push_back({curves[g], high[static_cast<std::size_t>(curves.patient(g))] > 0 ? "High risk" : "Low risk"});
  stroma::survival_plot_options options{.title = title};
  if (groups.size() == 2) options.p_value = stroma::log_rank(ctx, high, all).test.p_value;
  return stroma::survival_plot(groups, options);
}

void print_judgement(std::ostream& out, const json& j) {
  const auto concordance = [&](const char* title, const json& c) {
    out << "  " << left(title, 14) << fixed(number(c, "value"), 4) << "  se " << fixed(number(c, "se"), 4) << "  95 % "
        << joined(c["interval"], 4);
    if (c["undefined_events"].get<int>() > 0)
      out << "  (" << c["undefined_events"] << " events left out: nobody uncensored there)";
    out << '\n';
  };
  concordance("Harrell's C", j["harrell"]);
  concordance("Uno's C", j["uno"]);
  out << "  " << left("AUC", 14) << joined(j["auc"]["auc"], 4) << "  at " << joined(j["auc"]["times"], 1) << "; mean "
      << fixed(number(j["auc"], "mean"), 4) << '\n';
  if (!j.contains("brier")) return;
  const json& b = j["brier"];
  out << "  " << left("Brier score", 14) << fixed(number(b, "integrated"), 4) << "  Kaplan-Meier "
      << fixed(number(b, "integrated_kaplan_meier"), 4) << "  skill " << fixed(100 * number(b, "skill"), 1) << " %\n";
  const json &d = j["calibration"]["d_calibration"], &g = j["calibration"]["groups"];
  out << "  " << left("calibration", 14) << "D: chi-square " << fixed(number(d, "statistic"), 2) << " on " << d["df"]
      << " df, p " << short_number(number(d, "p"), 3) << '\n'
      << "  " << left("", 14) << "fifths at " << fixed(number(g, "time"), 1) << ": predicted "
      << joined(g["predicted"], 2) << "; observed " << joined(g["observed"], 2) << '\n';
  const json& m = j["median_split"];
  out << "  " << left("median split", 14) << "log-rank chi-square " << fixed(number(m, "chi_square"), 2) << ", p "
      << short_number(number(m, "p"), 3);
  for (const char* half : {"low_risk", "high_risk"})
    if (m.contains(half))
      out << "; " << (half[0] == 'l' ? "low" : "high") << " risk: n " << m[half]["n"] << ", median survival "
          << fixed(number(m[half], "median_survival"), 1);
  out << '\n';
}

}  // namespace program
