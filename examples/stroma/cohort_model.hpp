#pragma once
#include <cstdint>
#include <vector>

#include <stroma/core/random.hpp>

/// The generative model of `stroma simulate`; README.md beside this file states it in words.
namespace program {

struct simulation_options {
  int cohorts = 13;
  std::vector<int> patients{60, 400};  ///< smallest and largest cohort
  std::vector<int> patches{50, 400};   ///< smallest and largest bag
  int features = 64;
  int components = 10;       ///< kinds of tissue
  double separation = 0.35;  ///< standard deviation of the components' centres, in each feature
  double shift = 0.2;        ///< of what a cohort adds to all its patches
  double noise = 1;          ///< of a patch around its component
  double effect = 1.5;       ///< standard deviation of the log hazard over the patients of a cohort
  double shared = 0.7;       ///< part of the log hazard's variance that all cohorts share, on average
  double censoring = 0.6;    ///< expected part of censored patients
  double shape = 1.2;        ///< of the Weibull times
  std::uint64_t seed = 1;
};

struct follow_up_time {
  double months, event;
};

struct simulated_patient {
  std::vector<double> mixture;  ///< of the components, sums to 1
  double risk;                  ///< true log hazard
  double shared_risk;           ///< the part of it that is the same in all cohorts
};

/// One cancer: which tissue its patients have, what their tissue means, how long they are followed. Everything is a
/// function of the options and of the cohort's number, so cohorts can be made in any order.
class cohort_model {
 public:
  cohort_model(const simulation_options& options, int cohort);

  [[nodiscard]] int patients() const { return patients_; }
  [[nodiscard]] double shared() const { return shared_; }
  /// Log hazard for one more unit of a component's log ratio (its part over the geometric mean of all parts).
  [[nodiscard]] const std::vector<double>& effects() const { return effects_; }

  [[nodiscard]] simulated_patient patient(std::uint32_t number) const;
  [[nodiscard]] follow_up_time follow(double risk, std::uint32_t number) const;
  [[nodiscard]] int patches(std::uint32_t number) const;
  /// The patches' features, row by row: patches(number) x features.
  void draw_patches(const simulated_patient& patient, std::uint32_t number, std::vector<float>& features) const;

 private:
  enum class purpose : std::uint32_t { centres, hazard, cohort, patient, follow_up, patches, calibration };
  [[nodiscard]] stroma::random_stream stream(purpose why, std::uint32_t number = 0) const;
  [[nodiscard]] simulated_patient draw_patient(stroma::random_stream& draw) const;
  void choose_size();
  void choose_effects();
  void calibrate_censoring();

  simulation_options options_;
  int cohort_, patients_ = 0;
  double shared_ = 0, time_scale_ = 0, censoring_scale_ = 0;
  std::vector<double> effects_;  ///< [components]
  std::vector<double> shared_effects_;
  std::vector<double> log_parts_;  ///< [components] the cohort's usual mixture
  std::vector<double> centres_;    ///< [components x features]
};

}  // namespace program
