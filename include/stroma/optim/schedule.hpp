#pragma once
#include <cmath>
#include <numbers>
#include <string>
#include <string_view>

#include <stroma/core/check.hpp>

namespace stroma {

/// Learning rates as functions of the optimiser step, counted from 0. Anything that can be called like them will do.

/// The same rate always.
struct constant_rate {
  double rate = 1e-3;

  [[nodiscard]] double operator()(index_t) const { return rate; }
};

/// rate gamma^floor(step / every)
struct step_decay {
  double rate = 1e-3;
  double gamma = 0.1;
  index_t every = 1;  ///< steps from one fall to the next

  /// @throws value_error  `every` is not positive
  [[nodiscard]] double operator()(index_t step) const {
    check::positive("step_decay", "every", every);
    const index_t drops = step / every;
    return rate * std::pow(gamma, static_cast<double>(drops));
  }
};

/// A linear rise over the first steps, then half a cosine down to 0:
///   rate s / warm_up                                              s < warm_up
///   rate / 2 (1 + cos(pi (s - warm_up) / (total - warm_up)))      s < total
///   0                                                             from then on
/// The first step of a warm-up therefore has rate 0: it fills the optimiser's moments alone.
/// Reference: Loshchilov and Hutter, SGDR, ICLR 2017 (without restarts).
struct warm_up_cosine {
  double rate = 1e-3;
  index_t warm_up = 0;  ///< steps
  index_t total = 1;    ///< steps, those of the warm-up included

  /// @throws value_error  a negative warm-up, or one longer than the total
  [[nodiscard]] double operator()(index_t step) const { return rate * factor(step); }
  [[nodiscard]] double factor(index_t step) const {
    check::in_range("warm_up_cosine", "warm_up", warm_up, index_t{0}, total);
    if (step < warm_up) return static_cast<double>(step) / static_cast<double>(warm_up);
    if (step >= total) return 0;
    const double passed = static_cast<double>(step - warm_up) / static_cast<double>(total - warm_up);
    return 0.5 * (1 + std::cos(std::numbers::pi * passed));
  }
};

}  // namespace stroma
