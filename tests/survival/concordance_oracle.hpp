#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <stroma/survival/concordance.hpp>

/// Concordance by its definition: every pair, every risk set, in long double.
struct concordance_oracle {
  std::vector<double> score, time, weight, entry, stratum;
  std::vector<int> event;
  stroma::concordance_options options{};

  struct result {
    std::vector<std::vector<long double>> by_stratum;  // concordant, discordant, tied_score, tied_time, tied_both
    std::vector<long double> counts = std::vector<long double>(5), influence, scale;
    long double value{}, variance{}, null_variance{}, null_variance_once{};
    stroma::index_t undefined{};
  };

  template <class T>
  static concordance_oracle of(const std::vector<T>& score, const std::vector<T>& time,
                               const std::vector<std::uint8_t>& event) {
    concordance_oracle o;
    o.score.assign(score.begin(), score.end());
    o.time.assign(time.begin(), time.end());
    o.event.assign(event.begin(), event.end());
    o.weight.assign(time.size(), 1);
    o.stratum.assign(time.size(), 0);
    o.entry.assign(time.size(), -std::numeric_limits<double>::infinity());
    return o;
  }

  [[nodiscard]] std::size_t size() const { return time.size(); }
  [[nodiscard]] bool at_risk(std::size_t j, double t, double label) const {
    return stratum[j] == label && entry[j] < t && t <= time[j];
  }
  [[nodiscard]] long double sum_at_risk(double t, double label) const {
    long double sum = 0;
    for (std::size_t j = 0; j < size(); ++j) sum += at_risk(j, t, label) ? weight[j] : 0;
    return sum;
  }
  /// Product-limit estimate just before t, or at it.
  [[nodiscard]] long double curve(double t, double label, bool of_censoring, bool inclusive) const {
    std::vector<double> times;
    for (std::size_t j = 0; j < size(); ++j)
      if (stratum[j] == label && (time[j] < t || (inclusive && time[j] == t))) times.push_back(time[j]);
    std::sort(times.begin(), times.end());
    times.erase(std::unique(times.begin(), times.end()), times.end());
    long double product = 1;
    for (const double u : times) {
      long double staying = 0, died = 0, censored = 0;
      for (std::size_t j = 0; j < size(); ++j)
        if (at_risk(j, u, label)) (time[j] > u ? staying : event[j] != 0 ? died : censored) += weight[j];
      const long double before = staying + censored + (of_censoring ? 0 : died);
      if (before > 0) product *= (before - (of_censoring ? censored : died)) / before;
    }
    return product;
  }
  [[nodiscard]] long double pair_weight(double t, double label, result& r) const {
    using stroma::pair_weighting;
    if (t > options.horizon) return 0;
    int events = 0;
    long double everybody = 0;
    for (std::size_t j = 0; j < size(); ++j)
      if (stratum[j] == label) {
        events += event[j] != 0 && weight[j] > 0 ? 1 : 0;
        everybody += weight[j];
      }
    if (events < 2 || options.weighting == pair_weighting::equal) return 1;
    const long double risk = sum_at_risk(t, label);
    if (options.weighting == pair_weighting::inverse_risk) return 1 / risk;
    const long double survival = curve(t, label, false, false);
    if (options.weighting == pair_weighting::survival) return everybody * survival / risk;
    const long double censoring = curve(t, label, true, options.censoring == stroma::censoring_limit::at);
    if (censoring <= 0) {
      ++r.undefined;
      return 0;
    }
    return options.weighting == pair_weighting::inverse_censoring ? 1 / (censoring * censoring)
                                                                  : everybody * survival / (censoring * risk);
  }

  [[nodiscard]] result compute() const {
    const std::size_t n = size();
    result r;
    std::vector<double> labels = stratum;
    std::sort(labels.begin(), labels.end());
    labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
    r.by_stratum.assign(labels.size(), std::vector<long double>(5));
    std::vector<long double> net(n), all(n);
    for (std::size_t i = 0; i < n; ++i) {
      if (event[i] == 0 || !(weight[i] > 0)) continue;
      const long double v = pair_weight(time[i], stratum[i], r);
      auto& counts = r.by_stratum[static_cast<std::size_t>(std::lower_bound(labels.begin(), labels.end(), stratum[i]) -
                                                           labels.begin())];
      for (std::size_t j = 0; j < n; ++j) {
        if (i == j || !at_risk(j, time[i], stratum[i])) continue;
        const long double pair = static_cast<long double>(weight[i]) * weight[j] * v;
        const bool tied = std::abs(score[i] - score[j]) <= options.tolerance;
        if (time[j] == time[i] && event[j] != 0) {
          counts[tied ? 4 : 3] += pair / 2;  // met twice
          continue;
        }
        counts[tied ? 2 : score[i] > score[j] ? 0 : 1] += pair;
        const long double sign = tied ? 0 : score[i] > score[j] ? 1 : -1;
        net[i] += sign * weight[j] * v;
        net[j] += sign * weight[i] * v;
        all[i] += weight[j] * v;
        all[j] += weight[i] * v;
      }
      if (!options.standard_error) continue;  // what follows takes N^3
      long double spread = 0;
      const long double risk = sum_at_risk(time[i], stratum[i]);
      for (std::size_t j = 0; j < n; ++j) {
        if (!at_risk(j, time[i], stratum[i])) continue;
        long double rank = 0;
        for (std::size_t k = 0; k < n; ++k)
          if (at_risk(k, time[i], stratum[i]))
            rank += score[k] < score[j] ? weight[k] : score[k] > score[j] ? -weight[k] : 0;
        spread += weight[j] * rank * rank;
      }
      r.null_variance += weight[i] * v * v * spread / risk;
      r.null_variance_once += weight[i] * v * spread / risk;
    }
    for (const auto& counts : r.by_stratum)
      for (std::size_t c = 0; c < 5; ++c) r.counts[c] += counts[c];
    const long double pairs = r.counts[0] + r.counts[1] + r.counts[2];
    r.value = (r.counts[0] + r.counts[2] / 2) / pairs;
    const long double somers = (r.counts[0] - r.counts[1]) / pairs;
    for (std::size_t i = 0; i < n; ++i) {
      r.influence.push_back(weight[i] * (net[i] - all[i] * somers) / (2 * pairs));
      r.variance += r.influence[i] * r.influence[i];
    }
    r.null_variance /= 4 * pairs * pairs;
    r.null_variance_once /= 4 * pairs * pairs;
    return r;
  }
};
