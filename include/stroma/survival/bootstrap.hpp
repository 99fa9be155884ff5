#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <stroma/core/random.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma {

struct bootstrap_options {
  index_t draws = 1000;
  double level = 0.95;  ///< of the interval, above 0 and below 1
  std::uint64_t seed = 0;
  matrix_view<double> values{};  ///< [draws, metrics] what every draw gave; empty: not kept
};

/// What a metric was over the draws that defined it; NaN where none did.
struct bootstrap_estimate {
  double mean, standard_error;  ///< the standard deviation of the draws; NaN of a single one
  double lower, upper;          ///< the percentiles at (1 - level) / 2 from either end
  index_t undefined;            ///< draws of which the metric was not a number
};

namespace detail {

/// weight[i] = own weight times how often patient i was drawn when N patients were drawn from N.
inline void draw_patients(const random_key& key, const number_view<>& own, vector_view<double> weight) {
  std::fill_n(weight.data, weight.size, 0.0);
  random_stream random(key);
  for (index_t i = 0; i < weight.size; ++i) {
    const auto drawn = static_cast<index_t>(random.below(static_cast<std::uint32_t>(weight.size)));
    weight[drawn] += own.size == 0 ? 1 : own[drawn];
  }
}

/// The percentile at `part` of sorted numbers, between neighbours by the line that joins them (R's type 7).
[[nodiscard]] inline double percentile(std::span<const double> sorted, double part) {
  const double at = part * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

/// Sorts `values`, of one metric.
[[nodiscard]] inline bootstrap_estimate summarise_draws(std::span<double> values, double level) {
  const auto end = std::remove_if(values.begin(), values.end(), [](double x) { return std::isnan(x); });
  const std::span<double> defined(values.begin(), end);
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  bootstrap_estimate e{nan, nan, nan, nan, static_cast<index_t>(values.size() - defined.size())};
  if (defined.empty()) return e;
  std::sort(defined.begin(), defined.end());
  const auto count = static_cast<double>(defined.size());
  double sum = 0, squares = 0;
  for (const double x : defined) sum += x;
  e.mean = sum / count;
  for (const double x : defined) squares += (x - e.mean) * (x - e.mean);
  if (defined.size() > 1) e.standard_error = std::sqrt(squares / (count - 1));
  e.lower = percentile(defined, (1 - level) / 2);
  e.upper = percentile(defined, 1 - (1 - level) / 2);
  return e;
}

}  // namespace detail

/// How metrics of a cohort vary from sample to sample: patients are drawn again and again with replacement, and all
/// metrics computed of each draw. A draw is the cohort with the weights 0, 1, 2 .. times the patients' own, so nothing
/// is sorted anew; the metrics are those that go by the weights of an order, and scores stand as they are.
///
/// `bootstrap(ctx, order, [&](cpu_context& c, const risk_order<>& drawn, std::span<double> value) {`
/// `  value[0] = concordance(c, score, drawn).value;`
/// `  value[1] = concordance(c, other, drawn).value - value[0]; }, estimates);`
///
/// @param metrics(context, order, values): fills values, one for each estimate; called by several threads at once, each
///   with a context and an order of its own
/// @param out one for each metric   @param options draws, level, seed
/// Cost: O(N) a draw and what the metrics take; threaded over draws. Takes memory for a copy of the order and a context
/// a thread, and for all values. The draws depend on seed and number alone: same bits for any number of threads.
/// @throws value_error   Reference: Efron 1979.
template <class Metrics>
  requires std::invocable<const Metrics&, cpu_context&, const risk_order<>&, std::span<double>>
void bootstrap(cpu_context& ctx, const risk_order<>& order, const Metrics& metrics, std::span<bootstrap_estimate> out,
               const bootstrap_options& options = {}) {
  constexpr auto name = "bootstrap";
  const auto count = static_cast<index_t>(out.size());
  check::in_range(name, "draws", options.draws, index_t{1}, index_t{1} << 31);
  check::require(options.level > 0 && options.level < 1, name, "level", number_text(options.level),
                 "a number between 0 and 1");
  check::in_range(name, "patients", order.size(), index_t{0}, index_t{0xffffffff});
  if (options.values.rows != 0) check::shape(name, "values", options.values, options.draws, count);

  struct worker {
    cpu_context ctx;
    risk_order<> order;
    array<double, 1> weight;
  };
  array<double, 1> own(order.weighted() ? order.size() : 0);  // by patient
  for (index_t k = 0; k < own.size(); ++k) own[order.rows()[k]] = order.plan().weight[k];
  std::vector<std::unique_ptr<worker>> workers;
  for (int i = 0; i < ctx.threads(); ++i) {
    workers.push_back(std::make_unique<worker>());
    workers.back()->order = order;
    workers.back()->weight = array<double, 1>(order.size());
  }
  std::vector<double> values(static_cast<std::size_t>(options.draws * count));  // metric by metric
  ctx.parallel(options.draws, [&](index_t draw, int thread) {
    worker& w = *workers[static_cast<std::size_t>(thread)];
    const random_key key{options.seed, static_cast<std::uint32_t>(draw), 0};
    detail::draw_patients(key, own.size() == 0 ? number_view<>{} : number_view<>(own), as_view(w.weight));
    w.order.reweigh(w.ctx, w.weight);
    std::vector<double> of_draw(out.size());
    metrics(w.ctx, w.order, std::span<double>(of_draw));
    for (index_t m = 0; m < count; ++m)
      values[static_cast<std::size_t>(m * options.draws + draw)] = of_draw[static_cast<std::size_t>(m)];
  });
  for (index_t m = 0; m < count; ++m) {
    const std::span<double> of_metric(values.data() + m * options.draws, static_cast<std::size_t>(options.draws));
    for (index_t d = 0; d < options.values.rows; ++d) options.values(d, m) = of_metric[static_cast<std::size_t>(d)];
    out[static_cast<std::size_t>(m)] = detail::summarise_draws(of_metric, options.level);
  }
}

}  // namespace stroma
