#include "cohort_model.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace program {
namespace {

constexpr double typical_months = 40;
constexpr int virtual_patients = 4000;

/// Shifts to mean 0 and scales to a sum of squares of 1.
void normalise(std::vector<double>& v) {
  const double mean = std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
  double squares = 0;
  for (double& x : v) {
    x -= mean;
    squares += x * x;
  }
  for (double& x : v) x /= std::sqrt(squares);
}

/// Signs and sizes for `count` components, 0 for the others; never all of one sign.
std::vector<double> draw_effects(stroma::random_stream& draw, int components, int first, int count) {
  std::vector<double> effects(static_cast<std::size_t>(components));
  for (int k = 0; k < count; ++k)
    effects[static_cast<std::size_t>(first + k)] = (k % 2 == 0 ? 1 : -1) * draw.uniform(0.5, 1);
  normalise(effects);
  return effects;
}

}  // namespace

cohort_model::cohort_model(const simulation_options& options, int cohort) : options_(options), cohort_(cohort) {
  const auto components = static_cast<std::size_t>(options.components),
             features = static_cast<std::size_t>(options.features);
  stroma::random_stream common(options.seed, 0, static_cast<std::uint32_t>(purpose::centres));
  centres_.resize(components * features);
  for (double& c : centres_) c = options.separation * common.normal();

  auto own = stream(purpose::cohort);
  log_parts_.resize(components);
  for (double& l : log_parts_) l = 0.5 * own.normal();
  time_scale_ = typical_months * std::exp(0.4 * own.normal());
  std::vector<double> shift(features);
  for (double& s : shift) s = options.shift * own.normal();
  for (std::size_t i = 0; i < centres_.size(); ++i) centres_[i] += shift[i % features];
  choose_size();
  choose_effects();
  calibrate_censoring();
}

stroma::random_stream cohort_model::stream(purpose why, std::uint32_t number) const {
  return stroma::random_stream(options_.seed, number,
                               static_cast<std::uint32_t>(why) + 16 * static_cast<std::uint32_t>(cohort_ + 1));
}

/// Sizes rise by one factor from cohort to cohort: few patients in some cancers, many in others.
void cohort_model::choose_size() {
  const double least = options_.patients.front(), most = options_.patients.back();
  const double step = options_.cohorts > 1 ? static_cast<double>(cohort_) / (options_.cohorts - 1) : 0;
  patients_ = static_cast<int>(std::lround(least * std::pow(most / least, step)));
}

/// The first components carry the shared hazard, two of the others the cohort's own. Both parts are orthogonal up to
/// their mean, so `shared` is about the part of the variance that is common; it differs from cohort to cohort.
void cohort_model::choose_effects() {
  const int of_all = (options_.components + 1) / 3;
  stroma::random_stream common(options_.seed, 0, static_cast<std::uint32_t>(purpose::hazard));
  const auto general = draw_effects(common, options_.components, 0, of_all);
  auto own = stream(purpose::hazard);
  const auto rest = static_cast<std::uint32_t>(options_.components - of_all);
  const int first = of_all + static_cast<int>(own.below(rest - 1));
  auto special = draw_effects(own, options_.components, first, 2);
  if (own.uniform() < 0.5)
    for (double& s : special) s = -s;
  shared_ = std::clamp(options_.shared + own.uniform(-0.2, 0.2), 0.0, 1.0);
  effects_.resize(general.size());
  for (std::size_t k = 0; k < effects_.size(); ++k)
    effects_[k] = std::sqrt(shared_) * general[k] + std::sqrt(1 - shared_) * special[k];
  normalise(effects_);
  for (double& e : effects_) e *= options_.effect;
  shared_effects_ = general;
}

/// Log ratios are standard normal around the cohort's usual ones, so the log hazard has the standard deviation
/// `effect`.
simulated_patient cohort_model::draw_patient(stroma::random_stream& draw) const {
  simulated_patient p{log_parts_, 0, 0};
  double sum = 0;
  for (std::size_t k = 0; k < p.mixture.size(); ++k) {
    const double deviation = draw.normal();
    p.risk += effects_[k] * deviation;
    p.shared_risk += shared_effects_[k] * deviation;
    sum += p.mixture[k] = std::exp(log_parts_[k] + deviation);
  }
  for (double& m : p.mixture) m /= sum;
  return p;
}

simulated_patient cohort_model::patient(std::uint32_t number) const {
  auto draw = stream(purpose::patient, number);
  return draw_patient(draw);
}

/// Bisection for the censoring times' mean on patients that are not in the cohort: censoring stays independent.
void cohort_model::calibrate_censoring() {
  auto draw = stream(purpose::calibration);
  std::vector<double> times(virtual_patients), clocks(virtual_patients);
  for (std::size_t i = 0; i < times.size(); ++i) {
    const double risk = draw_patient(draw).risk;
    times[i] = time_scale_ * std::pow(draw.exponential() * std::exp(-risk), 1 / options_.shape);
    clocks[i] = draw.exponential();
  }
  double low = 1e-6, high = 1e9;
  for (int i = 0; i < 100; ++i) {
    const double middle = std::sqrt(low * high);
    int censored = 0;
    for (std::size_t k = 0; k < times.size(); ++k) censored += clocks[k] * middle < times[k] ? 1 : 0;
    (censored > options_.censoring * virtual_patients ? low : high) = middle;
  }
  censoring_scale_ = high;
}

/// Weibull with hazard proportional to exp(risk), against an exponential clock; days are rounded up to 0.01 months.
follow_up_time cohort_model::follow(double risk, std::uint32_t number) const {
  auto draw = stream(purpose::follow_up, number);
  const double death = time_scale_ * std::pow(draw.exponential() * std::exp(-risk), 1 / options_.shape);
  const double end = censoring_scale_ * draw.exponential();
  return {std::ceil(100 * std::min(death, end)) / 100, death <= end ? 1.0 : 0.0};
}

int cohort_model::patches(std::uint32_t number) const {
  auto draw = stream(purpose::patches, number);
  const double least = options_.patches.front(), most = options_.patches.back();
  return static_cast<int>(std::lround(least * std::pow(most / least, draw.uniform())));
}

void cohort_model::draw_patches(const simulated_patient& patient, std::uint32_t number,
                                std::vector<float>& features) const {
  auto draw = stream(purpose::patches, number);
  (void)draw.uniform();  // the bag's size, see above
  const auto width = static_cast<std::size_t>(options_.features);
  features.resize(static_cast<std::size_t>(patches(number)) * width);
  for (std::size_t row = 0; row < features.size(); row += width) {
    double left = draw.uniform();
    std::size_t kind = 0;
    while (kind + 1 < patient.mixture.size() && (left -= patient.mixture[kind]) >= 0) ++kind;
    for (std::size_t j = 0; j < width; ++j)
      features[row + j] = static_cast<float>(centres_[kind * width + j] + options_.noise * draw.normal());
  }
}

}  // namespace program
