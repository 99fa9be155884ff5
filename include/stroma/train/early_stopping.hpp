#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>

#include <stroma/core/check.hpp>
#include <stroma/core/members.hpp>

namespace stroma {

/// Which of two values of a metric is better: a loss is better lower, a concordance higher.
enum class better { lower, higher };

struct early_stopping_options {
  index_t patience = 10;  ///< epochs without improvement after which to stop
  double min_delta = 0;   ///< an improvement is by more than this
  better direction = better::lower;
};

/// Watches a metric from epoch to epoch, keeps a copy of the best epoch's model, and says when to stop. NaN never
/// improves. All of it goes into a checkpoint with the training state. Cost: a copy of the model at an improvement;
/// nothing is allocated.
template <class Model>
struct early_stopping {
  early_stopping_options options;
  Model best;                    ///< of best_epoch; as it was given before the first
  std::int64_t best_epoch = -1;  ///< -1: no epoch yet
  std::int64_t waited = 0;       ///< epochs since
  double best_metric = std::numeric_limits<double>::quiet_NaN();

  /// @throws value_error  a patience below 1, a negative min_delta
  explicit early_stopping(const Model& model, const early_stopping_options& wanted = {})
      : options(wanted), best(model) {
    check::positive("early_stopping", "options.patience", wanted.patience);
    check::require(wanted.min_delta >= 0, "early_stopping", "options.min_delta", number_text(wanted.min_delta),
                   "0 or more");
  }
  static auto members(auto& self) { return std::tuple{member{"best", self.best}}; }
  static auto numbers(auto& self) {
    return std::tuple{member{"best_epoch", self.best_epoch}, member{"waited", self.waited},
                      member{"best_metric", self.best_metric}};
  }

  /// Takes note of an epoch; true when it is the best so far.
  bool observe(std::int64_t epoch, double metric, const Model& model) {
    if (!improves(metric)) {
      ++waited;
      return false;
    }
    best = model;
    best_epoch = epoch;
    best_metric = metric;
    waited = 0;
    return true;
  }
  /// Whether the patience is at its end.
  [[nodiscard]] bool should_stop() const { return waited >= options.patience; }

 private:
  [[nodiscard]] bool improves(double metric) const {
    if (std::isnan(metric)) return false;
    if (best_epoch < 0) return true;
    return options.direction == better::lower ? metric < best_metric - options.min_delta
                                              : metric > best_metric + options.min_delta;
  }
};

}  // namespace stroma
